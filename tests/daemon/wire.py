"""The Engine API without a client between: one request, and a stream of events to wait on instead of sleeping."""

import http.client
import json
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import quote

PATIENCE_S = 30


class Connection(http.client.HTTPConnection):
    """HTTP over a unix socket."""

    def __init__(self, path: str) -> None:
        super().__init__("docker", timeout=PATIENCE_S)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(PATIENCE_S)
        self.sock.connect(self._path)


def call(path: str, method: str, target: str, body: object = None) -> tuple[int, Any]:
    """Return (status, decoded answer); an error's answer is its message."""
    connection = Connection(path)
    try:
        data = None if body is None else json.dumps(body)
        connection.request(method, target, data, {"Content-Type": "application/json"} if data else {})
        reply = connection.getresponse()
        text = reply.read()
    finally:
        connection.close()
    try:
        found = json.loads(text)
    except ValueError:
        return reply.status, text.decode("utf-8", "replace")
    return reply.status, found["message"] if isinstance(found, dict) and set(found) == {"message"} else found


def make(path: str, name: str, command: list[str], host: dict[str, Any] | None = None, **config: Any) -> str:
    """Create a container without a network from the image busybox and start it; return its id."""
    body = {"Image": "busybox", "Cmd": command, "StopTimeout": 0, **config}
    body["HostConfig"] = {"NetworkMode": "none", **(host or {})}
    status, made = call(path, "POST", f"/containers/create?name={name}", body)
    assert status == 201, made
    status, answer = call(path, "POST", f"/containers/{name}/start")
    assert status == 204, answer
    return str(made["Id"])


def state(path: str, name: str) -> dict[str, Any]:
    """Return State of inspect."""
    status, found = call(path, "GET", f"/containers/{name}/json")
    assert status == 200, found
    return dict(found["State"])


class Events:
    """What happens, from the moment this was made."""

    def __init__(self, reply: http.client.HTTPResponse) -> None:
        self._reply = reply
        self.seen: list[str] = []

    def __iter__(self) -> Iterator[dict[str, Any]]:
        while line := self._reply.readline():
            event = json.loads(line)
            self.seen.append(event["Action"])
            yield event

    def until(self, action: str | Callable[[dict[str, Any]], bool], count: int = 1) -> dict[str, Any]:
        """Wait for the `count`-th event from here on that has this action; return it. Fails with what came instead."""
        try:
            for event in self:
                good = event["Action"] == action if isinstance(action, str) else action(event)
                count -= good
                if good and count <= 0:
                    return event
        except TimeoutError:
            pass
        raise AssertionError(f"no {action}, but {self.seen}")


@contextmanager
def events(path: str, **filters: list[str]) -> Iterator[Events]:
    """Follow the events; only those of `container=[name]` and so on."""
    connection = Connection(path)
    try:
        since = time.time_ns()
        wanted = quote(json.dumps(filters))
        stamp = f"{since // 10**9}.{since % 10**9:09d}"
        connection.request("GET", f"/events?since={stamp}&filters={wanted}")
        yield Events(connection.getresponse())
    finally:
        connection.close()
