"""commit: a container's own layer on top of its image becomes a new image. Blocking."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO

from havre.clock import now_nanos, rfc3339
from havre.errors import InvalidParameter
from havre.image import changes as dockerfile
from havre.image import manifest as manifests
from havre.image.layers import chain_ids
from havre.image.manifest import Descriptor
from havre.image.tar.writer import write_layer
from havre.spec import reference as references
from havre.spec.idmaps import IdMaps

if TYPE_CHECKING:
    from havre.image.images import Images
# What of a container's config an image keeps (image-spec config.md, and Docker's OnBuild, Shell, Healthcheck).
KEPT = "User ExposedPorts Env Entrypoint Cmd Volumes WorkingDir Labels StopSignal Healthcheck OnBuild Shell ArgsEscaped".split()


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is to be committed, and how it is described."""

    manifest_digest: str  # of the image below
    upper: str  # the container's own layer
    config: dict[str, Any]  # with Docker's keys
    changes: Sequence[str] = ()
    author: str = ""
    comment: str = ""
    created_by: str = ""
    target: str = ""  # a name, or nothing
    maps: IdMaps | None = None  # of the user namespace that wrote `upper`


def commit(images: "Images", wanted: Wanted) -> str:
    """Make the image; return its id. Raises InvalidParameter, NotFound; nothing is left then."""
    name = references.parse(wanted.target) if wanted.target else None
    if name is not None and name.digest:
        raise InvalidParameter("cannot commit to a digest reference", hint="havre commit CONTAINER NAME:TAG")
    config = dockerfile.apply(
        {key: value for key, value in wanted.config.items() if key in KEPT and value}, wanted.changes
    )
    below = manifests.parse_manifest(images.content.read(wanted.manifest_digest))
    base = manifests.read_config(images.content.read(below.config.digest))
    diff_ids = manifests.diff_ids(base)
    chain_ids(
        [*diff_ids, "sha256:" + "0" * 64]
    )  # one more layer must still be allowed, before anything is written
    layer = _write(images, wanted)
    chains = chain_ids([*diff_ids, layer.digest])
    if not images.layers.has(chains[-1]):
        with images.content.open(layer.digest) as file:
            images.layers.unpack(file, chains[-2] if diff_ids else "", layer.digest, hashed=False)
    data = json.dumps(_document(base, config, wanted, layer.digest)).encode()
    made = {
        "schemaVersion": 2,
        "mediaType": manifests.OCI_MANIFEST,
        "config": Descriptor(manifests.OCI_CONFIG, images.content.put(data), len(data)).as_dict(),
        "layers": [*(one.as_dict() for one in below.layers), layer.as_dict()],
    }
    manifest = json.dumps(made, separators=(",", ":")).encode()
    found = Descriptor(manifests.OCI_MANIFEST, images.content.put(manifest), len(manifest))
    images.register(found, [name.canonical()] if name else [])
    return found.digest


class _Hashed:
    """A file that knows the digest and size of what was written to it."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.digest = hashlib.sha256()
        self.size = 0

    def write(self, data: bytes) -> int:
        self.digest.update(data)
        self.size += len(data)
        return self._file.write(data)


def _write(images: "Images", wanted: Wanted) -> Descriptor:
    """Store the layer uncompressed: its digest is then its diff id. The same files give the same digest."""
    work = images.content.workspace()
    try:
        path = work / "layer"
        with path.open("wb") as file:
            out = _Hashed(file)
            write_layer(out, wanted.upper, wanted.maps)  # type: ignore[arg-type]
        digest = f"sha256:{out.digest.hexdigest()}"
        images.content.adopt(path, digest)
    finally:
        images.content.discard(work)
    return Descriptor(manifests.OCI_LAYER, digest, out.size)


def _document(base: dict[str, Any], config: dict[str, Any], wanted: Wanted, diff_id: str) -> dict[str, Any]:
    """The new image's config: the base's, with the container's config, one more layer and one more line of history."""
    created = rfc3339(now_nanos())
    line = {
        "created": created,
        "created_by": wanted.created_by,
        "author": wanted.author,
        "comment": wanted.comment,
    }
    rootfs = base.get("rootfs") or {}
    return {
        **base,
        "author": wanted.author,
        "config": config,
        "created": created,
        "history": [*(base.get("history") or []), {key: value for key, value in line.items() if value}],
        "rootfs": {"type": "layers", "diff_ids": [*(rootfs.get("diff_ids") or []), diff_id]},
    }
