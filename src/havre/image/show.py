"""Images in the Engine API's shape: inspect and history. Reads only."""

from datetime import datetime
from typing import TYPE_CHECKING, Any

from havre.clock import rfc3339
from havre.errors import NotFound
from havre.image.layers import chain_ids
from havre.spec.image import Image

if TYPE_CHECKING:
    from havre.image.images import Images


def inspect(images: "Images", image: Image) -> dict[str, Any]:
    """Return GET /images/{name}/json."""
    config, target = image.config, images.target(image.id)
    history = config.get("history") or [{}]
    return {
        "Id": image.id,
        "RepoTags": list(image.repo_tags),
        "RepoDigests": list(image.repo_digests),
        "Parent": "",
        "Comment": history[-1].get("comment", ""),
        "Created": image.created,
        "DockerVersion": config.get("docker_version", ""),
        "Author": config.get("author", ""),
        "Config": config.get("config") or {},
        "Architecture": image.platform.architecture,
        **({"Variant": image.platform.variant} if image.platform.variant else {}),
        "Os": image.platform.os,
        "Size": image.size_bytes,
        "VirtualSize": image.size_bytes,
        "GraphDriver": {"Name": "overlay2", "Data": _graph(images, image)},
        "RootFS": {"Type": "layers", "Layers": list(image.diff_ids)},
        "Metadata": {"LastTagTime": rfc3339(target.added_nanos)},
        "Descriptor": {"mediaType": target.media_type, "digest": image.id, "size": target.size},
    }


def _graph(images: "Images", image: Image) -> dict[str, str]:
    """Where the layers lie; empty when they are gone from the disk."""
    try:
        overlay = images.layers.stack(image.chain_id)
    except NotFound:
        overlay = []
    found = {"UpperDir": overlay[0]} if overlay else {}
    return {**found, "LowerDir": ":".join(overlay[1:])} if overlay[1:] else found


def history(images: "Images", image: Image) -> list[dict[str, Any]]:
    """Return GET /images/{name}/history, newest first."""
    chains = iter(chain_ids(image.diff_ids))
    found, below = [], 0
    for step in image.config.get("history") or [{"created": image.created}]:
        size = 0
        if not step.get("empty_layer"):
            total = images.layers.size(next(chains, ""))
            size, below = max(0, total - below), max(total, below)
        found.append(
            {
                "Id": "<missing>",
                "Created": seconds(step.get("created") or ""),
                "CreatedBy": step.get("created_by", ""),
                "Tags": None,
                "Size": size,
                "Comment": step.get("comment", ""),
            }
        )
    found[-1].update({"Id": image.id, "Tags": list(image.repo_tags) or None})
    return found[::-1]


def seconds(stamp: str) -> int:
    """Seconds since 1970 of an RFC 3339 stamp; 0 when it cannot be read."""
    try:
        return int(datetime.fromisoformat(stamp.replace("Z", "+00:00")).timestamp())
    except ValueError:
        pass
    try:
        return int(datetime.fromisoformat(stamp[:19] + "+00:00").timestamp())
    except ValueError:
        return 0
