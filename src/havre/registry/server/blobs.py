"""GET, HEAD and DELETE of blobs (distribution-spec, "Pulling blobs", "Deleting Blobs")."""

import re

from havre.http.server import Request
from havre.registry.server.names import Digest, digest
from havre.registry.server.proxy import Fetch
from havre.registry.server.refusal import Refused
from havre.registry.server.service import Service
from havre.registry.server.storage import unknown_blob
from havre.tasks import in_disk_thread

YEAR_S = 31536000
_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})", re.ASCII)


async def get(service: Service, request: Request, name: str, reference: str) -> None:
    """Send a blob, or the part of it that Range names (RFC 9110, one range)."""
    await service.access.check(request, name, ["pull"])
    wanted = digest(reference)
    if service.upstream is not None and (fetch := await service.upstream.fetch(name, wanted)) is not None:
        if await _relay(request, fetch):
            return
        await fetch.finished()
    # HEAD is how a client decides not to upload: what it relies on must not be collected before its manifest is here.
    find = service.storage.touch if request.method == "HEAD" else service.storage.has_in
    if not await in_disk_thread(find, name, wanted):
        raise unknown_blob(wanted)
    size = await in_disk_thread(service.storage.size, wanted)
    headers = {
        "Docker-Content-Digest": str(wanted),
        "ETag": f'"{wanted}"',
        "Accept-Ranges": "bytes",
        "Cache-Control": f"max-age={YEAR_S}",
    }
    if str(wanted) in request.head.header("if-none-match"):
        await request.reply(304, b"", "", **headers)
        return
    start, end = read_range(request.head.header("range"), size)
    if (start, end) != (0, size):
        headers["Content-Range"] = f"bytes {start}-{end - 1}/{size}"
    status = 206 if "Content-Range" in headers else 200
    await _send(service, request, wanted, start, end, status, headers)


async def _relay(request: Request, fetch: Fetch) -> bool:
    """Send a blob while it arrives; False when it must be here first: parts, heads, and what has just become complete."""
    if request.method == "HEAD" or request.head.header("range"):
        return False
    try:
        file = await in_disk_thread(fetch.upload.data.open, "rb")
    except FileNotFoundError:
        return False
    try:
        headers = {"Docker-Content-Digest": str(fetch.digest)}
        stream = await request.stream(200, "application/octet-stream", **headers)
        async for data in fetch.chunks(file):
            await stream.write(data)
        await stream.end()
    finally:
        file.close()
    return True


def read_range(text: str, size: int) -> tuple[int, int]:
    """Return (first, behind the last) byte. Raises Refused RANGE_INVALID; what is no byte range is ignored, as HTTP wants."""
    match = _RANGE.fullmatch(text.replace(" ", ""))
    if match is None or match[1] == match[2] == "":
        return 0, size
    if not match[1]:
        start, end = max(0, size - int(match[2])), size
    else:
        start, end = int(match[1]), min(size, int(match[2]) + 1) if match[2] else size
    if start >= end:
        raise Refused("RANGE_INVALID", "range not satisfiable", headers={"Content-Range": f"bytes */{size}"})
    return start, end


async def _send(
    service: Service,
    request: Request,
    wanted: Digest,
    start: int,
    end: int,
    status: int,
    headers: dict[str, str],
) -> None:
    stream = await request.sized(status, "application/octet-stream", end - start, **headers)
    if request.method == "HEAD" or start == end:
        return
    file = await in_disk_thread(service.storage.layout.blob(wanted).open, "rb")
    try:
        await stream.file(
            file, start, end - start
        )  # a file that ends early cuts the answer, which the client notices
    finally:
        file.close()


async def delete(service: Service, request: Request, name: str, reference: str) -> None:
    """Take a blob out of a repository, at once."""
    await service.access.check(request, name, ["delete"])
    check_deletable(service)
    wanted = digest(reference)
    async with service.changing(name):
        await in_disk_thread(service.storage.unlink, name, wanted)
    await request.reply(202, Docker_Content_Digest=str(wanted))


def check_deletable(service: Service) -> None:
    """Raise Refused UNSUPPORTED where config.yml does not allow deletion."""
    if not service.rules.delete or service.rules.read_only:
        raise Refused("UNSUPPORTED", "the operation is unsupported: storage.delete.enabled is off")
