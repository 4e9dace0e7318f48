"""Push: blobs the registry lacks, then manifests from the inside out, byte for byte as they are here."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

from havre.errors import InvalidParameter, NoSuchImage, NotFound, Unavailable
from havre.image import manifest as manifests
from havre.image.images import Images
from havre.image.manifest import Descriptor
from havre.registry.auth import Credentials
from havre.registry.client import Client
from havre.spec import reference as references
from havre.spec.image import Image
from havre.spec.reference import Reference
from havre.tasks import in_disk_thread

ATTEMPTS = 3
STEP_BYTES = 1 << 20
REPORT_S = 0.1
Progress = Callable[[dict[str, Any]], None]


async def push(
    images: Images,
    client: Client,
    reference: Reference,
    *,
    credentials: Credentials | None,
    progress: Progress,
) -> None:
    """Push one tag, or every local tag of the repository when there is none. Raises NoSuchImage, InvalidParameter."""
    if reference.digest:
        raise InvalidParameter("cannot push a digest reference", hint=reference.familiar_name() + ":TAG")
    tags = [reference.tag] if reference.tag else await in_disk_thread(_local_tags, images, reference)
    if not tags:
        raise NoSuchImage(reference.familiar_name())
    found = [(tag, images.resolve(reference.with_tag(tag).familiar())) for tag in tags]
    progress({"status": f"The push refers to repository [{reference.name}]"})
    with images.lease():
        for tag, image in found:
            await _Push(images, client, reference.with_tag(tag), credentials, progress).run(image)


def _local_tags(images: Images, reference: Reference) -> list[str]:
    found = [references.parse(name) for image in images.all() for name in image.repo_tags]
    return [one.tag for one in found if one.name == reference.name]


class _Push:
    """One tag on its way."""

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
        self._slots = asyncio.Semaphore(images.transfers.concurrent_uploads)
        self._elsewhere: dict[str, str] = {}

    async def run(self, image: Image) -> None:
        """Push what the tag points at; of an index that is here in part only this platform's manifest, as Docker does."""
        self._elsewhere = await in_disk_thread(self._mount_sources)
        top = await in_disk_thread(self._describe, image.id)
        target = top
        if await in_disk_thread(self._is_partial, image.id):
            target = await in_disk_thread(self._describe, image.manifest_digest)
            note = {
                "manifestPushedInsteadOfIndex": True,
                "originalIndex": top.as_dict(),
                "selectedManifest": target.as_dict(),
            }
            self._progress({"aux": note})
        await self._tree(target.digest, self._reference)
        await in_disk_thread(self._images.register, top, [], self._sources(top, target))
        tag = self._reference.tag
        self._progress({"status": f"{tag}: digest: {target.digest} size: {target.size}"})
        aux = {"Tag": tag, "Digest": target.digest, "Size": target.size}
        self._progress({"progressDetail": {}, "aux": aux})

    def _sources(self, top: Descriptor, target: Descriptor) -> list[str]:
        return [self._reference.familiar_name()] if top == target else []

    def _describe(self, digest: str) -> Descriptor:
        data = self._images.content.read(digest)
        return Descriptor(
            manifests.media_type_of(manifests.read_json(data, "the manifest")), digest, len(data)
        )

    def _is_partial(self, digest: str) -> bool:
        """Whether an index names manifests that were never pulled."""
        data = self._images.content.read(digest)
        if manifests.media_type_of(manifests.read_json(data, "the manifest")) not in manifests.INDEXES:
            return False
        return any(
            not self._images.content.has(inner.digest) or self._is_partial(inner.digest)
            for inner in manifests.parse_index(data)
        )

    async def _tree(self, digest: str, place: Reference) -> None:
        """Push a manifest or an index after all that is below it."""
        data = await in_disk_thread(self._images.content.read, digest)
        kind = manifests.media_type_of(manifests.read_json(data, "the manifest"))
        if kind in manifests.INDEXES:
            for inner in manifests.parse_index(data):
                below = Reference(self._reference.domain, self._reference.path, "", inner.digest)
                await self._tree(inner.digest, below)
        else:
            manifest = manifests.parse_manifest(data)
            unique = {blob.digest: blob for blob in (*manifest.layers, manifest.config)}
            for layer in dict.fromkeys(manifest.layers):
                self._say(layer, "Preparing")
            await _all(self._blob(blob, quiet=blob == manifest.config) for blob in unique.values())
        await self._client.put_manifest(place, data, kind, self._credentials)

    async def _blob(self, blob: Descriptor, *, quiet: bool) -> None:
        say = (lambda *_: None) if quiet else self._say
        if self._slots.locked():
            say(blob, "Waiting")
        async with self._slots:
            for attempt in range(ATTEMPTS):
                try:
                    say(blob, await self._send(blob, quiet=quiet))
                    return
                except Unavailable:
                    if attempt == ATTEMPTS - 1:
                        raise
                    say(blob, f"Retrying in {1 << attempt} seconds")
                    await asyncio.sleep(1 << attempt)

    async def _send(self, blob: Descriptor, *, quiet: bool) -> str:
        """Get one blob there; returns what was needed for it."""
        if await self._client.has_blob(self._reference, blob.digest, self._credentials):
            return "Layer already exists"
        if not self._images.content.has(blob.digest):
            raise NotFound(f"content of the image is missing: {blob.digest}", hint="havre pull it again")
        source = self._elsewhere.get(blob.digest, "")
        size = await in_disk_thread(self._images.content.size, blob.digest)
        mounted = await self._client.upload(
            self._reference,
            blob.digest,
            size,
            lambda: self._chunks(blob, size, quiet=quiet),
            self._credentials,
            source,
        )
        return f"Mounted from {source}" if mounted else "Pushed"

    def _mount_sources(self) -> dict[str, str]:
        """Blob -> another repository of the same registry that has it, as far as we know."""
        found: dict[str, str] = {}
        for image in self._images.all():
            repositories = [references.parse(name) for name in image.repo_digests]
            paths = [
                one.path
                for one in repositories
                if one.domain == self._reference.domain and one.path != self._reference.path
            ]
            if paths:
                manifest = manifests.parse_manifest(self._images.content.read(image.manifest_digest))
                found.update(dict.fromkeys([layer.digest for layer in manifest.layers], paths[0]))
        return found

    async def _chunks(self, blob: Descriptor, size: int, *, quiet: bool) -> AsyncIterator[bytes]:
        clock = asyncio.get_running_loop().time
        file = await in_disk_thread(self._images.content.open, blob.digest)
        sent, said = 0, 0.0
        try:
            while data := await in_disk_thread(file.read, STEP_BYTES):
                yield data
                sent += len(data)
                if not quiet and clock() - said >= REPORT_S:
                    said = clock()
                    self._say(blob, "Pushing", sent, size)
        finally:
            file.close()

    def _say(self, blob: Descriptor, status: str, current: int = 0, total: int = 0) -> None:
        detail = {"current": current, "total": total} if total else {}
        self._progress({"status": status, "progressDetail": detail, "id": blob.digest.partition(":")[2][:12]})


async def _all(work: Any) -> None:
    """Run coroutines side by side; the first failure ends the others and is raised."""
    coroutines: list[Coroutine[Any, Any, None]] = list(work)
    tasks = [asyncio.ensure_future(one) for one in coroutines]
    try:
        for done in asyncio.as_completed(tasks):
            await done
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
