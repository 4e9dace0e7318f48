"""The monitor's event loop: epoll and one handler a descriptor. Lean."""

import select

IN, OUT = select.EPOLLIN, select.EPOLLOUT
GONE = select.EPOLLHUP | select.EPOLLERR  # always reported, asked for or not
TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    Handler = Callable[[int], None]


class Loop:
    """Watches descriptors; a handler gets the events that have come."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._watched: dict[int, tuple[Handler, int]] = {}  # handler, and the turn it was registered in
        self._events: dict[int, int] = {}
        self._turn = 0

    def watch(self, fd: int, events: int, handler: "Handler") -> None:
        """Call `handler(events)` when `fd` is ready; with events 0 only when the other side has gone."""
        if fd not in self._watched:
            self._epoll.register(fd, events)
            self._watched[fd] = (handler, self._turn)
        else:
            if self._events[fd] != events:
                self._epoll.modify(fd, events)
            self._watched[fd] = (handler, self._watched[fd][1])
        self._events[fd] = events

    def forget(self, fd: int) -> None:
        """Stop watching; call it before the descriptor is closed. Does nothing for one that is not watched."""
        if self._watched.pop(fd, None) is not None:
            del self._events[fd]
            self._epoll.unregister(fd)

    def turn(self, timeout_s: float) -> None:
        """Wait for events, at most `timeout_s` (-1: for ever), and handle them."""
        ready = self._epoll.poll(timeout_s)
        self._turn += 1
        for fd, events in ready:
            found = self._watched.get(fd)
            # A descriptor closed by an earlier handler may have its number again: what is new in this turn has no events yet.
            if found is not None and found[1] < self._turn:
                found[0](events)
