"""One daemon per data root and per exec root: an flock that the kernel drops when the process ends, however it ends."""

import fcntl
import os
from pathlib import Path

from havre.errors import Conflict


def lock_data_root(root: Path) -> int:
    """Return the fd that holds the lock on `root`/lock; keep it open. Raises Conflict naming the pid that has it."""
    return lock_directory(root, "data root", "--data-root")


def lock_directory(root: Path, words: str, flag: str) -> int:
    """The same for any directory that two daemons must not share; `words` and `flag` name it in the error."""
    fd = os.open(root / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.pread(fd, 20, 0).decode("ascii", "replace").strip()
        os.close(fd)
        raise Conflict(
            f"{words} {root} is in use by another havred (pid {holder or 'unknown'})",
            hint=f"stop it, or start this one with another {flag} (kill {holder})"
            if holder
            else f"another {flag}",
        ) from None
    try:
        os.ftruncate(fd, 0)
        os.pwrite(fd, str(os.getpid()).encode(), 0)
    except OSError:
        pass  # a full disk: only the next one's error message suffers
    return fd
