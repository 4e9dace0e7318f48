"""Names a client sends: repositories, tags, digests. What does not match is refused before it becomes a path. Pure."""

import hashlib
import re
from dataclasses import dataclass

from havre.registry.server.refusal import Refused

MAX_NAME = 255  # distribution-spec, "Pulling manifests": many clients limit host and name together to 255
_NAME = re.compile(r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*")
_TAG = re.compile(r"[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}")
_UPLOAD = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
LENGTHS = {"sha256": 64, "sha512": 128}  # the algorithms of image-spec's descriptor.md


@dataclass(frozen=True, slots=True)
class Digest:
    """algorithm:hex, both known to be good."""

    algorithm: str
    hex: str

    def __str__(self) -> str:
        return f"{self.algorithm}:{self.hex}"


def repository(text: str) -> str:
    """Return the name of a repository. Raises Refused NAME_INVALID."""
    if len(text) > MAX_NAME or not _NAME.fullmatch(text):
        raise Refused("NAME_INVALID", "invalid repository name", {"name": text[:MAX_NAME]})
    return text


def is_tag(text: str) -> bool:
    return _TAG.fullmatch(text) is not None


def tag(text: str) -> str:
    """Return a tag. Raises Refused TAG_INVALID."""
    if not is_tag(text):
        raise Refused("TAG_INVALID", "manifest tag did not match the tag grammar", {"tag": text[:200]})
    return text


def is_upload(text: str) -> bool:
    return _UPLOAD.fullmatch(text) is not None


def parse_digest(text: str) -> Digest | None:
    """Return a digest of a known algorithm, None for anything else."""
    algorithm, colon, value = text.partition(":")
    length = LENGTHS.get(algorithm)
    if not colon or len(value) != length or not all(char in "0123456789abcdef" for char in value):
        return None
    return Digest(algorithm, value)


def digest(text: str) -> Digest:
    """Return a digest. Raises Refused DIGEST_INVALID."""
    found = parse_digest(text)
    if found is None:
        raise Refused("DIGEST_INVALID", "invalid checksum digest format", {"digest": text[:200]})
    return found


def digest_of(data: bytes, algorithm: str = "sha256") -> Digest:
    return Digest(algorithm, hashlib.new(algorithm, data).hexdigest())
