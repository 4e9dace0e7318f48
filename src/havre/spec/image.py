"""Images as the engine sees them."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Platform:
    """OCI platform; `str()` gives linux/amd64 or linux/arm/v7."""

    os: str
    architecture: str
    variant: str = ""

    def __str__(self) -> str:
        return "/".join(part for part in (self.os, self.architecture, self.variant) if part)


@dataclass(frozen=True, slots=True)
class Image:
    """One runnable image: a target (what a name points at) seen for one platform."""

    id: str  # digest of the target: the manifest, or the index when it was pulled as one; what `docker images` shows
    manifest_digest: str  # the manifest of `platform`
    config_digest: str
    config: dict[str, Any]  # OCI image config, whole; config["config"] holds Env, Cmd, ...
    diff_ids: tuple[str, ...]  # layers, base first
    chain_id: str  # chain id of the topmost layer; "" for an image with no layers
    platform: Platform
    repo_tags: tuple[str, ...]  # familiar form, "busybox:latest"
    repo_digests: tuple[str, ...]  # "busybox@sha256:..."
    size_bytes: int  # unpacked layers plus content
    created: str  # RFC 3339
