"""/containers/{id}/changes and /export: a container's own layer, and all of its files."""

from havre.api.pipes import open_pipe, send_pipe
from havre.api.router import Call, Route
from havre.engine import changes as changing
from havre.engine import export as exporting


async def changes(call: Call) -> None:
    await call.request.json(200, await changing.changes(call.rooms, call.name))


async def export(call: Call) -> None:
    """The head goes out when the tree is there: what cannot be exported still has a status."""
    found = await exporting.export(call.rooms, call.name, open_pipe())
    try:
        stream = await call.request.stream(200, "application/octet-stream")
        await send_pipe(stream, found.pipe)
        await found.finish()
        await stream.end()
    finally:
        found.close()


routes = (
    Route("GET", "/containers/{name}/changes", changes),
    Route("GET", "/containers/{name}/export", export),
)
