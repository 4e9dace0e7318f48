"""Pull: manifest, parallel downloads with resume, unpack in order, then register. Nothing is visible before all of it is there."""

import asyncio
from collections.abc import Callable
from typing import Any

from havre.errors import HavreError, InvalidParameter, NotFound, Unavailable
from havre.image import manifest as manifests
from havre.image.content import DigestMismatch
from havre.image.images import Images
from havre.image.layers import chain_ids
from havre.image.manifest import Descriptor
from havre.registry.auth import Credentials
from havre.registry.client import Client
from havre.spec.image import Image, Platform
from havre.spec.platform import host_platform
from havre.spec.reference import Reference
from havre.tasks import in_disk_thread

MAX_DOWNLOADS = 3  # Docker's --max-concurrent-downloads
ATTEMPTS = 5  # Docker's --max-download-attempts
REPORT_BYTES = 512 * 1024
MAX_INDEX_DEPTH = 3
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
    tags = [reference.tag] if reference.tag or reference.digest else await client.tags(reference, credentials)
    if not tags:
        raise NotFound(f"{reference.familiar_name()} has no tags")
    image: Image | None = None
    with images.lease():
        for tag in tags:
            one = Reference(reference.domain, reference.path, tag, reference.digest)
            image = await _Pull(images, client, one, credentials, progress).run(platform)
    assert image is not None
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
        self._slots = asyncio.Semaphore(MAX_DOWNLOADS)

    async def run(self, platform: Platform | None) -> Image:
        reference = self._reference
        path = reference.path if reference.domain == "docker.io" else reference.familiar_name()
        self._progress({"status": f"Pulling from {path}", "id": reference.tag or reference.digest})
        top = await self._client.manifest(reference, self._credentials)
        target, manifest = await self._choose(
            top.data, top.media_type, top.digest, platform or host_platform(), depth=0
        )
        await self._fetch(manifest)
        canonical = (
            [Reference(reference.domain, reference.path, reference.tag).canonical()] if reference.tag else []
        )
        before = await in_disk_thread(self._known, canonical[0]) if canonical else ""
        image = await in_disk_thread(self._images.register, target, canonical, [reference.familiar_name()])
        self._progress({"status": f"Digest: {target.digest}"})
        fresh = "Image is up to date" if before == target.digest else "Downloaded newer image"
        self._progress({"status": f"Status: {fresh} for {reference.familiar()}"})
        return image

    def _known(self, name: str) -> str:
        try:
            return self._images.resolve(name).id
        except HavreError:
            return ""

    async def _choose(
        self, data: bytes, said: str, digest: str, platform: Platform, *, depth: int
    ) -> tuple[Descriptor, manifests.Manifest]:
        """Store a manifest or an index as it came and go down to the platform's manifest; the target is the top one."""
        kind = manifests.media_type_of(manifests.read_json(data, "the manifest"), said)
        await in_disk_thread(self._images.content.put, data, digest)
        target = Descriptor(kind, digest, len(data))
        if kind in manifests.MANIFESTS:
            return target, manifests.parse_manifest(data)
        if depth >= MAX_INDEX_DEPTH:
            raise InvalidParameter("indexes are nested too deeply")
        inner = manifests.pick(manifests.parse_index(data), platform)
        if inner is None:
            raise NotFound(
                f"no matching manifest for {platform} in the manifest list entries",
                hint="--platform, see what the image offers",
            )
        found = await self._client.manifest(self._reference, self._credentials, inner.digest)
        _, manifest = await self._choose(
            found.data, found.media_type, found.digest, platform, depth=depth + 1
        )
        return target, manifest

    async def _fetch(self, manifest: manifests.Manifest) -> None:
        """Download config and layers side by side; unpack each layer as soon as it and those below are there."""
        for layer in manifest.layers:
            if "foreign" in layer.media_type or "nondistributable" in layer.media_type:
                raise InvalidParameter(f"layer {layer.digest} is foreign (not distributable): refused")
            self._say(layer, "Pulling fs layer")
        await self._download(manifest.config, quiet=True)
        config = manifests.read_json(
            await in_disk_thread(self._images.content.read, manifest.config.digest), "the image config"
        )
        diff_ids = manifests.diff_ids(config)
        if len(diff_ids) != len(manifest.layers):
            raise InvalidParameter(
                f"the manifest has {len(manifest.layers)} layers, the config {len(diff_ids)}"
            )
        unique = {layer.digest: layer for layer in manifest.layers}
        downloads = {digest: asyncio.ensure_future(self._download(layer)) for digest, layer in unique.items()}
        try:
            parent = ""
            for layer, diff_id, chain in zip(manifest.layers, diff_ids, chain_ids(diff_ids), strict=True):
                await downloads[layer.digest]
                await self._unpack(layer, parent, diff_id, chain)
                parent = chain
        finally:
            for task in downloads.values():
                task.cancel()
            await asyncio.gather(*downloads.values(), return_exceptions=True)

    async def _unpack(self, layer: Descriptor, parent: str, diff_id: str, chain: str) -> None:
        if self._images.layers.has(chain):
            self._say(layer, "Already exists")
            return
        self._say(layer, "Extracting", layer.size, layer.size)
        await in_disk_thread(self._unpack_blob, layer, parent, diff_id)
        self._say(layer, "Pull complete")

    def _unpack_blob(self, layer: Descriptor, parent: str, diff_id: str) -> None:
        with self._images.content.open(layer.digest) as file:
            self._images.layers.unpack(file, parent, diff_id)

    async def _download(self, blob: Descriptor, *, quiet: bool = False) -> None:
        if self._images.content.has(blob.digest):
            return
        async with self._slots:
            for attempt in range(ATTEMPTS):
                try:
                    await self._download_once(blob, quiet=quiet)
                    break
                except (Unavailable, DigestMismatch) as error:
                    if attempt == ATTEMPTS - 1 or (isinstance(error, DigestMismatch) and attempt > 0):
                        raise
                    self._say(blob, f"Retrying in {1 << attempt} seconds")
                    await asyncio.sleep(1 << attempt)
        if not quiet:
            self._say(blob, "Download complete")

    async def _download_once(self, blob: Descriptor, *, quiet: bool) -> None:
        writer = await in_disk_thread(self._images.content.ingest, blob.digest, blob.size)
        try:
            if writer.offset < blob.size or not blob.size:
                offset, chunks = await self._client.blob(
                    self._reference, blob.digest, self._credentials, writer.offset
                )
                if offset == 0 and writer.offset:
                    await in_disk_thread(writer.restart)
                await self._receive(blob, writer, chunks, quiet=quiet)
            await in_disk_thread(writer.commit)
        finally:
            await in_disk_thread(writer.__exit__)

    async def _receive(self, blob: Descriptor, writer: Any, chunks: Any, *, quiet: bool) -> None:
        pending, size, said = [], 0, 0
        async for chunk in chunks:
            pending.append(chunk)
            size += len(chunk)
            if size >= REPORT_BYTES:
                await in_disk_thread(writer.write, b"".join(pending))
                pending, size = [], 0
            if not quiet and writer.offset - said >= REPORT_BYTES * 2:
                said = writer.offset
                self._say(blob, "Downloading", said, blob.size)
        if pending:
            await in_disk_thread(writer.write, b"".join(pending))

    def _say(self, blob: Descriptor, status: str, current: int = 0, total: int = 0) -> None:
        detail = {"current": current, "total": total} if total else {}
        self._progress({"status": status, "progressDetail": detail, "id": blob.digest[7:19]})
