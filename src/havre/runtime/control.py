"""A daemon's connection to a monitor, from the monitor's side: requests come in, answers and news go out, nobody waits. Lean."""

import socket
import time

from havre.runtime import wire
from havre.runtime.loop import IN, OUT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from havre.runtime.loop import Loop

    Message = tuple[Any, ...]


class Control:
    """Calls `requested(control, message, fds)`, and `closed(control)` when the daemon has gone."""

    def __init__(
        self,
        loop: "Loop",
        sock: socket.socket,
        requested: "Callable[[Control, Message, list[int]], None]",
        closed: "Callable[[Control], None]",
    ) -> None:
        sock.setblocking(False)
        self._loop = loop
        self._sock = sock
        self._requested = requested
        self._closed = closed
        # For a daemon that does not read: a few entries for each exec that ends. (message, fds, socket to close after it)
        self._queue: list[tuple[Message, list[int], socket.socket | None]] = []
        self._stuck_since = 0.0
        self._loop.watch(sock.fileno(), IN, self._on_event)

    @property
    def waiting(self) -> bool:
        """Whether something has not been sent yet."""
        return bool(self._queue)

    def patient(self, limit_s: float) -> bool:
        """Whether to go on waiting for a daemon that does not read."""
        return not self._queue or time.monotonic() - self._stuck_since < limit_s

    def send(self, message: "Message", fds: "tuple[int, ...]" = ()) -> None:
        """Send now, or as soon as the daemon reads again (the fds must live that long). One that has gone gets nothing."""
        self._put(message, list(fds), None)

    def send_socket(self, message: "Message", sock: socket.socket) -> None:
        """Send a message with a socket, which is closed here as soon as it is on its way."""
        self._put(message, [sock.fileno()], sock)

    def _put(self, message: "Message", fds: list[int], sock: "socket.socket | None") -> None:
        if self._sock.fileno() < 0:
            if sock is not None:
                sock.close()
            return
        self._queue.append((message, fds, sock))
        if len(self._queue) == 1:
            self._stuck_since = time.monotonic()
            self._send_queue()

    def _send_queue(self) -> None:
        while self._queue:
            try:
                wire.send(self._sock, *self._queue[0][:2])
            except BlockingIOError:
                break
            except OSError:
                self._close()
                return
            self._drop_first()
            self._stuck_since = time.monotonic()
        self._loop.watch(self._sock.fileno(), IN | OUT if self._queue else IN, self._on_event)

    def _drop_first(self) -> None:
        sock = self._queue.pop(0)[2]
        if sock is not None:
            sock.close()

    def _on_event(self, events: int) -> None:
        if events & OUT:
            self._send_queue()
        if events & ~OUT and self._sock.fileno() >= 0:
            self._receive()

    def _receive(self) -> None:
        try:
            message, fds = wire.receive(self._sock)
        except BlockingIOError:
            return
        except (OSError, ValueError, EOFError, TypeError):
            message, fds = None, []
        if message is None:
            self._close()
        else:
            self._requested(self, message, fds)

    def _close(self) -> None:
        if self._sock.fileno() >= 0:
            self._loop.forget(self._sock.fileno())
            self._sock.close()
            while self._queue:
                self._drop_first()
            self._closed(self)
