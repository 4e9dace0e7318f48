"""Detach keys: the typed sequence that lets go of a terminal ("ctrl-p,ctrl-q"), as the Engine API writes it. Pure."""

from havre.errors import InvalidParameter

DEFAULT = b"\x10\x11"  # ctrl-p ctrl-q
_NAMES = {f"ctrl-{chr(96 + code)}": code for code in range(1, 27)} | {
    "ctrl-@": 0,
    "ctrl-[": 27,
    "ctrl-\\": 28,
    "ctrl-]": 29,
    "ctrl-^": 30,
    "ctrl-_": 31,
    "DEL": 127,
}


def parse(text: str) -> bytes:
    """Return the bytes of "ctrl-a,x"; the default for "". Raises InvalidParameter in Docker's words."""
    if not text:
        return DEFAULT
    found = bytearray()
    for word in text.split(","):
        if word in _NAMES:
            found.append(_NAMES[word])
        elif len(word) == 1 and word.isascii():
            found.append(ord(word))
        else:
            raise InvalidParameter(f"Invalid detach keys ({text[:100]}) provided", hint="ctrl-p,ctrl-q")
    return bytes(found)


class DetachKeys:
    """Watches what is typed. A beginning of the sequence is held back until it is complete or broken."""

    def __init__(self, keys: bytes) -> None:
        self._keys = keys
        self._held = 0  # how many bytes of the sequence have been typed and not been passed on

    def feed(self, data: bytes) -> tuple[bytes, bool]:
        """Return (what to pass on, whether the sequence is complete); what follows it is nobody's."""
        keys, out, place = self._keys, bytearray(), 0
        while place < len(data):
            if not self._held:
                begin = data.find(keys[0], place)
                if begin < 0:
                    return bytes(out + data[place:]), False
                out += data[place:begin]
                place, self._held = begin + 1, 1
            elif data[place] == keys[self._held]:
                place += 1
                self._held += 1
            else:
                out += keys[: self._held]
                self._held = 0
            if self._held == len(keys):
                return bytes(out), True
        return bytes(out), False
