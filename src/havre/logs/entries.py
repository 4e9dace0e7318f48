"""Rows of the local format, decoded: dockerd's LogEntry between its two lengths (see `localfile`). Hostile until checked.

A place in the middle of a file is found by looking for a length from which rows follow one another to the end of the block: what a
container says may look like a row, but not like all the rest of them.
"""

import os

from havre.logs.rows import BLOCK_BYTES, MAX_ROW_BYTES, Row, details

LENGTH_BYTES = 4


class Parser:
    """With `detailed` each line begins with its attributes."""

    def __init__(self, *, detailed: bool = False) -> None:
        self._detailed = detailed
        self._front = b"\0"  # the source and time that most rows of a block share, and what they say
        self._stream = ""
        self._nanos = 0

    def parse(self, data: bytes) -> tuple[list[Row], int]:
        """Return the whole rows of `data`, and how many bytes they are. What follows a broken row is given up."""
        rows: list[Row] = []
        place, size = 0, len(data)
        while place + LENGTH_BYTES <= size:
            length = int.from_bytes(data[place : place + LENGTH_BYTES], "big")
            end = place + length + 2 * LENGTH_BYTES
            if length > MAX_ROW_BYTES:
                return rows, size
            if end > size:
                break
            if data[end - LENGTH_BYTES : end] != data[place : place + LENGTH_BYTES]:
                return rows, size
            rows.append(self._row(data[place + LENGTH_BYTES : end - LENGTH_BYTES]))
            place = end
        return rows, place

    def _row(self, entry: bytes) -> Row:
        """The usual row has source, time and a line, and shares the first two with the one before."""
        front = self._front
        if not self._detailed and entry.startswith(front) and entry[len(front) : len(front) + 1] == b"\x1a":
            length, place = _varint(entry, len(front) + 1)
            if place + length == len(entry):
                return self._stream, self._nanos, entry[place:] + b"\n"
        return self._slow_row(entry)

    def _slow_row(self, entry: bytes) -> Row:
        stream, nanos, line, whole, attributes = "stdout", 0, b"", True, {}
        for number, value, end in _fields(entry):
            if number == 1 and isinstance(value, bytes):
                stream = "stderr" if value == b"stderr" else "stdout"
            elif number == 2 and isinstance(value, int):
                nanos = value
                if entry[:2] == b"\x0a\x06":
                    self._front, self._stream, self._nanos = entry[:end], stream, nanos
            elif number == 3 and isinstance(value, bytes):
                line = value
            elif number == 4 and value:
                whole = False
            elif number == 5 and isinstance(value, bytes):
                whole = any(inner == 1 and is_last for inner, is_last, _ in _fields(value))
            elif number == 6 and isinstance(value, bytes):
                pair = {inner: text for inner, text, _ in _fields(value) if isinstance(text, bytes)}
                attributes[pair.get(1, b"").decode("utf-8", "replace")] = pair.get(2, b"").decode(
                    "utf-8", "replace"
                )
        if whole:
            line += b"\n"
        return stream, nanos, details(attributes) + line if self._detailed else line

    # where rows begin

    @staticmethod
    def sync(block: bytes) -> int:
        """Where the first row begins in a block that starts anywhere; -1 when none does."""
        place = block.find(b"\0")
        while 0 <= place < len(block) - 2 * LENGTH_BYTES:
            if _chained(block, place):
                return place
            place = block.find(b"\0", place + 1)
        return -1

    @staticmethod
    def count(data: bytes) -> tuple[int, int]:
        """How many whole rows there are, and their bytes."""
        place = rows = 0
        while (end := _row_end(data, place)) <= len(data):
            place, rows = end, rows + 1
        return rows, place

    @staticmethod
    def skip(data: bytes, rows: int) -> int:
        """Where the row behind the first `rows` begins; `data` has that many."""
        place = 0
        for _ in range(rows):
            place = _row_end(data, place)
        return place

    @staticmethod
    def tail(fd: int, wanted: int, end: int) -> tuple[int, int]:
        """Return where the last `wanted` rows before `end` begin, and how many there are of them; a torn last row is none."""
        end = _whole_end(fd, end)
        block, start, found = b"", end, 0
        while found < wanted and end > 0:
            if end - LENGTH_BYTES < start:
                start = max(0, end - BLOCK_BYTES)
                block = os.pread(fd, end - start, start)
            length = int.from_bytes(block[end - start - LENGTH_BYTES : end - start], "big")
            begin = end - length - 2 * LENGTH_BYTES
            if length > MAX_ROW_BYTES or begin < 0:
                break
            end, found = begin, found + 1
        return end, found


def _row_end(data: bytes, place: int) -> int:
    """Where the row at `place` ends; beyond the data when it is not whole."""
    head = data[place : place + LENGTH_BYTES]
    return (
        place + int.from_bytes(head, "big") + 2 * LENGTH_BYTES if len(head) == LENGTH_BYTES else len(data) + 1
    )


def _chained(block: bytes, place: int) -> bool:
    """Whether rows follow one another from here to the end, at least one of them whole."""
    whole = False
    while place + LENGTH_BYTES <= len(block):
        head = block[place : place + LENGTH_BYTES]
        length = int.from_bytes(head, "big")
        end = place + length + 2 * LENGTH_BYTES
        if length > MAX_ROW_BYTES or length < 2:
            return False
        if end > len(block):
            break
        if block[end - LENGTH_BYTES : end] != head:
            return False
        place, whole = end, True
    return whole


def _whole_end(fd: int, end: int) -> int:
    """The end of the last whole row before `end`: somebody may be in the middle of writing one."""
    if end == 0 or _is_end(fd, end):
        return end
    start = max(0, end - BLOCK_BYTES)
    block = os.pread(fd, end - start, start)
    first = 0 if start == 0 else Parser.sync(block)
    return start + first + Parser.count(block[first:])[1] if first >= 0 else 0


def _is_end(fd: int, end: int) -> bool:
    tail = os.pread(fd, LENGTH_BYTES, max(0, end - LENGTH_BYTES))
    start = end - int.from_bytes(tail, "big") - 2 * LENGTH_BYTES
    return start >= 0 and os.pread(fd, LENGTH_BYTES, start) == tail


def _varint(data: bytes, place: int) -> tuple[int, int]:
    """(number, where it ends); what is cut short ends the data."""
    number = shift = 0
    while place < len(data) and shift < 70:
        byte = data[place]
        number |= (byte & 0x7F) << shift
        place += 1
        if byte < 0x80:
            return number, place
        shift += 7
    return number, len(data)


def _fields(data: bytes) -> list[tuple[int, int | bytes, int]]:
    """(number, value, where it ends) of each field: numbers and texts; others end it, for there are none in a LogEntry."""
    found: list[tuple[int, int | bytes, int]] = []
    place = 0
    while place < len(data):
        key, place = _varint(data, place)
        value, place = _varint(data, place)
        if key & 7 == 0:
            found.append((key >> 3, value, place))
        elif key & 7 == 2:
            text = data[place : place + value]
            place += value
            found.append((key >> 3, text, place))
        else:
            break
    return found
