"""Attach: one socketpair per client; the monitor holds one end, the API pumps the other to HTTP."""

import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass

from havre.clock import now_nanos
from havre.engine.container import Container
from havre.engine.logs import LogStream, container_logs
from havre.engine.rooms import Rooms
from havre.errors import Conflict
from havre.runtime.link import Attached, Monitor, Said
from havre.spec.detach import DetachKeys, parse


@dataclass(frozen=True, slots=True)
class AttachStream:
    """`sock` carries Docker's multiplexed frames (raw bytes with a tty), None when only `before` was asked for (logs=1).

    `before` is what the container had said until then, as (stream, bytes): exactly up to where `sock` goes on.
    """

    rooms: Rooms
    container: Container
    sock: socket.socket | None
    tty: bool
    before: AsyncIterator[tuple[str, bytes]] | None
    keys: DetachKeys | None  # watches what is typed
    waiting: Attached | None  # when it came before the start

    def detached(self) -> None:
        """The keys were typed."""
        self.rooms.events.publish("container", "detach", self.container.id, self.container.attributes())

    def close(self) -> None:
        """The client has gone; one that waited for a start waits no longer."""
        if self.sock is not None:
            self.sock.close()
        if self.waiting is not None and self.waiting in self.container.attaching:
            self.container.attaching.remove(self.waiting)
            self.waiting.sock.close()


async def attach(
    rooms: Rooms,
    ref: str,
    *,
    stdin: bool,
    stdout: bool,
    stderr: bool,
    stream: bool,
    logs: bool = False,
    detach_keys: str = "",
) -> AttachStream:
    """Attach to a container, running or about to start. Raises Conflict for a paused one, InvalidParameter for bad keys."""
    keys = parse(detach_keys)
    container = rooms.containers.find(ref)
    if container.state.status == "paused":
        raise Conflict(f"container {ref} is paused, unpause the container before attach")
    if container.state.status == "restarting":
        raise Conflict(f"container {ref} is restarting, wait until the container is running")
    config = container.record.config
    if logs:
        container_logs(rooms, container, stdout=stdout, stderr=stderr)  # raises when nothing can be read
    sock, said, waiting = None, Said(now_nanos(), b"", b""), None
    if stream:
        stdin = stdin and bool(config.open_stdin)
        sock, theirs = socket.socketpair()
        sock.setblocking(False)
        attached = Attached(theirs, stdin, stdout, stderr)
        if container.running and container.monitor is not None:
            said = await _hand_over(container.monitor, attached, sock)
        else:
            waiting = attached  # launch hands it over, or closes it when the start fails
            container.attaching.append(attached)
        rooms.events.publish("container", "attach", container.id, container.attributes())
    before = _replay(rooms, container, said, stdout=stdout, stderr=stderr) if logs else None
    watched = DetachKeys(keys) if config.tty and stdin and stream else None
    return AttachStream(rooms, container, sock, bool(config.tty), before, watched, waiting)


async def _hand_over(monitor: Monitor, attached: Attached, ours: socket.socket) -> Said:
    try:
        return await monitor.attach(attached)
    except BaseException:
        ours.close()
        raise
    finally:
        attached.sock.close()


async def _replay(
    rooms: Rooms, container: Container, said: Said, *, stdout: bool, stderr: bool
) -> AsyncIterator[tuple[str, bytes]]:
    """The log's rows up to the moment of the attach, and the begun lines that are not in it yet."""
    found: LogStream = container_logs(rooms, container, stdout=stdout, stderr=stderr, until_nanos=said.nanos)
    async for stream, _, line in found.lines:
        yield stream, line
    for name, wanted, begun in (("stdout", stdout, said.stdout), ("stderr", stderr, said.stderr)):
        if wanted and begun:
            yield name, begun
