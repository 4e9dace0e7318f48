"""/_ping, /version, /info, /events, /system/df, /auth."""

import asyncio

from havre.api import decode
from havre.api.router import Call, Route
from havre.engine import info, logbudget
from havre.errors import NotImplementedHere
from havre.spec.engine import AuthConfig


async def ping(call: Call) -> None:
    extra = {
        "Builder_Version": "1",
        "Swarm": "inactive",
        "Cache_Control": "no-cache, no-store, must-revalidate",
        "Pragma": "no-cache",
    }
    await call.request.reply(200, b"OK", "text/plain; charset=utf-8", **extra)


async def version(call: Call) -> None:
    await call.request.json(200, info.version(call.rooms))


async def show_info(call: Call) -> None:
    over = await logbudget.check(call.rooms)
    await call.request.json(200, info.info(call.rooms, [str(over)] if over else []))


SEQUENCE = "application/json-seq"
JSON_STREAMS = ("application/jsonl", "application/x-ndjson", SEQUENCE)


async def events(call: Call) -> None:
    """The head goes out at once; each event is one JSON object."""
    request = call.request
    since, until = (decode.nanos(decode.text(request, name)) for name in ("since", "until"))
    found = call.rooms.events.subscribe(since_nanos=since, until_nanos=until, filters=decode.filters(request))
    media_type = _wished(request.head.header("accept"))
    stream = await request.stream(200, media_type)
    waiting = asyncio.ensure_future(anext(found, None))  # subscribes before anything else can happen
    try:
        while (event := await waiting) is not None:
            if media_type == SEQUENCE:
                await stream.write(b"\x1e")  # RFC 7464: each text begins with a record separator
            await stream.json(event)
            waiting = asyncio.ensure_future(anext(found, None))
    finally:
        waiting.cancel()
    await stream.end()


def _wished(accept: str) -> str:
    """The first form of a JSON stream that a client names; application/json, as ever, when it names none."""
    for part in accept.lower().split(","):
        if (found := part.partition(";")[0].strip()) in JSON_STREAMS:
            return found
    return "application/json"


async def disk_usage(call: Call) -> None:
    await call.request.json(200, await info.disk_usage(call.rooms, call.request.query.get("type", [])))


async def auth(call: Call) -> None:
    """Check credentials against their registry."""
    found = await decode.body(call.request, AuthConfig)
    checker = getattr(call.rooms.registry, "check_login", None)
    if checker is None:
        raise NotImplementedHere("login is not there yet")
    token = await checker(found.serveraddress or "", found.username or "", found.password or "")
    await call.request.json(200, {"Status": "Login Succeeded", "IdentityToken": token or ""})


routes = (
    Route("GET", "/_ping", ping),
    Route("HEAD", "/_ping", ping),
    Route("GET", "/version", version),
    Route("GET", "/info", show_info),
    Route("GET", "/events", events),
    Route("GET", "/system/df", disk_usage),
    Route("POST", "/auth", auth),
)
