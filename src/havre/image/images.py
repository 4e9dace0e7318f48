"""All images: names to targets, targets to runnable images. Blocking; reading comes from memory, and from any thread.

`_targets` and `_names` are replaced as a whole, never changed in place, so that readers need no lock.
"""

import asyncio
import difflib
import re
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO
from weakref import WeakValueDictionary

import msgspec

from havre import log
from havre.clock import now_nanos, rfc3339
from havre.errors import HavreError, InvalidParameter, NoSuchImage
from havre.image import collect, hello, remove, show
from havre.image import manifest as manifests
from havre.image.archive import commit, load, rootfs, save
from havre.image.content import Content
from havre.image.layers import Layers, chain_ids
from havre.image.manifest import Descriptor
from havre.image.remove import Use
from havre.image.snapshots import Snapshots
from havre.image.transfers import Transfers
from havre.image.tree import Trash
from havre.spec import reference as references
from havre.spec.image import Image, Platform
from havre.spec.platform import choose, host_platform
from havre.store import Records

TARGET, NAME = "image", "imagename"
DUE = "collection"  # one record of this kind: something may lie about that no image refers to; the next start looks too
HELLO = "docker.io/library/hello-world:latest"
_SHORT_ID = re.compile(r"(?:sha256:)?([a-f0-9]{1,64})")
Progress = Callable[[dict[str, Any]], None]


class Target(msgspec.Struct, frozen=True):
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
        self.transfers = Transfers()  # replaced as a whole by what the daemon is told
        self._trash = Trash(root)
        self.content = Content(root, self._trash)
        self.layers = Layers(root, records, self._trash)
        self.snapshots = Snapshots(root, records, self.layers, self._trash)
        self._records = records
        self._lock = threading.RLock()
        self._targets: Mapping[str, Target] = dict(records.load(TARGET, msgspec.json.Decoder(Target).decode))
        self._names: Mapping[str, str] = dict(records.load(NAME, bytes.decode))
        self._seen: dict[tuple[str, str], Image] = {}
        self._leases = self._tidying = 0
        self._collect_due = bool(records.all(DUE))
        self.arriving: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()  # what pulls bring
        if self._collect_due:
            self.tidy()  # a crash came between a removal, or a load, and its end

    @contextmanager
    def lease(self, *, tidy: bool = False) -> Iterator[None]:
        """While this is held nothing is collected: content on its way has no image yet that refers to it.

        What a failed work has left stays for another try (a pull goes on there) until the next collection; with `tidy`
        it goes when the last lease ends.
        """
        with self._lock:
            if tidy:
                self._records.put(DUE, DUE, b"")
            self._leases += 1
            self._tidying += tidy
        try:
            yield
        except BaseException:
            self._collect_due |= tidy
            raise
        finally:
            with self._lock:
                self._leases -= 1
                self._tidying -= tidy
                self._end_lease()

    def _end_lease(self) -> None:
        if self._collect_due and not self._leases:
            self.tidy()
        elif not self._collect_due and not self._tidying:
            self._records.owe(DUE, DUE, None)

    # finding

    def resolve(self, reference_or_id: str, platform: Platform | None = None) -> Image:
        """Return the image of a name, an id or a unique short id. Raises NoSuchImage, InvalidParameter."""
        return self._image(self.target_of(reference_or_id), platform, reference_or_id)

    def target_of(self, text: str, *, make: bool = True) -> str:
        """Return the digest a name or (short) id stands for; a name wins, as in Docker. Raises NoSuchImage, InvalidParameter.

        `make=False` leaves the built-in hello-world unmade.
        """
        if not text.startswith("sha256:") and not re.fullmatch(r"[a-f0-9]{64}", text):
            reference = references.parse(text)
            if (found := self._by_name(reference, make=make)) is not None:
                return found
        short = _SHORT_ID.fullmatch(text)
        if short is None:
            raise self._unknown(text)
        digests = [digest for digest in self._targets if digest.partition(":")[2].startswith(short[1])]
        if len(digests) > 1:
            raise InvalidParameter(
                f"image id {text!r} is ambiguous: {len(digests)} images begin with it",
                hint="more digits of it",
            )
        if not digests:
            raise self._unknown(text)
        return digests[0]

    def _by_name(self, reference: references.Reference, *, make: bool) -> str | None:
        if reference.digest:
            target = self._targets.get(reference.digest)
            known = target is not None and (
                reference.familiar_name() in target.sources
                or any(
                    name.startswith(f"{reference.name}:") and digest == reference.digest
                    for name, digest in self._names.items()
                )
            )
            return reference.digest if known else None
        canonical = reference.canonical()
        if (digest := self._names.get(canonical)) is None and canonical == HELLO and make:
            digest = self._make_hello()
        return digest

    def _unknown(self, text: str) -> NoSuchImage:
        if text.startswith("sha256:") or re.fullmatch(r"[a-f0-9]{64}", text):
            return NoSuchImage(text)
        wanted = references.parse(text).familiar()
        near = difflib.get_close_matches(
            wanted, [references.parse(name).familiar() for name in self._names], 1
        )
        return NoSuchImage(wanted, hint=near[0] if near else "")

    def _image(self, digest: str, platform: Platform | None, asked: str) -> Image:
        key, seen = (digest, str(platform or "")), self._seen
        if (found := seen.get(key)) is None:
            if (target := self._targets.get(digest)) is None:
                raise NoSuchImage(asked)
            found = seen[key] = self._read_image(digest, target, platform, asked)
        return found

    def _forget(self, digests: set[str]) -> None:
        """These look different now. A new mapping, so that a reader on its way fills the old one."""
        self._seen = {key: image for key, image in self._seen.copy().items() if key[0] not in digests}

    def _read_image(self, digest: str, target: Target, platform: Platform | None, asked: str) -> Image:
        wanted = platform or host_platform()
        place = self._manifest_for(digest, target, wanted, explicit=platform is not None, asked=asked)
        data = self.content.read(place)
        manifest = manifests.parse_manifest(data)
        config = manifests.read_config(self.content.read(manifest.config.digest))
        diff_ids = manifests.diff_ids(config)
        chains = chain_ids(diff_ids)
        own = manifests.config_platform(config)
        if platform is not None and digest == place and choose([own], platform) < 0:
            raise _other_platform(asked, wanted)
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
            repo_digests=tuple(sorted(f"{source}@{digest}" for source in target.sources)),
            size_bytes=content + self.layers.size(chains[-1] if chains else ""),
            created=config.get("created") or rfc3339(0),
        )

    def _manifest_for(
        self, digest: str, target: Target, wanted: Platform, *, explicit: bool, asked: str
    ) -> str:
        """Follow indexes down to the manifest of a platform; one that was never pulled is as good as missing."""
        kind = target.media_type
        for _ in range(manifests.MAX_INDEX_DEPTH):
            if kind in manifests.MANIFESTS:
                return digest
            index = [
                one
                for one in manifests.parse_index(self.content.read(digest))
                if self.content.has(one.digest)
            ]
            found = manifests.pick(index, wanted)
            if found is None and not explicit:
                found = next(
                    (one for one in index if one.platform is None or one.platform.os != "unknown"), None
                )
            if found is None:
                raise _other_platform(asked, wanted)
            digest = found.digest
            kind = manifests.media_type_of(
                manifests.read_json(self.content.read(digest), digest), found.media_type
            )
        raise InvalidParameter(f"{asked}: indexes are nested too deeply")

    def _tags(self, digest: str) -> list[str]:
        return sorted(
            references.parse(name).familiar() for name, target in self._names.items() if target == digest
        )

    def all(self) -> list[Image]:
        """Every image, newest first; one that cannot be read is left out (inspect says why)."""
        found = []
        for digest in self._targets:
            try:
                found.append(self._image(digest, None, digest))
            except HavreError:
                continue
        return sorted(found, key=lambda image: image.created, reverse=True)

    def target(self, digest: str) -> Target:
        """Return what is known of a target. Raises NoSuchImage."""
        if (found := self._targets.get(digest)) is None:
            raise NoSuchImage(digest)
        return found

    def targets(self) -> Mapping[str, Target]:
        """Every target by digest."""
        return self._targets

    def names(self) -> Mapping[str, str]:
        """Every canonical name with the digest it points at."""
        return self._names

    # changing

    def register(self, target: Descriptor, names: Sequence[str], sources: Sequence[str] = ()) -> Image:
        """Make a target and its names known, after all its content is there. Names are parsed references' canonical form.

        Raises what makes the image unreadable, before anything is recorded.
        """
        self.register_all([(target, names)], sources)
        return self._image(target.digest, None, target.digest)

    def register_all(
        self, found: Sequence[tuple[Descriptor, Sequence[str]]], sources: Sequence[str] = ()
    ) -> None:
        """Register several targets at once: all or none."""
        with self._lock:
            targets, names = dict(self._targets), dict(self._names)
            with self._records.transaction():
                for target, given in found:
                    record = self._record(targets.get(target.digest), target, sources)
                    self._read_image(target.digest, record, None, target.digest)
                    targets[target.digest] = record
                    names.update(dict.fromkeys(given, target.digest))
                    self._records.put(TARGET, target.digest, msgspec.json.encode(record))
                    for name in given:
                        self._records.put(NAME, name, target.digest.encode())
            moved = {self._names[name] for _, given in found for name in given if name in self._names}
            self._targets, self._names = targets, names
            self._forget(moved | {target.digest for target, _ in found})

    @staticmethod
    def _record(old: Target | None, target: Descriptor, sources: Sequence[str]) -> Target:
        known = sorted({*(old.sources if old else []), *sources})
        return Target(target.media_type, target.size, old.added_nanos if old else now_nanos(), known)

    def tag(self, source: str, target: str) -> None:
        """Give an image one more name. Raises NoSuchImage, InvalidParameter."""
        reference = references.parse(target)
        if reference.digest:
            raise InvalidParameter("refusing to create a tag with a digest reference")
        digest = self.target_of(source)
        with self._lock:
            self.target(digest)
            self._records.put(NAME, reference.canonical(), digest.encode())
            old = self._names.get(reference.canonical(), digest)
            self._names = {**self._names, reference.canonical(): digest}
            self._forget({old, digest})

    def remove(
        self, ref: str, *, force: bool, used_by: Callable[[str], Sequence[Use]]
    ) -> list[dict[str, str]]:
        """Untag a name, and delete the image with its last one. Raises Conflict as Docker does; returns what was done."""
        with self._lock:
            plan = remove.plan(self, ref, force=force, used_by=used_by)
            with self._records.transaction():
                for name in plan.names:
                    self._records.delete(NAME, name)
                if plan.delete:
                    self._records.delete(TARGET, plan.digest)
                    self._records.put(DUE, DUE, b"")
            self._names = {name: digest for name, digest in self._names.items() if name not in plan.names}
            if plan.delete:
                self._targets = {key: one for key, one in self._targets.items() if key != plan.digest}
            self._forget({plan.digest})
            if plan.delete:
                self._collect_due = True
                self.tidy()
        return plan.done()

    @property
    def untidy(self) -> bool:
        """Whether something waits to be collected, or deleted, that could be now."""
        return self._trash.stuck or (self._collect_due and not self._leases)

    def tidy(self) -> bool:
        """Collect what is due, unless somebody is at work. Never raises: what a broken disk refuses stays due; False then."""
        with self._lock:
            try:
                if self._collect_due and not self._leases:
                    self.collect()
            except (HavreError, OSError) as error:
                log.warn("could not remove what no image needs; trying again later", error=error)
                return False
        return not self._trash.stuck or self._trash.again()

    def collect(self) -> int:
        """Remove blobs and layers that no image and no snapshot needs; return the bytes freed. Put off while a lease is held."""
        with self._lock:
            self._collect_due = True
            if self._leases:
                return 0
            freed = collect.collect(self)
            self._collect_due = False
            self._records.owe(DUE, DUE, None)
            return freed

    def usage(self) -> int:
        """Bytes that all layers and blobs take, each counted once."""
        return self.layers.usage() + sum(self.content.size(digest) for digest in self.content.all())

    def shares(self) -> dict[str, int]:
        """Bytes of each image (by id) that another image stands on too. Blocking."""
        reached: dict[str, tuple[set[str], set[str]]] = {}
        for digest in self.targets():
            reached[digest] = (set(), set())
            collect.reach(self, digest, *reached[digest])
        blobs = Counter(blob for found, _ in reached.values() for blob in found)
        chains = Counter(chain for _, found in reached.values() for chain in found)
        return {
            digest: sum(self.content.size(one) for one in own if blobs[one] > 1 and self.content.has(one))
            + sum(self.layers.own_size(one) for one in below if chains[one] > 1)
            for digest, (own, below) in reached.items()
        }

    def _make_hello(self) -> str | None:
        """The image the package itself carries, made the first time somebody asks; None on a machine it has no code for."""
        try:
            layer, config, manifest = hello.image(host_platform())
        except KeyError:
            return None
        with self.lease(tidy=True):
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
        config = manifests.read_config(self.content.read(manifest.config.digest))
        diff_ids = manifests.diff_ids(config)
        manifests.check_layers(manifest, diff_ids)
        parent = ""
        for layer, diff_id, chain in zip(manifest.layers, diff_ids, chain_ids(diff_ids), strict=True):
            if not self.layers.has(chain):
                report = (lambda done, layer=layer: progress(layer, done)) if progress else None
                with self.content.open(layer.digest) as file:
                    self.layers.unpack(file, parent, diff_id, report, hashed=layer.digest != diff_id)
            parent = chain

    # showing

    def inspect(self, ref: str) -> dict[str, Any]:
        """Return GET /images/{name}/json."""
        return show.inspect(self, self.resolve(ref))

    def history(self, ref: str) -> list[dict[str, Any]]:
        """Return GET /images/{name}/history, newest first."""
        return show.history(self, self.resolve(ref))

    # archives

    def load(self, stream: BinaryIO, progress: Progress) -> list[str]:
        """Load a docker or OCI archive of any compression; return the names and ids. Nothing is visible before all is whole."""
        with self.lease(tidy=True):
            return load.load(self, stream, progress)

    def save(self, refs: Sequence[str], out: BinaryIO) -> None:
        """Write an archive that docker load and OCI tools both read."""
        with self.lease():
            save.save(self, refs, out)

    def check_saved(self, refs: Sequence[str]) -> None:
        """Raise NoSuchImage for what `save` would not find; a repository without a tag stands for all its tags."""
        save.wanted(self, refs)

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
        with self.lease(tidy=True):
            return rootfs.import_(self, stream, target, changes=changes, message=message, platform=platform)

    def commit(self, wanted: commit.Wanted) -> str:
        """Make an image of a container's own layer on its image; return its id."""
        with self.lease(tidy=True):
            return commit.commit(self, wanted)


def _other_platform(asked: str, wanted: Platform) -> NoSuchImage:
    return NoSuchImage(f"{asked} for platform {wanted}", hint=f"havre pull --platform {wanted} {asked}")
