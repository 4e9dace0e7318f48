"""Putting the table back when another program flushes the ruleset (nft flush, a firewalld reload), without being asked.

One thread, asleep on nftables' events. What our own socket changed is told apart by its port number, which the kernel puts
into every event.
"""

import errno
import os
import select
import threading
from collections.abc import Callable

from havre import log
from havre.errors import HavreError, KernelError
from havre.linux import nft
from havre.linux.nlsocket import NETLINK_NETFILTER, Netlink

PAUSE_S = 0.2  # between two restorations, so that two programs that fight over the table do not take a whole processor


class Watch:
    """Calls `restore` after somebody else than the socket `own_port()` has changed our table."""

    def __init__(self, table: str, own_port: Callable[[], int], restore: Callable[[], None]) -> None:
        self._table = table
        self._own_port = own_port
        self._restore = restore
        self._stop = -1
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin to listen; events from now on are seen."""
        events = Netlink(NETLINK_NETFILTER)
        nft.subscribe(events)
        self._stop = os.eventfd(0, os.EFD_CLOEXEC)
        self._thread = threading.Thread(target=self._run, args=(events,), name="havre-nft", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop listening and wait for the thread. Not with a lock held that `restore` takes."""
        if self._thread is None:
            return
        os.eventfd_write(self._stop, 1)
        self._thread.join()
        self._thread = None
        os.close(self._stop)

    def _run(self, events: Netlink) -> None:
        waiting = select.poll()
        waiting.register(events.fileno(), select.POLLIN)
        waiting.register(self._stop, select.POLLIN)
        touched = False
        with events:
            while all(fd != self._stop for fd, _ in waiting.poll()):
                ended, touched = self._read(events, touched)
                if ended and touched:
                    touched = False
                    self._put_back()
                    if self._stopped_within(PAUSE_S):
                        return

    def _read(self, events: Netlink, touched: bool) -> tuple[bool, bool]:
        """Return (a transaction has ended, it changed our table) after the next datagram."""
        ended = False
        try:
            for event, port, table in nft.read_events(events):
                if event == nft.NEWGEN:
                    ended = True
                elif table == self._table and port != self._own_port():
                    touched = True
        except KernelError as error:
            if error.errno != errno.ENOBUFS:
                raise
            return True, True  # more events than the socket holds: nobody knows what they said
        return ended, touched

    def _put_back(self) -> None:
        try:
            self._restore()
        except HavreError as error:
            log.error("could not put the firewall table back", table=self._table, error=error)
        else:
            log.warn("another program changed the firewall table; it was put back", table=self._table)

    def _stopped_within(self, seconds: float) -> bool:
        stopping = select.poll()
        stopping.register(self._stop, select.POLLIN)
        return bool(stopping.poll(seconds * 1000))
