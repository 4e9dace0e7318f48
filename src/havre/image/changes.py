"""Dockerfile instructions of `import --change` and `commit --change`, applied to an image's config. Pure."""

import json
import shlex
from collections.abc import Sequence
from typing import Any

from havre.errors import InvalidParameter
from havre.image import healthcheck

_KNOWN = "CMD ENTRYPOINT ENV EXPOSE HEALTHCHECK LABEL ONBUILD STOPSIGNAL USER VOLUME WORKDIR".split()


def apply(config: dict[str, Any], changes: Sequence[str]) -> dict[str, Any]:
    """Return the config with every instruction applied. Raises InvalidParameter naming the instruction."""
    result = dict(config)
    for line in changes:
        word, _, rest = line.strip().partition(" ")
        word, rest = word.upper(), rest.strip()
        if word not in _KNOWN:
            raise InvalidParameter(f"{word or line!r} is not a valid change command", hint=" ".join(_KNOWN))
        if not rest:
            raise InvalidParameter(f"{word} requires at least one argument")
        _apply(result, word, rest)
    return result


def _apply(config: dict[str, Any], word: str, rest: str) -> None:
    if word in ("CMD", "ENTRYPOINT"):
        config["Cmd" if word == "CMD" else "Entrypoint"] = _command(rest)
    elif word == "ENV":
        pairs = _pairs(rest)
        kept = [entry for entry in config.get("Env") or [] if entry.partition("=")[0] not in pairs]
        config["Env"] = kept + [f"{key}={value}" for key, value in pairs.items()]
    elif word == "LABEL":
        config["Labels"] = {**(config.get("Labels") or {}), **_pairs(rest)}
    elif word == "EXPOSE":
        ports: dict[str, dict[str, str]] = {
            port if "/" in port else f"{port}/tcp": {} for port in rest.split()
        }
        config["ExposedPorts"] = {**(config.get("ExposedPorts") or {}), **ports}
    elif word == "HEALTHCHECK":
        config["Healthcheck"] = healthcheck.parse(rest)
    elif word == "VOLUME":
        paths = _json_list(rest) or shlex.split(rest)
        config["Volumes"] = {**(config.get("Volumes") or {}), **{path: {} for path in paths}}
    elif word == "ONBUILD":
        config["OnBuild"] = [*(config.get("OnBuild") or []), rest]
    else:
        config[{"USER": "User", "WORKDIR": "WorkingDir", "STOPSIGNAL": "StopSignal"}[word]] = rest


def _json_list(text: str) -> list[str] | None:
    if not text.startswith("["):
        return None
    try:
        found = json.loads(text)
    except ValueError:
        return None
    return found if isinstance(found, list) and all(isinstance(one, str) for one in found) else None


def _command(text: str) -> list[str]:
    """The exec form is a JSON list; anything else goes to a shell."""
    found = _json_list(text)
    return ["/bin/sh", "-c", text] if found is None else found


def _pairs(text: str) -> dict[str, str]:
    """KEY=value words, or the old form "KEY some text"."""
    first = text.split(None, 1)
    if "=" not in first[0]:
        if len(first) < 2:
            raise InvalidParameter(f"{text!r}: a value is missing")
        return {first[0]: first[1]}
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise InvalidParameter(f"{text!r}: {error}") from None
    if bad := [word for word in words if "=" not in word]:
        raise InvalidParameter(f"{bad[0]!r} is no KEY=value")
    return dict(word.split("=", 1) for word in words)
