"""What a manifest says of itself and of others, read strictly. Pure."""

import json
from dataclasses import dataclass
from typing import Any

from havre.registry.server.names import Digest, parse_digest
from havre.registry.server.refusal import Refused

MAX_BYTES = 4 << 20  # distribution-spec: registries SHOULD accept at least 4 MiB
IMAGE = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
DOCKER_IMAGE = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
KNOWN = frozenset((IMAGE, INDEX, DOCKER_IMAGE, DOCKER_LIST))
ELSEWHERE = ("nondistributable", "foreign")  # layers that need not be here


@dataclass(frozen=True, slots=True)
class Manifest:
    """One manifest's references."""

    media_type: str
    blobs: tuple[Digest, ...]  # config and layers that must be here
    children: tuple[Digest, ...]  # an index's manifests
    subject: Digest | None
    artifact_type: str
    annotations: dict[str, str]


def read(data: bytes, content_type: str = "") -> Manifest:
    """Return what `data` says. Raises Refused MANIFEST_INVALID; `content_type` must agree with it where both speak."""
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        raise invalid("no JSON") from None
    if not isinstance(value, dict) or value.get("schemaVersion") != 2:
        raise invalid("schemaVersion must be 2")
    media_type = _media_type(value, content_type)
    is_index = media_type in (INDEX, DOCKER_LIST)
    if is_index and ("layers" in value or "config" in value):
        raise invalid(
            "an index with layers"
        )  # GHSA-mc8v-mgrf-8f4m: both at once mean different things to different readers
    if not is_index and "manifests" in value:
        raise invalid("an image manifest with manifests")
    config = _descriptor(value["config"], "config") if "config" in value else None
    if not is_index and config is None:
        raise invalid("config is missing")
    layers = _descriptors(value, "layers")
    needed = [one for one in ([config] if config else []) + layers if not _elsewhere(one)]
    subject = _descriptor(value["subject"], "subject") if value.get("subject") is not None else None
    return Manifest(
        media_type=media_type,
        blobs=tuple(_digest(one) for one in needed),
        children=tuple(_digest(one) for one in _descriptors(value, "manifests")),
        subject=_digest(subject) if subject else None,
        artifact_type=_text(value, "artifactType") or (str(config.get("mediaType") or "") if config else ""),
        annotations=_annotations(value),
    )


def invalid(why: str) -> Refused:
    return Refused("MANIFEST_INVALID", f"manifest invalid: {why}")


def _media_type(value: dict[str, Any], content_type: str) -> str:
    inner, outer = _text(value, "mediaType"), content_type.partition(";")[0].strip().lower()
    if inner and outer in KNOWN and inner != outer:
        raise invalid(f"mediaType {inner!r} is not the Content-Type {outer!r}")
    found = inner or (outer if outer in KNOWN else INDEX if "manifests" in value else IMAGE)
    if found not in KNOWN:
        raise invalid(f"unknown media type {found[:200]!r}")
    return found


def _text(value: dict[str, Any], key: str) -> str:
    found = value.get(key)
    if found is not None and not isinstance(found, str):
        raise invalid(f"{key} must be a string")
    return found or ""


def _annotations(value: dict[str, Any]) -> dict[str, str]:
    found = value.get("annotations")
    if found is None:
        return {}
    if not isinstance(found, dict) or not all(isinstance(one, str) for one in found.values()):
        raise invalid("annotations must be strings")
    return found


def _descriptors(value: dict[str, Any], key: str) -> list[dict[str, Any]]:
    found = value.get(key)
    if found is None:
        return []
    if not isinstance(found, list):
        raise invalid(f"{key} must be a list")
    return [_descriptor(one, key) for one in found]


def _descriptor(value: Any, where: str) -> dict[str, Any]:
    if not isinstance(value, dict) or not isinstance(value.get("digest"), str):
        raise invalid(f"{where}: a descriptor with a digest is needed")
    size = value.get("size")
    if isinstance(size, bool) or not isinstance(size, int) or size < 0:
        raise invalid(f"{where}: a size is needed")
    _digest(value)
    return value


def _digest(descriptor: dict[str, Any]) -> Digest:
    found = parse_digest(descriptor["digest"])
    if found is None:
        raise invalid(f"bad digest {descriptor['digest'][:200]!r}")
    return found


def _elsewhere(descriptor: dict[str, Any]) -> bool:
    return any(word in str(descriptor.get("mediaType") or "") for word in ELSEWHERE)
