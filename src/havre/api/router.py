"""From method and path to a handler, and from errors to replies. The table is data: `routes` of each resource."""

import re
from collections.abc import Awaitable, Callable, Iterable
from typing import NamedTuple
from urllib.parse import unquote

from havre import log
from havre.engine.rooms import Rooms
from havre.errors import HavreError, InvalidParameter, NotFound, of_os
from havre.http.server import Gone, Request
from havre.version import API_VERSION, MIN_API_VERSION

Handler = Callable[["Call"], Awaitable[None]]


class Call(NamedTuple):
    """One request on its way to a handler."""

    rooms: Rooms
    request: Request
    version: tuple[int, int]  # the API version the client speaks
    args: dict[str, str]  # parts of the path

    @property
    def name(self) -> str:
        return self.args["name"]


class Route(NamedTuple):
    method: str
    pattern: str  # "/containers/{name}/json"; {name:any} also takes slashes
    handler: Handler


def numbers(version: str) -> tuple[int, int]:
    """Return (1, 51) of "1.51"."""
    major, _, minor = version.partition(".")
    return int(major), int(minor)


_NEWEST, _OLDEST = numbers(API_VERSION), numbers(MIN_API_VERSION)
_VERSION = re.compile(r"/v(\d{1,3}\.\d{1,3})(/.*)")


class Router:
    """Finds the handler; literal segments win over parameters by the order of the table."""

    def __init__(self, routes: Iterable[Route]) -> None:
        self._by_first: dict[str, list[tuple[re.Pattern[str], Route]]] = {}
        for route in routes:
            self._by_first.setdefault(route.pattern.split("/")[1], []).append(
                (_compile(route.pattern), route)
            )

    async def handle(self, rooms: Rooms, request: Request) -> None:
        """Answer one request, whatever happens."""
        try:
            version, path = _split_version(request.path)
            handler, args = self._find(request.method, path)
            await handler(Call(rooms, request, version, args))
        except Gone:
            raise
        except HavreError as error:
            await reply_error(request, error)
        except OSError as error:  # the disk, or descriptors
            log.error("handler failed", method=request.method, path=request.path, error=repr(error))
            await reply_error(request, of_os(error))
        except Exception as error:  # noqa: BLE001 - a door: a bug in one handler must not end the connection unanswered
            log.error("handler failed", method=request.method, path=request.path, error=repr(error))
            await reply_error(request, HavreError(f"internal error: {error!r}"))

    def _find(self, method: str, path: str) -> tuple[Handler, dict[str, str]]:
        for pattern, route in self._by_first.get(path.split("/")[1] if "/" in path else "", ()):
            if route.method == method and (match := pattern.fullmatch(path)):
                return route.handler, {key: unquote(value) for key, value in match.groupdict().items()}
        raise NotFound("page not found")


def _compile(pattern: str) -> re.Pattern[str]:
    parts = re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", pattern)
    return re.compile(re.sub(r"\{(\w+):any\}", r"(?P<\1>.+)", parts))


def _split_version(path: str) -> tuple[tuple[int, int], str]:
    """Return (version, rest of the path); newer and much older clients are told so in Docker's words."""
    match = _VERSION.fullmatch(path)
    if match is None:
        return _NEWEST, path
    version = numbers(match[1])
    if version > _NEWEST:
        raise InvalidParameter(
            f"client version {match[1]} is too new. Maximum supported API version is {API_VERSION}"
        )
    if version < _OLDEST:
        raise InvalidParameter(
            f"client version {match[1]} is too old. Minimum supported API version is {MIN_API_VERSION}, "
            "please upgrade your client to a newer version"
        )
    return version, match[2]


async def reply_error(request: Request, error: HavreError) -> None:
    """Turn an error into Docker's {"message": ...}; inside a stream that has begun nothing can be said any more."""
    if request.answered:
        log.warn("an answer was cut short", method=request.method, path=request.path, error=str(error))
        request.close_after = True
        return
    if error.status == 304:
        await request.reply(304)
    else:
        await request.json(error.status, {"message": str(error)})
