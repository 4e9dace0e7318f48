"""The monitor's side of a log that has a process of its own: what waits for it, and what is dropped or held back meanwhile. Lean.

Blocking: when LIMIT_BYTES wait the container is no longer read, as a pipe would do it. Lossy (mode=non-blocking): what does not fit into
the buffer is dropped, the newest first as in dockerd, by whole lines; the next line that fits comes behind one that says how many.
The monitor itself never waits: not for the process, nor for the remote behind it.
"""

import errno
import socket
import time

from havre.errors import HavreError
from havre.logs import sender
from havre.logs.wire import pack

LIMIT_BYTES = 1 << 20
CHUNK_BYTES = 1 << 16
RESTART_S = 5.0  # a process that was killed is started again, not more often than that
IN, OUT, GONE = 1, 4, 0x18  # EPOLLIN, EPOLLOUT, EPOLLHUP | EPOLLERR
TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Protocol

    from havre.spec.runplan import LogPlan

    class Loop(Protocol):
        def watch(self, fd: int, events: int, handler: "Callable[[int], None]") -> None: ...
        def forget(self, fd: int) -> None: ...


class Queue:
    """Opening waits for the process's answer and raises HavreError with its words."""

    def __init__(self, plan: "LogPlan") -> None:
        self._plan = plan
        remote = plan["remote"]
        later = bool(remote.get("async"))
        self._lossy = bool(plan["buffer_bytes"]) or later
        self._limit = plan["buffer_bytes"] or (remote["buffer_bytes"] if later else LIMIT_BYTES)
        self._awaited = not remote  # a file that is read here must be whole when the container has ended
        self._loop: Loop | None = None
        self._changed: Callable[[], None] = lambda: None
        self._chunks: list[
            bytearray
        ] = []  # whole records, about CHUNK_BYTES each; the first may be sent in part
        self._waiting = 0
        self._begun: set[bytes] = set()  # streams whose last line in the queue has no end yet
        self._skipping: set[bytes] = set()  # streams whose last line was dropped before its end
        self._closing = False
        self._started = time.monotonic()
        self.dropped = 0
        self._sock: socket.socket | None = self._start(answer=True)

    def _start(self, *, answer: bool) -> "socket.socket":
        sock = sender.start(self._plan, answer=answer)
        said = sock.recv(4096) if answer else b"+"
        if said[:1] != b"+":
            sock.close()
            text = said[1:].decode("utf-8", "replace") or "the log's process was killed"
            raise HavreError(
                f"failed to create task for container: failed to initialize logging driver: {text}"
            )
        sock.setblocking(False)
        if self._lossy:  # what waits in the kernel is not counted: keep it small
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, max(4096, min(self._limit, 1 << 17)))
        return sock

    # what the monitor asks

    def join(self, loop: "Loop", changed: "Callable[[], None]") -> None:
        """Live in this loop; `changed` is called when `full` may be another."""
        self._loop, self._changed = loop, changed
        self._watch()

    @property
    def full(self) -> bool:
        """Whether the container must be held back."""
        return not self._lossy and self._waiting >= self._limit

    @property
    def flushed(self) -> bool:
        """Whether everything was handed over, and told to be all."""
        return not self._chunks and (self._sock is None or self._closing)

    @property
    def settled(self) -> bool:
        """Whether the daemon may be told that the container has ended: what it reads is whole."""
        return self._sock is None or not self._awaited

    def write(self, stream: bytes, data: bytes, nanos: int) -> None:
        if self._lossy:
            data = self._fitting(stream, data, nanos)
        if data:
            self._push(pack(stream, data, nanos))

    def close(self) -> None:
        """Nothing comes any more; what waits is still handed over as long as the loop turns."""
        self._closing = True
        if not self._chunks:
            self._shut()

    # loss

    def _fitting(self, stream: bytes, data: bytes, nanos: int) -> bytes:
        """What of it may wait; the rest is dropped by whole lines and counted."""
        if stream in self._skipping:
            end = data.find(b"\n") + 1
            if not end:
                return b""
            self._skipping.discard(stream)
            data = data[end:]
        kept = data
        if len(data) > (room := self._limit - self._waiting):
            kept = data[: data.rfind(b"\n", 0, max(0, room)) + 1]
            if not kept and not self._chunks:  # as dockerd: when nothing waits a line is taken, however long
                kept = data[: data.find(b"\n") + 1] or data
        if len(kept) < len(data):
            self._drop(stream, data[len(kept) :], nanos, cut=not kept)
        elif kept:
            self._say_dropped(nanos)
        if kept:
            (self._begun.discard if kept.endswith(b"\n") else self._begun.add)(stream)
        return kept

    def _drop(self, stream: bytes, data: bytes, nanos: int, *, cut: bool) -> None:
        self.dropped += data.count(b"\n") + (not data.endswith(b"\n"))
        if not data.endswith(b"\n"):
            self._skipping.add(stream)
        if cut and stream in self._begun:  # its beginning waits already: it ends there
            self._begun.discard(stream)
            self._push(pack(stream, b"\n", nanos))

    def _say_dropped(self, nanos: int) -> None:
        if self.dropped:
            text = (
                f"havre: {self.dropped} log lines were dropped: the buffer of {self._limit} bytes was full\n"
            )
            self.dropped = 0
            self._push(pack(b"notice", text.encode(), nanos))

    # the process

    def _push(self, record: bytes) -> None:
        self._waiting += len(record)
        if self._chunks and len(self._chunks[-1]) + len(record) <= CHUNK_BYTES:
            self._chunks[-1] += record
            return  # the one in front could not be sent
        self._chunks.append(bytearray(record))
        if len(self._chunks) == 1:
            self._hand_over()

    def _hand_over(self) -> None:
        if self._sock is None and not self._restart():
            self._lose()
            return
        assert self._sock is not None
        while self._chunks:
            chunk = self._chunks[0]
            try:
                sent = self._sock.send(chunk)
            except BlockingIOError:
                break
            except OSError as error:
                if error.errno in (errno.EINTR, errno.ENOBUFS):
                    break
                self._lost_process()
                return
            self._waiting -= sent
            del chunk[:sent]
            if not chunk:
                del self._chunks[0]
        if self._closing and not self._chunks:
            self._shut()
        self._watch()

    def _watch(self) -> None:
        if self._loop is not None and self._sock is not None:
            self._loop.watch(self._sock.fileno(), OUT if self._chunks else 0, self._on_event)

    def _on_event(self, events: int) -> None:
        if events & GONE:
            self._lost_process()
        elif events & OUT:
            self._hand_over()
        self._changed()

    def _shut(self) -> None:
        """Say that this was all; the process leaves when it has done its work."""
        if self._sock is not None:
            try:
                self._sock.shutdown(socket.SHUT_WR)
            except OSError:
                pass

    def _lost_process(self) -> None:
        """It has left: done, or killed by somebody. What it had begun to read is gone."""
        if self._sock is not None:
            if self._loop is not None:
                self._loop.forget(self._sock.fileno())
            self._sock.close()
            self._sock = None
        if self._chunks:
            self.dropped += self._chunks.pop(0).count(b"\n")  # perhaps cut in the middle
            self._waiting = sum(map(len, self._chunks))
            if self._restart():
                self._hand_over()
            else:
                self._lose()

    def _restart(self) -> bool:
        now = time.monotonic()
        if self._closing or now - self._started < RESTART_S:
            return False
        self._started = now
        try:
            self._sock = self._start(answer=False)
        except Exception:  # noqa: BLE001 - no process to be had now
            return False
        return True

    def _lose(self) -> None:
        self.dropped += sum(chunk.count(b"\n") for chunk in self._chunks)
        self._chunks.clear()
        self._waiting = 0
        self._begun.clear()


class Tee:
    """A copy that the daemon reads, and the log that is sent."""

    def __init__(self, kept: "object", sent: Queue) -> None:
        self._kept, self._sent = kept, sent

    @property
    def full(self) -> bool:
        return self._sent.full

    @property
    def flushed(self) -> bool:
        return self._sent.flushed

    @property
    def settled(self) -> bool:
        return self._sent.settled

    def join(self, loop: "Loop", changed: "Callable[[], None]") -> None:
        self._sent.join(loop, changed)

    def write(self, stream: bytes, data: bytes, nanos: int) -> None:
        self._kept.write(stream, data, nanos)  # type: ignore[attr-defined]
        self._sent.write(stream, data, nanos)

    def close(self) -> None:
        self._kept.close()  # type: ignore[attr-defined]
        self._sent.close()
