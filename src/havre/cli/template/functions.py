"""The functions a template may call: Go's own and Docker's. name -> (least arguments, most or None, function)."""

from havre.cli.template.printf import inner, sprintf
from havre.cli.template.values import NIL_LIST, NIL_MAP, CallFailed, Nil, Row, Shown, is_number, type_name
from havre.client import minijson

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

MAX_PAD = 10_000


def truth(value: "Any") -> bool:
    """Go's truth: empty things, zero and nil are false; a row is true."""
    return True if isinstance(value, Row) else bool(value)


def _text(value: "Any") -> str:
    """A piped value as an argument of Go's type string; the others are checked where they stand."""
    if not isinstance(value, str):
        raise CallFailed(f"wrong type for value; expected string; got {type_name(value)}")
    return value


def _length(value: "Any") -> int:
    if isinstance(value, str):
        return len(value.encode("utf-8", "replace"))
    if isinstance(value, (list, tuple, dict)) or value is NIL_LIST or value is NIL_MAP:
        return len(value)
    if value is None:
        raise CallFailed("len of nil pointer")
    raise CallFailed(f"len of type {type_name(value)}")


def _index(value: "Any", *keys: "Any") -> "Any":
    for key in keys:
        if isinstance(value, dict):
            if not isinstance(key, str):
                raise CallFailed(f"value has type {type_name(key)}; should be string")
            value = value.get(key)
        elif isinstance(value, (list, str)):
            value = _at(value, key)
        elif isinstance(value, Nil):
            raise CallFailed(
                f"index out of range: {inner(key)}" if value is NIL_LIST else "index of nil pointer"
            )
        elif value is None:
            raise CallFailed("index of untyped nil")
        else:
            raise CallFailed(f"can't index item of type {type_name(value)}")
    return value


def _at(value: "Any", key: "Any") -> "Any":
    if not isinstance(key, int) or isinstance(key, bool):
        kind = "nil" if key is None else f"type {type_name(key)}"
        raise CallFailed(f"cannot index slice/array with {kind}")
    if not 0 <= key < len(value):
        raise CallFailed(f"index out of range: {key}")
    return value.encode()[key] if isinstance(value, str) else value[key]


def _slice(value: "Any", *places: "Any") -> "Any":
    if value is None or isinstance(value, Nil):
        raise CallFailed("slice of untyped nil")
    if not isinstance(value, (str, list)):
        raise CallFailed(f"can't slice item of type {type_name(value)}")
    data = value.encode("utf-8", "replace") if isinstance(value, str) else value
    bounds = [0, len(data)]
    for number, place in enumerate(places[:2]):
        if not isinstance(place, int) or isinstance(place, bool):
            raise CallFailed(f"cannot index slice/array with type {type_name(place)}")
        if not 0 <= place <= len(data):
            raise CallFailed(f"index out of range: {place}")
        bounds[number] = place
    if bounds[0] > bounds[1]:
        raise CallFailed(f"invalid slice index: {bounds[0]} > {bounds[1]}")
    found = data[bounds[0] : bounds[1]]
    return found.decode("utf-8", "replace") if isinstance(found, bytes) else found


def _family(value: "Any") -> str:
    """bool, number, text, nil: only values of one family can be compared."""
    if isinstance(value, bool):
        return "bool"
    if is_number(value):
        return type_name(value)
    return "text" if isinstance(value, str) else "nil" if value is None or isinstance(value, Nil) else ""


def _equal(first: "Any", *rest: "Any") -> bool:
    if not rest:
        raise CallFailed("missing argument for comparison")
    for one in (first, *rest):
        if not _family(one):
            raise CallFailed(f"non-comparable type {inner(one)}: {type_name(one)}")
    for one in rest:
        kinds = {_family(first), _family(one)}
        if len(kinds) > 1 and "nil" not in kinds:
            raise CallFailed("incompatible types for comparison")
        if len(kinds) == 1 and ("nil" in kinds or first == one):
            return True
    return False


def _compare(test: "Callable[[Any, Any], bool]") -> "Callable[[Any, Any], bool]":
    def compare(first: "Any", second: "Any") -> bool:
        kinds = _family(first), _family(second)
        if kinds[0] in ("", "nil", "bool"):
            raise CallFailed("invalid type for comparison")
        if kinds[0] != kinds[1]:
            raise CallFailed("incompatible types for comparison")
        return test(first, second)

    return compare


def _print(*values: "Any") -> str:
    """Go's Sprint: spaces between operands when neither is a string."""
    out = ""
    for place, one in enumerate(values):
        if place and not isinstance(one, str) and not isinstance(values[place - 1], str):
            out += " "
        out += inner(one)
    return out


_HTML = {"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&#34;", "'": "&#39;", "\0": "\ufffd"}
_SAFE = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.~")


def _printed(values: "tuple[Any, ...]") -> str:
    return "<no value>" if values == (None,) else _print(*values)


def _js(*values: "Any") -> str:
    """Go's JSEscapeString."""
    out = ""
    for char in _printed(values):
        if char in "\\'\"":
            out += "\\" + char
        elif char in "<>&=" or not (char.isprintable() or char > "\x7f"):
            out += f"\\u{ord(char):04X}"
        else:
            out += char
    return out


def _html(*values: "Any") -> str:
    return "".join(_HTML.get(char, char) for char in _printed(values))


def _urlquery(*values: "Any") -> str:
    out = ""
    for char in _printed(values):
        quoted = "".join(f"%{byte:02X}" for byte in char.encode("utf-8", "replace"))
        out += char if char in _SAFE else "+" if char == " " else quoted
    return out


def _json(value: "Any") -> str:
    return minijson.dumps(plain(value), html=isinstance(value, Row))


def plain(value: "Any") -> "Any":
    """Rows as sorted dicts, nils as null."""
    if isinstance(value, Row):
        shown = value.json
        keys = sorted(shown) if shown is value.fields else list(shown)
        return {key: plain(shown[key]) for key in keys}
    if isinstance(value, Shown):
        return value.json
    return None if isinstance(value, Nil) else value


def _join(values: "Any", mark: "Any") -> str:
    return _text(mark).join(values or ())


def _split(text: "Any", mark: "Any") -> list[str]:
    return _text(text).split(mark) if _text(mark) else list(_text(text))


def _each(text: "Any", change: "Callable[[str], str]") -> str:
    """Change every letter by itself, as Go does: a letter never becomes two."""
    return "".join(made if len(made := change(char)) == 1 else char for char in _text(text))


def _title(text: "Any") -> str:
    """Go's strings.Title: the first letter of each word."""
    out, before = "", " "
    for char in _text(text):
        out += char if before.isalnum() or before == "_" else _each(char, str.title)
        before = char
    return out


def _pad(text: "Any", before: "Any", after: "Any") -> str:
    word = _text(text)
    if not word:
        return ""
    if not isinstance(after, int) or not 0 <= before <= MAX_PAD or not 0 <= after <= MAX_PAD:
        raise CallFailed(f"a width must be between 0 and {MAX_PAD}")
    return f"{' ' * before}{word}{' ' * after}"


def _truncate(text: "Any", length: "Any") -> str:
    if not isinstance(length, int) or length < 0:
        raise CallFailed(
            f"wrong type for value; expected int; got {type_name(length)}"
            if not isinstance(length, int)
            else "a negative length"
        )
    return _text(text).encode("utf-8", "replace")[:length].decode("utf-8", "replace")


# what Go calls the type of an argument, and whether a value is one
KINDS: "dict[str, tuple[str, Callable[[Any], bool]]]" = {
    "s": ("string", lambda value: isinstance(value, str)),
    "i": ("int", lambda value: isinstance(value, int) and not isinstance(value, bool)),
    "l": (
        "[]string",
        lambda value: (
            value is NIL_LIST or (isinstance(value, list) and all(isinstance(one, str) for one in value))
        ),
    ),
}
FUNCTIONS: "dict[str, tuple[int, int | None, str, Callable[..., Any]]]" = {
    "and": (1, None, "", lambda *values: values[-1]),  # the walker stops early for these two
    "or": (1, None, "", lambda *values: values[-1]),
    "not": (1, 1, "", lambda value: not truth(value)),
    "len": (1, 1, "", _length),
    "index": (1, None, "", _index),
    "slice": (1, 4, "", _slice),
    "eq": (1, None, "", _equal),
    "ne": (2, 2, "", lambda first, second: not _equal(first, second)),
    "lt": (2, 2, "", _compare(lambda a, b: a < b)),
    "le": (2, 2, "", _compare(lambda a, b: a <= b)),
    "gt": (2, 2, "", _compare(lambda a, b: a > b)),
    "ge": (2, 2, "", _compare(lambda a, b: a >= b)),
    "print": (0, None, "", _print),
    "printf": (1, None, "s", sprintf),
    "println": (0, None, "", lambda *values: " ".join(map(inner, values)) + "\n"),
    "html": (0, None, "", _html),
    "js": (0, None, "", _js),
    "urlquery": (0, None, "", _urlquery),
    "json": (1, 1, "", _json),
    "join": (2, 2, "ls", _join),
    "split": (2, 2, "ss", _split),
    "upper": (1, 1, "s", lambda text: _each(text, str.upper)),
    "lower": (1, 1, "s", lambda text: _each(text, str.lower)),
    "title": (1, 1, "s", _title),
    "pad": (3, 3, "sii", _pad),
    "truncate": (2, 2, "si", _truncate),
}
