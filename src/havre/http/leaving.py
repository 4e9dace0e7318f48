"""Notice that a client has left for good. asyncio stops looking at a socket after its end of input, and that may only be a half-close."""

import asyncio
import select
from collections.abc import Callable


class Watch:
    """One epoll for all sockets that ended their input; the kernel reports a hang-up or an error there without being asked for events."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._known: dict[int, Callable[[], None]] = {}
        asyncio.get_running_loop().add_reader(self._epoll.fileno(), self._ready)

    def add(self, fd: int, on_hangup: Callable[[], None]) -> None:
        """Call `on_hangup` once when the peer of `fd` closes both ways. Take it out with discard before fd is closed."""
        if fd not in self._known:
            self._known[fd] = on_hangup
            self._epoll.register(fd, 0)

    def discard(self, fd: int) -> None:
        """Forget a socket; harmless when it is not there."""
        if self._known.pop(fd, None) is not None:
            self._epoll.unregister(fd)

    def _ready(self) -> None:
        for fd, _ in self._epoll.poll(0):
            on_hangup = self._known.get(fd)
            self.discard(fd)
            if on_hangup is not None:
                on_hangup()

    def close(self) -> None:
        asyncio.get_running_loop().remove_reader(self._epoll.fileno())
        self._epoll.close()
