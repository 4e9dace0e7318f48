"""load: Docker archives (manifest.json) and OCI image layouts, also mixed as Docker 25 and later write them. Blocking."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO

from havre.errors import InvalidParameter
from havre.image import manifest as manifests
from havre.image.archive.members import Members, compression, spool
from havre.image.manifest import Descriptor
from havre.spec import reference as references

if TYPE_CHECKING:
    from havre.image.images import Images

MAX_IMAGES = 1000
ANNOTATIONS = ("io.containerd.image.name", "org.opencontainers.image.ref.name")
REPORT_BYTES = 4 << 20
Progress = Callable[[dict[str, Any]], None]


@dataclass(frozen=True, slots=True)
class _Loaded:
    target: Descriptor
    names: tuple[str, ...]  # canonical


def load(images: "Images", stream: BinaryIO, progress: Progress) -> list[str]:
    """Load every image of an archive; return names, or ids where there is none. Raises InvalidParameter; nothing is registered then."""
    work = images.content.workspace()
    try:
        members = spool(stream, work)
        if (index := members.text("index.json")) is not None and members.text("oci-layout") is not None:
            loaded = _load_layout(images, members, index, progress)
        elif (listing := members.text("manifest.json")) is not None:
            loaded = _load_docker(images, members, listing, progress)
        else:
            raise InvalidParameter(
                "this is no image archive: neither manifest.json nor an OCI layout is in it",
                hint="havre import, for a root filesystem",
            )
    finally:
        images.content.discard(work)
    if not loaded:
        raise InvalidParameter("the archive holds no image")
    images.register_all([(one.target, one.names) for one in loaded])
    return _report(loaded, progress)


def _report(loaded: Sequence[_Loaded], progress: Progress) -> list[str]:
    shown: list[str] = []
    for one in loaded:
        for name in one.names:
            shown.append(references.parse(name).familiar())
            progress({"stream": f"Loaded image: {shown[-1]}\n"})
        if not one.names:
            shown.append(one.target.digest)
            progress({"stream": f"Loaded image ID: {shown[-1]}\n"})
    return list(dict.fromkeys(shown))


def _load_docker(images: "Images", members: Members, listing: bytes, progress: Progress) -> list[_Loaded]:
    """manifest.json: [{"Config": path, "RepoTags": [...], "Layers": [paths]}]; a manifest is made for each."""
    loaded = []
    for config_path, tags, layer_paths in _docker_entries(listing):
        names = tuple(references.parse(tag).canonical() for tag in tags)
        config = members.need(config_path)
        made = {
            "schemaVersion": 2,
            "mediaType": manifests.OCI_MANIFEST,
            "config": {
                "mediaType": manifests.OCI_CONFIG,
                "digest": members.take(images.content, config),
                "size": config.size,
            },
            "layers": [_layer(images, members, path) for path in layer_paths],
        }
        data = json.dumps(made, separators=(",", ":")).encode()
        target = Descriptor(manifests.OCI_MANIFEST, images.content.put(data), len(data))
        images.unpack(manifests.parse_manifest(data), _reporter(progress))
        loaded.append(_Loaded(target, names))
    return loaded


def _docker_entries(listing: bytes) -> list[tuple[str, list[str], list[str]]]:
    try:
        entries = json.loads(listing)
        found = [
            (one["Config"], list(one.get("RepoTags") or []), list(one["Layers"] or [])) for one in entries
        ]
        sound = isinstance(entries, list) and all(
            isinstance(word, str) for config, tags, layers in found for word in (config, *tags, *layers)
        )
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        sound = False
    if not sound:
        raise InvalidParameter("manifest.json is damaged")
    if len(found) > MAX_IMAGES or any(len(one[2]) > manifests.MAX_LAYERS for one in found):
        raise InvalidParameter("manifest.json names too many images or layers")
    return found


def _layer(images: "Images", members: Members, path: str) -> dict[str, Any]:
    member = members.need(path)
    kind = compression(member)
    suffix = {"gzip": "+gzip", "zstd": "+zstd", "none": ""}.get(kind)
    if suffix is None:
        raise InvalidParameter(
            f"layer {path[:200]!r} is compressed with {kind}; only gzip and zstd are images' formats"
        )
    digest = members.take(images.content, member)
    return {"mediaType": manifests.OCI_LAYER + suffix, "digest": digest, "size": member.size}


def _load_layout(images: "Images", members: Members, index: bytes, progress: Progress) -> list[_Loaded]:
    """An OCI image layout: index.json names manifests and indexes by annotation."""
    found = manifests.read_json(index, "index.json")
    descriptors = manifests.parse_index(index)
    loaded: dict[str, _Loaded] = {}
    for entry, descriptor in zip(found["manifests"], descriptors, strict=True):
        runnable = _take_tree(images, members, descriptor, depth=0)
        for manifest in runnable:
            images.unpack(manifest, _reporter(progress))
        if not runnable:
            continue  # an attestation or another artifact
        before = loaded.get(descriptor.digest)
        names = (*(before.names if before else ()), *_layout_names(entry))
        loaded[descriptor.digest] = _Loaded(descriptor, tuple(dict.fromkeys(names)))
    return list(loaded.values())


def _layout_names(entry: dict[str, Any]) -> list[str]:
    """The names an index entry gives; a bare tag ("latest") names nothing by itself."""
    annotations = entry.get("annotations")
    if not isinstance(annotations, dict):
        return []
    for key in ANNOTATIONS:
        name = annotations.get(key)
        if isinstance(name, str) and ("/" in name or ":" in name):
            reference = references.parse(name)
            return [] if reference.digest else [reference.canonical()]
    return []


def _take_tree(
    images: "Images", members: Members, descriptor: Descriptor, *, depth: int
) -> list[manifests.Manifest]:
    """Bring a manifest or an index and all it points at that is here; return the runnable manifests."""
    if depth > manifests.MAX_INDEX_DEPTH:
        raise InvalidParameter("indexes are nested too deeply")
    _take_blob(images, members, descriptor)
    data = images.content.read(descriptor.digest)
    found = manifests.read_json(data, f"manifest {descriptor.digest}")
    kind = manifests.media_type_of(found, descriptor.media_type)
    if kind in manifests.INDEXES:
        inner_found: list[manifests.Manifest] = []
        for inner in manifests.parse_index(data):
            if images.content.has(inner.digest) or members.find(blob_name(inner.digest)) is not None:
                inner_found += _take_tree(images, members, inner, depth=depth + 1)
        return inner_found
    manifest = manifests.parse_manifest(data)
    for blob in (manifest.config, *manifest.layers):
        _take_blob(images, members, blob)
    attestation = descriptor.platform is not None and descriptor.platform.os == "unknown"
    return [] if attestation or manifest.config.media_type not in manifests.CONFIGS else [manifest]


def _take_blob(images: "Images", members: Members, blob: Descriptor) -> None:
    """A blob out of the archive, or one that is here already. Raises InvalidParameter when its size or digest is wrong."""
    member = members.find(blob_name(blob.digest))
    if member is not None:
        members.take(images.content, member, blob.digest)
    elif not images.content.has(blob.digest):
        members.need(blob_name(blob.digest))
    if images.content.size(blob.digest) != blob.size:
        raise InvalidParameter(
            f"{blob.digest} has {images.content.size(blob.digest)} bytes, not {blob.size} as its descriptor says"
        )


def blob_name(digest: str) -> str:
    """Where a blob lies in a layout."""
    return "blobs/" + digest.replace(":", "/")


def _reporter(progress: Progress) -> Callable[[Descriptor, int], None]:
    """Report "Loading layer" at most every few megabytes."""
    last: dict[str, int] = {}

    def report(layer: Descriptor, done: int) -> None:
        if done - last.get(layer.digest, 0) >= REPORT_BYTES:
            last[layer.digest] = done
            detail = {"current": done, "total": max(done, layer.size)}
            progress({"status": "Loading layer", "id": layer.digest[7:19], "progressDetail": detail})

    return report
