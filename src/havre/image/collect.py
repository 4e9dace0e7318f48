"""Garbage: what no image, no snapshot and nobody at work needs. Blocking, but quick: removing is a rename into the trash."""

from typing import TYPE_CHECKING

from havre.errors import HavreError
from havre.image import manifest as manifests
from havre.image.layers import chain_ids

if TYPE_CHECKING:
    from havre.image.images import Images


def collect(images: "Images") -> int:
    """Remove what cannot be reached; return the bytes freed. The caller knows that nobody is at work."""
    with images.layers.lock:
        blobs: set[str] = set()
        chains = images.snapshots.chains()
        for digest in images.targets():
            reach(images, digest, blobs, chains)
        images.content.sweep()
        images.layers.sweep()
        freed = sum(images.content.delete(one) for one in list(images.content.all()) if one not in blobs)
        return freed + images.layers.remove_except(chains)


def reach(images: "Images", digest: str, blobs: set[str], chains: set[str]) -> None:
    """Add everything below a manifest or an index that is here. What cannot be read keeps itself and leads nowhere."""
    if digest in blobs or not images.content.has(digest):
        return
    blobs.add(digest)
    try:
        data = images.content.read(digest)
        if "manifests" in manifests.read_json(data, digest):
            for one in manifests.parse_index(data):
                reach(images, one.digest, blobs, chains)
            return
        manifest = manifests.parse_manifest(data)
        blobs.update([manifest.config.digest, *(layer.digest for layer in manifest.layers)])
        if images.content.has(manifest.config.digest):
            config = manifests.read_json(images.content.read(manifest.config.digest), "the image config")
            chains.update(chain_ids(manifests.diff_ids(config)))
    except HavreError:
        return  # an attestation's config, for one, has no layers of a filesystem
