"""Tags, referrers and the catalog (distribution-spec, "Content Discovery")."""

import itertools
from collections.abc import Iterable

import msgspec

from havre.http.server import Request
from havre.registry.server.manifest import INDEX
from havre.registry.server.names import digest
from havre.registry.server.refusal import Refused
from havre.registry.server.service import Service
from havre.tasks import in_disk_thread

MAX_PAGE = 10_000
CATALOG_PAGE = 100  # docker-registry's default


async def tags(service: Service, request: Request, name: str) -> None:
    """A page of a repository's tags."""
    await service.access.check(request, name, ["pull"])
    if service.upstream is not None:
        found = await service.upstream.tags(name)
    else:
        found = await in_disk_thread(_tags, service, name)
    page, more = _page(request, found, MAX_PAGE)
    await _answer(request, {"name": name, "tags": page}, f"/v2/{name}/tags/list", page if more else [])


def _tags(service: Service, name: str) -> list[str]:
    if not service.storage.has_repository(name):
        raise Refused("NAME_UNKNOWN", "repository name not known to registry", {"name": name})
    return service.repository(name).tags()


async def catalog(service: Service, request: Request) -> None:
    """A page of all repositories."""
    await service.access.check(request, "", ["*"])
    found = await in_disk_thread(lambda: list(service.storage.repositories()))
    page, more = _page(request, sorted(found), CATALOG_PAGE)
    await _answer(request, {"repositories": page}, "/v2/_catalog", page if more else [])


async def referrers(service: Service, request: Request, name: str, reference: str) -> None:
    """An index of what refers to a manifest, which need not be here."""
    await service.access.check(request, name, ["pull"])
    found = await in_disk_thread(service.repository(name).referrers, digest(reference))
    headers = {}
    if wanted := request.query.get("artifactType"):
        found = [one for one in found if one.get("artifactType") in wanted]
        headers["OCI-Filters-Applied"] = "artifactType"
    body = msgspec.json.encode({"schemaVersion": 2, "mediaType": INDEX, "manifests": found})
    await request.reply(200, body, INDEX, **headers)


def _page(request: Request, found: Iterable[str], usual: int) -> tuple[list[str], bool]:
    """Return at most n entries behind `last`, and whether there are more. Raises Refused PAGINATION_NUMBER_INVALID."""
    count = usual
    if values := request.query.get("n"):
        if not (values[0].isascii() and values[0].isdigit()) or len(values[0]) > 9:
            raise Refused(
                "PAGINATION_NUMBER_INVALID", "invalid number of results requested", {"n": values[0][:100]}
            )
        count = min(int(values[0]), MAX_PAGE)
    last = (request.query.get("last") or [""])[0]
    page = list(itertools.islice((one for one in found if one > last), count + 1))
    return page[:count], bool(count) and len(page) > count


async def _answer(request: Request, value: dict[str, object], path: str, page: list[str]) -> None:
    """`page` is what the next one follows; empty at the end (RFC 5988 Link)."""
    body = msgspec.json.encode(value) + b"\n"
    headers = {"Link": f'<{path}?last={page[-1]}&n={len(page)}>; rel="next"'} if page else {}
    await request.reply(200, body, "application/json", **headers)
