"""import: a root filesystem archive becomes a one-layer image. Blocking."""

import hashlib
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, BinaryIO

from havre.clock import now_nanos, rfc3339
from havre.errors import InvalidParameter
from havre.image import changes as dockerfile
from havre.image import manifest as manifests
from havre.image.content import write_all
from havre.image.layers import chain_id
from havre.image.manifest import Descriptor
from havre.image.tar.compression import open_stream
from havre.spec import reference as references
from havre.spec.image import Platform
from havre.spec.platform import host_platform

if TYPE_CHECKING:
    from havre.image.images import Images


def import_(
    images: "Images",
    stream: BinaryIO,
    target: str,
    *,
    changes: Sequence[str],
    message: str,
    platform: Platform | None,
) -> str:
    """Make a one-layer image of an archive of any compression; return its id. Raises InvalidParameter; nothing is left then."""
    name = references.parse(target) if target else None
    if name is not None and name.digest:
        raise InvalidParameter("cannot import digest reference")
    config = dockerfile.apply({}, changes)
    layer = _take_layer(images, stream)
    if not images.layers.has(chain_id("", layer.digest)):
        with images.content.open(layer.digest) as file:
            images.layers.unpack(file, "", layer.digest, hashed=False)
    document = _document(platform or host_platform(), config, message, layer.digest)
    data = json.dumps(document).encode()
    made = {
        "schemaVersion": 2,
        "mediaType": manifests.OCI_MANIFEST,
        "config": Descriptor(manifests.OCI_CONFIG, images.content.put(data), len(data)).as_dict(),
        "layers": [layer.as_dict()],
    }
    manifest = json.dumps(made, separators=(",", ":")).encode()
    found = Descriptor(manifests.OCI_MANIFEST, images.content.put(manifest), len(manifest))
    images.register(found, [name.canonical()] if name else [])
    return found.digest


def _take_layer(images: "Images", stream: BinaryIO) -> Descriptor:
    """Store the archive uncompressed: its digest is then its diff id."""
    work = images.content.workspace()
    try:
        path, digest, size = work / "layer", hashlib.sha256(), 0
        source = open_stream(stream, hashed=False)
        with path.open("wb", buffering=0) as file:
            while chunk := source.chunk():
                digest.update(chunk)
                size += len(chunk)
                write_all(file.fileno(), chunk, "the archive")
        found = f"sha256:{digest.hexdigest()}"
        images.content.adopt(path, found)
    finally:
        images.content.discard(work)
    return Descriptor(manifests.OCI_LAYER, found, size)


def _document(own: Platform, config: dict[str, Any], message: str, diff_id: str) -> dict[str, Any]:
    created = rfc3339(now_nanos())
    return {
        "architecture": own.architecture,
        **({"variant": own.variant} if own.variant else {}),
        "config": config,
        "created": created,
        "history": [{"created": created, "created_by": "", "comment": message or "Imported from -"}],
        "os": own.os,
        "rootfs": {"type": "layers", "diff_ids": [diff_id]},
    }
