"""The files of one log, oldest first, as one stretch of rows: where the last n begin, what comes next, across rotations. Blocking.

A rotation renames: `log` becomes `log.1`, and so on. An open file keeps its inode, so a reader that holds one finds its successor by
looking which name that inode has now.
"""

import os
import threading

from havre.logs.rows import Parser, Row

BLOCK_BYTES = 1 << 18
MAX_FILES = 1000  # no log has more: dockerd's max-file is a small number
MAX_ROW_BYTES = 1 << 20  # a row is at most 16 KiB of text, six times that when every byte is escaped


class Cursor:
    """A place in a log that moves forward. Methods may run in a thread; `close` waits for the one that does.

    Without `follow` it ends where the log ended at its opening: a container that writes as fast as we read has an end too.
    """

    def __init__(self, path: str, *, tail: int | None, since_nanos: int, follow: bool = True) -> None:
        self._path = path
        self._parser = Parser()
        self._lock = threading.Lock()
        self._closed = False
        self._rest = b""
        self._offset = 0
        self._files = _open_all(path)  # the one being read first, newer ones behind it
        self._end = -1 if follow else os.fstat(self._files[-1]).st_size if self._files else 0
        if tail is not None:
            self._skip_to_tail(tail)
        else:
            self._skip_older(since_nanos)

    def next_rows(self) -> list[Row] | None:
        """Return the next rows, perhaps [] of a block without one; None when there is nothing more for now."""
        with self._lock:
            if self._closed:
                return None
            data = self._next_block()
            if data is None:
                return None
            data = self._rest + data
            end = data.rfind(b"\n") + 1
            self._rest = data[end:] if len(data) - end <= MAX_ROW_BYTES else b""
            return self._parser.parse(data[:end]) if end else []

    def close(self) -> None:
        with self._lock:
            self._closed = True
            for fd in self._files:
                os.close(fd)
            self._files = []

    def _next_block(self) -> bytes | None:
        while True:
            if not self._files and self._end < 0:
                self._files = _open_all(self._path)
            if not self._files:
                return None
            fd = self._files[0]
            data = os.pread(fd, self._room(), self._offset)
            if data:
                self._offset += len(data)
                return data
            if len(self._files) == 1 and (self._end >= 0 or not self._find_newer()):
                return None
            # It was renamed, so nothing is added to it any more; but something may have been, since that last read.
            if not os.pread(fd, 1, self._offset):
                self._advance()

    def _room(self) -> int:
        """How much of the file at hand may be read at once."""
        if self._end < 0 or len(self._files) > 1:
            return BLOCK_BYTES
        return max(0, min(BLOCK_BYTES, self._end - self._offset))

    def _advance(self) -> None:
        os.close(self._files.pop(0))
        self._offset, self._rest = 0, b""

    def _find_newer(self) -> bool:
        """Whether the log was rotated since; the files after the held one are opened."""
        held = os.fstat(self._files[0])
        try:
            if os.stat(self._path).st_ino == held.st_ino:
                if held.st_size < self._offset:  # cut by somebody else (copytruncate)
                    self._offset, self._rest = 0, b""
                return False
        except FileNotFoundError:
            return False
        found = _open_all(self._path)
        numbers = [os.fstat(fd).st_ino for fd in found]
        older = numbers.index(held.st_ino) + 1 if held.st_ino in numbers else 0
        for fd in found[:older]:
            os.close(fd)
        self._files += found[older:]
        return len(self._files) > 1

    def _skip_to_tail(self, wanted: int) -> None:
        """Move so that the last `wanted` rows come, looking at no more than they take."""
        for place in range(len(self._files) - 1, -1, -1):
            fd = self._files[place]
            newest = place == len(self._files) - 1 and self._end >= 0
            offset, found = _tail_offset(fd, wanted, self._end if newest else os.fstat(fd).st_size)
            wanted -= found
            if wanted == 0 or place == 0:
                for older in self._files[:place]:
                    os.close(older)
                self._files = self._files[place:]
                self._offset = offset
                return

    def _skip_older(self, since_nanos: int) -> None:
        """Leave out rotated files that were last written before `since`."""
        while len(self._files) > 1 and os.fstat(self._files[0]).st_mtime_ns < since_nanos:
            self._advance()


def _open_all(path: str) -> list[int]:
    """Open path.n ... path.1, path, oldest first; again when a rotation came between.

    A rotation moves name by name, so half-way there is a gap: names are listed, not counted up, and must be the same files afterwards.
    """
    while True:
        names = _names(path)
        fds: list[int] = []
        try:
            for name in names:
                fds.append(os.open(name, os.O_RDONLY | os.O_CLOEXEC))
            if all(
                os.path.samestat(os.fstat(fd), os.stat(name)) for fd, name in zip(fds, names, strict=True)
            ):
                return fds
        except FileNotFoundError:
            pass
        for fd in fds:
            os.close(fd)


def _names(path: str) -> list[str]:
    """Return the names a log has now, oldest first."""
    folder, base = os.path.split(path)
    try:
        there = os.listdir(folder or ".")
    except FileNotFoundError:
        return []
    numbers = [int(name[len(base) + 1 :]) for name in there if _is_rotated(name, base)]
    rotated = [f"{path}.{number}" for number in sorted(numbers, reverse=True)]
    return [*rotated, path] if base in there else rotated


def _is_rotated(name: str, base: str) -> bool:
    digits = name[len(base) + 1 :]
    return (
        name.startswith(base + ".") and digits.isascii() and digits.isdigit() and 0 < int(digits) < MAX_FILES
    )


def _tail_offset(fd: int, wanted: int, end: int) -> tuple[int, int]:
    """Return where the last `wanted` rows before `end` begin, and how many there are of them; a torn last row is none."""
    if wanted == 0:
        return end, 0
    found = -1  # the newline that ends the last row begins no row
    while end > 0:
        start = max(0, end - BLOCK_BYTES)
        block = os.pread(fd, end - start, start)
        count = block.count(b"\n")
        if found + count >= wanted:
            place = len(block)
            for _ in range(wanted - found):
                place = block.rfind(b"\n", 0, place)
            return start + place + 1, wanted
        found += count
        end = start
    return 0, max(0, found + 1)
