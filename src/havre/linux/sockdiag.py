"""Who holds a port: sock_diag (linux/inet_diag.h) and /proc. Only asked when something is refused."""

import os
import socket
from struct import Struct, pack

from havre.errors import KernelError
from havre.linux.nlsocket import NETLINK_SOCK_DIAG, Netlink

_SOCK_DIAG_BY_FAMILY = 20
_ALL_STATES = 0xFFFFFFFF
_TCP_TIME_WAIT = 6
_MESSAGE = Struct("=BBBB2s2s16s16sIII")  # inet_diag_msg: family, state, timer, retrans, id...
_TAIL = Struct("=IIIII")  # expires, rqueue, wqueue, uid, inode


def find_holder(protocol: int, address: str, port: int) -> tuple[int, str] | None:
    """Return (pid, process name) of a socket bound to a port on this address or on all; None when it cannot be seen."""
    inodes = {inode for inode in _bound(protocol, address, port) if inode}
    return _owner(inodes) if inodes else None


def _bound(protocol: int, address: str, port: int) -> list[int]:
    found = []
    with Netlink(NETLINK_SOCK_DIAG) as diag:
        for family in (socket.AF_INET, socket.AF_INET6):
            asked = pack("=BBBBI48s", family, protocol, 0, 0, _ALL_STATES, bytes(48))
            try:
                dumped = diag.dump(_SOCK_DIAG_BY_FAMILY, asked, "sockdiag all")
            except KernelError:
                continue  # a kernel without this protocol's diag module
            found += [inode for body in dumped if (inode := _match(body, address, port))]
    return found


def _match(body: bytes, address: str, port: int) -> int:
    family, state, _, _, source_port, _, source, *_ = _MESSAGE.unpack_from(body)
    if int.from_bytes(source_port, "big") != port or state == _TCP_TIME_WAIT:
        return 0
    local = socket.inet_ntop(family, source[: 4 if family == socket.AF_INET else 16])
    every = ("0.0.0.0", "::")
    if address not in every and local not in every and local.removeprefix("::ffff:") != address:
        return 0
    inode: int = _TAIL.unpack_from(body, _MESSAGE.size)[4]
    return inode


def _owner(inodes: set[int]) -> tuple[int, str] | None:
    """Look the socket up among every process's file descriptors."""
    wanted = {f"socket:[{inode}]" for inode in inodes}
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with os.scandir(f"/proc/{pid}/fd") as fds:
                if any(os.readlink(fd.path) in wanted for fd in fds):
                    return int(pid), _name(pid)
        except OSError:
            continue  # it has ended, or is not ours to look at
    return None


def _name(pid: str) -> str:
    try:
        with open(f"/proc/{pid}/comm", encoding="utf-8", errors="replace") as comm:
            return comm.read().strip()
    except OSError:
        return "?"
