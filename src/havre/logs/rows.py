"""Rows of the json-file format, decoded: bytes of a file in, (stream, nanoseconds, line) out."""

import calendar
import os
import time
from collections.abc import Mapping
from datetime import datetime
from urllib.parse import quote_plus

import msgspec

Row = tuple[str, int, bytes]  # "stdout" or "stderr", nanoseconds since 1970, the line with its newline
BLOCK_BYTES = 1 << 18
MAX_ROW_BYTES = (
    1 << 20
)  # a row is at most 16 KiB of text, six times that when every byte is escaped, and its attributes


class _Entry(msgspec.Struct):
    log: str = ""
    stream: str = "stdout"
    time: str = ""


class _DetailedEntry(_Entry):
    attrs: dict[str, str] = {}


_decoder = msgspec.json.Decoder(_Entry)
_detailed_decoder = msgspec.json.Decoder(_DetailedEntry)


def details(attributes: Mapping[str, str]) -> bytes:
    """What `logs --details` writes in front of a line: the attributes, sorted, escaped as in a URL, and a space."""
    pairs = (f"{quote_plus(name)}={quote_plus(value)}" for name, value in sorted(attributes.items()))
    return ",".join(pairs).encode() + b" "


class Parser:
    """Remembers the last second it has read, which most rows share. With `detailed` each line begins with its attributes."""

    def __init__(self, *, detailed: bool = False) -> None:
        self._decoder: msgspec.json.Decoder[_Entry] = _detailed_decoder if detailed else _decoder  # type: ignore[assignment]
        self._second = ""
        self._second_nanos = 0

    def parse(self, data: bytes) -> tuple[list[Row], int]:
        """Return the whole rows of `data`, and how many bytes they are; what is no row (torn by a crash) is left out."""
        end = data.rfind(b"\n") + 1
        if not end:
            return [], 0
        rows = data[:end] if end < len(data) else data
        try:
            entries = self._decoder.decode_lines(rows)
        except (msgspec.DecodeError, UnicodeDecodeError):
            found = (self._decode(line) for line in rows.split(b"\n") if line)
            entries = [entry for entry in found if entry is not None]
        nanos = self._nanos
        return [(entry.stream, nanos(entry.time), self._line(entry)) for entry in entries if entry.log], end

    @staticmethod
    def _line(entry: _Entry) -> bytes:
        line = entry.log.encode("utf-8", "replace")
        return details(entry.attrs) + line if isinstance(entry, _DetailedEntry) else line

    def _decode(self, line: bytes) -> _Entry | None:
        try:
            return self._decoder.decode(line)
        except (msgspec.DecodeError, UnicodeDecodeError):
            return None

    def _nanos(self, text: str) -> int:
        """Nanoseconds of an RFC 3339 time; 0 for what is none."""
        if text[:19] != self._second:
            if not text.endswith("Z"):
                return _foreign_nanos(text)
            try:
                self._second_nanos = (
                    calendar.timegm(time.strptime(text[:19], "%Y-%m-%dT%H:%M:%S")) * 1_000_000_000
                )
            except ValueError:
                return 0
            self._second = text[:19]
        fraction = text[20:-1]
        return self._second_nanos + (int(fraction.ljust(9, "0")) if fraction.isdecimal() else 0)

    # where rows begin

    @staticmethod
    def sync(block: bytes) -> int:
        """Where the first row begins in a block that starts anywhere; -1 when none does."""
        place = block.find(b"\n") + 1
        return place if 0 < place < len(block) else -1

    @staticmethod
    def count(data: bytes) -> tuple[int, int]:
        """How many whole rows there are, and their bytes."""
        return data.count(b"\n"), data.rfind(b"\n") + 1

    @staticmethod
    def skip(data: bytes, rows: int) -> int:
        """Where the row behind the first `rows` begins; `data` has that many."""
        place = 0
        for _ in range(rows):
            place = data.index(b"\n", place) + 1
        return place

    @staticmethod
    def tail(fd: int, wanted: int, end: int) -> tuple[int, int]:
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


def _foreign_nanos(text: str) -> int:
    """A time with an offset, which another writer has left."""
    try:
        return int(datetime.fromisoformat(text).timestamp() * 1e9)
    except ValueError:
        return 0
