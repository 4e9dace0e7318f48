"""A registry's refusals in Docker's words. Pure."""

import json

from havre.errors import Forbidden, HavreError, InvalidParameter, NotFound, Unauthorized, Unavailable
from havre.spec.reference import Reference

MAX_SAID = 300


def refusal(
    status: int, body: bytes, reference: Reference, *, pushing: bool = False, blob: bool = False
) -> HavreError:
    """Return the error for an answer that is not what was asked for."""
    code, said = _said(body)
    name = reference.familiar_name()
    if code == "TOOMANYREQUESTS" or status == 429:
        return Unavailable(
            f"{reference.domain}: {said or 'toomanyrequests: you have reached the rate limit'}",
            hint=f"havre login {reference.domain}, or a registry mirror",
        )
    if status in (401, 403) or code in ("DENIED", "UNAUTHORIZED"):
        return _denied(status, said, reference, pushing=pushing)
    if status == 404 and pushing:
        return NotFound(f"{reference.domain} has no place for {name}: {said or 'not found'}")
    if status == 404 and code == "NAME_UNKNOWN":
        return NotFound(f"repository {name} not found: {said}", hint="check the name")
    if status == 404 and blob:
        return NotFound(f"{name} misses a part: {said or 'blob unknown'}")
    if status == 404:
        return NotFound(f"manifest for {reference.familiar()} not found: {said or 'manifest unknown'}")
    if status in (400, 413, 415):
        return InvalidParameter(f"{reference.domain} refused {name}: {said or status}")
    return Unavailable(f"{reference.domain} answered {status}{': ' + said if said else ''}")


def _denied(status: int, said: str, reference: Reference, *, pushing: bool) -> HavreError:
    said = said or "denied: requested access to the resource is denied"
    hint = f"havre login {reference.domain}"
    if pushing:
        kind = Unauthorized if status == 401 else Forbidden
        return kind(f"push access denied for {reference.familiar_name()}: {said}", hint=hint)
    return NotFound(  # Docker answers 404: who may not look cannot know whether it is there
        f"pull access denied for {reference.familiar_name()}, repository does not exist or may require 'docker login': {said}",
        hint=hint,
    )


def _said(body: bytes) -> tuple[str, str]:
    """Code and words of a registry's first error, safe to print: "manifest unknown: manifest unknown"."""
    try:
        first = json.loads(body)["errors"][0]
        code, message = str(first.get("code") or ""), str(first.get("message") or "")
    except (ValueError, KeyError, IndexError, TypeError, AttributeError, RecursionError):
        return "", ""
    text = ": ".join(part for part in (code.lower().replace("_", " "), message) if part)
    return code.upper(), "".join(char for char in text if char.isprintable())[:MAX_SAID]
