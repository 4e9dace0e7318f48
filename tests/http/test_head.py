import pytest

from havre.errors import InvalidParameter
from havre.http.head import parse_head, parse_query


def head(*lines: str, first: str = "GET /x?a=1 HTTP/1.1"):
    return parse_head("\r\n".join([first, "Host: h", *lines]).encode("latin-1"))


def test_head_has_its_parts() -> None:
    found = head("X-Two:  a b \t", "x-two: c")
    assert (found.method, found.path, found.query, found.minor) == ("GET", "/x", "a=1", 1)
    assert found.headers["x-two"] == ["a b", "c"]
    assert found.keep_alive


def test_absolute_targets_lose_their_authority() -> None:
    assert head(first="GET http://h:1/a/b HTTP/1.1").path == "/a/b"
    assert head(first="GET http://h HTTP/1.1").path == "/"


def test_raw_utf8_in_a_path_is_kept_and_bad_bytes_are_replaced() -> None:
    assert parse_head("GET /ü HTTP/1.1\r\nHost: h".encode()).path == "/ü"
    assert parse_head(b"GET /\xff HTTP/1.1\r\nHost: h").path == "/\ufffd"


@pytest.mark.parametrize(
    "lines",
    [
        ["Content-Length: 1", "Content-Length: 1"],
        ["Content-Length: 1, 1"],
        ["Content-Length: +1"],
        ["Content-Length: -1"],
        ["Content-Length: 1_0"],
        ["Content-Length: ٣".encode().decode("latin-1")],
        ["Content-Length:"],
        ["Content-Length: 1", "Transfer-Encoding: chunked"],
        ["Transfer-Encoding: chunked, chunked"],
        ["Transfer-Encoding: chunked", "Transfer-Encoding: chunked"],
        ["Transfer-Encoding: gzip, chunked"],
        ["Transfer-Encoding:\x0bchunked"],
        ["Transfer-Encoding : chunked"],
        [" folded: line"],
        ["Bad\x00Name: x"],
        ["Name: a\x00b"],
        ["Name: a\rb"],
        ["Name: a\nContent-Length: 5"],
        ["Host: other"],
        ["no colon"],
    ],
)
def test_ambiguous_heads_are_refused(lines: list[str]) -> None:
    with pytest.raises(InvalidParameter):
        head(*lines)


@pytest.mark.parametrize(
    "first",
    [
        "GET /x",
        "GET  /x HTTP/1.1",
        "GET x HTTP/1.1",
        "G@T /x HTTP/1.1",
        "GET /x HTTP/2.0",
        "GET /x HTTP/1.1 ",
    ],
)
def test_malformed_request_lines_are_refused(first: str) -> None:
    with pytest.raises(InvalidParameter):
        head(first=first)


def test_host_is_needed_from_http_1_1_on() -> None:
    with pytest.raises(InvalidParameter):
        parse_head(b"GET / HTTP/1.1")
    assert not parse_head(b"GET / HTTP/1.0").keep_alive


def test_query_values_are_decoded_and_repeated() -> None:
    assert parse_query("a=1&a=b+c&d&e=%C3%BC%FF&&%26=%3D") == {
        "a": ["1", "b c"],
        "d": [""],
        "e": ["ü\ufffd"],
        "&": ["="],
    }
