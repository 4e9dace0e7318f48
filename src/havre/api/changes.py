"""/containers/{id}/changes: a container's own layer."""

from havre.api.router import Call, Route
from havre.engine import changes as changing


async def changes(call: Call) -> None:
    await call.request.json(200, await changing.changes(call.rooms, call.name))


routes = (Route("GET", "/containers/{name}/changes", changes),)
