"""/containers/{id}/exec and /exec/{id}."""

from havre.api import decode
from havre.api.router import Call, Route
from havre.api.streams import content_type, frame
from havre.engine import exec as running
from havre.errors import HavreError
from havre.spec.engine import ExecCreate, ExecStart


async def create(call: Call) -> None:
    body = await decode.body(call.request, ExecCreate)
    found = await running.create(call.rooms, call.name, body)
    await call.request.json(201, {"Id": found})


async def start(call: Call) -> None:
    """Errors of the request come before the hijack, with a status. What goes wrong inside the container (no such command,
    user, directory) is told in the stream, as dockerd does: stock clients print it there and take 126 or 127 from the inspect."""
    request = call.request
    body = await decode.body(request, ExecStart)
    size = tuple(body.console_size or (0, 0))
    rows_cols = (size[0], size[1]) if len(size) == 2 else (0, 0)
    try:
        stream = await running.start(call.rooms, call.name, detach=bool(body.detach), tty_size=rows_cols)
    except HavreError as error:
        if body.detach or call.rooms.execs.find(call.name).error != str(error):
            raise
        await _tell_in_stream(call, f"OCI runtime exec failed: {error}\r\n".encode())
        return
    if stream is None:
        await request.reply(200)
        return
    try:
        duplex = await request.hijack(content_type(call, stream.tty))
    except BaseException:
        stream.sock.close()
        raise
    if await duplex.pump(stream.sock, stream.keys):
        stream.detached()


async def _tell_in_stream(call: Call, text: bytes) -> None:
    tty = bool(call.rooms.execs.find(call.name).body.tty)
    duplex = await call.request.hijack(content_type(call, tty))
    await duplex.write(text if tty else frame("stdout", text))


async def resize(call: Call) -> None:
    rows, cols = decode.terminal_size(call.request)
    await running.resize(call.rooms, call.name, rows, cols)
    await call.request.reply(200)


async def inspect(call: Call) -> None:
    await call.request.json(200, running.inspect(call.rooms, call.name))


routes = (
    Route("POST", "/containers/{name}/exec", create),
    Route("POST", "/exec/{name}/start", start),
    Route("POST", "/exec/{name}/resize", resize),
    Route("GET", "/exec/{name}/json", inspect),
)
