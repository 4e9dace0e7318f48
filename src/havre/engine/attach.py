"""Attach: one socketpair per client; the monitor holds one end, the API pumps the other to HTTP."""

import socket
from dataclasses import dataclass

from havre.engine.container import Container
from havre.engine.logs import LogStream, container_logs
from havre.engine.rooms import Rooms
from havre.errors import Conflict
from havre.runtime.link import Attached


@dataclass(frozen=True, slots=True)
class AttachStream:
    """`sock` carries Docker's multiplexed frames (raw bytes with a tty); `before` is what to send first (logs=1)."""

    sock: socket.socket | None
    tty: bool
    before: LogStream | None = None


async def attach(
    rooms: Rooms, ref: str, *, stdin: bool, stdout: bool, stderr: bool, stream: bool, logs: bool = False
) -> AttachStream:
    """Attach to a container, running or about to start. Raises Conflict for a paused one."""
    container = rooms.containers.find(ref)
    if container.state.status == "paused":
        raise Conflict(f"container {ref} is paused, unpause the container before attach")
    if container.state.status == "restarting":
        raise Conflict(f"container {ref} is restarting, wait until the container is running")
    tty = bool(container.record.config.tty)
    before = container_logs(rooms, container, stdout=stdout, stderr=stderr) if logs else None
    if not stream:
        return AttachStream(None, tty, before)
    ours = await _connect(
        container, stdin=stdin and bool(container.record.config.open_stdin), stdout=stdout, stderr=stderr
    )
    rooms.events.publish("container", "attach", container.id, container.attributes())
    return AttachStream(ours, tty, before)


async def _connect(container: Container, *, stdin: bool, stdout: bool, stderr: bool) -> socket.socket:
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    attached = Attached(theirs, stdin, stdout, stderr)
    if not container.running or container.monitor is None:
        container.attaching.append(attached)  # launch hands it over, or closes it when the start fails
        return ours
    try:
        await container.monitor.attach(attached)
    except BaseException:
        ours.close()
        raise
    finally:
        theirs.close()
    return ours
