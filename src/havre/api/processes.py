"""/containers/{id}/top: what runs in a container."""

from havre.api import decode
from havre.api.router import Call, Route
from havre.engine import top as topping


async def top(call: Call) -> None:
    found = await topping.top(call.rooms, call.name, decode.text(call.request, "ps_args"))
    await call.request.json(200, found)


routes = (Route("GET", "/containers/{name}/top", top),)
