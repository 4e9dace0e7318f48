"""Addresses of probes without a process."""

import pytest

from havre.engine.healthurl import Target, parse_port, parse_url
from havre.errors import InvalidParameter

LOCAL = ("127.0.0.1", "::1")


def test_ports() -> None:
    assert parse_port("80") == Target(LOCAL, 80)
    assert parse_port("localhost:80") == Target(LOCAL, 80)
    assert parse_port("10.0.0.1:81") == Target(("10.0.0.1",), 81)
    assert parse_port("[::1]:81") == Target(("::1",), 81)


def test_urls() -> None:
    assert parse_url("http://localhost") == Target(LOCAL, 80, "localhost", "/")
    assert parse_url("https://127.0.0.1:8443/a?b=c#d") == Target(
        ("127.0.0.1",), 8443, "127.0.0.1:8443", "/a?b=c", True
    )
    assert parse_url("http://[::1]:9/") == Target(("::1",), 9, "[::1]:9", "/")


@pytest.mark.parametrize("text", ["", "0", "65536", "x", "80x", "name:80", ":", "-1", "1.2.3:80", "٣"])
def test_bad_ports_are_refused(text: str) -> None:
    with pytest.raises(InvalidParameter):
        parse_port(text)


@pytest.mark.parametrize(
    "text",
    [
        *("", "localhost", "ftp://localhost/", "http://", "http://example.com/", "http://user@localhost/"),
        *(
            "http://localhost/a b",
            "http://localhost/\r\nX: y",
            "http://localhost:x/",
            "http://[::1/",
            "http://localhost/é",
        ),
    ],
)
def test_bad_urls_are_refused(text: str) -> None:
    with pytest.raises(InvalidParameter):
        parse_url(text)
