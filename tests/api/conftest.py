"""The whole API in front of rooms that a test makes up, asked over a real socket."""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import pytest

from havre.api import server as api
from havre.http import server as http


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def message(self) -> str:
        return self.json()["message"]

    def lines(self) -> list[Any]:
        """The JSON objects of a stream."""
        return [json.loads(line) for line in self.body.splitlines() if line]


def parse(data: bytes) -> Answer:
    head, _, body = data.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    if headers.get("transfer-encoding") == "chunked":
        whole = b""
        if not body.endswith(b"0\r\n\r\n"):
            raise EOFError("the answer was cut short")
        while body:
            size, _, rest = body.partition(b"\r\n")
            whole, body = whole + rest[: int(size, 16)], rest[int(size, 16) + 2 :]
        body = whole
    return Answer(int(first.split()[1]), headers, body)


@pytest.fixture
def rooms() -> SimpleNamespace:
    """Rooms with nothing in them; a test puts in what it needs."""
    return SimpleNamespace()


@pytest.fixture
def ask(tmp_path: Path, rooms: SimpleNamespace) -> Callable[..., Answer]:
    """Send one request and return the answer."""

    def send(method: str, path: str, body: object = None, *, version: str = "", **headers: str) -> Answer:
        data = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
        wanted = {"Host": "docker", "Connection": "close", "Content-Length": str(len(data))}
        if body is not None:
            wanted["Content-Type"] = "application/json"
        wanted |= {name.replace("_", "-"): value for name, value in headers.items()}
        prefix = f"/v{version}" if version else ""
        lines = [f"{method} {prefix}{path} HTTP/1.1", *(f"{name}: {value}" for name, value in wanted.items())]
        return parse(
            asyncio.run(
                _exchange(str(tmp_path / "s"), rooms, "\r\n".join(lines).encode() + b"\r\n\r\n" + data)
            )
        )

    return send


async def _exchange(path: str, rooms: SimpleNamespace, data: bytes) -> bytes:
    listening = await http.listen_unix(path, api.handler(rooms), common=api.COMMON_HEADERS)
    try:
        reader, writer = await asyncio.open_unix_connection(path)
        writer.write(data)
        found = await asyncio.wait_for(reader.read(), 20)
        writer.close()
        return found
    finally:
        await listening.close()
