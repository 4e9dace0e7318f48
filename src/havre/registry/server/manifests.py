"""GET, HEAD, PUT and DELETE of manifests and tags (distribution-spec, "Pulling manifests", "Pushing Manifests")."""

from havre.errors import TooLarge
from havre.http.server import Request
from havre.registry.server import manifest as reading
from havre.registry.server import names
from havre.registry.server.blobs import check_deletable
from havre.registry.server.refusal import Refused
from havre.registry.server.service import Service
from havre.registry.server.uploads import check_writable
from havre.tasks import in_disk_thread

MAX_TAGS = 32  # in one push by digest


async def get(service: Service, request: Request, name: str, reference: str) -> None:
    """Send a manifest byte for byte."""
    await service.access.check(request, name, ["pull"])
    if service.upstream is not None:
        await service.upstream.bring_manifest(name, reference)
    stored = await in_disk_thread(service.repository(name).get, reference)
    headers = {"Docker-Content-Digest": str(stored.digest), "ETag": f'"{stored.digest}"'}
    if str(stored.digest) in request.head.header("if-none-match"):
        await request.reply(304, b"", "", **headers)
        return
    await request.reply(200, stored.data, stored.media_type, **headers)


async def put(service: Service, request: Request, name: str, reference: str) -> None:
    """Keep a manifest under a tag, or under its digest and the tags of the query."""
    await service.access.check(request, name, ["pull", "push"])
    check_writable(service)
    asked = names.parse_digest(reference)
    if asked is None and ":" in reference:
        names.digest(reference)
    tags = [names.tag(one) for one in (request.query.get("tag", []) if asked else [reference])]
    if len(tags) > MAX_TAGS:
        raise Refused("TAG_INVALID", f"more than {MAX_TAGS} tags at once", status=414)
    try:
        data = await request.body(reading.MAX_BYTES)
    except TooLarge as error:
        raise Refused("SIZE_INVALID", str(error), status=413) from None
    digest = names.digest_of(data, asked.algorithm if asked else _algorithm(request))
    if asked and digest != asked:
        raise Refused(
            "DIGEST_INVALID", "provided digest did not match uploaded content", {"digest": str(asked)}
        )
    manifest = reading.read(data, request.head.header("content-type"))
    async with service.changing(name) as repository:
        await in_disk_thread(repository.put, digest, data, manifest, tags, check=service.rules.check_parts)
    headers = {"Location": f"/v2/{name}/manifests/{digest}", "Docker-Content-Digest": str(digest)}
    if manifest.subject:
        headers["OCI-Subject"] = str(manifest.subject)
    if asked and tags:
        headers["OCI-Tag"] = ", ".join(tags)
    await request.reply(201, b"", "", **headers)


def _algorithm(request: Request) -> str:
    """The algorithm a push by tag asks for by ?digest=, else sha256."""
    values = request.query.get("digest")
    return names.digest(values[0]).algorithm if values else "sha256"


async def delete(service: Service, request: Request, name: str, reference: str) -> None:
    """Remove a tag, or a manifest with all its tags."""
    await service.access.check(request, name, ["delete"])
    check_deletable(service)
    digest = names.parse_digest(reference)
    async with service.changing(name) as repository:
        if digest is None:
            await in_disk_thread(repository.untag, names.tag(reference))
        else:
            await in_disk_thread(repository.delete, digest)
    await request.reply(202)
