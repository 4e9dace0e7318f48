"""The part of YAML that machines write: block mappings and lists, plain and quoted words, one-line flow lists. Pure.

Anchors, tags, several documents and folded texts are refused by name, never guessed at.
"""

import json
import re
from typing import Any

from havre.errors import InvalidParameter

_KEY = re.compile(
    r"""("(?:[^"\\]|\\.)*"|'(?:[^']|'')*'|[^\s#"'\[\]{},&*!|>%@`-][^#]*?|-[^\s#][^#]*?)\s*:(?:\s+(.*))?$"""
)
_INTEGER = re.compile(r"[-+]?(0|[1-9][0-9]*)|0x[0-9a-fA-F]+|0o[0-7]+|0[0-7]+")
_WORDS = {"true": True, "false": False, "null": None, "~": None, "": None}
MAX_DEPTH = 32

Line = tuple[int, str]  # indentation, text without it


def load(text: str) -> Any:
    """Return the document as plain values. Raises InvalidParameter naming the line's text."""
    lines = [line for line in map(_line, text.splitlines()) if line is not None]
    if lines and lines[0] == (0, "---"):
        lines = lines[1:]
    if not lines:
        return None
    value, rest = _block(lines, 0)
    if rest:
        raise InvalidParameter(f"this YAML cannot be read: {rest[0][1]!r}")
    return value


def _line(raw: str) -> Line | None:
    text = raw.lstrip(" ")
    if text.startswith("\t"):
        raise InvalidParameter("YAML is indented by spaces, not tabs")
    text = _uncomment(text).rstrip()
    return (len(raw) - len(raw.lstrip(" ")), text) if text else None


def _uncomment(text: str) -> str:
    """Cut a comment: a # at the beginning or behind a space, outside of quotes."""
    quote = ""
    for place, letter in enumerate(text):
        if quote:
            if letter == quote and not (quote == '"' and text[place - 1] == "\\"):
                quote = ""
        elif letter in "\"'" and (place == 0 or text[place - 1] in " ,[:-"):
            quote = letter
        elif letter == "#" and (place == 0 or text[place - 1] == " "):
            return text[:place]
    return text


def _block(lines: list[Line], depth: int) -> tuple[Any, list[Line]]:
    if depth > MAX_DEPTH:
        raise InvalidParameter(f"this YAML is nested deeper than {MAX_DEPTH}")
    indent, text = lines[0]
    if text == "-" or text.startswith("- "):
        return _list(lines, indent, depth)
    if _KEY.match(text):
        return _mapping(lines, indent, depth)
    return scalar(text), lines[1:]


def _list(lines: list[Line], indent: int, depth: int) -> tuple[list[Any], list[Line]]:
    found: list[Any] = []
    while lines and lines[0][0] == indent and (lines[0][1] == "-" or lines[0][1].startswith("- ")):
        inner = lines[0][1][1:].lstrip()
        if inner:
            at = indent + len(lines[0][1]) - len(inner)
            value, lines = _block([(at, inner), *lines[1:]], depth + 1)
        else:
            value, lines = _below(lines[1:], indent, depth)
        found.append(value)
    return found, lines


def _mapping(lines: list[Line], indent: int, depth: int) -> tuple[dict[str, Any], list[Line]]:
    found: dict[str, Any] = {}
    while lines and lines[0][0] == indent and (match := _KEY.match(lines[0][1])):
        key, inner = str(scalar(match.group(1), quoted_only=True)), match.group(2) or ""
        if key in found:
            raise InvalidParameter(f"the key {key!r} is there twice")
        if inner:
            found[key], lines = scalar(inner), lines[1:]
        elif len(lines) > 1 and lines[1][0] == indent and lines[1][1].startswith("-"):
            found[key], lines = _list(lines[1:], indent, depth + 1)
        else:
            found[key], lines = _below(lines[1:], indent, depth)
    return found, lines


def _below(lines: list[Line], indent: int, depth: int) -> tuple[Any, list[Line]]:
    """What stands deeper than `indent`; nothing there is a null."""
    return _block(lines, depth + 1) if lines and lines[0][0] > indent else (None, lines)


def scalar(text: str, *, quoted_only: bool = False) -> Any:
    """Return one word: quoted, a flow list or mapping of one line, a number, true, null, or a plain string."""
    if text.startswith('"'):
        return _json(text)
    if text.startswith("'"):
        if len(text) < 2 or not text.endswith("'"):
            raise InvalidParameter(f"this YAML cannot be read: {text!r}")
        return text[1:-1].replace("''", "'")
    if quoted_only:
        return text
    if text[0] in "[{":
        return _flow(text)
    if text[0] in "&*!|>%@`":
        raise InvalidParameter(f"this kind of YAML is not read: {text!r}", hint="write plain values, or JSON")
    if text.lower() in _WORDS:
        return _WORDS[text.lower()]
    if _INTEGER.fullmatch(text):
        octal = text.startswith("0") and text.isdigit() and len(text) > 1
        return int(text, 8) if octal else int(text, 0)
    return text


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        raise InvalidParameter(f"this YAML cannot be read: {text!r}") from None


def _flow(text: str) -> Any:
    """JSON, or a list of plain words."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        inner = text[1:-1].strip()
        if text[0] != "[" or text[-1] != "]" or set(inner) & set("[]{}\"'"):
            raise InvalidParameter(f"this YAML cannot be read: {text!r}") from None
        return [scalar(word.strip()) for word in inner.split(",") if word.strip()]
