"""The whole API as one handler for http."""

from collections.abc import Awaitable, Callable

from havre.api import (
    changes,
    containers,
    exec,
    images,
    networks,
    processes,
    refused,
    streams,
    system,
    volumes,
)
from havre.api.router import Router
from havre.engine.rooms import Rooms
from havre.http.server import Request
from havre.version import API_VERSION, VERSION

COMMON_HEADERS = {
    "Api-Version": API_VERSION,
    "Docker-Experimental": "false",
    "Ostype": "linux",
    "Server": f"Havre/{VERSION} (linux)",
}


def handler(rooms: Rooms) -> Callable[[Request], Awaitable[None]]:
    """Return the handler of one daemon."""
    tables = (system, containers, changes, processes, streams, exec, images, networks, volumes, refused)
    router = Router(route for table in tables for route in table.routes)

    async def handle(request: Request) -> None:
        await router.handle(rooms, request)

    return handle
