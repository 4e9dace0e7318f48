"""Decode tar's header fields: octal and base-256 numbers, pax records, sparse maps. Pure.

Formats: pax(1) in POSIX.1-2017; the GNU tar manual, "Basic Tar Format" and "Storing Sparse Files".
"""

from collections.abc import Callable, Iterator

from havre.image.tar.bad import BadTar

MAX_SIZE = 1 << 46  # 64 TiB: no filesystem here holds more
MAX_SPARSE_PIECES = 100_000
MAX_DIGITS = 20
MAX_TIME_S = (1 << 62) // 1_000_000_000  # utimensat takes what fits into 64 bits of nanoseconds
XATTR = b"SCHILY.xattr."
_KEPT = frozenset(
    b"path linkpath size uid gid mtime GNU.sparse.major GNU.sparse.minor GNU.sparse.name GNU.sparse.realsize "
    b"GNU.sparse.size GNU.sparse.map GNU.sparse.numblocks".split()
)


def number(text: bytes) -> int:
    """An octal field, or base-256 when its first bit is set."""
    if text[:1] and text[0] & 0x80:
        value = int.from_bytes(bytes([text[0] & 0x7F]) + text[1:], "big")
        return value - (1 << (8 * len(text) - 1)) if text[0] & 0x40 else value
    digits = text.partition(b"\0")[0].strip()
    try:
        return int(digits, 8) if digits else 0
    except ValueError:
        raise BadTar(f"bad number {text!r} in a header") from None


def decimal(text: bytes) -> int:
    """A pax number that is not negative."""
    if not text.isdigit() or len(text) > MAX_DIGITS:
        raise BadTar(f"bad number {text[:40]!r} in a header")
    return int(text)


def nanos(text: bytes) -> int:
    """A pax time, "1700000000.25" or "-3.5", in nanoseconds."""
    whole, _, fraction = text.partition(b".")
    digits = whole.removeprefix(b"-")
    if not digits.isdigit() or len(digits) > MAX_DIGITS or not (fraction + b"0").isdigit():
        raise BadTar(f"bad time {text[:40]!r} in a header")
    part = int((fraction + b"0" * 9)[:9])
    return bounded_time(int(whole) * 1_000_000_000 + (-part if whole.startswith(b"-") else part))


def bounded_time(value: int) -> int:
    """A time the kernel cannot keep becomes 1970, as containerd does."""
    return value if abs(value) <= MAX_TIME_S * 1_000_000_000 else 0


def pax_records(data: bytes) -> dict[bytes, bytes]:
    """Return the records "length key=value\\n" that mean something here; later ones win, sparse 0.0 pairs become a map."""
    found: dict[bytes, bytes] = {}
    pairs: list[bytes] = []
    for key, value in _records(data):
        if key in (b"GNU.sparse.offset", b"GNU.sparse.numbytes"):
            pairs.append(value)
        elif key in _KEPT or key.startswith(XATTR):
            found[key] = value
    if pairs:
        found[b"GNU.sparse.map"] = b",".join(pairs)
    return found


def _records(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    at, total = 0, len(data)
    while at < total and data[at]:  # some writers pad with NUL
        space = data.find(b" ", at, at + 9)
        digits = data[at:space] if space > 0 else b""
        end = at + int(digits) if digits.isdigit() else 0
        equals = data.find(b"=", space, end)
        if equals < 0 or end > total or end <= space or data[end - 1] != 0x0A:
            raise BadTar("bad pax header")
        yield data[space + 1 : equals], data[equals + 1 : end - 1]
        at = end


def old_sparse(block: bytes, more: Callable[[], bytes]) -> tuple[list[tuple[int, int]], int]:
    """GNU's old format: 4 pieces in the header, 21 in each extension block. Returns (pieces, real size)."""
    numbers = [number(block[386 + 12 * i : 398 + 12 * i]) for i in range(8)]
    extended, real = block[482], number(block[483:495])
    while extended:
        extension = more()
        if len(numbers) > 2 * MAX_SPARSE_PIECES:
            raise BadTar("the sparse map is too large")
        numbers += [number(extension[12 * i : 12 * i + 12]) for i in range(42)]
        extended = extension[504]
    return pieces(numbers, real), real


def text_map(text: bytes, real_size: int) -> list[tuple[int, int]]:
    """Sparse 0.1 (and 0.0, gathered): "offset,length,offset,length"."""
    if text.count(b",") > 2 * MAX_SPARSE_PIECES:
        raise BadTar("the sparse map is too large")
    return pieces([decimal(one) for one in text.split(b",")], real_size)


def leading_map(block: Callable[[], bytes], real_size: int) -> list[tuple[int, int]]:
    """Sparse 1.0: the map stands in front of the data, as decimal lines, padded to a block."""
    data = block()
    count = -1
    while count < 0 or data.count(b"\n") < 2 * count + 1:
        if count < 0 and b"\n" in data:
            count = decimal(data.partition(b"\n")[0])
            if count > MAX_SPARSE_PIECES:
                raise BadTar("the sparse map is too large")
            data += b"".join(
                block() for _ in range((4 * count) // 512)
            )  # a number and its newline: 2 bytes at least
            continue
        if len(data) > (2 * MAX_SPARSE_PIECES + 1) * (MAX_DIGITS + 1):
            raise BadTar("the sparse map is too large")
        data += block()
    return pieces([decimal(one) for one in data.split(b"\n", 2 * count + 1)[1 : 2 * count + 1]], real_size)


def pieces(numbers: list[int], real_size: int) -> list[tuple[int, int]]:
    """Check that the pieces are in order and inside the file."""
    if len(numbers) % 2 or len(numbers) > 2 * MAX_SPARSE_PIECES + 64 or not 0 <= real_size <= MAX_SIZE:
        raise BadTar("bad sparse map")
    found, end = [], 0
    for offset, length in zip(numbers[::2], numbers[1::2], strict=True):
        if length == 0:
            continue
        if offset < end or length < 0 or offset + length > real_size:
            raise BadTar("bad sparse map: its pieces overlap or lie outside the file")
        end = offset + length
        found.append((offset, length))
    return found
