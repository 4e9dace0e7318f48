"""What a stream says, cut into messages as dockerd's copier does it. Lean.

A line is a message without its newline. A line longer than 16 KiB is several: each is a Partial with the id of the whole, its place
(from 1), whether it is the last, and the time of the first. What comes without a newline at the end is a Partial that is not the last.
"""

import os

PARTIAL_BYTES = 16384  # dockerd's copier buffer
TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator


class Partial:
    """A piece of a long line."""

    __slots__ = ("id", "last", "nanos", "ordinal", "text")

    def __init__(self, text: bytes, id_: bytes, ordinal: int, last: bool, nanos: int) -> None:
        self.text = text
        self.id = id_
        self.ordinal = ordinal
        self.last = last
        self.nanos = nanos


class Lines:
    """The begun line of one stream."""

    def __init__(self) -> None:
        self._rest = b""
        self._id = b""  # of the long line that is being said
        self._ordinal = 0
        self._nanos = 0

    def feed(self, data: bytes, nanos: int) -> "tuple[list[bytes], list[Partial | bytes]]":
        """Return (whole lines, everything in order): the second is empty when there are no pieces, which is the usual case."""
        if self._rest:
            data = self._rest + data
        lines = data.split(b"\n")
        rest = lines.pop()
        if not self._id and len(rest) < PARTIAL_BYTES and (len(data) <= PARTIAL_BYTES or not _long(lines)):
            self._rest = rest
            return lines, []
        found = [piece for line in lines for piece in self._line(line, nanos)]
        while len(rest) >= PARTIAL_BYTES:
            found.append(self._piece(rest[:PARTIAL_BYTES], False, nanos))
            rest = rest[PARTIAL_BYTES:]
        self._rest = rest
        return [], found

    def end(self, nanos: int) -> "list[Partial | bytes]":
        """The last line, when it has no newline."""
        rest, self._rest = self._rest, b""
        return [self._piece(rest, False, nanos)] if rest else []

    def _line(self, line: bytes, nanos: int) -> "Iterator[Partial | bytes]":
        while len(line) >= PARTIAL_BYTES:
            yield self._piece(line[:PARTIAL_BYTES], False, nanos)
            line = line[PARTIAL_BYTES:]
        yield self._piece(line, True, nanos) if self._id else line

    def _piece(self, text: bytes, last: bool, nanos: int) -> Partial:
        if not self._id:
            self._id, self._ordinal, self._nanos = os.urandom(32).hex().encode(), 0, nanos
        self._ordinal += 1
        piece = Partial(text, self._id, self._ordinal, last, self._nanos)
        if last:
            self._id = b""
        return piece


def _long(lines: list[bytes]) -> bool:
    return max(map(len, lines), default=0) >= PARTIAL_BYTES
