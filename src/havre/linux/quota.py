"""Project quotas: a size limit for a directory tree on ext4 (project,quota) and xfs (pquota). linux/fs.h, linux/quota.h, quotactl(2)."""

import ctypes
import fcntl
import os
import struct

from havre.errors import KernelError
from havre.linux.syscalls import _call

SYS_QUOTACTL_FD = 443  # Linux 5.14
FS_IOC_FSGETXATTR, FS_IOC_FSSETXATTR = 0x801C581F, 0x401C5820
FS_XFLAG_PROJINHERIT = 0x200
_FSXATTR = struct.Struct("=5I8x")  # flags, extent size, extents, project, cow extent size
PRJQUOTA, Q_SETQUOTA = 2, 0x800008
QIF_BLIMITS = 1
_DQBLK = struct.Struct("=8QI4x")  # struct if_dqblk; block limits in units of 1 KiB
BLOCK_BYTES = 1024


def set_project(directory: str, project: int) -> None:
    """Give a directory a project; what is made below inherits it. Raises KernelError where there are no projects."""
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        flags, extent, extents, _, cow = _FSXATTR.unpack(
            fcntl.ioctl(fd, FS_IOC_FSGETXATTR, b"\0" * _FSXATTR.size)
        )
        wanted = _FSXATTR.pack(flags | FS_XFLAG_PROJINHERIT, extent, extents, project, cow)
        fcntl.ioctl(fd, FS_IOC_FSSETXATTR, wanted)
    except OSError as error:
        raise KernelError("ioctl FS_IOC_FSSETXATTR", directory, error.errno or 0) from None
    finally:
        os.close(fd)


def set_limit(directory: str, project: int, size_bytes: int) -> None:
    """Let a project's files take at most so many bytes; 0 is no limit. Raises KernelError where quotas are off."""
    blocks = -(-size_bytes // BLOCK_BYTES)
    limits = ctypes.create_string_buffer(_DQBLK.pack(blocks, blocks, 0, 0, 0, 0, 0, 0, QIF_BLIMITS))
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        command = Q_SETQUOTA << 8 | PRJQUOTA  # QCMD
        _call("quotactl", directory, SYS_QUOTACTL_FD, fd, command, project, ctypes.byref(limits))
    finally:
        os.close(fd)
