"""Fields of a stored record that this version does not know: an older Havre gives them back as it found them (downgrade, then upgrade)."""

from collections.abc import Mapping
from functools import cache
from typing import Any

import msgspec


def fields(raw: Mapping[str, Any], known: msgspec.Struct) -> dict[str, Any]:
    """Return what of `raw` the struct made of it has no field for, in the same nesting; {} almost always."""
    names = _names(type(known))
    found: dict[str, Any] = {}
    for key, value in raw.items():
        if key not in names:
            found[key] = value
            continue
        inner = getattr(known, names[key])
        if isinstance(inner, msgspec.Struct) and isinstance(value, dict) and (rest := fields(value, inner)):
            found[key] = rest
    return found


@cache
def _names(kind: type[msgspec.Struct]) -> dict[str, str]:
    """Attribute by JSON key; msgspec takes a millisecond to say it."""
    return {one.encode_name: one.name for one in msgspec.structs.fields(kind)}


def merge(document: dict[str, Any], rest: Mapping[str, Any]) -> dict[str, Any]:
    """Put them back; what the document has itself stays."""
    for key, value in rest.items():
        if isinstance(value, dict) and isinstance(document.get(key), dict):
            merge(document[key], value)
        else:
            document.setdefault(key, value)
    return document
