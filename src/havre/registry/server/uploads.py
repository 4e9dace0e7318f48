"""Blobs on their way in: POST, PATCH, PUT, GET, DELETE of /blobs/uploads/ (distribution-spec, "Pushing Blobs")."""

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator

from havre.errors import HavreError
from havre.http.server import Request
from havre.registry.server import upload as session
from havre.registry.server.names import Digest, digest, is_upload, repository
from havre.registry.server.refusal import Refused
from havre.registry.server.service import Service
from havre.registry.server.upload import Upload
from havre.tasks import in_disk_thread

BATCH_BYTES = 1 << 20  # what goes to the disk thread at once
_CONTENT_RANGE = re.compile(r"(?:bytes[ =])?(\d{1,18})-(\d{1,18})(?:/(?:\d+|\*))?", re.ASCII)


async def post(service: Service, request: Request, name: str) -> None:
    """Begin an upload; or, by the query, mount a blob of another repository, or take a whole one at once."""
    await service.access.check(request, name, ["pull", "push"])
    check_writable(service)
    if (wanted := _query(request, "mount")) and await _mount(service, request, name, digest(wanted)):
        await _created(request, name, digest(wanted))
        return
    whole = digest(_query(request, "digest")) if _query(request, "digest") else None
    upload = await in_disk_thread(session.begin, service.storage, name)
    lock = service.remember(upload)
    if whole is None:
        await _accepted(request, upload)
        return
    async with lock, _tidy(service, upload):
        await _receive(request, upload)
        await _finish(service, upload, whole)
    await _created(request, name, whole)


def _query(request: Request, name: str) -> str:
    values = request.query.get(name)
    return values[0] if values else ""


def check_writable(service: Service) -> None:
    """Raise Refused UNSUPPORTED on a registry that only serves."""
    if service.rules.read_only:
        raise Refused("UNSUPPORTED", "the registry is read-only")


async def _mount(service: Service, request: Request, name: str, wanted: Digest) -> bool:
    """Link a blob the client may read already; without `from`, of any repository it may read."""
    if source := _query(request, "from"):
        candidates = [repository(source)]
    else:
        candidates = await in_disk_thread(lambda: list(service.storage.repositories("_layers")))
    for candidate in candidates:
        if await in_disk_thread(service.storage.has_in, candidate, wanted) and await service.access.may(
            request, candidate, "pull"
        ):
            return await in_disk_thread(service.storage.link, name, wanted)
    return False


async def patch(service: Service, request: Request, name: str, key: str) -> None:
    """Take the next chunk, or a stream of unknown length."""
    await service.access.check(request, name, ["pull", "push"])
    async with _open(service, name, key) as upload:
        await _receive(request, upload)
        await _accepted(request, upload)


async def put(service: Service, request: Request, name: str, key: str) -> None:
    """Take the last chunk, if there is one, and close the upload."""
    await service.access.check(request, name, ["pull", "push"])
    wanted = digest(_query(request, "digest"))
    async with _open(service, name, key) as upload:
        await _receive(request, upload)
        async with _tidy(service, upload):
            await _finish(service, upload, wanted)
    await _created(request, name, wanted)


async def get(service: Service, request: Request, name: str, key: str) -> None:
    """How much is here."""
    await service.access.check(request, name, ["pull", "push"])
    async with _open(service, name, key) as upload:
        await request.reply(204, b"", "", **_state(upload))


async def delete(service: Service, request: Request, name: str, key: str) -> None:
    """Give an upload up."""
    await service.access.check(request, name, ["pull", "push"])
    async with _open(service, name, key) as upload:
        service.forget(upload)
        await in_disk_thread(upload.cancel)
    await request.reply(204)


@contextlib.asynccontextmanager
async def _open(service: Service, name: str, key: str) -> AsyncIterator[Upload]:
    """Hold an upload of this repository: two requests never write to one at once."""
    if not is_upload(key):
        raise _unknown(key)
    if key not in service.uploads:
        found = await in_disk_thread(session.resume, service.storage, name, key)
        if key not in service.uploads:
            service.remember(found)
    upload, lock = service.uploads[key]
    async with lock:
        if upload.name != name or key not in service.uploads:
            raise _unknown(key)
        yield upload


def _unknown(key: str) -> Refused:
    return Refused("BLOB_UPLOAD_UNKNOWN", "blob upload unknown to registry", {"uuid": key[:100]})


@contextlib.asynccontextmanager
async def _tidy(service: Service, upload: Upload) -> AsyncIterator[None]:
    """However it ends, the upload is over."""
    try:
        yield
    finally:
        service.forget(upload)
        await asyncio.shield(in_disk_thread(upload.cancel))


async def _receive(request: Request, upload: Upload) -> None:
    """Append the body. A range must begin where the last ended; a body that is not as long as its range takes itself back."""
    before = upload.size
    length = _range_length(request, upload)
    held = bytearray()
    try:
        async for chunk in request.chunks():
            held += chunk
            if len(held) >= BATCH_BYTES:
                await in_disk_thread(upload.append, bytes(held))
                held.clear()
    finally:
        if held:
            await asyncio.shield(
                in_disk_thread(upload.append, bytes(held))
            )  # a client that was cut off goes on from here
    if length >= 0 and upload.size - before != length:
        await in_disk_thread(upload.cut, before)
        raise Refused("SIZE_INVALID", "the body is not as long as its Content-Range")


def _range_length(request: Request, upload: Upload) -> int:
    """Return how long Content-Range says the body is, -1 without one. Raises Refused with 416 when it is not the next part."""
    text = request.head.header("content-range")
    if not text:
        return -1
    match = _CONTENT_RANGE.fullmatch(text.strip())
    start, end = (int(match[1]), int(match[2])) if match else (-1, -1)
    declared = request.head.content_length
    if start != upload.size or end < start or (declared is not None and declared != end - start + 1):
        raise Refused(
            "BLOB_UPLOAD_INVALID",
            f"the next byte is {upload.size}, not {text[:100]!r}",
            status=416,
            headers=_state(upload),
        )
    return end - start + 1


async def _finish(service: Service, upload: Upload, wanted: Digest) -> None:
    if quota := service.rules.quota_bytes:
        await in_disk_thread(_check_quota, service, upload, quota)
    try:
        await in_disk_thread(upload.commit, wanted)
    except OSError as error:
        raise _storage_failed(error) from error


def _check_quota(service: Service, upload: Upload, quota: int) -> None:
    folder = service.storage.layout.repository(upload.name) / "_layers"
    used = 0
    for link in folder.glob("*/*/link"):
        with contextlib.suppress(HavreError):
            used += service.storage.size(digest(f"{link.parent.parent.name}:{link.parent.name}"))
    if used + upload.size > quota:
        raise Refused("DENIED", f"the repository's quota of {quota} bytes is used up ({used} bytes are here)")


def _storage_failed(error: OSError) -> Refused:
    return Refused("UNAVAILABLE", f"the registry cannot store this: {(error.strerror or str(error)).lower()}")


def _state(upload: Upload) -> dict[str, str]:
    return {
        "Location": f"/v2/{upload.name}/blobs/uploads/{upload.key}",
        "Range": f"0-{max(0, upload.size - 1)}",
        "Docker-Upload-UUID": upload.key,
    }


async def _accepted(request: Request, upload: Upload) -> None:
    await request.reply(202, b"", "", **_state(upload))


async def _created(request: Request, name: str, wanted: Digest) -> None:
    await request.reply(201, Location=f"/v2/{name}/blobs/{wanted}", Docker_Content_Digest=str(wanted))
