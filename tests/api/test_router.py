import errno

import pytest

from havre.api import system
from havre.errors import Conflict, KernelError, NotFound, NotModified
from havre.version import API_VERSION


@pytest.mark.parametrize("version", ["", "1.24", "1.41", API_VERSION])
def test_versions_are_served(ask, version: str) -> None:
    assert ask("GET", "/_ping", version=version).body == b"OK"


def test_newer_clients_are_told_in_dockers_words(ask) -> None:
    answer = ask("GET", "/_ping", version="1.99")
    assert (answer.status, answer.message) == (
        400,
        f"client version 1.99 is too new. Maximum supported API version is {API_VERSION}",
    )


def test_older_clients_are_told_in_dockers_words(ask) -> None:
    answer = ask("GET", "/_ping", version="1.23")
    assert answer.status == 400
    assert answer.message == (
        "client version 1.23 is too old. Minimum supported API version is 1.24, please upgrade your client to a newer version"
    )


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/"),
        ("GET", "/nonsense"),
        ("GET", "/v1.x/_ping"),
        ("GET", "/vx/_ping"),
        ("PATCH", "/containers/json"),
        ("GET", "/containers/create"),
        ("HEAD", "/containers/json"),
        ("POST", "/containers//start"),
        ("GET", "/_ping/"),
        ("OPTIONS", "/_ping"),
    ],
)
def test_unknown_routes_and_methods_are_not_found_as_in_docker(ask, method: str, path: str) -> None:
    answer = ask(method, path)
    assert answer.status == 404
    if method != "HEAD":
        assert answer.json() == {"message": "page not found"}


def test_every_answer_names_the_api(ask) -> None:
    for path in ("/_ping", "/nonsense"):
        headers = ask("GET", path).headers
        assert headers["api-version"] == API_VERSION
        assert headers["ostype"] == "linux"
        assert headers["docker-experimental"] == "false"
        assert headers["server"].startswith("Havre/")


def test_ping_tells_what_stock_clients_ask(ask) -> None:
    for method in ("GET", "HEAD"):
        answer = ask(method, "/_ping")
        assert answer.headers["builder-version"] == "1"
        assert answer.headers["swarm"] == "inactive"
        assert answer.headers["cache-control"] == "no-cache, no-store, must-revalidate"
        assert answer.headers["content-type"].startswith("text/plain")


@pytest.mark.parametrize(
    ("error", "status", "body"),
    [
        (NotFound("no such thing: x"), 404, b'{"message":"no such thing: x"}\n'),
        (Conflict("taken", hint="another"), 409, b'{"message":"taken (try: another)"}\n'),
        (NotModified("it runs"), 304, b""),
        (KernelError("mount", "/x", errno.EPERM), 500, b'{"message":"mount /x: operation not permitted"}\n'),
        (RuntimeError("a bug"), 500, b'{"message":"internal error: RuntimeError(\'a bug\')"}\n'),
    ],
)
def test_errors_become_answers(ask, monkeypatch, error: Exception, status: int, body: bytes) -> None:
    def fail(rooms: object) -> None:
        raise error

    monkeypatch.setattr(system.info, "version", fail)
    answer = ask("GET", "/version")
    assert (answer.status, answer.body) == (status, body)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/swarm", 503),
        ("GET", "/nodes", 503),
        ("GET", "/services/x", 503),
        ("POST", "/secrets/create", 503),
        ("POST", "/swarm/leave", 503),
        ("POST", "/swarm/init", 501),
        ("POST", "/build", 501),
        ("POST", "/session", 501),
        ("POST", "/grpc", 501),
        ("GET", "/containers/x/archive?path=/", 501),
        ("GET", "/plugins/a/b/json", 404),
        ("GET", "/images/search?term=x", 501),
        ("GET", "/plugins", 200),
        ("POST", "/build/prune", 200),
    ],
)
def test_what_is_not_there_is_said_in_words(ask, method: str, path: str, status: int) -> None:
    answer = ask(method, path)
    assert answer.status == status
    if status >= 400:
        assert len(answer.message) > 10
    if status == 503:
        assert answer.message.startswith("This node is not ")
