"""Pull: manifest, parallel downloads with resume, unpack in order, then register. Nothing is visible before all of it is there."""

import asyncio
import io
import time
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any, BinaryIO, cast

from havre.errors import HavreError, InvalidParameter, NotFound, Unavailable
from havre.image import manifest as manifests
from havre.image.download import REPORT_S, download, lock_for, whole
from havre.image.images import Images
from havre.image.layers import chain_ids
from havre.image.manifest import Descriptor, Manifest
from havre.registry.auth import Credentials
from havre.registry.client import Client
from havre.spec.image import Image, Platform
from havre.spec.platform import host_platform
from havre.spec.reference import Reference
from havre.tasks import in_disk_thread

MAX_INDEX_DEPTH = 3
CONFIGS = (manifests.OCI_CONFIG, "application/vnd.docker.container.image.v1+json")
LAYERS = (manifests.OCI_LAYER, "application/vnd.docker.image.rootfs.diff.tar")
COMPRESSIONS = ("", ".gzip", "+gzip", ".zstd", "+zstd")
Progress = Callable[[dict[str, Any]], None]


async def pull(
    images: Images,
    client: Client,
    reference: Reference,
    *,
    platform: Platform | None,
    credentials: Credentials | None,
    progress: Progress,
) -> Image:
    """Pull one tag or digest; without either every tag of the repository. Returns the (last) image."""
    one = bool(reference.tag or reference.digest)
    tags = [reference.tag] if one else await client.tags(reference, credentials)
    if not tags:
        raise NotFound(f"{reference.familiar_name()} has no tags")
    fresh = False
    with images.lease():
        for tag in tags:
            wanted = Reference(reference.domain, reference.path, tag, reference.digest)
            image, new = await _Pull(images, client, wanted, credentials, progress).run(platform)
            fresh = fresh or new
    said = "Downloaded newer image" if fresh else "Image is up to date"
    progress({"status": f"Status: {said} for {reference.familiar()}"})
    return image


class _Pull:
    """One image on its way."""

    def __init__(
        self,
        images: Images,
        client: Client,
        reference: Reference,
        credentials: Credentials | None,
        progress: Progress,
    ) -> None:
        self._images, self._client, self._reference = images, client, reference
        self._credentials, self._progress = credentials, progress
        self._slots = asyncio.Semaphore(images.transfers.concurrent_downloads)

    async def run(self, platform: Platform | None) -> tuple[Image, bool]:
        """Return the image, and whether anything about it is new."""
        reference = self._reference
        self._progress({"status": f"Pulling from {reference.path}", "id": reference.digest or reference.tag})
        if (known := await self._up_to_date(platform)) is not None:
            self._progress({"status": f"Digest: {known.id}"})
            return known, False
        top = await self._client.manifest(reference, self._credentials)
        target, manifest = await self._choose(
            top.data, top.media_type, top.digest, platform or host_platform(), depth=0
        )
        await self._fetch(manifest)
        names = [] if reference.digest else [reference.canonical()]
        image = await whole(in_disk_thread(self._images.register, target, names, [reference.familiar_name()]))
        self._progress({"status": f"Digest: {target.digest}"})
        return image, True

    async def _up_to_date(self, platform: Platform | None) -> Image | None:
        """The image we have, if the registry has no other: a HEAD is not counted by rate limits."""
        known = await in_disk_thread(self._known, platform)
        if known is None or self._reference.digest:
            return known
        try:
            found = await self._client.head(self._reference, self._credentials)
        except HavreError:
            return None  # a GET says better what is wrong
        return known if found == known.id else None

    def _known(self, platform: Platform | None) -> Image | None:
        """The whole image of our reference and a platform."""
        try:
            image = self._images.resolve(self._reference.canonical(), platform)
            manifest = manifests.parse_manifest(self._images.content.read(image.manifest_digest))
        except HavreError:
            return None
        blobs = all(self._images.content.has(one.digest) for one in (manifest.config, *manifest.layers))
        fits = platform is not None or image.platform == host_platform()
        unpacked = not image.chain_id or self._images.layers.has(image.chain_id)
        source = f"{self._reference.familiar_name()}@{image.id}" in image.repo_digests
        return image if blobs and fits and unpacked and source else None

    async def _choose(
        self, data: bytes, said: str, digest: str, platform: Platform, *, depth: int
    ) -> tuple[Descriptor, Manifest]:
        """Store a manifest or an index as it came and go down to the platform's manifest; the target is the top one."""
        kind = manifests.media_type_of(manifests.read_json(data, "the manifest"), said)
        inner = None
        if kind in manifests.INDEXES:
            if depth >= MAX_INDEX_DEPTH:
                raise InvalidParameter("indexes are nested too deeply")
            inner = manifests.pick(manifests.parse_index(data), platform)
            if inner is None:
                raise NotFound(
                    f"no matching manifest for {platform} in the manifest list entries",
                    hint="havre pull --platform ... with one it has",
                )
        else:
            _check(manifests.parse_manifest(data))
        async with lock_for(self._images.arriving, digest):
            if not self._images.content.has(digest):
                await whole(in_disk_thread(self._images.content.put, data, digest))
        target = Descriptor(kind, digest, len(data))
        if inner is None:
            return target, manifests.parse_manifest(data)
        found = await self._client.manifest(self._reference, self._credentials, inner.digest)
        if inner.size != len(found.data):
            raise InvalidParameter(
                f"{inner.digest} has {len(found.data)} bytes, not {inner.size} as the index says"
            )
        _, manifest = await self._choose(
            found.data, inner.media_type or found.media_type, found.digest, platform, depth=depth + 1
        )
        return target, manifest

    async def _fetch(self, manifest: Manifest) -> None:
        """Download config and layers side by side; unpack each layer as soon as it and those below are there."""
        await self._download(manifest.config, quiet=True)
        config = manifests.read_json(
            await in_disk_thread(self._images.content.read, manifest.config.digest), "the image config"
        )
        diff_ids = manifests.diff_ids(config)
        if len(diff_ids) != len(manifest.layers):
            raise InvalidParameter(
                f"the manifest has {len(manifest.layers)} layers, the config {len(diff_ids)}"
            )
        chains = chain_ids(diff_ids)
        for layer, chain in zip(manifest.layers, chains, strict=True):
            here = self._images.layers.has(chain) and self._images.content.has(layer.digest)
            self._say(layer, "Already exists" if here else "Pulling fs layer")
        unique = {layer.digest: layer for layer in manifest.layers}
        downloads = {digest: asyncio.ensure_future(self._download(layer)) for digest, layer in unique.items()}
        try:
            parent = ""
            for layer, diff_id, chain in zip(manifest.layers, diff_ids, chains, strict=True):
                await _first(downloads, layer.digest)
                await self._unpack(layer, parent, diff_id, chain)
                parent = chain
        finally:
            for task in downloads.values():
                task.cancel()
            await asyncio.gather(*downloads.values(), return_exceptions=True)

    async def _download(self, blob: Descriptor, *, quiet: bool = False) -> None:
        content = self._images.content
        if content.has(blob.digest):
            return
        say = (lambda *_: None) if quiet else self._say
        if self._slots.locked():
            say(blob, "Waiting")
        async with self._slots, lock_for(self._images.arriving, blob.digest):
            if not content.has(blob.digest):
                await download(content, self._source, blob, say, self._images.transfers.download_attempts)
        say(blob, "Download complete")

    async def _source(self, digest: str, offset: int, *, mirrors: bool) -> tuple[int, AsyncIterator[bytes]]:
        return await self._client.blob(self._reference, digest, self._credentials, offset, mirrors=mirrors)

    async def _unpack(self, layer: Descriptor, parent: str, diff_id: str, chain: str) -> None:
        async with lock_for(self._images.arriving, chain):
            if self._images.layers.has(chain):
                return
            loop = asyncio.get_running_loop()
            file = await in_disk_thread(self._images.content.open, layer.digest)
            source = _Counted(
                file, lambda done: loop.call_soon_threadsafe(self._say, layer, "Extracting", done, layer.size)
            )
            work = in_disk_thread(
                self._images.layers.unpack,
                cast("BinaryIO", io.BufferedReader(source, 1 << 20)),
                parent,
                diff_id,
            )
            task = asyncio.ensure_future(work)
            try:
                await asyncio.shield(task)
            except asyncio.CancelledError:
                source.stopped = True  # the thread takes away what it has made
                await asyncio.wait({task})
                raise
            finally:
                file.close()
        self._say(layer, "Pull complete")

    def _say(self, blob: Descriptor, status: str, current: int = 0, total: int = 0) -> None:
        detail = {"current": current, "total": total} if total else {}
        self._progress({"status": status, "progressDetail": detail, "id": blob.digest.partition(":")[2][:12]})


class _Counted(io.RawIOBase):
    """A file that tells how far it was read, and ends with an error when it is stopped."""

    def __init__(self, file: BinaryIO, report: Callable[[int], object]) -> None:
        self._file, self._report = file, report
        self._count, self._said = 0, 0.0
        self.stopped = False

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if self.stopped:
            raise Unavailable("the pull was cancelled")
        count = cast("Any", self._file).readinto(buffer)
        self._count += count
        if (now := time.monotonic()) - self._said >= REPORT_S:
            self._said = now
            self._report(self._count)
        return int(count)


async def _first(downloads: Mapping[str, asyncio.Future[None]], digest: str) -> None:
    """Wait for one download, but not for it when another has failed meanwhile."""
    while not downloads[digest].done():
        pending = [task for task in downloads.values() if not task.done()]
        await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
        for task in downloads.values():
            if task.done():
                task.result()
    downloads[digest].result()


def _check(manifest: Manifest) -> None:
    """Refuse what is no image, before anything of it is fetched. Raises InvalidParameter."""
    if manifest.config.media_type not in (*CONFIGS, "", "application/octet-stream"):
        raise InvalidParameter(
            f"this is no container image: its config is {manifest.config.media_type[:100]!r}",
            hint="oras or helm pull artifacts",
        )
    if manifest.config.size > manifests.MAX_MANIFEST_BYTES:
        raise InvalidParameter(f"the image config is too large: {manifest.config.size} bytes")
    chain_ids([layer.digest for layer in manifest.layers])  # too many to stack
    for layer in manifest.layers:
        kind = layer.media_type
        if "foreign" in kind or "nondistributable" in kind:
            raise InvalidParameter(f"layer {layer.digest} is foreign (not distributable): refused")
        if kind and not any(kind == known + suffix for known in LAYERS for suffix in COMPRESSIONS):
            raise InvalidParameter(f"layer {layer.digest} is of an unsupported kind: {kind[:100]!r}")
