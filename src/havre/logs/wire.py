"""How a monitor hands what was read to its log's process: stream, nanoseconds and length in front of the bytes. Lean."""

HEAD_BYTES = 13
NAMES = {
    1: b"stdout",
    2: b"stderr",
    3: b"notice",
}  # a notice is ours; it goes out as stderr, between two of its lines
NUMBERS = {name: number for number, name in NAMES.items()}
TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator


def pack(stream: bytes, data: bytes, nanos: int) -> bytes:
    """One record."""
    return b"%c%b%b%b" % (NUMBERS[stream], nanos.to_bytes(8, "big"), len(data).to_bytes(4, "big"), data)


class Records:
    """Takes records apart again, however they were cut."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> "Iterator[tuple[int, int, bytes]]":
        """Yield (stream number, nanos, bytes) of each whole record."""
        data = self._rest + data
        place = 0
        while place + HEAD_BYTES <= len(data):
            end = place + HEAD_BYTES + int.from_bytes(data[place + 9 : place + HEAD_BYTES], "big")
            if end > len(data):
                break
            yield (
                data[place],
                int.from_bytes(data[place + 1 : place + 9], "big"),
                data[place + HEAD_BYTES : end],
            )
            place = end
        self._rest = data[place:]
