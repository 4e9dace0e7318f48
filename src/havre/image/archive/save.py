"""save: an OCI image layout with Docker's manifest.json beside it, as Docker 25 and later write. Blocking; the same images, the same bytes."""

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, BinaryIO

from havre.errors import InvalidParameter, NotFound
from havre.image import manifest as manifests
from havre.image.archive.load import ANNOTATIONS, blob_name
from havre.image.tar.writer import Writer
from havre.spec import reference as references
from havre.spec.reference import Reference

if TYPE_CHECKING:
    from havre.image.images import Images


def save(images: "Images", refs: Sequence[str], out: BinaryIO) -> None:
    """Write the images; a repository without a tag stands for all its tags. Raises NoSuchImage before the first byte."""
    entries: dict[str, dict[str, Any]] = {}
    docker: dict[str, dict[str, Any]] = {}
    blobs: set[str] = set()
    for digest, name in wanted(images, refs):
        key = f"{digest} {name.canonical() if name else ''}"
        if key in entries:
            continue
        target = images.target(digest)
        annotations = {ANNOTATIONS[0]: name.canonical(), ANNOTATIONS[1]: name.tag} if name else {}
        descriptor = {"mediaType": target.media_type, "digest": digest, "size": target.size}
        entries[key] = {**descriptor, **({"annotations": annotations} if annotations else {})}
        _docker_entry(images, digest, name, docker)
        _reachable(images, digest, blobs)
    if not entries:
        raise InvalidParameter("no image named", hint="havre save IMAGE")
    _write(images, out, blobs, list(entries.values()), list(docker.values()))


def wanted(images: "Images", refs: Sequence[str]) -> list[tuple[str, Reference | None]]:
    """Return (target, name or None when it was asked for by id or digest). Raises NoSuchImage."""
    found: list[tuple[str, Reference | None]] = []
    for ref in refs:
        tags = _all_tags(images, ref)
        if tags:
            found += [(images.names()[name], references.parse(name)) for name in tags]
            continue
        digest = images.target_of(ref)
        named = [name for name, target in images.names().items() if target == digest]
        by_name = next((name for name in named if _is_name(ref, name)), None)
        found.append((digest, references.parse(by_name) if by_name else None))
    return found


def _all_tags(images: "Images", ref: str) -> list[str]:
    """Every name of a repository that was given without a tag."""
    try:
        bare = references.parse(ref, default_tag=False)
    except InvalidParameter:
        return []
    if bare.tag or bare.digest:
        return []
    return sorted(name for name in images.names() if name.startswith(f"{bare.name}:"))


def _is_name(ref: str, canonical: str) -> bool:
    try:
        return references.parse(ref).canonical() == canonical
    except InvalidParameter:
        return False


def _docker_entry(
    images: "Images", digest: str, name: Reference | None, docker: dict[str, dict[str, Any]]
) -> None:
    """manifest.json's entry, for clients that know nothing newer."""
    image = images.resolve(digest)
    manifest = manifests.parse_manifest(images.content.read(image.manifest_digest))
    entry = docker.setdefault(
        image.manifest_digest,
        {
            "Config": blob_name(manifest.config.digest),
            "RepoTags": [],
            "Layers": [blob_name(one.digest) for one in manifest.layers],
        },
    )
    if name is not None:
        entry["RepoTags"].append(name.familiar())


def _reachable(images: "Images", digest: str, blobs: set[str]) -> None:
    """Every blob of a target that is here; an index may be here in part. Raises NotFound when an image is not whole."""
    if digest in blobs:
        return
    blobs.add(digest)
    data = images.content.read(digest)
    if manifests.media_type_of(manifests.read_json(data, "a manifest")) in manifests.INDEXES:
        for inner in manifests.parse_index(data):
            if images.content.has(inner.digest):
                _reachable(images, inner.digest, blobs)
        return
    manifest = manifests.parse_manifest(data)
    wanted = [manifest.config.digest, *(layer.digest for layer in manifest.layers)]
    if missing := [one for one in wanted if not images.content.has(one)]:
        raise NotFound(f"content of the image is missing: {missing[0]}", hint="havre pull it again")
    blobs.update(wanted)


def _write(
    images: "Images",
    out: BinaryIO,
    blobs: set[str],
    entries: Sequence[dict[str, Any]],
    docker: Sequence[dict[str, Any]],
) -> None:
    writer = Writer(out)
    for digest in sorted(blobs):
        size = images.content.size(digest)
        with images.content.open(digest) as file:
            writer.header(blob_name(digest).encode(), size=size)
            writer.copy(file, size)
    index = {"schemaVersion": 2, "mediaType": manifests.OCI_INDEX, "manifests": entries}
    texts: tuple[tuple[bytes, object], ...] = (
        (b"index.json", index),
        (b"manifest.json", docker),
        (b"oci-layout", {"imageLayoutVersion": "1.0.0"}),
    )
    for name, value in texts:
        writer.file(name, json.dumps(value, separators=(",", ":")).encode())
    writer.finish()
    out.flush()
