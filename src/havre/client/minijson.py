"""JSON without the json package (which imports re): CPython's own C scanner and string encoder. Lean."""

from _json import encode_basestring, encode_basestring_ascii, make_scanner, scanstring

from havre.errors import HavreError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


class _Context:
    """What the C scanner wants to know (json.decoder.JSONDecoder's attributes)."""

    strict = False
    object_hook = None
    object_pairs_hook = None
    parse_float = float
    parse_int = int
    parse_constant = float
    parse_string = staticmethod(scanstring)
    memo: dict[str, str] = {}


_scan = make_scanner(_Context())  # type: ignore[arg-type]
_SPACE = " \t\r\n"


def loads(data: bytes | str) -> object:
    """Return the value of one JSON text. Raises HavreError."""
    value, end, text = _one(data.decode("utf-8", "replace") if isinstance(data, bytes) else data, 0)
    if text[end:].strip(_SPACE):
        raise HavreError("the daemon sent something that is no JSON")
    return value


def _one(text: str, start: int) -> tuple[object, int, str]:
    while start < len(text) and text[start] in _SPACE:
        start += 1
    try:
        value, end = _scan(text, start)
    except (StopIteration, ValueError, RecursionError):
        raise HavreError("the daemon sent something that is no JSON") from None
    return value, end, text


def objects(text: str) -> "tuple[list[object], str]":
    """Return the whole objects at the start of a stream, and what is left of the text."""
    found: list[object] = []
    place = 0
    while True:
        while place < len(text) and text[place] in _SPACE + "\x1e":
            place += 1
        if place >= len(text):
            return found, ""
        try:
            value, place = _scan(text, place)
        except (StopIteration, ValueError):
            return found, text[place:]
        found.append(value)


def dumps(value: object, indent: int = 0, *, ascii_only: bool = False, html: bool = False) -> str:
    """Return JSON: in Docker's inspect style with `indent`; what goes over the wire is ASCII; html as Go's Marshal escapes < > &."""
    text = _write(value, indent, 0, encode_basestring_ascii if ascii_only else encode_basestring)
    for char in "<>&" if html else "":
        text = text.replace(char, f"\\u{ord(char):04x}")
    return text


def _write(value: object, indent: int, level: int, quote: "Callable[[str], str]") -> str:
    if isinstance(value, str):
        return quote(value)
    if value is None or value is True or value is False:
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, float):
        if str(value) in ("nan", "inf", "-inf"):
            return "null"
        return str(int(value)) if value == int(value) and abs(value) < 1e21 else repr(value)
    if isinstance(value, int):
        return repr(value)
    inner = "\n" + " " * indent * (level + 1) if indent else ""
    close = "\n" + " " * indent * level if indent else ""
    if isinstance(value, dict):
        if not value:
            return "{}"
        colon = ": " if indent else ":"
        parts = [
            f"{inner}{quote(str(key))}{colon}{_write(one, indent, level + 1, quote)}"
            for key, one in value.items()
        ]
        return "{" + ",".join(parts) + close + "}"
    if not value:
        return "[]"
    items = [inner + _write(one, indent, level + 1, quote) for one in value]  # type: ignore[attr-defined]
    return "[" + ",".join(items) + close + "]"
