"""load, save, import: Docker archives (1.2 manifest.json) and OCI image layouts, mixed as Docker 25+ writes them. Blocking."""

import hashlib
import io
import json
import tarfile  # writing only: the reader is our own
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from havre.errors import InvalidParameter, NotFound
from havre.image import changes as dockerfile
from havre.image import manifest as manifests
from havre.image.manifest import Descriptor
from havre.image.tar import reader
from havre.image.tar.compression import open_stream
from havre.image.tar.extract import clean, shown
from havre.spec import reference as references
from havre.spec.image import Platform
from havre.spec.platform import host_platform

if TYPE_CHECKING:
    from havre.image.images import Images

MAX_MEMBERS = 100_000
ANNOTATIONS = ("io.containerd.image.name", "org.opencontainers.image.ref.name")
Progress = Callable[[dict[str, Any]], None]


def load(images: "Images", stream: BinaryIO, progress: Progress) -> list[str]:
    """Load every image of an archive; return "Loaded image" names. Raises InvalidParameter; nothing is registered then."""
    work = images.workspace()
    try:
        members = _spool(stream, work)
        if (index := members.text("index.json")) is not None and members.text("oci-layout") is not None:
            loaded = _load_layout(images, members, index, progress)
        elif (listing := members.text("manifest.json")) is not None:
            loaded = _load_docker(images, members, listing, progress)
        else:
            raise InvalidParameter(
                "this is no image archive: neither manifest.json nor an OCI layout is in it",
                hint="havre import",
            )
    finally:
        images.discard(work)
    for name in loaded:
        kind = "Loaded image ID" if name.startswith("sha256:") else "Loaded image"
        progress({"stream": f"{kind}: {name}\n"})
    return loaded


class Members:
    """What an archive holds: member name -> spooled file. Names are only keys here, never paths."""

    def __init__(self) -> None:
        self._files: dict[bytes, Path] = {}
        self._aliases: dict[bytes, bytes] = {}

    def add(self, name: bytes, path: Path) -> None:
        self._files[name] = path

    def alias(self, name: bytes, target: bytes) -> None:
        self._aliases[name] = target

    def path(self, name: str) -> Path:
        """The file of a member. Raises InvalidParameter when the archive names what it does not have."""
        key = clean(name.encode())
        for _ in range(8):
            if key not in self._aliases:
                break
            key = self._aliases[key]
        if (found := self._files.get(key)) is None:
            raise InvalidParameter(f"the archive names {name[:200]!r} but does not have it")
        return found

    def text(self, name: str) -> bytes | None:
        """A small member's content, or None."""
        path = self._files.get(name.encode())
        if path is None:
            return None
        if path.stat().st_size > manifests.MAX_MANIFEST_BYTES:
            raise InvalidParameter(f"{name} is too large")
        return path.read_bytes()


def _spool(stream: BinaryIO, work: Path) -> Members:
    members = Members()
    source = open_stream(stream)
    tar = reader.Reader(source)  # type: ignore[arg-type]
    for number, entry in enumerate(tar):
        if number > MAX_MEMBERS:
            raise InvalidParameter("the archive has too many members")
        name = clean(entry.name)
        if entry.kind == reader.REGULAR:
            path = work / str(number)
            with path.open("wb") as file:
                while data := tar.read():
                    file.write(data)
            members.add(name, path)
        elif entry.kind in (reader.SYMLINK, reader.LINK):
            folder = name.rpartition(b"/")[0] if entry.kind == reader.SYMLINK else b""
            members.alias(name, _inside(folder, entry.link))
        elif entry.kind != reader.DIRECTORY:
            raise InvalidParameter(f"{shown(entry.name)} does not belong into an image archive")
    source.finish()
    return members


def _inside(folder: bytes, link: bytes) -> bytes:
    """Resolve a link between members as text; one that leads out raises BadTar."""
    parts = folder.split(b"/") if folder else []
    for part in link.split(b"/"):
        if part == b"..":
            if not parts:
                raise reader.BadTar(f"{shown(link)}: a link must not lead upwards")
            parts.pop()
        elif part not in (b"", b"."):
            parts.append(part)
    return b"/".join(parts)


def _take(images: "Images", path: Path, digest: str = "") -> str:
    """Bring a spooled file into the content store under its digest."""
    with path.open("rb") as file:
        found = digest or f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"
        if images.content.has(found):
            return found
        file.seek(0)
        with images.content.ingest(found, path.stat().st_size) as writer:
            writer.restart()
            while chunk := file.read(1 << 20):
                writer.write(chunk)
            writer.commit()
    return found


def _load_docker(images: "Images", members: Members, listing: bytes, progress: Progress) -> list[str]:
    """manifest.json: [{"Config": path, "RepoTags": [...], "Layers": [paths]}]; a manifest is made for each."""
    try:
        entries = json.loads(listing)
        wanted = [
            (
                str(one["Config"]),
                [str(tag) for tag in one.get("RepoTags") or []],
                [str(p) for p in one["Layers"]],
            )
            for one in entries
        ]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise InvalidParameter("manifest.json is damaged") from None
    loaded = []
    for config_path, tags, layer_paths in wanted:
        names = [references.parse(tag).canonical() for tag in tags]
        config = _take(images, members.path(config_path))
        layers = [_layer(images, members, path) for path in layer_paths]
        data = json.dumps(_manifest(images, config, layers), separators=(",", ":")).encode()
        target = Descriptor(manifests.OCI_MANIFEST, images.content.put(data), len(data))
        images.unpack(manifests.parse_manifest(data), _reporter(progress))
        images.register(target, names)
        loaded += [references.parse(tag).familiar() for tag in tags] or [target.digest]
    return loaded


def _layer(images: "Images", members: Members, path: str) -> dict[str, Any]:
    file = members.path(path)
    with file.open("rb") as opened:
        kind = open_stream(opened).compression
    suffix = {"gzip": "+gzip", "zstd": "+zstd", "none": ""}.get(kind)
    if suffix is None:
        raise InvalidParameter(f"layers compressed with {kind} are not supported")
    return {
        "mediaType": manifests.OCI_LAYER + suffix,
        "digest": _take(images, file),
        "size": file.stat().st_size,
    }


def _manifest(images: "Images", config: str, layers: Sequence[dict[str, Any]]) -> dict[str, Any]:
    return {
        "schemaVersion": 2,
        "mediaType": manifests.OCI_MANIFEST,
        "config": {"mediaType": manifests.OCI_CONFIG, "digest": config, "size": images.content.size(config)},
        "layers": list(layers),
    }


def _load_layout(images: "Images", members: Members, index: bytes, progress: Progress) -> list[str]:
    """An OCI image layout: index.json names manifests and indexes by annotation."""
    entries = manifests.read_json(index, "index.json").get("manifests")
    loaded: list[str] = []
    for entry in entries if isinstance(entries, list) else []:
        annotations = entry.get("annotations") if isinstance(entry, dict) else None
        name = (
            next((str(annotations[key]) for key in ANNOTATIONS if key in annotations), "")
            if isinstance(annotations, dict)
            else ""
        )
        descriptor = manifests.parse_index(json.dumps({"manifests": [entry]}).encode())[0]
        names = _layout_names(name)
        images_found = _take_tree(images, members, descriptor, depth=0)
        for manifest in images_found:
            images.unpack(manifest, _reporter(progress))
        images.register(descriptor, names)
        loaded.append(references.parse(names[0]).familiar() if names else descriptor.digest)
    return list(dict.fromkeys(loaded))


def _layout_names(name: str) -> list[str]:
    """A bare tag ("latest") names nothing by itself."""
    if not name or ("/" not in name and ":" not in name):
        return []
    return [references.parse(name).canonical()]


def _take_tree(
    images: "Images", members: Members, descriptor: Descriptor, *, depth: int
) -> list[manifests.Manifest]:
    """Bring a manifest or an index and all it points at that is here; return the runnable manifests."""
    if depth > 4:
        raise InvalidParameter("indexes are nested too deeply")
    _take(images, members.path(_blob(descriptor.digest)), descriptor.digest)
    data = images.content.read(descriptor.digest)
    kind = manifests.media_type_of(manifests.read_json(data, "a manifest"), descriptor.media_type)
    if kind in manifests.INDEXES:
        found: list[manifests.Manifest] = []
        for inner in manifests.parse_index(data):
            if _has(members, inner.digest):
                found += _take_tree(images, members, inner, depth=depth + 1)
        return found
    manifest = manifests.parse_manifest(data)
    for blob in (manifest.config, *manifest.layers):
        _take(images, members.path(_blob(blob.digest)), blob.digest)
    attestation = descriptor.platform is not None and descriptor.platform.os == "unknown"
    return [] if attestation else [manifest]


def _blob(digest: str) -> str:
    return "blobs/" + digest.replace(":", "/")


def _has(members: Members, digest: str) -> bool:
    try:
        members.path(_blob(digest))
    except InvalidParameter:
        return False
    return True


def _reporter(progress: Progress) -> Callable[[Descriptor, int], None]:
    """Report "Loading layer" at most every few megabytes."""
    last = {"": 0}

    def report(layer: Descriptor, done: int) -> None:
        if done - last.get(layer.digest, 0) >= 4 << 20:
            last[layer.digest] = done
            detail = {"current": done, "total": max(done, layer.size)}
            progress({"status": "Loading layer", "id": layer.digest[7:19], "progressDetail": detail})

    return report


def save(images: "Images", refs: Sequence[str], out: BinaryIO) -> None:
    """Write the images as an OCI layout with Docker's manifest.json beside it. Raises NoSuchImage."""
    entries: list[dict[str, Any]] = []
    docker: dict[str, dict[str, Any]] = {}
    blobs: set[str] = set()
    for ref in refs:
        image = images.resolve(ref)
        target = images.inspect(ref)["Descriptor"]
        by_id = not ref.removeprefix("sha256:").strip("0123456789abcdef")
        names = [] if by_id or "@" in ref else [references.parse(ref)]
        for name in names or [None]:
            annotations = {ANNOTATIONS[0]: name.canonical(), ANNOTATIONS[1]: name.tag} if name else {}
            entries.append({**target, **({"annotations": annotations} if annotations else {})})
        manifest = manifests.parse_manifest(images.content.read(image.manifest_digest))
        entry = docker.setdefault(
            image.manifest_digest,
            {
                "Config": _blob(manifest.config.digest),
                "RepoTags": [],
                "Layers": [_blob(one.digest) for one in manifest.layers],
            },
        )
        entry["RepoTags"] += [name.familiar() for name in names]
        _reachable(images, image.id, blobs)
    with tarfile.open(fileobj=out, mode="w|", format=tarfile.PAX_FORMAT) as tar:
        for digest in sorted(blobs):
            with images.content.open(digest) as file:
                _add(tar, _blob(digest), file, images.content.size(digest))
        index = {"schemaVersion": 2, "mediaType": manifests.OCI_INDEX, "manifests": entries}
        for name, value in (
            ("index.json", index),
            ("manifest.json", list(docker.values())),
            ("oci-layout", {"imageLayoutVersion": "1.0.0"}),
        ):
            data = json.dumps(value, separators=(",", ":")).encode()
            _add(tar, name, io.BytesIO(data), len(data))


def _reachable(images: "Images", digest: str, blobs: set[str]) -> None:
    if digest in blobs or not images.content.has(digest):
        return
    blobs.add(digest)
    data = images.content.read(digest)
    if manifests.media_type_of(manifests.read_json(data, "a manifest")) in manifests.INDEXES:
        for inner in manifests.parse_index(data):
            _reachable(images, inner.digest, blobs)
        return
    manifest = manifests.parse_manifest(data)
    wanted = [manifest.config.digest, *(layer.digest for layer in manifest.layers)]
    if missing := [one for one in wanted if not images.content.has(one)]:
        raise NotFound(f"content of the image is missing: {missing[0]}", hint="havre pull it again")
    blobs.update(wanted)


def _add(tar: tarfile.TarFile, name: str, file: BinaryIO, size: int) -> None:
    info = tarfile.TarInfo(name)
    info.size, info.mode = size, 0o644
    tar.addfile(info, file)


def import_(
    images: "Images",
    stream: BinaryIO,
    target: str,
    *,
    changes: Sequence[str],
    message: str,
    platform: Platform | None,
) -> str:
    """Make a one-layer image of a root filesystem archive of any compression; return its id. Raises InvalidParameter."""
    name = references.parse(target) if target else None
    if name is not None and name.digest:
        raise InvalidParameter("cannot import digest reference")
    own = platform or host_platform()
    config = dockerfile.apply({}, changes)
    work = images.workspace()
    try:
        layer = work / "layer"
        with layer.open("wb") as file:
            source = open_stream(stream)
            while data := source.read(1 << 20):
                file.write(data)
        with layer.open("rb") as file:
            _, diff_id = images.layers.unpack(file, "")
        digest = _take(images, layer)
        size = layer.stat().st_size
    finally:
        images.discard(work)
    created = datetime.now(UTC).isoformat().replace("+00:00", "Z")
    document = {
        "architecture": own.architecture,
        **({"variant": own.variant} if own.variant else {}),
        "config": config,
        "created": created,
        "history": [{"created": created, "created_by": "", "comment": message or "Imported from -"}],
        "os": own.os,
        "rootfs": {"type": "layers", "diff_ids": [diff_id]},
    }
    config_digest = images.content.put(json.dumps(document).encode())
    layers = [{"mediaType": manifests.OCI_LAYER, "digest": digest, "size": size}]
    data = json.dumps(_manifest(images, config_digest, layers), separators=(",", ":")).encode()
    made = Descriptor(manifests.OCI_MANIFEST, images.content.put(data), len(data))
    images.register(made, [name.canonical()] if name else [])
    return made.digest


def seconds(stamp: str) -> int:
    """Seconds since 1970 of an RFC 3339 stamp; 0 when it cannot be read."""
    try:
        return int(datetime.fromisoformat(stamp[:19] + "+00:00").timestamp())
    except ValueError:
        return 0
