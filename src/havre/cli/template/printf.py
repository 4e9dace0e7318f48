"""Go's fmt: how values print, and Sprintf."""

from havre.cli.template.literals import quoted
from havre.cli.template.values import CallFailed, Nil, Row, Shown, is_number, type_name

SHORTEST_EXPONENT = 6  # strconv: "if precision was the shortest possible, use precision 6 for this decision"
MAX_PAD = 1_000_000  # fmt's own limit of width and precision
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def show(value: "Any") -> str:
    """Print as {{value}} does: a missing value is "<no value>"."""
    return "<no value>" if value is None else inner(value)


def inner(value: "Any") -> str:
    """Print as %v."""
    if value is None:
        return "<nil>"
    if isinstance(value, (Nil, Shown)):
        return value.text
    if value is True or value is False:
        return "true" if value else "false"
    if isinstance(value, float):
        return _shortest(value)
    if isinstance(value, Row):
        value = value.fields
    if isinstance(value, dict):
        return "map[" + " ".join(f"{key}:{inner(one)}" for key, one in sorted(value.items())) + "]"
    if isinstance(value, (list, tuple)):
        return "[" + " ".join(map(inner, value)) + "]"
    return str(value)


def _shortest(value: float) -> str:
    """%g without a precision: the shortest digits that say the same, an exponent below -4 and from SHORTEST_EXPONENT on."""
    if str(value) in ("nan", "inf", "-inf"):
        return {"nan": "NaN", "inf": "+Inf", "-inf": "-Inf"}[str(value)]
    digits = repr(value).partition("e")[0].replace("-", "").replace(".", "").strip("0") or "0"
    power = int(f"{value:e}".partition("e")[2])
    if -4 <= power < SHORTEST_EXPONENT:
        return f"{value:.{max(0, len(digits) - 1 - power)}f}"
    return f"{value:.{len(digits) - 1}e}"


class _Spec:
    """Flags, width and precision of one verb."""

    def __init__(self) -> None:
        self.flags = ""
        self.width = 0
        self.precision: int | None = None

    def pad(self, text: str, *, numeric: bool = False) -> str:
        if "-" in self.flags:
            return text.ljust(self.width)
        if "0" in self.flags and numeric and len(text) < self.width:
            sign = text[:1] if text[:1] in ("+", "-") else ""
            return sign + text[len(sign) :].zfill(self.width - len(sign))
        return text.rjust(self.width)


def sprintf(pattern: "Any", *args: "Any") -> str:
    """Go's Sprintf. Raises CallFailed for a pattern that is no text."""
    if not isinstance(pattern, str):
        raise CallFailed(f"wrong type for value; expected string; got {type_name(pattern)}")
    out, place, used, reordered = "", 0, 0, False
    while place < len(pattern):
        mark = pattern.find("%", place)
        if mark < 0:
            out += pattern[place:]
            break
        out += pattern[place:mark]
        spec, place, used, bad = _read_spec(pattern, mark + 1, args, used)
        out += bad
        if place < len(pattern) and pattern[place] == "[":
            end = pattern.find("]", place)
            number = pattern[place + 1 : end] if end > 0 else ""
            if not number.isdigit() or not 0 < int(number) <= len(args):
                return out + "%!(BADINDEX)"
            place, used, reordered = end + 1, int(number) - 1, True
        if place >= len(pattern):
            return out + "%!(NOVERB)"
        verb = pattern[place]
        place += 1
        if verb == "%":
            out += "%"
        elif used >= len(args):
            out += f"%!{verb}(MISSING)"
        else:
            out += _format(verb, spec, args[used])
            used += 1
    if used < len(args) and not reordered:
        out += "%!(EXTRA " + ", ".join(f"{type_name(one)}={inner(one)}" for one in args[used:]) + ")"
    return out


def _read_spec(pattern: str, place: int, args: "tuple[Any, ...]", used: int) -> "tuple[_Spec, int, int, str]":
    spec, bad = _Spec(), ""
    while place < len(pattern) and pattern[place] in "+-# 0":
        spec.flags += pattern[place]
        place += 1
    for part in ("width", "precision"):
        if part == "precision":
            if pattern[place : place + 1] != ".":
                break
            place += 1
            spec.precision = 0
        if pattern[place : place + 1] == "*":
            value = args[used] if used < len(args) else None
            used, place = used + 1, place + 1
            if not isinstance(value, int) or isinstance(value, bool) or abs(value) > MAX_PAD:
                bad += "%!(BADWIDTH)" if part == "width" else "%!(BADPREC)"
                continue
            if value < 0 and part == "width":
                spec.flags += "-"
            setattr(spec, part, abs(value))
            continue
        start = place
        while place < len(pattern) and pattern[place].isdigit():
            place += 1
        if place > start:
            number = int(pattern[start:place][:8])
            if number > MAX_PAD:
                bad += "%!(BADWIDTH)" if part == "width" else "%!(BADPREC)"
            else:
                setattr(spec, part, number)
    return spec, place, used, bad


def _format(verb: str, spec: _Spec, value: "Any") -> str:
    """One verb for one value; lists and maps take it for each of their parts."""
    if verb == "T":
        return spec.pad(type_name(value))
    if verb == "v":
        if isinstance(value, bool) or not is_number(value):
            return (
                spec.pad(inner(value)) if not isinstance(value, (list, dict)) else _nested("v", spec, value)
            )
        return _number("d" if isinstance(value, int) else "g", spec, value)
    if value is None:
        return f"%!{verb}(<nil>)"
    if isinstance(value, (list, tuple, dict)):
        return _nested(verb, spec, value)
    if isinstance(value, bool):
        return spec.pad(inner(value)) if verb == "t" else f"%!{verb}(bool={inner(value)})"
    if isinstance(value, str):
        return _text(verb, spec, value)
    if is_number(value):
        return _number(verb, spec, value)
    return spec.pad(inner(value))


def _nested(verb: str, spec: _Spec, value: "Any") -> str:
    if isinstance(value, dict):
        parts = [
            f"{_format(verb, spec, key)}:{_format(verb, spec, one)}" for key, one in sorted(value.items())
        ]
        return "map[" + " ".join(parts) + "]"
    return (
        "["
        + " ".join("<nil>" if one is None and verb == "v" else _format(verb, spec, one) for one in value)
        + "]"
    )


def _text(verb: str, spec: _Spec, value: str) -> str:
    if verb in "sv":
        return spec.pad(value if spec.precision is None else value[: spec.precision])
    if verb == "q":
        shown = value if spec.precision is None else value[: spec.precision]
        raw = "#" in spec.flags and "`" not in shown and shown.isprintable()
        return spec.pad(f"`{shown}`" if raw else quoted(shown, ascii_only="+" in spec.flags))
    if verb in "xX":
        data = value.encode("utf-8", "replace")[: spec.precision]
        text = data.hex(" ") if " " in spec.flags and data else data.hex()
        if "#" in spec.flags and text:
            text = " ".join(f"0x{one}" for one in text.split(" "))
        return spec.pad(text.upper() if verb == "X" else text)
    return f"%!{verb}(string={value})"


def _number(verb: str, spec: _Spec, value: "int | float") -> str:
    if isinstance(value, int):
        if verb in "doxXbO":
            return spec.pad(_sign(_integer(verb, spec, value), spec, value), numeric=spec.precision is None)
        if verb in "cqU":
            code = value if 0 <= value < 0x110000 and not 0xD800 <= value < 0xE000 else 0xFFFD
            shown = {
                "c": chr(code),
                "q": "'" + quoted(chr(code))[1:-1].replace('\\"', '"') + "'",
                "U": f"U+{value:04X}",
            }
            return spec.pad(shown[verb])
        return f"%!{verb}(int={value})"
    if verb in "feEgGF":
        return spec.pad(_sign(_floating(verb, spec, value), spec, value), numeric=True)
    return f"%!{verb}(float64={inner(value)})"


def _integer(verb: str, spec: _Spec, value: int) -> str:
    digits = format(abs(value), verb.lower() if verb == "O" else verb)
    if spec.precision is not None:
        digits = "" if spec.precision == 0 and value == 0 else digits.zfill(spec.precision)
    prefix = {"x": "0x", "X": "0X", "o": "0", "b": "0b"}.get(verb, "") if "#" in spec.flags else ""
    return ("-" if value < 0 else "") + ("0o" if verb == "O" else prefix) + digits


def _floating(verb: str, spec: _Spec, value: float) -> str:
    if verb in "gG" and spec.precision is None:
        text = _shortest(value)
        return text.upper() if verb == "G" else text
    precision = 6 if spec.precision is None else spec.precision
    return format(value, f".{precision}{verb.lower() if verb == 'F' else verb}")


def _sign(text: str, spec: _Spec, value: "int | float") -> str:
    if value >= 0 and not text.startswith(("+", "-")):
        return "+" + text if "+" in spec.flags else " " + text if " " in spec.flags else text
    return text
