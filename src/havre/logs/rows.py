"""Rows of the json-file format, decoded: bytes of a file in, (stream, nanoseconds, line) out."""

import calendar
import time
from datetime import datetime

import msgspec

Row = tuple[str, int, bytes]  # "stdout" or "stderr", nanoseconds since 1970, the line with its newline


class _Entry(msgspec.Struct):
    log: str = ""
    stream: str = "stdout"
    time: str = ""


_decoder = msgspec.json.Decoder(_Entry)


class Parser:
    """Remembers the last second it has read, which most rows share."""

    def __init__(self) -> None:
        self._second = ""
        self._second_nanos = 0

    def parse(self, rows: bytes) -> list[Row]:
        """Return whole rows decoded; what is no row (torn by a crash) is left out."""
        try:
            entries = _decoder.decode_lines(rows)
        except (msgspec.DecodeError, UnicodeDecodeError):
            entries = [entry for line in rows.split(b"\n") if line and (entry := _decode(line)) is not None]
        nanos = self._nanos
        return [
            (entry.stream, nanos(entry.time), entry.log.encode("utf-8", "replace"))
            for entry in entries
            if entry.log
        ]

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


def _decode(line: bytes) -> _Entry | None:
    try:
        return _decoder.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


def _foreign_nanos(text: str) -> int:
    """A time with an offset, which another writer has left."""
    try:
        return int(datetime.fromisoformat(text).timestamp() * 1e9)
    except ValueError:
        return 0
