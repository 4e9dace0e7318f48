"""URLs become origins, or a clear error."""

import pytest

from havre.errors import Unavailable
from havre.registry.origin import Origin, join, origin_of, target_of


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://a.example/v2/", "a.example"),
        ("https://A.Example:443/", "a.example"),
        ("http://a.example:5000/x", "a.example:5000"),
        ("https://[::1]:5000/x", "[::1]:5000"),
        ("http://user:pw@h/x", "h"),
    ],
)
def test_origin_is_shown_as_in_a_host_header(url: str, shown: str) -> None:
    assert str(origin_of(url)) == shown


@pytest.mark.parametrize(
    "url",
    [
        "ftp://a/",
        "a.example",
        "",
        "https://",
        "http://[::1",
        "http://a:99999/",
        "http://a b/",
        "file:///etc/passwd",
    ],
)
def test_origin_is_refused_when_it_is_none(url: str) -> None:
    with pytest.raises(Unavailable, match="not an http or https address"):
        origin_of(url)


def test_target_cannot_break_the_request_line() -> None:
    assert target_of("http://h/a b\r\nX: y?q= z") == "/a%20bX:%20y?q=%20z"
    assert target_of("http://h") == "/"
    assert target_of("http://h/v2/a/blobs/sha256:00?_state=a%3D&digest=sha256:11") == (
        "/v2/a/blobs/sha256:00?_state=a%3D&digest=sha256:11"
    )


def test_join_follows_relative_locations() -> None:
    assert join("https://h/v2/x", "/y") == "https://h/y"
    with pytest.raises(Unavailable, match="senseless Location"):
        join("https://h/v2/x", "http://[")


def test_two_doors_of_one_host_are_two_origins() -> None:
    assert Origin("https", "h", 443) != Origin("http", "h", 80)
