"""/containers/{id}/top and /stats: what runs in a container, and what it uses."""

from contextlib import aclosing
from typing import Any

import msgspec

from havre.api import decode
from havre.api.router import Call, Route
from havre.engine import stats as measuring
from havre.engine import top as topping
from havre.errors import InvalidParameter

OS_TYPE_SINCE = (1, 52)  # the API version that has os_type in it


async def top(call: Call) -> None:
    found = await topping.top(call.rooms, call.name, decode.text(call.request, "ps_args"))
    await call.request.json(200, found)


async def stats(call: Call) -> None:
    request = call.request
    stream, one_shot = decode.flag(request, "stream", True), decode.flag(request, "one-shot")
    if stream and one_shot:
        raise InvalidParameter("cannot have stream=true and one-shot=true")
    container = call.rooms.containers.find(call.name)
    answer = await request.stream(200, "application/json")
    if stream:
        async with aclosing(measuring.follow(call.rooms, container)) as frames:
            async for frame in frames:
                await answer.write(_line(call, frame))
    elif one_shot:
        await answer.write(_line(call, await measuring.one_shot(call.rooms, container)))
    else:
        await answer.write(_line(call, await measuring.measured(call.rooms, container)))
    await answer.end()


def _line(call: Call, frame: dict[str, Any]) -> bytes:
    return (
        msgspec.json.encode({**frame, "os_type": "linux"} if call.version >= OS_TYPE_SINCE else frame) + b"\n"
    )


routes = (
    Route("GET", "/containers/{name}/top", top),
    Route("GET", "/containers/{name}/stats", stats),
)
