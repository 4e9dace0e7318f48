"""/containers/{id}/attach and /logs: the streams of a container."""

from havre.api import decode
from havre.api.router import Call, Route
from havre.engine import attach as attaching
from havre.engine import logs as logging
from havre.engine.logs import LogStream
from havre.errors import InvalidParameter
from havre.http import websocket
from havre.http.server import Stream

RAW, MULTIPLEXED = "application/vnd.docker.raw-stream", "application/vnd.docker.multiplexed-stream"
_NUMBERS = {"stdout": 1, "stderr": 2}


def content_type(call: Call, tty: bool) -> str:
    """Frames are named only to clients that upgraded and speak 1.42; they are sent to all without a tty."""
    upgraded = bool(call.request.head.header("upgrade"))
    return MULTIPLEXED if upgraded and not tty and call.version >= (1, 42) else RAW


def frame(stream: str, data: bytes) -> bytes:
    """Docker's 8-byte header and the data."""
    return bytes((_NUMBERS[stream], 0, 0, 0)) + len(data).to_bytes(4, "big") + data


class Unframe:
    """Takes Docker's frames off again, for streams that are never multiplexed."""

    def __init__(self) -> None:
        self._buffer = b""

    def feed(self, data: bytes) -> bytes:
        """Return the payload of every whole frame so far."""
        self._buffer += data
        out, place = [], 0
        while len(self._buffer) - place >= 8:
            end = place + 8 + int.from_bytes(self._buffer[place + 4 : place + 8], "big")
            if end > len(self._buffer):
                break
            out.append(self._buffer[place + 8 : end])
            place = end
        self._buffer = self._buffer[place:]
        return b"".join(out)


async def attach(call: Call) -> None:
    request = call.request
    await request.drain()  # dockerode sends a body, which is no stdin
    wanted = {name: decode.flag(request, name) for name in ("stdin", "stdout", "stderr", "stream", "logs")}
    keys = decode.text(request, "detachKeys")
    found = await attaching.attach(call.rooms, call.name, **wanted, detach_keys=keys)
    try:
        duplex = await request.hijack(content_type(call, found.tty))
        if found.before is not None:
            async for stream, data in found.before:
                await duplex.write(data if found.tty else frame(stream, data))
        if found.sock is not None and await duplex.pump(found.sock, found.keys):
            found.detached()
    finally:
        found.close()


async def attach_websocket(call: Call) -> None:
    """The same over a WebSocket, never multiplexed; the stream flags count from API 1.42 on, before it is all of them."""
    request = call.request
    every = call.version < (1, 42)
    wanted = {name: every or decode.flag(request, name) for name in ("stdin", "stdout", "stderr")}
    wanted |= {"stream": True, "logs": decode.flag(request, "logs")}
    keys = decode.text(request, "detachKeys")
    found = await attaching.attach(call.rooms, call.name, **wanted, detach_keys=keys)
    try:
        ws = await websocket.accept(request)
        if found.before is not None:
            async for _, data in found.before:
                await ws.send(data)
        transform = (lambda data: data) if found.tty else Unframe().feed
        if found.sock is not None and await ws.pump(found.sock, transform, found.keys):
            found.detached()
    finally:
        found.close()


async def logs(call: Call) -> None:
    request = call.request
    tail = decode.text(request, "tail", "all")
    if tail not in ("all", "") and not tail.lstrip("-").isdigit():
        raise InvalidParameter(f"invalid value {tail!r} for tail", hint="a number of lines, or all")
    count = int(tail) if tail.lstrip("-").isdigit() else -1
    found = await logging.logs(
        call.rooms,
        call.name,
        stdout=decode.flag(request, "stdout"),
        stderr=decode.flag(request, "stderr"),
        since_nanos=decode.nanos(decode.text(request, "since")),
        until_nanos=decode.nanos(decode.text(request, "until")),
        timestamps=decode.flag(request, "timestamps"),
        tail=None if count < 0 else count,
        follow=decode.flag(request, "follow"),
        details=decode.flag(request, "details"),
    )
    kind = RAW if found.tty or call.version < (1, 42) else MULTIPLEXED
    await _send_lines(await request.stream(200, kind), found)


async def _send_lines(stream: Stream, found: LogStream) -> None:
    """Frame by frame, several in one write while they come fast."""
    async for name, _, line in found.lines:
        await stream.add(line if found.tty else frame(name, line))
    await stream.end()


routes = (
    Route("POST", "/containers/{name}/attach", attach),
    Route("GET", "/containers/{name}/attach/ws", attach_websocket),
    Route("GET", "/containers/{name}/logs", logs),
)
