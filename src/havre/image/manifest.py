"""Manifests and indexes: read and checked. Pure. OCI image-spec and Docker's schema 2."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from havre.errors import InvalidParameter
from havre.spec.image import Platform
from havre.spec.platform import choose, normalise
from havre.spec.reference import DIGEST

OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"
CONFIGS = (OCI_CONFIG, DOCKER_CONFIG, "")
OCI_LAYER = "application/vnd.oci.image.layer.v1.tar"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
SCHEMA1 = (
    "application/vnd.docker.distribution.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v1+prettyjws",
)
MANIFESTS, INDEXES = (OCI_MANIFEST, DOCKER_MANIFEST), (OCI_INDEX, DOCKER_LIST)
MAX_MANIFEST_BYTES = 4 << 20  # the distribution spec's own limit
MAX_LAYERS, MAX_MANIFESTS, MAX_INDEX_DEPTH = 512, 1000, 4


@dataclass(frozen=True, slots=True)
class Descriptor:
    """A pointer to content."""

    media_type: str
    digest: str
    size: int
    platform: Platform | None = None

    def as_dict(self) -> dict[str, Any]:
        return {"mediaType": self.media_type, "digest": self.digest, "size": self.size}


@dataclass(frozen=True, slots=True)
class Manifest:
    """One image for one platform."""

    media_type: str
    config: Descriptor
    layers: tuple[Descriptor, ...]


def read_json(data: bytes, what: str) -> dict[str, Any]:
    """Return a JSON object. Raises InvalidParameter naming what it should have been."""
    if len(data) > MAX_MANIFEST_BYTES:
        raise InvalidParameter(f"{what} is too large: {len(data)} bytes")
    try:
        found = json.loads(data)
    except (ValueError, RecursionError):
        raise InvalidParameter(f"{what} is no JSON") from None
    if not isinstance(found, dict):
        raise InvalidParameter(f"{what} is no JSON object")
    return found


def media_type_of(found: dict[str, Any], said: str = "") -> str:
    """Return the type of a manifest or index. Raises InvalidParameter when it could be read as both."""
    if found.get("schemaVersion") == 1 or said in SCHEMA1:
        raise InvalidParameter(
            "image manifest schema 1 is not supported any more: the image must be rebuilt and pushed again"
        )
    inside = found.get("mediaType") or ""
    if ("manifests" in found) == ("layers" in found or "config" in found):
        raise InvalidParameter("ambiguous manifest: it is neither just an index nor just an image")
    wanted = INDEXES if "manifests" in found else MANIFESTS
    kind = inside or (said if said in wanted else "") or (OCI_INDEX if "manifests" in found else OCI_MANIFEST)
    if kind not in wanted or (inside and said in (*MANIFESTS, *INDEXES) and inside != said):
        raise InvalidParameter(f"ambiguous manifest: {inside or said!r} does not fit its content")
    return kind


def parse_manifest(data: bytes) -> Manifest:
    """Return a checked image manifest. Raises InvalidParameter."""
    found = read_json(data, "the manifest")
    kind = media_type_of(found)
    if kind in INDEXES:
        raise InvalidParameter("an index where an image manifest is due")
    layers = found.get("layers")
    if not isinstance(layers, list) or len(layers) > MAX_LAYERS:
        raise InvalidParameter("the manifest has no sound list of layers")
    return Manifest(kind, _descriptor(found.get("config")), tuple(_descriptor(one) for one in layers))


def parse_index(data: bytes) -> list[Descriptor]:
    """Return the descriptors of an index that have a manifest's type."""
    found = read_json(data, "the index")
    media_type_of(found)
    entries = found.get("manifests")
    if not isinstance(entries, list) or len(entries) > MAX_MANIFESTS:
        raise InvalidParameter("the index has no sound list of manifests")
    return [_descriptor(one) for one in entries]


def _descriptor(value: Any) -> Descriptor:
    if not isinstance(value, dict):
        raise InvalidParameter("a descriptor is missing")
    digest, size = value.get("digest"), value.get("size")
    if not isinstance(digest, str) or not DIGEST.fullmatch(digest):
        raise InvalidParameter(f"invalid digest in a descriptor: {str(digest)[:100]!r}")
    if not isinstance(size, int) or isinstance(size, bool) or not 0 <= size < 1 << 46:
        raise InvalidParameter(f"invalid size in the descriptor of {digest}")
    media_type = value.get("mediaType")
    return Descriptor(
        media_type if isinstance(media_type, str) else "", digest, size, _platform(value.get("platform"))
    )


def _platform(value: Any) -> Platform | None:
    if not isinstance(value, dict):
        return None
    words = [value.get(key) for key in ("os", "architecture", "variant")]
    if not all(word is None or isinstance(word, str) for word in words):
        return None
    return normalise(Platform(words[0] or "", words[1] or "", words[2] or ""))


def pick(index: list[Descriptor], wanted: Platform) -> Descriptor | None:
    """Return the manifest for a platform; attestations (unknown/unknown) never count."""
    images = [one for one in index if one.platform is not None and one.platform.os not in ("unknown", "")]
    place = choose([one.platform for one in images if one.platform], wanted)
    if place >= 0:
        return images[place]
    bare = [one for one in index if one.platform is None and one.media_type in (*MANIFESTS, *INDEXES, "")]
    return bare[0] if len(bare) == 1 and not images else None


class _History(msgspec.Struct):
    """What is shown of one step."""

    created: str | None = None
    created_by: str | None = None
    comment: str | None = None
    author: str | None = None
    empty_layer: bool | None = None


class _RunConfig(msgspec.Struct):
    """config.config as far as the engine reads it (OCI image-spec, config.md)."""

    User: str | None = None
    WorkingDir: str | None = None
    StopSignal: str | None = None
    Env: list[str] | None = None
    Cmd: list[str] | None = None
    Entrypoint: list[str] | None = None
    Shell: list[str] | None = None
    OnBuild: list[str] | None = None
    Labels: dict[str, str] | None = None
    ExposedPorts: dict[str, dict[str, Any] | None] | None = None
    Volumes: dict[str, dict[str, Any] | None] | None = None
    Healthcheck: dict[str, Any] | None = None


class _Config(msgspec.Struct):
    """The image config around it."""

    created: str | None = None
    author: str | None = None
    docker_version: str | None = None
    config: _RunConfig | None = None
    history: list[_History] | None = None


def read_config(data: bytes) -> dict[str, Any]:
    """Return an image config whose fields have the types they should. Raises InvalidParameter naming the field."""
    found = read_json(data, "the image config")
    inner = found.get("config")
    for key in ("Cmd", "Entrypoint"):  # Docker's own reader takes one word for a list
        if isinstance(inner, dict) and isinstance(inner.get(key), str):
            inner[key] = [inner[key]]
    try:
        msgspec.convert(found, _Config)
    except msgspec.ValidationError as error:
        raise InvalidParameter(f"the image config is not sound: {str(error).lower()}") from None
    return found


def check_layers(manifest: Manifest, wanted: Sequence[str]) -> None:
    """The config must name as many layers as the manifest. Raises InvalidParameter."""
    if len(wanted) != len(manifest.layers):
        raise InvalidParameter(f"the manifest has {len(manifest.layers)} layers, the config {len(wanted)}")


def diff_ids(config: dict[str, Any]) -> tuple[str, ...]:
    """Return rootfs.diff_ids of an image config. Raises InvalidParameter."""
    rootfs = config.get("rootfs")
    found = rootfs.get("diff_ids") if isinstance(rootfs, dict) else None
    if not isinstance(found, list) or not all(
        isinstance(one, str) and DIGEST.fullmatch(one) for one in found
    ):
        raise InvalidParameter("the image config has no sound rootfs.diff_ids")
    return tuple(found)


def config_platform(config: dict[str, Any]) -> Platform:
    """Return the platform an image config names."""
    words = [config.get(key) or "" for key in ("os", "architecture", "variant")]
    if not all(isinstance(word, str) for word in words):
        raise InvalidParameter("the image config has no sound platform")
    return normalise(Platform(words[0] or "linux", words[1] or "amd64", words[2]))
