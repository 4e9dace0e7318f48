import socket

import pytest

from havre.errors import Forbidden
from havre.http.head import Head
from havre.http.origin import check_origin


def check(host: str, origin: str = "", *, plain: bool = True) -> None:
    headers = {"host": [host], **({"origin": [origin]} if origin else {})}
    check_origin(Head("GET", "/", "", 1, headers), plain=plain)


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1:2375",
        "[::1]:2375",
        "::1",
        "10.1.2.3",
        "localhost",
        "docker:2375",
        "dev.localhost:1",
        "nas.local",
        f"{socket.gethostname()}.corp.example:2375",
    ],
)
def test_own_names_pass(host: str) -> None:
    check(host)


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:2375",
        "127.0.0.1.evil.example:2375",
        "localhost.evil.example",
        "",
        "a.b.",
        "[evil.example]:1",
    ],
)
def test_foreign_names_are_refused(host: str) -> None:
    if host:
        with pytest.raises(Forbidden):
            check(host)
    else:
        check(host)  # HTTP/1.0 without a Host: no browser does that


def test_foreign_names_pass_with_tls() -> None:
    check("docker.example:2376", plain=False)


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://127.0.0.1:80"])
def test_pages_of_other_origins_are_refused(origin: str) -> None:
    for plain in (True, False):
        with pytest.raises(Forbidden):
            check("127.0.0.1:2375", origin, plain=plain)


def test_pages_of_the_same_origin_pass() -> None:
    check("127.0.0.1:2375", "http://127.0.0.1:2375")
