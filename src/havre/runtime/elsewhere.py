"""A bind source in another container's mount namespace ("/proc/PID/root/..."): `--ipc container:X` shares its /dev/shm. Lean.

open_tree(2) copies only mounts of the caller's own namespace, so a fork goes there and sends the detached copy back. Inside, no
symlink is followed: the other container owns every name below its root.
"""

import os
import socket

from havre.errors import KernelError
from havre.linux import syscalls as sys
from havre.runtime import wire

INSIDE = sys.RESOLVE_IN_ROOT | sys.RESOLVE_NO_MAGICLINKS | sys.RESOLVE_NO_SYMLINKS


def is_elsewhere(source: str) -> bool:
    """Whether a source is written as a place below another process's root."""
    parts = source.split("/", 4)
    return len(parts) == 5 and parts[:2] == ["", "proc"] and parts[2].isdigit() and parts[3] == "root"


def open_tree(source: str, flags: int) -> int:
    """Return a detached copy. Raises KernelError naming the source."""
    _, _, pid, _, inside = source.split("/", 4)
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    helper = os.fork()
    if helper == 0:
        _go_and_send(int(pid), inside, flags, theirs)
    theirs.close()
    message, fds = wire.receive(ours)
    ours.close()
    os.waitpid(helper, 0)
    if not fds:
        raise KernelError("open", source, message[0] if message else 3)
    return fds[0]


def _go_and_send(pid: int, inside: str, flags: int, channel: socket.socket) -> None:
    try:
        namespace = os.open(f"/proc/{pid}/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
        sys.setns(namespace, sys.CLONE_NEWNS, inside)
        root = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        place = sys.openat2(root, inside, os.O_PATH, resolve=INSIDE)
        wire.send(channel, (0,), [sys.open_tree("", flags | sys.AT_EMPTY_PATH, place)])
    except (KernelError, OSError) as error:
        wire.send(channel, (error.errno or 22,))
    finally:
        os._exit(0)
