"""/volumes."""

from havre.api import decode
from havre.api.router import Call, Route
from havre.engine import volumes
from havre.spec.engine import VolumeCreate


async def listed(call: Call) -> None:
    await call.request.json(200, await volumes.listed(call.rooms, decode.filters(call.request)))


async def create(call: Call) -> None:
    body = await decode.body(call.request, VolumeCreate)
    await call.request.json(201, await volumes.create(call.rooms, body))


async def inspect(call: Call) -> None:
    await call.request.json(200, await volumes.inspect(call.rooms, call.name))


async def remove(call: Call) -> None:
    await volumes.remove(call.rooms, call.name, force=decode.flag(call.request, "force"))
    await call.request.reply(204)


async def prune(call: Call) -> None:
    await call.request.json(200, await volumes.prune(call.rooms, decode.filters(call.request)))


routes = (
    Route("GET", "/volumes", listed),
    Route("POST", "/volumes/create", create),
    Route("POST", "/volumes/prune", prune),
    Route("GET", "/volumes/{name}", inspect),
    Route("DELETE", "/volumes/{name}", remove),
)
