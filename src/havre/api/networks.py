"""/networks and /volumes: what this daemon has of them."""

from havre.api import decode
from havre.api.router import Call, Route
from havre.engine import networks


async def listed(call: Call) -> None:
    await call.request.json(200, networks.listed(call.rooms, decode.filters(call.request)))


async def inspect(call: Call) -> None:
    await call.request.json(200, networks.inspect(call.rooms, call.name))


async def volumes(call: Call) -> None:
    """Named volumes come with their own room; there are none."""
    await call.request.json(200, {"Volumes": [], "Warnings": None})


routes = (
    Route("GET", "/networks", listed),
    Route("GET", "/networks/{name}", inspect),
    Route("GET", "/volumes", volumes),
)
