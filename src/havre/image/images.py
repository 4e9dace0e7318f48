"""All images: names to targets, targets to runnable images. Blocking; reading comes from memory."""

import asyncio
import difflib
import shutil
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO
from weakref import WeakValueDictionary

import msgspec

from havre.clock import now_nanos, rfc3339
from havre.errors import Conflict, InvalidParameter, NoSuchImage, NotFound
from havre.image import archive, hello
from havre.image import manifest as manifests
from havre.image.content import Content
from havre.image.layers import Layers, chain_ids
from havre.image.manifest import Descriptor
from havre.image.snapshots import Snapshots
from havre.spec import reference as references
from havre.spec.image import Image, Platform
from havre.spec.platform import choose, host_platform
from havre.store import Records

TARGET, NAME = "image", "imagename"
HELLO = "docker.io/library/hello-world:latest"
Progress = Callable[[dict[str, Any]], None]


class Target(msgspec.Struct):
    """Kind "image", by digest: what a name can point at."""

    media_type: str
    size: int
    added_nanos: int
    sources: list[str] = []  # repositories it was pulled from or pushed to: RepoDigests


class Images:
    """root = data_root/image."""

    def __init__(self, root: Path, records: Records) -> None:
        root.mkdir(parents=True, exist_ok=True, mode=0o710)
        self.root = root
        self.content = Content(root)
        self.layers = Layers(root, records)
        self.snapshots = Snapshots(root, records, self.layers)
        self._records = records
        self._lock = threading.RLock()
        self._targets = {key: msgspec.json.decode(doc, type=Target) for key, doc in records.all(TARGET)}
        self._names = {key: doc.decode() for key, doc in records.all(NAME)}  # canonical name -> digest
        self._seen: dict[tuple[str, str], Image] = {}
        self._leases = 0
        self.arriving: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()  # what pulls bring

    @contextmanager
    def lease(self) -> Iterator[None]:
        """While this is held nothing is collected: content on its way has no image yet that refers to it."""
        with self._lock:
            self._leases += 1
        try:
            yield
        finally:
            with self._lock:
                self._leases -= 1

    # finding

    def resolve(self, reference_or_id: str, platform: Platform | None = None) -> Image:
        """Return the image of a name, an id or a unique short id. Raises NoSuchImage, InvalidParameter."""
        return self._image(self._target_of(reference_or_id), platform, reference_or_id)

    def _target_of(self, text: str) -> str:
        bare = text.removeprefix("sha256:")
        if len(bare) <= 64 and bare and all(char in "0123456789abcdef" for char in bare):
            found = [digest for digest in self._targets if digest.partition(":")[2].startswith(bare)]
            if len(found) > 1 and len(bare) < 64:
                raise InvalidParameter(f"image id {text!r} is ambiguous", hint="more digits of it")
            if found:
                return found[0]
        if text.startswith("sha256:"):
            raise NoSuchImage(text)
        return self._by_name(text)

    def _by_name(self, text: str) -> str:
        reference = references.parse(text)
        if reference.digest:
            if reference.digest in self._targets:
                return reference.digest
        elif (digest := self._names.get(reference.canonical())) is not None:
            return digest
        elif reference.canonical() == HELLO:
            return self._make_hello()
        near = difflib.get_close_matches(
            reference.familiar(), [references.parse(name).familiar() for name in self._names], 1
        )
        raise NoSuchImage(reference.familiar(), hint=f"{near[0]}" if near else "")

    def _image(self, digest: str, platform: Platform | None, asked: str) -> Image:
        key = (digest, str(platform or host_platform()))
        if (found := self._seen.get(key)) is None:
            found = self._read_image(digest, platform, asked)
            self._seen[key] = found
        return found

    def _read_image(self, digest: str, platform: Platform | None, asked: str) -> Image:
        place = self._manifest_for(
            digest, platform or host_platform(), explicit=platform is not None, asked=asked
        )
        data = self.content.read(place)
        manifest = manifests.parse_manifest(data)
        config = manifests.read_json(self.content.read(manifest.config.digest), "the image config")
        diff_ids = manifests.diff_ids(config)
        chains = chain_ids(diff_ids)
        own = manifests.config_platform(config)
        if platform is not None and digest == place and choose([own], platform) < 0:
            raise NoSuchImage(
                f"{asked} for platform {platform}", hint=f"havre pull --platform {platform} {asked}"
            )
        content = manifest.config.size + len(data) + sum(layer.size for layer in manifest.layers)
        return Image(
            id=digest,
            manifest_digest=place,
            config_digest=manifest.config.digest,
            config=config,
            diff_ids=diff_ids,
            chain_id=chains[-1] if chains else "",
            platform=own,
            repo_tags=tuple(self._tags(digest)),
            repo_digests=tuple(sorted(f"{source}@{digest}" for source in self._targets[digest].sources)),
            size_bytes=content + self.layers.size(chains[-1] if chains else ""),
            created=config.get("created") or rfc3339(0),
        )

    def _manifest_for(self, digest: str, wanted: Platform, *, explicit: bool, asked: str) -> str:
        """Follow an index down to the manifest of a platform; one that was never pulled is as good as missing."""
        if self._targets[digest].media_type in manifests.MANIFESTS:
            return digest
        index = [
            one for one in manifests.parse_index(self.content.read(digest)) if self.content.has(one.digest)
        ]
        found = manifests.pick(index, wanted)
        if found is None and not explicit:
            found = next((one for one in index if one.platform is None or one.platform.os != "unknown"), None)
        if found is None:
            raise NoSuchImage(
                f"{asked} for platform {wanted}", hint=f"havre pull --platform {wanted} {asked}"
            )
        return found.digest

    def _tags(self, digest: str) -> list[str]:
        return sorted(
            references.parse(name).familiar() for name, target in self._names.items() if target == digest
        )

    def all(self) -> list[Image]:
        """Every image, newest first; one that cannot be read is left out (inspect says why)."""
        found = []
        for digest in list(self._targets):
            try:
                found.append(self._image(digest, None, digest))
            except NotFound:
                continue
        return sorted(found, key=lambda image: image.created, reverse=True)

    def _forget_seen(self) -> None:
        self._seen.clear()

    # changing

    def register(self, target: Descriptor, names: Sequence[str], sources: Sequence[str] = ()) -> Image:
        """Make a target and its names known, after all its content is there. Names are parsed references' canonical form."""
        with self._lock, self._records.transaction():
            old = self._targets.get(target.digest)
            known = sorted({*(old.sources if old else []), *sources})
            record = Target(target.media_type, target.size, old.added_nanos if old else now_nanos(), known)
            self._records.put(TARGET, target.digest, msgspec.json.encode(record))
            for name in names:
                self._records.put(NAME, name, target.digest.encode())
        self._targets[target.digest] = record
        self._names.update(dict.fromkeys(names, target.digest))
        self._forget_seen()
        return self._image(target.digest, None, target.digest)

    def tag(self, source: str, target: str) -> None:
        """Give an image one more name. Raises NoSuchImage, InvalidParameter."""
        digest = self._target_of(source)
        reference = references.parse(target)
        if reference.digest:
            raise InvalidParameter("refusing to create a tag with a digest reference")
        self._records.put(NAME, reference.canonical(), digest.encode())
        self._names[reference.canonical()] = digest
        self._forget_seen()

    def remove(self, ref: str, *, force: bool, used_by: Callable[[str], list[str]]) -> list[dict[str, str]]:
        """Untag a name, and delete the image with its last one. Raises Conflict as Docker does; returns what was done."""
        digest = self._target_of(ref)
        by_id = digest.partition(":")[2].startswith(ref.removeprefix("sha256:"))
        names = [name for name, target in self._names.items() if target == digest]
        gone = names if by_id else [references.parse(ref).canonical()]
        users = used_by(digest)
        short = digest.partition(":")[2][:12]
        if by_id and len(names) > 1 and not force:
            raise Conflict(
                f"conflict: unable to delete {short} (must be forced) - image is referenced in multiple repositories"
            )
        last = not set(names) - set(gone)
        if last and users and not force:
            raise Conflict(
                f"conflict: unable to remove repository reference {ref!r} (must force) - container {users[0][:12]} is using its "
                f"referenced image {short}"
            )
        done = [{"Untagged": references.parse(name).familiar()} for name in gone if name in self._names]
        with self._lock, self._records.transaction():
            for name in gone:
                self._records.delete(NAME, name)
            if last and not users:
                self._records.delete(TARGET, digest)
        for name in gone:
            self._names.pop(name, None)
        if last and not users:
            del self._targets[digest]
            done.append({"Deleted": digest})
            self.collect()
        self._forget_seen()
        return done

    def collect(self) -> int:
        """Remove blobs and layers that no image and no snapshot needs; return the bytes freed. Put off while a lease is held."""
        with self._lock:
            return 0 if self._leases else self._collect()

    def _collect(self) -> int:
        blobs: set[str] = set()
        chains = self.snapshots.chains()
        for digest in self._targets:
            self._reach(digest, blobs, chains)
        freed = sum(self.content.delete(digest) for digest in list(self.content.all()) if digest not in blobs)
        return freed + self.layers.remove_except(chains)

    def _reach(self, digest: str, blobs: set[str], chains: set[str]) -> None:
        """Everything below a manifest or an index that is here."""
        if digest in blobs or not self.content.has(digest):
            return
        blobs.add(digest)
        found = manifests.read_json(self.content.read(digest), digest)
        if "manifests" in found:
            for one in manifests.parse_index(self.content.read(digest)):
                self._reach(one.digest, blobs, chains)
            return
        manifest = manifests.parse_manifest(self.content.read(digest))
        blobs.update([manifest.config.digest, *(layer.digest for layer in manifest.layers)])
        if self.content.has(manifest.config.digest):
            config = manifests.read_json(self.content.read(manifest.config.digest), "the image config")
            chains.update(chain_ids(manifests.diff_ids(config)))

    def _make_hello(self) -> str:
        """The image the package itself carries, made the first time somebody asks."""
        try:
            layer, config, manifest = hello.image(host_platform())
        except KeyError:
            raise NoSuchImage("hello-world:latest") from None
        with self._lock:
            for data in (layer, config):
                self.content.put(data)
            digest = self.content.put(manifest)
            self.unpack(manifests.parse_manifest(manifest))
            self.register(Descriptor(manifests.OCI_MANIFEST, digest, len(manifest)), [HELLO])
        return digest

    def unpack(
        self, manifest: manifests.Manifest, progress: Callable[[Descriptor, int], None] | None = None
    ) -> None:
        """Unpack every layer of a manifest whose blobs are here."""
        config = manifests.read_json(self.content.read(manifest.config.digest), "the image config")
        diff_ids = manifests.diff_ids(config)
        if len(diff_ids) != len(manifest.layers):
            raise InvalidParameter(
                f"the manifest has {len(manifest.layers)} layers, the config {len(diff_ids)}"
            )
        parent = ""
        for layer, diff_id, chain in zip(manifest.layers, diff_ids, chain_ids(diff_ids), strict=True):
            if not self.layers.has(chain):
                report = (lambda done, layer=layer: progress(layer, done)) if progress else None  # type: ignore[misc]
                with self.content.open(layer.digest) as file:
                    self.layers.unpack(file, parent, diff_id, report)
            parent = chain

    # showing

    def inspect(self, ref: str) -> dict[str, Any]:
        """Return GET /images/{name}/json."""
        image = self.resolve(ref)
        config, target = image.config, self._targets[image.id]
        overlay = self.layers.stack(image.chain_id)
        return {
            "Id": image.id,
            "RepoTags": list(image.repo_tags),
            "RepoDigests": list(image.repo_digests),
            "Parent": "",
            "Comment": (config.get("history") or [{}])[-1].get("comment", ""),
            "Created": image.created,
            "DockerVersion": config.get("docker_version", ""),
            "Author": config.get("author", ""),
            "Config": config.get("config") or {},
            "Architecture": image.platform.architecture,
            **({"Variant": image.platform.variant} if image.platform.variant else {}),
            "Os": image.platform.os,
            "Size": image.size_bytes,
            "VirtualSize": image.size_bytes,
            "GraphDriver": {
                "Name": "overlay2",
                "Data": {
                    "UpperDir": overlay[0] if overlay else "",
                    "LowerDir": ":".join(overlay[1:]),
                    "MergedDir": "",
                    "WorkDir": "",
                },
            },
            "RootFS": {"Type": "layers", "Layers": list(image.diff_ids)},
            "Metadata": {"LastTagTime": rfc3339(target.added_nanos)},
            "Descriptor": {"mediaType": target.media_type, "digest": image.id, "size": target.size},
        }

    def history(self, ref: str) -> list[dict[str, Any]]:
        """Return GET /images/{name}/history, newest first."""
        image = self.resolve(ref)
        chains = iter(chain_ids(image.diff_ids))
        found, below = [], 0
        for step in image.config.get("history") or [{"created": image.created}]:
            size = 0
            if not step.get("empty_layer"):
                total = self.layers.size(next(chains, ""))
                size, below = total - below, total
            found.append(
                {
                    "Id": "<missing>",
                    "Created": archive.seconds(step.get("created") or ""),
                    "CreatedBy": step.get("created_by", ""),
                    "Tags": None,
                    "Size": size,
                    "Comment": step.get("comment", ""),
                }
            )
        found[-1].update({"Id": image.id, "Tags": list(image.repo_tags) or None})
        return found[::-1]

    # archives

    def load(self, stream: BinaryIO, progress: Progress) -> list[str]:
        """Load a docker or OCI archive of any compression; return the names and ids. Nothing is visible before it is whole."""
        with self.lease():
            loaded = archive.load(self, stream, progress)
        return loaded

    def save(self, refs: Sequence[str], out: BinaryIO) -> None:
        """Write an archive that docker load and OCI tools both read."""
        archive.save(self, refs, out)

    def import_(
        self,
        stream: BinaryIO,
        target: str,
        *,
        changes: Sequence[str],
        message: str,
        platform: Platform | None,
    ) -> str:
        """Make a one-layer image of a root filesystem archive; return its id."""
        with self.lease():
            return archive.import_(self, stream, target, changes=changes, message=message, platform=platform)

    def workspace(self) -> Path:
        """Return a new empty directory below the root for something half-made; the caller removes it."""
        path = self.root / "ingest" / f"work-{now_nanos()}"
        path.mkdir(parents=True)
        return path

    @staticmethod
    def discard(path: Path) -> None:
        shutil.rmtree(path, ignore_errors=True)
