"""Messages between daemon, zygote and monitor: marshal over seqpacket sockets, fds beside them. Lean.

Daemons of other versions find these monitors (upgrade, downgrade): a message only ever grows, at its end, and its reader takes what it
knows. Only root reaches these sockets (a socketpair, or a path in a 0700 directory), so marshal is safe here. A message that is too
large for a packet travels in a memfd, which is then the first of the fds.
"""

import marshal
import os
import socket
from _struct import unpack

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

PACKET_BYTES = 32768
FORMAT = 4  # of marshal: a daemon under a newer Python must still be read by the monitors that run
MAX_FDS = 200  # SCM_MAX_FD is 253 (net/scm.h)
_BIG = b"\xff"  # no marshal data begins with it


def encode(message: "tuple[Any, ...]", fds: "Sequence[int]" = ()) -> tuple[bytes, list[int], int]:
    """Return (bytes, fds, fd to close after sending or -1)."""
    data = marshal.dumps(message, FORMAT)
    if len(data) <= PACKET_BYTES:
        return data, list(fds), -1
    large = os.memfd_create("havre-message", os.MFD_CLOEXEC)
    view = memoryview(data)
    while view:
        view = view[os.write(large, view) :]
    return _BIG, [large, *fds], large


def send(sock: socket.socket, message: "tuple[Any, ...]", fds: "Sequence[int]" = ()) -> None:
    """Send one message. Raises OSError (BlockingIOError on a full non-blocking socket)."""
    data, all_fds, large = encode(message, fds)
    try:
        if all_fds:
            socket.send_fds(sock, [data], all_fds)
        else:
            sock.send(data)
    finally:
        if large >= 0:
            os.close(large)


def receive_fds(sock: socket.socket, size: int, max_fds: int) -> tuple[bytes, list[int]]:
    """recvmsg(2) with fds that are close-on-exec; socket.recv_fds forgets its flags (Python 3.11)."""
    data, ancillary, _, _ = sock.recvmsg(size, socket.CMSG_LEN(4 * max_fds), socket.MSG_CMSG_CLOEXEC)
    fds: list[int] = []
    for level, kind, content in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            fds += unpack(f"={len(content) // 4}i", content)
    return data, fds


def receive(sock: socket.socket) -> "tuple[tuple[Any, ...] | None, list[int]]":
    """Return (message, fds), or (None, []) at the end. Received fds are close-on-exec."""
    data, fds = receive_fds(sock, PACKET_BYTES + 1, MAX_FDS)
    if not data:
        return None, []
    if data == _BIG:
        large = fds.pop(0)
        try:
            data = os.pread(large, os.fstat(large).st_size, 0)
        finally:
            os.close(large)
    return marshal.loads(data), fds


def connect(run_dir: str) -> socket.socket:
    """Connect to run_dir/sock; the directory is opened first, so its path may be longer than sun_path's 108 bytes."""
    folder = os.open(run_dir, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        sock.connect(f"/proc/self/fd/{folder}/sock")
    except BaseException:
        sock.close()
        raise
    finally:
        os.close(folder)
    return sock


def listen(run_dir: str) -> socket.socket:
    """Listen on run_dir/sock, mode 0600."""
    folder = os.open(run_dir, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_NONBLOCK)
    mask = os.umask(0o177)
    try:
        sock.bind(f"/proc/self/fd/{folder}/sock")
    finally:
        os.umask(mask)
        os.close(folder)
    sock.listen(8)
    return sock
