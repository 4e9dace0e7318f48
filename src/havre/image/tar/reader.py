"""Read tar: ustar, v7, GNU (long names, base-256 numbers, old sparse) and pax (bounded; xattrs; sparse 0.0, 0.1, 1.0). Blocking.

Formats: pax(1) in POSIX.1-2017, GNU tar manual "Basic Tar Format" and "Storing Sparse Files".
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import BinaryIO

from havre.errors import InvalidParameter

BLOCK = 512
MAX_NAME_BYTES = 64 * 1024  # a GNU long name or one pax header; PATH_MAX is 4096
MAX_PAX_BYTES = 1 << 20
MAX_SPARSE_MAP = 100_000
MAX_SIZE = 1 << 46  # 64 TiB: no filesystem here holds more
REGULAR, LINK, SYMLINK, CHAR, BLOCK_DEVICE, DIRECTORY, FIFO = b"0", b"1", b"2", b"3", b"4", b"5", b"6"


class BadTar(InvalidParameter):
    """The archive is damaged or hostile."""


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
    """Iterate entries of an uncompressed stream; read an entry's data before going on."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._left = 0  # data of the current entry not yet read
        self._pad = 0
        self._global: dict[str, bytes] = {}

    def read(self, most: int = 1 << 20) -> bytes:
        """Return up to `most` bytes of the current entry's data, b"" at its end."""
        if not self._left:
            return b""
        data = self._stream.read(min(most, self._left))
        if not data:
            raise BadTar("unexpected end of archive")
        self._left -= len(data)
        return data

    def __iter__(self) -> Iterator[Entry]:
        long_name = long_link = b""
        pax: dict[str, bytes] = {}
        while (block := self._next_block()) is not None:
            entry = _parse(block)
            kind = entry.kind
            if kind in (b"L", b"K", b"x", b"g", b"X"):
                data = self._meta(entry)
                if kind == b"L":
                    long_name = data.rstrip(b"\0")
                elif kind == b"K":
                    long_link = data.rstrip(b"\0")
                elif kind == b"g":
                    self._global.update(_parse_pax(data))
                else:
                    pax = _parse_pax(data)
                continue
            if kind == b"S":
                self._old_sparse(entry, block)
            entry.name, entry.link = long_name or entry.name, long_link or entry.link
            if pax or self._global:
                self._apply_pax(entry, {**self._global, **pax})
            _normalise(entry)
            self._begin(entry.size)
            if pax.get("GNU.sparse.major") == b"1":
                self._sparse_1_0(entry)
            yield entry
            long_name = long_link = b""
            pax = {}

    def _begin(self, size: int) -> None:
        self._left, self._pad = size, -size % BLOCK

    def _next_block(self) -> bytes | None:
        self._skip()
        block = self._stream.read(BLOCK)
        if not block or block == b"\0" * BLOCK:
            return None
        if len(block) < BLOCK:
            raise BadTar("unexpected end of archive")
        return block

    def _skip(self) -> None:
        while self._left:
            self.read()
        if self._pad:
            if len(self._stream.read(self._pad)) < self._pad:
                raise BadTar("unexpected end of archive")
            self._pad = 0

    def _meta(self, entry: Entry) -> bytes:
        limit = MAX_NAME_BYTES if entry.kind in (b"L", b"K") else MAX_PAX_BYTES
        if entry.size > limit:
            raise BadTar(f"a header of {entry.size} bytes is too large, at most {limit}")
        self._begin(entry.size)
        data = b""
        while chunk := self.read():
            data += chunk
        return data

    def _apply_pax(self, entry: Entry, pax: dict[str, bytes]) -> None:
        for key, value in pax.items():
            if key == "path":
                entry.name = value
            elif key == "linkpath":
                entry.link = value
            elif key == "size":
                entry.size = _decimal(value)
            elif key == "uid":
                entry.uid = _decimal(value)
            elif key == "gid":
                entry.gid = _decimal(value)
            elif key == "mtime":
                entry.mtime_ns = _nanos(value)
            elif key.startswith("SCHILY.xattr."):
                entry.xattrs[key[13:]] = value
        if name := pax.get("GNU.sparse.name"):
            entry.name = name
        real = pax.get("GNU.sparse.realsize") or pax.get("GNU.sparse.size")
        if real is not None:
            entry.real_size = _decimal(real)
            if text := pax.get("GNU.sparse.map"):
                numbers = [_decimal(one) for one in text.split(b",")]
                entry.sparse = _pieces(numbers, entry.real_size)

    def _sparse_1_0(self, entry: Entry) -> None:
        """The map stands in front of the data, as decimal lines, padded to a block."""
        used = 0

        def line() -> int:
            nonlocal used
            digits = b""
            while (char := self.read(1)) != b"\n":
                if not char or len(digits) > 20:
                    raise BadTar("bad sparse map")
                digits += char
                used += 1
            used += 1
            return _decimal(digits)

        count = line()
        if count > MAX_SPARSE_MAP:
            raise BadTar("sparse map is too large")
        numbers = [line() for _ in range(count * 2)]
        while used % BLOCK:
            used += len(self.read(1)) or BLOCK
        entry.sparse = _pieces(numbers, entry.real_size)

    def _old_sparse(self, entry: Entry, block: bytes) -> None:
        """GNU's old format: 4 pieces in the header, 21 in each extension block."""
        numbers = [_number(block[386 + 12 * i : 398 + 12 * i]) for i in range(8)]
        extended, real = block[482], _number(block[483:495])
        while extended:
            more = self._stream.read(BLOCK)
            if len(more) < BLOCK or len(numbers) > 2 * MAX_SPARSE_MAP:
                raise BadTar("bad sparse map")
            numbers += [_number(more[12 * i : 12 * i + 12]) for i in range(42)]
            extended = more[504]
        entry.kind, entry.real_size = REGULAR, real
        entry.sparse = _pieces(numbers, real)


def _parse(block: bytes) -> Entry:
    checksum = _number(block[148:156])
    if checksum != sum(block) - sum(block[148:156]) + 256:
        raise BadTar("bad header checksum: this is no tar archive, or it is damaged")
    name = block[:100].partition(b"\0")[0]
    if block[257:263] == b"ustar\0" and (prefix := block[345:500].partition(b"\0")[0]):
        name = prefix + b"/" + name
    size = _number(block[124:136])
    if not 0 <= size <= MAX_SIZE:
        raise BadTar(f"impossible size {size}")
    kind = block[156:157]
    return Entry(
        name=name,
        kind=REGULAR if kind in (b"\0", b"7") else kind,
        mode=_number(block[100:108]) & 0o7777,
        uid=_number(block[108:116]),
        gid=_number(block[116:124]),
        size=size,
        mtime_ns=_number(block[136:148]) * 1_000_000_000,
        link=block[157:257].partition(b"\0")[0],
        major=_number(block[329:337]) if block[257:262] == b"ustar" else 0,
        minor=_number(block[337:345]) if block[257:262] == b"ustar" else 0,
    )


def _normalise(entry: Entry) -> None:
    """v7 marks directories by a slash; only regular files have data."""
    if entry.kind == REGULAR and entry.name.endswith(b"/"):
        entry.kind = DIRECTORY
    if entry.kind != REGULAR and entry.kind in (LINK, SYMLINK, CHAR, BLOCK_DEVICE, DIRECTORY, FIFO):
        entry.size = 0
    if not (0 <= entry.uid <= 0xFFFFFFFE and 0 <= entry.gid <= 0xFFFFFFFE):
        raise BadTar(f"impossible owner {entry.uid}:{entry.gid}")
    if not 0 <= entry.size <= MAX_SIZE or b"\0" in entry.name or b"\0" in entry.link:
        raise BadTar("impossible size or name")


def _number(text: bytes) -> int:
    """An octal field, or base-256 when its first bit is set."""
    if text[:1] and text[0] & 0x80:
        value = int.from_bytes(bytes([text[0] & 0x7F]) + text[1:], "big")
        return value - (1 << (8 * len(text) - 1)) if text[0] & 0x40 else value
    digits = text.partition(b"\0")[0].strip()
    try:
        return int(digits, 8) if digits else 0
    except ValueError:
        raise BadTar(f"bad number {text!r} in a header") from None


def _decimal(text: bytes) -> int:
    if not text.isdigit() or len(text) > 20:
        raise BadTar(f"bad number {text[:40]!r} in a header")
    return int(text)


def _nanos(text: bytes) -> int:
    whole, _, fraction = text.partition(b".")
    try:
        return int(whole) * 1_000_000_000 + int((fraction + b"0" * 9)[:9])
    except ValueError:
        raise BadTar(f"bad time {text[:40]!r} in a header") from None


def _parse_pax(data: bytes) -> dict[str, bytes]:
    """Return the records "length key=value\\n"; later ones win, sparse 0.0 pairs are gathered into a map."""
    found: dict[str, bytes] = {}
    pairs: list[bytes] = []
    while data:
        length, space, _ = data.partition(b" ")
        if (
            not space
            or not length.isdigit()
            or len(length) > 8
            or not len(length) + 1 < int(length) <= len(data)
        ):
            raise BadTar("bad pax header")
        key, equals, value = data[len(length) + 1 : int(length) - 1].partition(b"=")
        if not equals or data[int(length) - 1 : int(length)] != b"\n":
            raise BadTar("bad pax header")
        if key in (b"GNU.sparse.offset", b"GNU.sparse.numbytes"):
            pairs.append(value)
        found[key.decode("utf-8", "replace")] = value
        data = data[int(length) :]
    if pairs:
        found["GNU.sparse.map"] = b",".join(pairs)
    return found


def _pieces(numbers: list[int], real_size: int) -> list[tuple[int, int]]:
    """Check that the pieces are in order and inside the file."""
    if len(numbers) % 2 or len(numbers) > 2 * MAX_SPARSE_MAP or not 0 <= real_size <= MAX_SIZE:
        raise BadTar("bad sparse map")
    pieces, end = [], 0
    for offset, length in zip(numbers[::2], numbers[1::2], strict=True):
        if offset == 0 and length == 0 and end:
            continue
        if offset < end or length < 0 or offset + length > real_size:
            raise BadTar("bad sparse map")
        end = offset + length
        pieces.append((offset, length))
    return pieces
