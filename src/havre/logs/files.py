"""The files of one log, oldest first, as one stretch of rows: where the last n begin, what comes next, across rotations. Blocking.

A rotation renames: `log` becomes `log.1`, and so on; later `log.1` may become `log.1.gz`. An open file keeps its inode, so a reader
that holds one finds its successor by looking which name that inode has now; a compressed file says which inode it was made from.
"""

import os
import threading
from typing import NamedTuple, Protocol

from havre.logs import entries, gzipped, rows
from havre.logs.rows import BLOCK_BYTES, MAX_ROW_BYTES, Row

MAX_FILES = 1000  # no log has more: dockerd's max-file is a small number
SEARCH_BYTES = 1 << 16  # what is looked at for each step of the search for a time


class Parser(Protocol):
    """What the two formats can do."""

    def parse(self, data: bytes) -> tuple[list[Row], int]: ...
    def sync(self, block: bytes) -> int: ...
    def count(self, data: bytes) -> tuple[int, int]: ...
    def skip(self, data: bytes, rows: int) -> int: ...
    def tail(self, fd: int, wanted: int, end: int) -> tuple[int, int]: ...


class _File(NamedTuple):
    fd: int
    inode: int  # of the file as it was written
    unpack: gzipped.Stream | None  # when it is compressed; read in order only

    @property
    def size(self) -> int:
        return os.fstat(self.fd).st_size

    @property
    def written(self) -> int:
        """When its last row was written; compression keeps it."""
        return os.fstat(self.fd).st_mtime_ns

    def read(self, size: int, offset: int) -> bytes:
        return self.unpack.read(size) if self.unpack else os.pread(self.fd, size, offset)


class Cursor:
    """A place in a log that moves forward. Methods may run in a thread; `close` waits for the one that does.

    Without `follow` it ends where the log ended at its opening: a container that writes as fast as we read has an end too.
    """

    def __init__(
        self,
        path: str,
        *,
        tail: int | None,
        since_nanos: int,
        follow: bool = True,
        form: str = "json",
        detailed: bool = False,
    ) -> None:
        self._path = path
        self._parser: Parser = (rows if form == "json" else entries).Parser(detailed=detailed)
        self._lock = threading.Lock()
        self._closed = False
        self._rest = b""
        self._offset = 0
        self._ready: list[Row] = []  # read already, while looking for the place to begin
        self._files = _open_all(path)  # the one being read first, newer ones behind it
        self._end = -1 if follow else self._files[-1].size if self._files else 0
        if tail is not None:
            self._skip_to_tail(tail)
        else:
            self._skip_older(since_nanos)

    def next_rows(self) -> list[Row] | None:
        """Return the next rows, perhaps [] of a block without one; None when there is nothing more for now."""
        with self._lock:
            if self._closed:
                return None
            if self._ready:
                ready, self._ready = self._ready, []
                return ready
            data = self._next_block()
            if data is None:
                return None
            found, used = self._parser.parse(self._rest + data if self._rest else data)
            data = self._rest + data
            self._rest = data[used:] if len(data) - used <= MAX_ROW_BYTES else b""
            return found

    def close(self) -> None:
        with self._lock:
            self._closed = True
            for file in self._files:
                os.close(file.fd)
            self._files = []

    def _next_block(self) -> bytes | None:
        while True:
            if not self._files and self._end < 0:
                self._files = _open_all(self._path)
            if not self._files:
                return None
            file = self._files[0]
            data = file.read(self._room(), self._offset)
            if data:
                self._offset += len(data)
                return data
            if len(self._files) == 1 and (self._end >= 0 or not self._find_newer()):
                return None
            # It was renamed, so nothing is added to it any more; but something may have been, since that last read.
            if file.unpack or not os.pread(file.fd, 1, self._offset):
                self._advance()

    def _room(self) -> int:
        """How much of the file at hand may be read at once."""
        if self._end < 0 or len(self._files) > 1 or self._files[0].unpack:
            return BLOCK_BYTES
        return max(0, min(BLOCK_BYTES, self._end - self._offset))

    def _advance(self) -> None:
        os.close(self._files.pop(0).fd)
        self._offset, self._rest = 0, b""

    def _find_newer(self) -> bool:
        """Whether the log was rotated since; the files after the held one are opened."""
        held = self._files[0]
        try:
            if not held.unpack and os.stat(self._path).st_ino == held.inode:
                if held.size < self._offset:  # cut by somebody else (copytruncate)
                    self._offset, self._rest = 0, b""
                return False
        except FileNotFoundError:
            return False
        found = _open_all(self._path)
        older = _place_of(held, found) + 1
        for file in found[:older]:
            os.close(file.fd)
        self._files += found[older:]
        return len(self._files) > 1

    # where to begin

    def _skip_to_tail(self, wanted: int) -> None:
        """Move so that the last `wanted` rows come, looking at no more than they take."""
        for place in range(len(self._files) - 1, -1, -1):
            file = self._files[place]
            if file.unpack:
                found = self._count(file)
                begin = max(0, found - wanted)
                offset, found = 0, min(found, wanted)
            else:
                newest = place == len(self._files) - 1 and self._end >= 0
                offset, found = self._parser.tail(file.fd, wanted, self._end if newest else file.size)
            wanted -= found
            if wanted == 0 or place == 0:
                self._begin_at(place, offset)
                if file.unpack:
                    self._skip_rows(begin)
                return

    def _begin_at(self, place: int, offset: int) -> None:
        for older in self._files[:place]:
            os.close(older.fd)
        self._files = self._files[place:]
        self._offset = offset

    def _count(self, file: _File) -> int:
        """The rows of a compressed file: all of it is unpacked, block by block."""
        stream, rest, total = gzipped.Stream(file.fd), b"", 0
        while block := stream.read():
            found, used = self._parser.count(rest + block)
            rest = (rest + block)[used:]
            total += found
        return total

    def _skip_rows(self, number: int) -> None:
        """Read on in a compressed file until `number` rows have gone by."""
        while number > 0 and (block := self._files[0].read(BLOCK_BYTES, 0)):
            self._offset += len(block)
            data = self._rest + block
            found, used = self._parser.count(data)
            if found > number:
                used, found = self._parser.skip(data, number), number
            self._rest = data[used:]
            number -= found
        self._ready, used = self._parser.parse(self._rest)
        self._rest = self._rest[used:]

    def _skip_older(self, since_nanos: int) -> None:
        """Leave out rotated files that were last written before `since`, and search the first that was not."""
        while len(self._files) > 1 and self._files[0].written < since_nanos:
            self._advance()
        if since_nanos and self._files and not self._files[0].unpack:
            self._offset = self._search(self._files[0], since_nanos)

    def _search(self, file: _File, since_nanos: int) -> int:
        """Where a row stands before which all are older, not far from the first that is not: rows are in the order of time, nearly."""
        low, high = 0, file.size
        while high - low > 2 * SEARCH_BYTES:
            middle = (low + high) // 2
            block = os.pread(file.fd, SEARCH_BYTES, middle)
            first = self._parser.sync(block)
            found = self._parser.parse(block[first:])[0] if first >= 0 else []
            if found and max(row[1] for row in found) < since_nanos:
                low = middle + first
            else:
                high = middle
        return low


def _place_of(held: _File, found: list[_File]) -> int:
    """Where the file that a reader holds stands now: under its own inode, or as what was made of it; -1 when it has gone.

    While it is held no other file has its inode; one that was compressed earlier may have had it, but was not written at that time.
    """
    same = [
        place for place, file in enumerate(found) if file.inode == held.inode and file.written == held.written
    ]
    return same[-1] if same else -1


def _open_all(path: str) -> list[_File]:
    """Open path.n ... path.1, path, oldest first; again when a rotation came between.

    A rotation moves name by name, so half-way there is a gap: names are listed, not counted up, and must be the same files afterwards.
    """
    while True:
        names = _names(path)
        files: list[_File] = []
        try:
            for name in names:
                files.append(_open(name))
            if all(
                os.path.samestat(os.fstat(file.fd), os.stat(name))
                for file, name in zip(files, names, strict=True)
            ):
                return files
        except FileNotFoundError:
            pass
        for file in files:
            os.close(file.fd)


def _open(name: str) -> _File:
    fd = os.open(name, os.O_RDONLY | os.O_CLOEXEC)
    if name.endswith(".gz"):
        return _File(fd, gzipped.origin(fd), gzipped.Stream(fd))
    return _File(fd, os.fstat(fd).st_ino, None)


def _names(path: str) -> list[str]:
    """Return the names a log has now, oldest first. While a file is being compressed both forms are there: the first one counts."""
    folder, base = os.path.split(path)
    try:
        there = set(os.listdir(folder or "."))
    except FileNotFoundError:
        return []
    numbers = {int(name[len(base) + 1 :].removesuffix(".gz")) for name in there if _is_rotated(name, base)}
    rotated = [
        f"{path}.{number}" if f"{base}.{number}" in there else f"{path}.{number}.gz"
        for number in sorted(numbers, reverse=True)
    ]
    return [*rotated, path] if base in there else rotated


def _is_rotated(name: str, base: str) -> bool:
    digits = name[len(base) + 1 :].removesuffix(".gz")
    return (
        name.startswith(base + ".") and digits.isascii() and digits.isdigit() and 0 < int(digits) < MAX_FILES
    )
