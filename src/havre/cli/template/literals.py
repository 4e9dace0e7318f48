"""Go's literals: numbers, quoted strings and characters, and back: strconv.Quote."""

_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", '"': '"', "\\": "\\", "'": "'", "a": "\a", "b": "\b", "f": "\f", "v": "\v"}  # fmt: skip
_SHOWN = {
    char: "\\" + letter for letter, char in _ESCAPES.items() if letter not in "'"
}  # what Quote writes for them
_WIDTHS = {"x": 2, "u": 4, "U": 8}


def number(text: str) -> "int | float":
    """Return the value of a Go number: 10, 0x1F, 0b1, 0o7, 017, 1_000, 1.5e3. Raises ValueError."""
    digits = text.lstrip("+-").replace("_", "")
    sign = -1 if text.startswith("-") else 1
    if digits[:1] == "0" and digits.isdigit() and len(digits) > 1:
        return sign * int(digits, 8)
    try:
        return sign * int(digits, 0)
    except ValueError:
        return sign * float(digits)


def unquote(text: str) -> str:
    """Return what a quoted string or character means. Raises ValueError."""
    quote, inner = text[0], text[1:-1]
    if quote == "`":
        return inner.replace("\r", "")
    out, place = "", 0
    while place < len(inner):
        char = inner[place]
        place += 1
        if char != "\\":
            out += char
            continue
        piece, place = _escape(inner, place)
        out += piece
    if quote == "'" and len(out) != 1:
        raise ValueError("malformed character constant")
    return out


def _escape(inner: str, place: int) -> "tuple[str, int]":
    code = inner[place : place + 1]
    if code in _ESCAPES and code:
        return _ESCAPES[code], place + 1
    if code in _WIDTHS and code:
        end = place + 1 + _WIDTHS[code]
        value = int(inner[place + 1 : end], 16)
        if end > len(inner) or 0xD800 <= value < 0xE000:
            raise ValueError("bad escape")
        return chr(value), end
    if inner[place : place + 3].isdigit() and len(inner) >= place + 3:
        return chr(int(inner[place : place + 3], 8)), place + 3
    raise ValueError("bad escape")


def quoted(text: str, *, ascii_only: bool = False) -> str:
    """Return Go's strconv.Quote: "..." with escapes for what cannot be printed."""
    out = ""
    for char in text:
        if char in _SHOWN:
            out += _SHOWN[char]
        elif char.isprintable() and (char.isascii() or not ascii_only):
            out += char
        elif char < "\x80":
            out += f"\\x{ord(char):02x}"
        else:
            out += f"\\u{ord(char):04x}" if char < "\U00010000" else f"\\U{ord(char):08x}"
    return f'"{out}"'
