"""Push: blobs the registry lacks, then manifests from the inside out, byte for byte as they are here."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

from havre.errors import NoSuchImage, NotFound
from havre.image import manifest as manifests
from havre.image.images import Images
from havre.image.manifest import Descriptor
from havre.registry.auth import Credentials
from havre.registry.client import Client
from havre.spec import reference as references
from havre.spec.reference import Reference
from havre.tasks import in_disk_thread

MAX_UPLOADS = 5  # Docker's --max-concurrent-uploads
STEP_BYTES = 1 << 20
Progress = Callable[[dict[str, Any]], None]


async def push(
    images: Images,
    client: Client,
    reference: Reference,
    *,
    credentials: Credentials | None,
    progress: Progress,
) -> None:
    """Push one tag, or every local tag of the repository when there is none. Raises NoSuchImage."""
    progress({"status": f"The push refers to repository [{reference.name}]"})
    tags = [reference.tag] if reference.tag else _local_tags(images, reference)
    if not tags:
        raise NoSuchImage(reference.familiar_name())
    with images.lease():
        for tag in tags:
            one = reference.with_tag(tag)
            image = images.resolve(one.familiar())
            await _Push(images, client, one, credentials, progress).tree(image.id, tag)
            descriptor = images.inspect(one.familiar())["Descriptor"]
            target = Descriptor(descriptor["mediaType"], descriptor["digest"], descriptor["size"])
            await in_disk_thread(images.register, target, [], [reference.familiar_name()])
            progress({"status": f"{tag}: digest: {image.id} size: {target.size}"})
            progress({"progressDetail": {}, "aux": {"Tag": tag, "Digest": image.id, "Size": target.size}})


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
        self._slots = asyncio.Semaphore(MAX_UPLOADS)

    async def tree(self, digest: str, tag: str = "") -> None:
        """Push a manifest or an index with all that is below it and here."""
        data = await in_disk_thread(self._images.content.read, digest)
        kind = manifests.media_type_of(manifests.read_json(data, "the manifest"))
        if kind in manifests.INDEXES:
            for inner in manifests.parse_index(data):
                if not self._images.content.has(inner.digest):
                    raise NotFound(
                        f"the image is not complete: {inner.platform or inner.digest} was never pulled",
                        hint="tag and push one platform, or pull all of them",
                    )
                await self.tree(inner.digest)
        else:
            manifest = manifests.parse_manifest(data)
            unique = {blob.digest: blob for blob in (*manifest.layers, manifest.config)}
            await asyncio.gather(
                *(self._blob(blob, quiet=blob == manifest.config) for blob in unique.values())
            )
        place = (
            self._reference if tag else Reference(self._reference.domain, self._reference.path, "", digest)
        )
        await self._client.put_manifest(place, data, kind, self._credentials)

    async def _blob(self, blob: Descriptor, *, quiet: bool) -> None:
        async with self._slots:
            if not quiet:
                self._say(blob, "Preparing")
            if await self._client.has_blob(self._reference, blob.digest, self._credentials):
                done = "Layer already exists"
            else:
                size = await in_disk_thread(self._images.content.size, blob.digest)
                chunks = self._chunks(blob, size, quiet=quiet)
                source = self._mount_source(blob.digest)
                mounted = await self._client.upload(
                    self._reference, blob.digest, size, chunks, self._credentials, source
                )
                done = f"Mounted from {source}" if mounted else "Pushed"
            if not quiet:
                self._say(blob, done)

    def _mount_source(self, digest: str) -> str:
        """Another repository of the same registry that has this blob, as far as we know."""
        for image in self._images.all():
            for name in image.repo_digests:
                one = references.parse(name)
                if one.domain == self._reference.domain and one.path != self._reference.path:
                    manifest = manifests.parse_manifest(self._images.content.read(image.manifest_digest))
                    if any(layer.digest == digest for layer in manifest.layers):
                        return one.path
        return ""

    async def _chunks(self, blob: Descriptor, size: int, *, quiet: bool) -> AsyncIterator[bytes]:
        file = await in_disk_thread(self._images.content.open, blob.digest)
        sent = 0
        try:
            while data := await in_disk_thread(file.read, STEP_BYTES):
                yield data
                sent += len(data)
                if not quiet:
                    self._say(blob, "Pushing", sent, size)
        finally:
            file.close()

    def _say(self, blob: Descriptor, status: str, current: int = 0, total: int = 0) -> None:
        detail = {"current": current, "total": total} if total else {}
        self._progress({"status": status, "progressDetail": detail, "id": blob.digest[7:19]})
