"""Some space kept aside on the data root's disk, so that on a full one there is room for the records of what frees space."""

import os
import time
from pathlib import Path

RESERVE_BYTES = 4 << 20  # hundreds of `rm`s: a record takes a page of the log, and the log is used again
PAUSE_S = 10.0  # between two tries to have it again


class Reserve:
    """A file of real blocks. `free` gives them to others once; `keep` takes them back when there is space again."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._kept = path.exists() and path.stat().st_size >= RESERVE_BYTES
        self._next_try = 0.0

    def free(self) -> bool:
        """Remove the file; say whether that made space."""
        if not self._kept:
            return False
        self._kept = False
        self._next_try = time.monotonic() + PAUSE_S
        try:
            self._path.unlink()
        except OSError:
            return False
        return True

    def keep(self) -> None:
        """Make the file when it is not there; without an error when there is no space for it. Cheap when it is there."""
        if self._kept or time.monotonic() < self._next_try:
            return
        self._next_try = time.monotonic() + PAUSE_S
        try:
            fd = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        except OSError:
            return
        try:
            os.posix_fallocate(fd, 0, RESERVE_BYTES)
            self._kept = True
        except OSError:
            os.unlink(self._path)
        finally:
            os.close(fd)
