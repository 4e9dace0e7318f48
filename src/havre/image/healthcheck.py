"""The instruction HEALTHCHECK, as what an image's config holds of it (Dockerfile reference, "HEALTHCHECK"). Pure."""

import json
from typing import Any

from havre.errors import InvalidParameter
from havre.units import parse_duration

_DURATIONS = {
    "--interval": "Interval",
    "--timeout": "Timeout",
    "--start-period": "StartPeriod",
    "--start-interval": "StartInterval",
}
LEAST_NANOS = 1_000_000


def parse(text: str) -> dict[str, Any]:
    """Return the config's Healthcheck of "--interval=5s CMD true" or "NONE". Raises InvalidParameter."""
    found: dict[str, Any] = {}
    word, _, rest = text.strip().partition(" ")
    while word.startswith("--"):
        flag, _, value = word.partition("=")
        found.update(_option(flag, value))
        word, _, rest = rest.strip().partition(" ")
    kind, rest = word.upper(), rest.strip()
    if kind == "NONE":
        if found or rest:
            raise InvalidParameter("HEALTHCHECK NONE takes no arguments")
        return {"Test": ["NONE"]}
    if kind != "CMD":
        raise InvalidParameter(f"Unknown type {word!r} in HEALTHCHECK (try CMD)")
    if not rest:
        raise InvalidParameter("Missing command after HEALTHCHECK CMD")
    return {"Test": _test(rest), **found}


def _test(text: str) -> list[str]:
    try:
        words = json.loads(text) if text.startswith("[") else None
    except ValueError:
        words = None
    if isinstance(words, list) and words and all(isinstance(one, str) for one in words):
        return ["CMD", *words]
    return ["CMD-SHELL", text]


def _option(flag: str, value: str) -> dict[str, int]:
    if flag == "--retries":
        if not (value.isascii() and value.isdigit()):
            raise InvalidParameter(f"HEALTHCHECK --retries needs a number: {value!r}")
        return {"Retries": int(value)}
    if flag not in _DURATIONS:
        raise InvalidParameter(f"Unknown flag: {flag.removeprefix('--')} in HEALTHCHECK")
    nanos = parse_duration(value)
    if nanos < LEAST_NANOS and nanos:
        raise InvalidParameter(f"HEALTHCHECK {flag} cannot be less than 1ms: {value!r}")
    return {_DURATIONS[flag]: nanos}
