"""From a request to its handler, and from what goes wrong to an answer. The one door of the registry."""

import re
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import unquote

import msgspec

from havre import log
from havre.errors import HavreError
from havre.http.server import Gone, Handler, Request
from havre.registry.server import blobs, lists, manifests, names, uploads
from havre.registry.server.refusal import Refused
from havre.registry.server.service import Service

VERSION = {"Docker-Distribution-Api-Version": "registry/2.0"}
Method = Callable[..., Awaitable[None]]
# what follows /v2/NAME/ -> handlers by method; HEAD is GET without its body
_ROUTES: tuple[tuple[re.Pattern[str], dict[str, Method]], ...] = (
    (re.compile(r"(.+)/tags/list"), {"GET": lists.tags}),
    (
        re.compile(r"(.+)/manifests/([^/]+)"),
        {"GET": manifests.get, "PUT": manifests.put, "DELETE": manifests.delete},
    ),
    (re.compile(r"(.+)/referrers/([^/]+)"), {"GET": lists.referrers}),
    (re.compile(r"(.+)/blobs/uploads/?"), {"POST": uploads.post}),
    (
        re.compile(r"(.+)/blobs/uploads/([^/]+)"),
        {"GET": uploads.get, "PATCH": uploads.patch, "PUT": uploads.put, "DELETE": uploads.delete},
    ),
    (re.compile(r"(.+)/blobs/([^/]+)"), {"GET": blobs.get, "DELETE": blobs.delete}),
)


def handler(service: Service) -> Handler:
    """Return what answers every request of a registry."""

    async def handle(request: Request) -> None:
        try:
            await _route(service, request)
        except Refused as refused:
            await refuse(request, refused)
        except Gone:
            raise
        except HavreError as error:
            await refuse(request, Refused("UNKNOWN", str(error), status=error.status))
        except OSError as error:
            log.error("storage failed", path=request.path, error=str(error))
            await refuse(
                request, Refused("UNAVAILABLE", f"storage: {(error.strerror or str(error)).lower()}")
            )
        except Exception as error:  # noqa: BLE001 - a door
            log.error("request failed", method=request.method, path=request.path, error=repr(error))
            await refuse(request, Refused("UNKNOWN", "internal error"))

    return handle


async def refuse(request: Request, refused: Refused) -> None:
    """Answer with a refusal; cut an answer that has begun."""
    if request.answered:
        request.close_after = True
        raise Gone from refused  # half an answer is out: only an early end tells it
    body = msgspec.json.encode(refused.body()) + b"\n"
    await request.reply(refused.status, body, "application/json", **refused.headers)


async def _route(service: Service, request: Request) -> None:
    path = unquote(request.path)
    method = "GET" if request.method == "HEAD" else request.method
    if path in ("/v2/", "/v2"):
        await service.access.check(request, "", [])
        await _only(method, "GET")
        await request.reply(200, b"{}", "application/json")
    elif path == "/v2/_catalog":
        await _only(method, "GET")
        await lists.catalog(service, request)
    elif path.startswith("/v2/"):
        await _content(service, request, path.removeprefix("/v2/"), method)
    else:
        raise Refused("UNSUPPORTED", "page not found", status=404)


async def _only(method: str, allowed: str) -> None:
    if method != allowed:
        raise Refused("UNSUPPORTED", "the operation is unsupported", headers={"Allow": allowed})


async def _content(service: Service, request: Request, rest: str, method: str) -> None:
    for pattern, methods in _ROUTES:
        if match := pattern.fullmatch(rest):
            name, *parts = match.groups()
            if method not in methods:
                allowed = ", ".join(methods)
                raise Refused("UNSUPPORTED", "the operation is unsupported", headers={"Allow": allowed})
            arguments: list[Any] = [service, request, names.repository(name), *parts]
            await methods[method](*arguments)
            return
    raise Refused("UNSUPPORTED", "page not found", status=404)
