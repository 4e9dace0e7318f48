"""Functions of templates, and how Go shows and looks into values."""

from havre.cli.template.lexer import TemplateError
from havre.client import minijson

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

MAX_PAD = 10_000


def field(value: "Any", path: str) -> "Any":
    """Return value.A.B of ".A.B"; "." is the value itself. A missing key is an error, as with Docker's missingkey=error."""
    for name in path.split("."):
        if not name:
            continue
        if isinstance(value, dict):
            if name not in value:
                raise TemplateError(f'executing "" at <{path}>: map has no entry for key "{name}"')
            value = value[name]
        elif value is None:
            raise TemplateError(f'executing "" at <{path}>: nil data; no entry for key "{name}"')
        else:
            raise TemplateError(
                f'executing "" at <{path}>: can\'t evaluate field {name} in type {_type(value)}'
            )
    return value


def _type(value: "Any") -> str:
    names = {
        str: "string",
        bool: "bool",
        int: "int",
        float: "float64",
        list: "[]interface {}",
        dict: "map[string]interface {}",
    }
    return names.get(type(value), "interface {}")


def is_true(value: "Any") -> bool:
    """Go's truth: empty things, zero and nil are false."""
    return bool(value)


def show(value: "Any") -> str:
    """Print as Go's %v."""
    if value is None:
        return "<no value>"
    if value is True or value is False:
        return "true" if value else "false"
    if isinstance(value, float):
        return _float(value)
    if isinstance(value, dict):
        return "map[" + " ".join(f"{key}:{_inner(one)}" for key, one in sorted(value.items())) + "]"
    if isinstance(value, (list, tuple)):
        return "[" + " ".join(_inner(one) for one in value) + "]"
    return str(value)


def _inner(value: "Any") -> str:
    return "<nil>" if value is None else show(value)


def _float(value: float) -> str:
    if value == int(value) and abs(value) < 1e21:
        return str(int(value))
    text = repr(value)
    return text.replace("e-0", "e-0").replace("e+", "e+")


def _printf(pattern: str, *args: "Any") -> str:
    """Go's printf: %s %q %v %d %x %X %o %b %c %t %f %e %g %%, with flags, width and precision."""
    out, place, rest = "", 0, list(args)
    while place < len(pattern):
        char = pattern[place]
        if char != "%":
            out += char
            place += 1
            continue
        end = place + 1
        while end < len(pattern) and pattern[end] in "+-# 0123456789.":
            end += 1
        if end >= len(pattern):
            return out + "%!(NOVERB)"
        verb, spec = pattern[end], pattern[place + 1 : end]
        place = end + 1
        if verb == "%":
            out += "%"
            continue
        if not rest:
            out += f"%!{verb}(MISSING)"
            continue
        out += _verb(verb, spec, rest.pop(0))
    if rest:
        out += "%!(EXTRA " + ", ".join(f"{_type(one)}={show(one)}" for one in rest) + ")"
    return out


def _verb(verb: str, spec: str, value: "Any") -> str:
    flags, width, precision = _spec(spec)
    numeric = isinstance(value, (int, float)) and not isinstance(value, bool)
    if verb in "sv":
        text = show(value)
        text = text[:precision] if precision is not None and verb == "s" else text
    elif verb == "q":
        text = minijson.dumps(show(value))
    elif verb == "t" and isinstance(value, bool):
        text = show(value)
    elif verb in "dxXobc" and numeric:
        number = int(value)
        text = chr(number) if verb == "c" else format(number, verb)
    elif verb in "xX" and isinstance(value, str):
        text = value.encode().hex()
        text = text.upper() if verb == "X" else text
    elif verb in "feEgG" and numeric:
        text = format(float(value), f".{6 if precision is None else precision}{verb}")
    else:
        return f"%!{verb}({_type(value)}={show(value)})"
    if "+" in flags and numeric and not text.startswith("-"):
        text = "+" + text
    if "-" in flags:
        return text.ljust(width)
    return text.zfill(width) if "0" in flags and numeric else text.rjust(width)


def _spec(spec: str) -> "tuple[str, int, int | None]":
    flags = spec[: len(spec) - len(spec.lstrip("+-# 0"))]
    width, dot, precision = spec[len(flags) :].partition(".")
    number = int(width or 0)
    if number > MAX_PAD:
        raise TemplateError(f"a width of {number} is too large")
    return flags, number, int(precision or 0) if dot else None


def _index(value: "Any", *keys: "Any") -> "Any":
    for key in keys:
        if isinstance(value, dict):
            value = value.get(key)
            if value is None:
                return None if key == keys[-1] else ""
        elif isinstance(value, (list, str)):
            if not isinstance(key, int) or not 0 <= key < len(value):
                raise TemplateError(f"error calling index: index out of range: {show(key)}")
            value = value[key]
        else:
            raise TemplateError("error calling index: index of untyped nil")
    return "" if value is None else value


def _slice(value: "Any", *places: int) -> "Any":
    start, end = (places[0] if places else 0), (places[1] if len(places) > 1 else len(value))
    if not 0 <= start <= end <= len(value):
        raise TemplateError(f"error calling slice: index out of range: {end}")
    return value[start:end]


def _pad(text: str, before: int, after: int) -> str:
    if not text:
        return text
    if before > MAX_PAD or after > MAX_PAD:
        raise TemplateError("error calling pad: too wide")
    return " " * before + text + " " * after


def _truncate(text: str, length: int) -> str:
    return text[:length] if length < len(text) else text


def _equal(first: "Any", *rest: "Any") -> bool:
    if not rest:
        raise TemplateError("error calling eq: missing argument for comparison")
    return any(first == one and isinstance(first, bool) == isinstance(one, bool) for one in rest)


def _compare(test: "Callable[[Any, Any], bool]") -> "Callable[[Any, Any], bool]":
    def compare(first: "Any", second: "Any") -> bool:
        if isinstance(first, str) != isinstance(second, str):
            raise TemplateError("incompatible types for comparison")
        return test(first, second)

    return compare


_HTML = {"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&#34;", "'": "&#39;"}


def _html(*values: "Any") -> str:
    return "".join(_HTML.get(char, char) for char in "".join(show(one) for one in values))


def _print(*values: "Any") -> str:
    """Go's Sprint: spaces between operands when neither is a string."""
    out = ""
    for place, one in enumerate(values):
        if place and not isinstance(one, str) and not isinstance(values[place - 1], str):
            out += " "
        out += show(one)
    return out


def _json(value: "Any") -> str:
    return minijson.dumps(value)


def _strings(values: "Any", mark: str) -> str:
    if not isinstance(values, list):
        raise TemplateError(
            f"error calling join: wrong type for value; expected []string; got {_type(values)}"
        )
    return mark.join(str(one) for one in values)


FUNCTIONS: "dict[str, Callable[..., Any]]" = {
    "and": lambda *values: values[-1],
    "or": lambda *values: values[-1],
    "not": lambda value: not is_true(value),
    "len": len,
    "index": _index,
    "slice": _slice,
    "eq": _equal,
    "ne": lambda first, second: first != second,
    "lt": _compare(lambda a, b: a < b),
    "le": _compare(lambda a, b: a <= b),
    "gt": _compare(lambda a, b: a > b),
    "ge": _compare(lambda a, b: a >= b),
    "print": _print,
    "printf": _printf,
    "println": lambda *values: " ".join(show(one) for one in values) + "\n",
    "html": _html,
    "json": _json,
    "join": _strings,
    "split": lambda text, mark: text.split(mark) if mark else list(text),
    "upper": lambda text: text.upper(),
    "lower": lambda text: text.lower(),
    "title": lambda text: text.title(),
    "pad": _pad,
    "truncate": _truncate,
}
