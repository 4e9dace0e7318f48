"""Veths that should vanish with their container's namespace, and what to do when one does not.

Deleting a veth takes the kernel 20-30 ms with the rtnl lock held, so a container's end leaves it to the namespace's end.
Until it is gone its address is not given to anybody else. If something keeps the namespace (a process that joined it), the
veth is deleted after GRACE_S, outside of any start.
"""

import socket
import threading

from havre import log
from havre.errors import KernelError
from havre.linux import interfaces
from havre.linux.nlsocket import NETLINK_ROUTE, Netlink

GRACE_S = 2.0


class Fading:
    """Host ends of veths by the address their container had. Thread safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._names: dict[str, str] = {}
        self._timer: threading.Timer | None = None

    def add(self, address: str, host_name: str) -> None:
        """The endpoint is gone; its veth should follow."""
        if not exists(host_name):
            return
        with self._lock:
            self._names[address] = host_name
            if self._timer is None:
                timer = threading.Timer(GRACE_S, self.sweep)
                timer.name, timer.daemon = "havre-veth", True
                try:
                    timer.start()
                    self._timer = timer
                except RuntimeError:
                    pass  # no more threads: the next end tries again

    def busy(self, address: str) -> bool:
        """Say whether the last veth with this address is still there."""
        with self._lock:
            name = self._names.get(address)
            if name is None:
                return False
            if exists(name):
                return True
            del self._names[address]
            return False

    def end(self, address: str) -> None:
        """Delete the veth that still has this address, because somebody needs the address now."""
        if self.busy(address):
            with self._lock:
                names = [self._names.pop(address, "")]
            delete_veths([name for name in names if name])

    def sweep(self) -> None:
        """Delete what has outlived its time."""
        with self._lock:
            names = list(self._names.values())
            self._names.clear()
            self._timer = None
        try:
            delete_veths([name for name in names if exists(name)])
        except KernelError as error:
            log.warn("could not remove an interface", error=error)

    def close(self) -> None:
        with self._lock:
            if self._timer is not None:
                self._timer.cancel()


def exists(name: str) -> bool:
    try:
        socket.if_nametoindex(name)
    except OSError:
        return False
    return True


def delete_veths(names: list[str]) -> None:
    """Delete interfaces by name; those that are gone are fine."""
    if not names:
        return
    with Netlink(NETLINK_ROUTE) as kernel:
        interfaces.delete_links(kernel, [link for link in interfaces.links(kernel) if link.name in names])
