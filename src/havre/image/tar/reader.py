"""Read tar: ustar, v7, GNU (long names, base-256 numbers, old sparse) and pax (bounded; xattrs; sparse 0.0, 0.1, 1.0). Blocking.

Works on large chunks, without copying a file's data; nothing in an archive makes it keep more than a chunk and a header.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Protocol

from havre.image.tar import headers
from havre.image.tar.bad import BadTar, shown
from havre.image.tar.headers import decimal, number

BLOCK = 512
_ZEROS = bytes(BLOCK)
_EMPTY = memoryview(b"")
MAX_NAME_BYTES = 64 * 1024  # a GNU long name; PATH_MAX is 4096
MAX_PAX_BYTES = 1 << 20
MAX_ENTRIES = 5_000_000
MAX_ID = 0xFFFFFFFE
REGULAR, LINK, SYMLINK, CHAR, BLOCK_DEVICE, DIRECTORY, FIFO = b"0", b"1", b"2", b"3", b"4", b"5", b"6"
_WITHOUT_DATA = frozenset((LINK, SYMLINK, CHAR, BLOCK_DEVICE, DIRECTORY, FIFO))
_SPARSE, _LONG_NAME, _LONG_LINK, _PAX, _PAX_SUN, _GLOBAL = b"S", b"L", b"K", b"x", b"X", b"g"
_META = frozenset((_LONG_NAME, _LONG_LINK, _PAX, _PAX_SUN, _GLOBAL))


class Source(Protocol):
    """Where uncompressed bytes come from."""

    def chunk(self) -> bytes:
        """Return the next bytes, b"" at the end."""


@dataclass(slots=True)
class Entry:
    """One member. `name` and `link` are bytes as in the archive."""

    name: bytes
    kind: bytes
    mode: int
    uid: int
    gid: int
    size: int  # of the data in the archive
    mtime_ns: int
    link: bytes = b""
    major: int = 0
    minor: int = 0
    xattrs: dict[str, bytes] = field(default_factory=dict)
    sparse: list[tuple[int, int]] | None = None  # (offset, length) pieces of a sparse file
    real_size: int = 0


class Reader:
    """Iterate the entries of a stream; `read` gives the current entry's data, what is not read is skipped."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._buffer = b""
        self._at = 0
        self._left = 0  # data of the current entry not yet read
        self._pad = 0

    def read(self, most: int = 1 << 20) -> memoryview:
        """Return the next bytes of the current entry's data, at most `most`; empty at its end."""
        if not self._left:
            return _EMPTY
        if self._at == len(self._buffer):
            self._buffer, self._at = self._source.chunk(), 0
            if not self._buffer:
                raise BadTar("unexpected end of archive")
        size = min(most, self._left, len(self._buffer) - self._at)
        found = memoryview(self._buffer)[self._at : self._at + size]
        self._at += size
        self._left -= size
        return found

    def __iter__(self) -> Iterator[Entry]:
        count = 0
        while (block := self._next_header()) is not None:
            long_name = long_link = b""
            pax: dict[bytes, bytes] = {}
            entry = _parse(block)
            while entry.kind in _META:
                data = self._meta(entry)
                if entry.kind == _LONG_NAME:
                    long_name = data.rstrip(b"\0")
                elif entry.kind == _LONG_LINK:
                    long_link = data.rstrip(b"\0")
                elif entry.kind != _GLOBAL:  # what is global is left out, as Docker and Go's archive/tar do
                    pax = headers.pax_records(data)
                following = self._next_header()
                if following is None:
                    if entry.kind == _GLOBAL:
                        return
                    raise BadTar("unexpected end of archive: a header stands alone")
                block, entry = following, _parse(following)
                count = self._counted(count)
            count = self._counted(count)
            self._complete(entry, block, long_name, long_link, pax)
            yield entry

    @staticmethod
    def _counted(count: int) -> int:
        if count >= MAX_ENTRIES:
            raise BadTar(f"the archive has more than {MAX_ENTRIES} entries")
        return count + 1

    def _complete(
        self, entry: Entry, block: bytes, long_name: bytes, long_link: bytes, pax: dict[bytes, bytes]
    ) -> None:
        """Put together what header, long names and pax records say, and stand before the data."""
        if long_name:
            entry.name = long_name
        if long_link:
            entry.link = long_link
        try:
            if entry.kind == _SPARSE:
                entry.kind = REGULAR
                entry.sparse, entry.real_size = headers.old_sparse(block, self._block)
            if pax:
                _apply_pax(entry, pax)
            _normalise(entry)
            self._left, self._pad = entry.size, -entry.size % BLOCK
            if pax.get(b"GNU.sparse.major") == b"1":
                entry.sparse = headers.leading_map(self._data_block, entry.real_size)
            if entry.sparse is not None and sum(length for _, length in entry.sparse) > self._left:
                raise BadTar("sparse data is missing")
        except BadTar as error:
            raise BadTar(f"{shown(entry.name)}: {error.message}") from None

    def _take(self, count: int) -> bytes:
        """Return exactly `count` bytes, fewer only at the end."""
        end = self._at + count
        if end > len(self._buffer):
            parts = [self._buffer[self._at :]]
            have = len(parts[0])
            while have < count and (chunk := self._source.chunk()):
                parts.append(chunk)
                have += len(chunk)
            self._buffer, self._at = b"".join(parts), 0
            end = min(count, have)
        found = self._buffer[self._at : end]
        self._at = end
        return found

    def _block(self) -> bytes:
        block = self._take(BLOCK)
        if len(block) < BLOCK:
            raise BadTar("unexpected end of archive")
        return block

    def _data_block(self) -> bytes:
        """One block out of the current entry's data."""
        if self._left < BLOCK:
            raise BadTar("bad sparse map: it is cut short")
        self._left -= BLOCK
        return self._block()

    def _next_header(self) -> bytes | None:
        """Skip what is left of the current entry; None at the end of the archive."""
        while self._left:
            self.read()
        if self._pad:
            if len(self._take(self._pad)) < self._pad:
                raise BadTar("unexpected end of archive")
            self._pad = 0
        block = self._take(BLOCK)
        if not block or block == _ZEROS:
            return None
        if len(block) < BLOCK:
            raise BadTar("unexpected end of archive")
        return block

    def _meta(self, entry: Entry) -> bytes:
        limit = MAX_NAME_BYTES if entry.kind in (_LONG_NAME, _LONG_LINK) else MAX_PAX_BYTES
        if entry.size > limit:
            raise BadTar(f"a header of {entry.size} bytes is too large, at most {limit}")
        data = self._take(entry.size)
        if len(data) < entry.size:
            raise BadTar("unexpected end of archive")
        self._pad = -entry.size % BLOCK
        return data


def _apply_pax(entry: Entry, pax: dict[bytes, bytes]) -> None:
    for key, value in pax.items():
        if key.startswith(headers.XATTR):
            entry.xattrs[key[len(headers.XATTR) :].decode("utf-8", "surrogateescape")] = value
        elif not value:
            continue  # an empty value takes the record back
        elif key == b"path":
            entry.name = value
        elif key == b"linkpath":
            entry.link = value
        elif key == b"size":
            entry.size = decimal(value)
        elif key == b"uid":
            entry.uid = decimal(value)
        elif key == b"gid":
            entry.gid = decimal(value)
        elif key == b"mtime":
            entry.mtime_ns = headers.nanos(value)
    entry.name = pax.get(b"GNU.sparse.name") or entry.name
    real = pax.get(b"GNU.sparse.realsize") or pax.get(b"GNU.sparse.size")
    if real is not None:
        entry.real_size = decimal(real)
        if text := pax.get(b"GNU.sparse.map"):
            entry.sparse = headers.text_map(text, entry.real_size)
        elif pax.get(b"GNU.sparse.numblocks") == b"0":
            entry.sparse = []


def _parse(block: bytes) -> Entry:
    field_ = block[148:156]
    digits = field_.strip(b" \0")
    checksum = int(digits, 8) if digits.isdigit() and not digits.strip(b"01234567") else -1
    if checksum != sum(block) - sum(field_) + 256 and checksum != _signed_sum(block):
        raise BadTar("bad header checksum: this is no tar archive, or it is damaged")
    name = block[:100].partition(b"\0")[0]
    magic = block[257:263]
    if magic == b"ustar\0" and block[345] and (prefix := block[345:500].partition(b"\0")[0]):
        name = prefix + b"/" + name
    size = number(block[124:136])
    if not 0 <= size <= headers.MAX_SIZE:
        raise BadTar(f"{shown(name)}: impossible size {size}")
    kind = block[156:157]
    entry = Entry(
        name,
        REGULAR if kind in (b"\0", b"7") else kind,
        number(block[100:108]) & 0o7777,
        number(block[108:116]),
        number(block[116:124]),
        size,
        headers.bounded_time(number(block[136:148]) * 1_000_000_000),
    )
    if block[157]:
        entry.link = block[157:257].partition(b"\0")[0]
    if kind in (CHAR, BLOCK_DEVICE) and magic.startswith(b"ustar"):
        entry.major, entry.minor = number(block[329:337]), number(block[337:345])
    return entry


def _signed_sum(block: bytes) -> int:
    """Some old writers summed signed characters."""
    return sum(value - 256 if value > 127 else value for value in block[:148] + block[156:]) + 256


def _normalise(entry: Entry) -> None:
    """v7 marks directories by a slash; only regular files have data."""
    if entry.kind == REGULAR and entry.name.endswith(b"/"):
        entry.kind = DIRECTORY
    if entry.kind in _WITHOUT_DATA:
        entry.size = 0
    if not (0 <= entry.uid <= MAX_ID and 0 <= entry.gid <= MAX_ID):
        raise BadTar(f"impossible owner {entry.uid}:{entry.gid}")
    if not 0 <= entry.size <= headers.MAX_SIZE:
        raise BadTar(f"impossible size {entry.size}")
    if not (0 <= entry.major < 1 << 12 and 0 <= entry.minor < 1 << 20):  # linux/kdev_t.h
        raise BadTar(f"impossible device number {entry.major}:{entry.minor}")
    if b"\0" in entry.name or b"\0" in entry.link:
        raise BadTar("a name must not contain NUL")
