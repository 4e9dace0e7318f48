"""The file of one log as it grows: appended to, rotated between two rows, compressed behind the writer's back. Lean.

What a row is, is the format's business: a `Rows` says where a row ends, how many there are, and where a file's last whole row ends.
A disk that is full never stops the container: rows are dropped, counted, and the next row that fits says how many.

Rotation is dockerd's: a file that has reached max_size becomes `.1`, `.1` becomes `.2`, at most max_files in all. With `compress` a
short-lived process turns `.1` into `.1.gz`; while it works the next rotation waits, up to twice max_size. Then it is ended, and the
file stays as it is until the next one compresses it: the container is never held up by it.
"""

import os
import select

from havre.linux import syscalls as sys

MODE = 0o640
CLONE_PARENT = 0x00008000  # linux/sched.h: the zygote, which ignores SIGCHLD, reaps the child
SIGCHLD, SIGKILL = 17, 9
TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Protocol

    class Rows(Protocol):
        """What rotation must know of a format."""

        def cut(self, rows: bytes, at: int) -> int:
            """Where the row that holds byte `at` - 1 ends, 0 for the start of the first."""

        def count(self, rows: bytes) -> int: ...
        def whole_size(self, fd: int) -> int:
            """The size of a file without a last row that a crash has torn."""

        def notice(self, text: str, nanos: int) -> bytes:
            """A row that tells the reader something of ours."""


class LogFile:
    """An open log. Opening raises OSError, `append` never does."""

    def __init__(self, path: str, max_size_bytes: int, max_files: int, compress: bool, rows: "Rows") -> None:
        self._path = path
        self._max_size = max_size_bytes
        self._max_files = max_files
        self._compress = compress and max_files > 1
        self._rows = rows
        self.dropped = 0  # rows lost since the last that fitted
        self._reason = ""
        self._compressor = -1  # pidfd of the process that compresses
        self._fd = -1
        self._size = 0
        self._reopen()

    def append(self, rows: bytes, nanos: int) -> None:
        """Write rows, rotating between two of them; drop what the disk does not take."""
        if self.dropped:
            rows = self._rows.notice(f"{self.dropped} log lines were dropped: {self._reason}", nanos) + rows
        while rows:
            here, later = rows, b""
            if self._max_size > 0 and self._size + len(rows) >= self._max_size and self._may_rotate():
                cut = self._rows.cut(rows, max(0, self._max_size - self._size))
                here, later = rows[:cut], rows[cut:]
            try:
                self._put(here)
                self.dropped = 0
                rows = later
                if self._max_size > 0 and self._size >= self._max_size and self._may_rotate():
                    self._rotate()
            except OSError as error:
                self._drop(rows, error)
                return

    def close(self, nanos: int) -> None:
        """Say what was dropped and close. A compressor goes on by itself."""
        if self.dropped:
            self.append(b"", nanos)
        for fd in (self._fd, self._compressor):
            if fd >= 0:
                os.close(fd)
        self._fd = self._compressor = -1

    def _put(self, rows: bytes) -> None:
        """Write all or nothing: what a full disk took of it is cut off again."""
        if self._fd < 0:
            self._reopen()
        view = memoryview(rows)
        try:
            while view:
                view = view[os.write(self._fd, view) :]
        except OSError:
            os.ftruncate(self._fd, self._size)
            raise
        self._size += len(rows)

    def _drop(self, rows: bytes, error: OSError) -> None:
        said = 1 if self.dropped else 0  # the row that tells of the dropped ones is none of theirs
        self.dropped += max(0, self._rows.count(rows) - said)
        self._reason = os.strerror(error.errno or 0).lower()

    def _reopen(self) -> None:
        flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
        self._fd = os.open(self._path, flags, MODE)
        size = os.fstat(self._fd).st_size
        self._size = self._rows.whole_size(self._fd)
        if self._size != size:  # the machine or the monitor was killed while writing
            os.ftruncate(self._fd, self._size)

    # rotation

    def _may_rotate(self) -> bool:
        """Not while a compressor works on the files, unless the log has grown to twice its size meanwhile."""
        if self._compressor < 0:
            return True
        if not _ended(self._compressor):
            if self._size < 2 * self._max_size:
                return False
            sys.pidfd_send_signal(self._compressor, SIGKILL)
            _ended(self._compressor, 5000)
        os.close(self._compressor)
        self._compressor = -1
        return True

    def _rotate(self) -> None:
        """path -> .1 -> .2 ..., max_files in all; a new file each time, so that followers see where the old one ends."""
        os.close(self._fd)
        self._fd = -1
        if self._max_files < 2:
            os.unlink(self._path)
        else:
            self._shift()
        self._reopen()
        if self._compress:
            self._compressor = _begin(lambda: _compress(self._path, self._max_files))

    def _shift(self) -> None:
        last = f"{self._path}.{self._max_files - 1}"
        for name in (last, last + ".gz"):
            _quietly(os.unlink, name)
        for number in range(self._max_files - 2, 0, -1):
            for ending in ("", ".gz"):
                _quietly(os.rename, f"{self._path}.{number}{ending}", f"{self._path}.{number + 1}{ending}")
        os.rename(self._path, f"{self._path}.1")


def _quietly(call: "Callable[..., None]", *names: str) -> None:
    try:
        call(*names)
    except FileNotFoundError:
        pass  # not rotated that often yet, or removed by somebody


def _ended(pidfd: int, timeout_ms: int = 0) -> bool:
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    return bool(poll.poll(timeout_ms))


def _compress(path: str, max_files: int) -> None:
    from havre.logs import gzipped

    gzipped.compress_rotated(path, max_files)


def _begin(work: "Callable[[], None]") -> int:
    """Do `work` in a process of its own; return its pidfd, -1 when there can be none now (the file then stays uncompressed)."""
    try:
        pid = sys.clone(CLONE_PARENT, SIGCHLD)
        if pid == 0:
            _be_child(work)
        return sys.pidfd_open(pid)
    except Exception:  # noqa: BLE001 - no process to be had, or it has ended already
        return -1


def _be_child(work: "Callable[[], None]") -> None:
    try:
        os.closerange(3, os.sysconf("SC_OPEN_MAX"))  # attached clients must not wait for this process's end
        sys.set_name(b"havre-log-gzip")
        os.nice(5)
        work()
    finally:
        os._exit(0)
