"""inotify(7): be woken when files in a directory change."""

import ctypes
import os

from havre.errors import KernelError

_libc = ctypes.CDLL(None, use_errno=True)
# linux/inotify.h
IN_MODIFY, IN_MOVED_FROM, IN_MOVED_TO, IN_CREATE, IN_DELETE_SELF = 0x2, 0x40, 0x80, 0x100, 0x400
IN_ONLYDIR = 0x01000000


def watch_directory(path: str) -> int:
    """Return a non-blocking fd that gets readable when a file in `path` is written, made or renamed. Raises KernelError."""
    fd: int = _libc.inotify_init1(os.O_CLOEXEC | os.O_NONBLOCK)
    if fd < 0:
        raise KernelError("inotify_init1", path, ctypes.get_errno())
    mask = IN_MODIFY | IN_MOVED_FROM | IN_MOVED_TO | IN_CREATE | IN_DELETE_SELF | IN_ONLYDIR
    if _libc.inotify_add_watch(fd, os.fsencode(path), ctypes.c_uint32(mask)) < 0:
        error = ctypes.get_errno()
        os.close(fd)
        raise KernelError("inotify_add_watch", path, error)
    return fd


def drain(fd: int) -> None:
    """Forget the events that have come: that there were some is all one wants to know."""
    try:
        while os.read(fd, 65536):
            pass
    except BlockingIOError:
        pass
