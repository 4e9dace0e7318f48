"""The template of a log's tag: `{{.Name}}/{{.ID}}`, with dockerd's functions and pipelines. Pure; no eval."""

import json
import re
from collections.abc import Callable, Mapping
from typing import Any

from havre.errors import InvalidParameter

_ACTION = re.compile(r"\{\{(- )?(.*?)( -)?\}\}", re.DOTALL)
_TOKEN = re.compile(
    r"\s*(?:(?P<pipe>\|)|(?P<open>\()|(?P<close>\))|(?P<field>\.[\w.]*)|(?P<raw>`[^`]*`)"
    r'|(?P<text>"(?:[^"\\\n]|\\.)*")|(?P<number>-?\d+)|(?P<word>\w+))'
)
Token = tuple[str, str]


def render(template: str, fields: Mapping[str, Any]) -> str:
    """Return the template with its actions carried out. Raises InvalidParameter in Go's words."""
    out, place = [], 0
    for found in _ACTION.finditer(template):
        text = template[place : found.start()]
        out.append(text.rstrip() if found[1] else text)
        out.append(_show(_Action(found[2], fields).value()))
        place = found.end()
        if found[3]:
            place += len(template[place:]) - len(template[place:].lstrip())
    rest = template[place:]
    if "{{" in rest:
        raise _wrong("unclosed action")
    return "".join(out) + rest


def _wrong(text: str) -> InvalidParameter:
    return InvalidParameter(f"template: log-tag:1: {text}", hint="tag={{.Name}}/{{.ID}}")


class _Action:
    """What stands between the braces: commands joined by pipes."""

    def __init__(self, text: str, fields: Mapping[str, Any]) -> None:
        self._tokens = _tokens(text)
        self._fields = fields

    def value(self) -> Any:
        if not self._tokens:
            raise _wrong("missing value for command")
        found = self._pipeline()
        if self._tokens:
            raise _wrong(f"unexpected {self._tokens[0][1]!r} in command")
        return found

    def _pipeline(self) -> Any:
        found = self._command(())
        while self._tokens and self._tokens[0][0] == "pipe":
            self._tokens.pop(0)
            found = self._command((found,))
        return found

    def _command(self, last: tuple[Any, ...]) -> Any:
        if not self._tokens or self._tokens[0][0] in ("pipe", "close"):
            raise _wrong("missing value for command")
        kind, word = self._tokens[0]
        if kind != "word" or word in ("true", "false"):
            found = self._operand()
            if last or (self._tokens and self._tokens[0][0] not in ("pipe", "close")):
                raise _wrong(f"can't give argument to non-function {word}")
            return found
        self._tokens.pop(0)
        if word not in FUNCTIONS:
            raise _wrong(f'function "{word}" not defined')
        arguments = []
        while self._tokens and self._tokens[0][0] not in ("pipe", "close"):
            arguments.append(self._operand())
        try:
            return FUNCTIONS[word](*arguments, *last)
        except (TypeError, ValueError, AttributeError, KeyError, IndexError) as error:
            raise _wrong(f"error calling {word}: {error}") from None

    def _operand(self) -> Any:
        kind, word = self._tokens.pop(0)
        if kind == "open":
            found = self._pipeline()
            if not self._tokens or self._tokens.pop(0)[0] != "close":
                raise _wrong("unclosed left paren")
            return found
        if kind == "field":
            return self._field(word)
        if kind == "raw":
            return word[1:-1]
        if kind == "text":
            return json.loads(word)
        if kind == "number":
            return int(word)
        if word in ("true", "false"):
            return word == "true"
        raise _wrong(f"unexpected {word!r} in operand")

    def _field(self, word: str) -> Any:
        found: Any = self._fields
        for name in word.strip(".").split(".") if word != "." else ():
            if not isinstance(found, Mapping):
                raise _wrong(f"can't evaluate field {name}")
            if name not in found:
                if found is self._fields:
                    raise _wrong(f"can't evaluate field {name} in type *logger.Info")
                return "<no value>"
            found = found[name]
        return found


def _tokens(text: str) -> list[Token]:
    found, place = [], 0
    text = text.rstrip()
    while place < len(text):
        match = _TOKEN.match(text, place)
        if not match:
            raise _wrong(f"unexpected {text[place:].strip()[:1]!r} in command")
        found.append((match.lastgroup or "", match[0].strip()))
        place = match.end()
    return found


def _show(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list):
        return "[" + " ".join(map(_show, value)) + "]"
    if isinstance(value, Mapping):
        return "map[" + " ".join(f"{key}:{_show(value[key])}" for key in sorted(value)) + "]"
    return str(value)


def _printf(form: str, *values: Any) -> str:
    rest = iter(values)

    def one(found: re.Match[str]) -> str:
        if found[2] == "%":
            return "%"
        value = next(rest, None)
        if value is None:
            return f"%!{found[2]}(MISSING)"
        if found[2] == "q":
            return json.dumps(_show(value))
        width = found[1]
        return ("%" + width + "d") % int(value) if found[2] == "d" else ("%" + width + "s") % _show(value)

    return re.sub(r"%(-?\d{0,3}(?:\.\d{1,3})?)([sdvq%])", one, form)


def _index(value: Any, *keys: Any) -> Any:
    for key in keys:
        value = value.get(key, "") if isinstance(value, Mapping) else value[int(key)]
    return value


def _pad(text: str, before: int, after: int) -> str:
    if not 0 <= before <= 1000 or not 0 <= after <= 1000:
        raise ValueError("more than 1000 spaces")
    return text and " " * before + text + " " * after


FUNCTIONS: dict[str, Callable[..., Any]] = {
    "json": lambda value: json.dumps(value, separators=(",", ":"), ensure_ascii=False),
    "split": lambda text, mark: text.split(mark) if mark else list(text),
    "join": lambda values, mark: mark.join(values),
    "title": lambda text: " ".join(word[:1].upper() + word[1:] for word in text.split(" ")),
    "lower": lambda text: text.lower(),
    "upper": lambda text: text.upper(),
    "pad": _pad,
    "truncate": lambda text, length: text[: max(0, length)],
    "index": _index,
    "len": len,
    "print": lambda *values: "".join(map(_show, values)),
    "println": lambda *values: " ".join(map(_show, values)) + "\n",
    "printf": _printf,
}
