"""Copy a directory into a fresh one by file descriptors: tmpcopyup. Lean; follows no symlink and no mount."""

import os
import stat

CHUNK_BYTES = 1 << 20


def copy(source: int, target: int) -> None:
    """Copy everything below `source` into `target` (directory fds; source is readable), with owners, modes and times."""
    for entry in os.scandir(source):
        status = entry.stat(follow_symlinks=False)
        name, mode = entry.name, status.st_mode
        if stat.S_ISDIR(mode):
            _copy_directory(source, target, name)
        elif stat.S_ISREG(mode):
            _copy_file(source, target, name)
        elif stat.S_ISLNK(mode):
            os.symlink(os.readlink(name, dir_fd=source), name, dir_fd=target)
        elif not stat.S_ISSOCK(mode):
            os.mknod(name, mode, status.st_rdev, dir_fd=target)
        else:
            continue
        os.chown(name, status.st_uid, status.st_gid, dir_fd=target, follow_symlinks=False)
        if not stat.S_ISLNK(mode):
            os.chmod(name, stat.S_IMODE(mode), dir_fd=target)
        os.utime(name, ns=(status.st_atime_ns, status.st_mtime_ns), dir_fd=target, follow_symlinks=False)


def _copy_directory(source: int, target: int, name: str) -> None:
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    os.mkdir(name, 0o700, dir_fd=target)
    below, above = os.open(name, flags, dir_fd=source), os.open(name, flags, dir_fd=target)
    try:
        copy(below, above)
    finally:
        os.close(below)
        os.close(above)


def _copy_file(source: int, target: int, name: str) -> None:
    reading = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=source)
    writing = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600, dir_fd=target)
    try:
        while os.sendfile(writing, reading, None, CHUNK_BYTES):
            pass
    finally:
        os.close(reading)
        os.close(writing)
