"""/networks."""

from havre.api import decode
from havre.api.router import Call, Route
from havre.engine import networks
from havre.spec.engine import NetworkCreate


async def listed(call: Call) -> None:
    await call.request.json(200, networks.listed(call.rooms, decode.filters(call.request)))


async def inspect(call: Call) -> None:
    await call.request.json(200, networks.inspect(call.rooms, call.name))


async def create(call: Call) -> None:
    body = await decode.body(call.request, NetworkCreate)
    await call.request.json(201, await networks.create(call.rooms, body))


async def remove(call: Call) -> None:
    await networks.remove(call.rooms, call.name)
    await call.request.reply(204)


async def prune(call: Call) -> None:
    await call.request.json(200, await networks.prune(call.rooms, decode.filters(call.request)))


routes = (
    Route("GET", "/networks", listed),
    Route("POST", "/networks/create", create),
    Route("POST", "/networks/prune", prune),
    Route("GET", "/networks/{name}", inspect),
    Route("DELETE", "/networks/{name}", remove),
)
