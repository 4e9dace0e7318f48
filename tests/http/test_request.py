import pytest

from havre.errors import HavreError
from havre.http.server import Request

END = b"Connection: close\r\n\r\n"


async def echo(request: Request) -> None:
    """Answer with method, path and body; errors as the API does."""
    try:
        body = await request.body(limit=1 << 20)
        await request.reply(200, f"{request.method} {request.path} ".encode() + body)
    except HavreError as error:
        await request.json(error.status, {"message": str(error)})


def post(path: str, body: bytes, *headers: str) -> bytes:
    lines = [f"POST {path} HTTP/1.1", "Host: x", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def test_pipelined_requests_are_answered_in_order(serve) -> None:
    one = serve(echo)
    data = post("/1", b"abc", "Content-Length: 3") + post(
        "/2", b"2\r\nde\r\n0\r\n\r\n", "Transfer-Encoding: chunked"
    )
    answer = one.ask(data + b"GET /3 HTTP/1.1\r\nHost: x\r\n" + END)
    bodies = [part.partition(b"\r\n\r\n")[2] for part in answer.split(b"HTTP/1.1 200 OK")[1:]]
    assert bodies == [b"POST /1 abc", b"POST /2 de", b"GET /3 "]


def test_body_nobody_read_does_not_become_a_request(serve) -> None:
    async def ignore(request: Request) -> None:
        await request.reply(200, b"ok")

    one = serve(ignore)
    smuggled = b"GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n"
    answer = one.ask(
        post("/1", smuggled, f"Content-Length: {len(smuggled)}") + b"GET /2 HTTP/1.1\r\nHost: x\r\n" + END
    )
    assert answer.count(b"HTTP/1.1 200") == 2


@pytest.mark.parametrize(
    "chunks",
    [
        b"+1\r\na\r\n0\r\n\r\n",
        b"0x1\r\na\r\n0\r\n\r\n",
        b"1_0\r\n" + b"a" * 16 + b"\r\n0\r\n\r\n",
        b"-1\r\na\r\n0\r\n\r\n",
        b" 1\r\na\r\n0\r\n\r\n",
        b"\r\na\r\n0\r\n\r\n",
        b"1\r\nab\r\n0\r\n\r\n",
        b"1" * 2000 + b"\r\n",
        b"1;" + b"x" * 2000 + b"\r\na\r\n0\r\n\r\n",
        b"0\r\n" + b"a: b\r\n" * 100 + b"\r\n",
    ],
)
def test_bad_chunks_are_refused_and_end_the_connection(serve, chunks: bytes) -> None:
    answer = serve(echo).ask(
        post("/", chunks + b"GET /next HTTP/1.1\r\nHost: x\r\n\r\n", "Transfer-Encoding: chunked")
    )
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert answer.count(b"HTTP/1.1") == 1


def test_good_chunks_with_extensions_and_trailers_are_read(serve) -> None:
    chunks = b"2;a=b\r\nab\r\n0A\r\n" + b"c" * 10 + b"\r\n0\r\nTrailer: x\r\n\r\n"
    answer = serve(echo).ask(post("/", chunks, "Transfer-Encoding: chunked", "Connection: close"))
    assert answer.endswith(b"POST / ab" + b"c" * 10)


def test_large_bodies_are_refused_before_they_are_read(serve) -> None:
    answer = serve(echo).ask(post("/", b"", "Content-Length: 99999999999"))
    assert answer.startswith(b"HTTP/1.1 413 ")


def test_large_chunked_bodies_are_refused_and_the_answer_arrives(serve) -> None:
    chunk = b"10000\r\n" + b"a" * 65536 + b"\r\n"
    answer = serve(echo).ask(post("/", chunk * 20, "Transfer-Encoding: chunked"))
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b"larger than 1048576 bytes" in answer


def test_expecting_clients_are_told_to_continue(serve) -> None:
    with serve(echo).connect() as sock:
        sock.sendall(post("/", b"", "Content-Length: 2", "Expect: 100-continue", "Connection: close"))
        assert sock.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        sock.sendall(b"hi")
        assert sock.recv(1000).endswith(b"POST / hi")


def test_cut_bodies_are_refused(serving) -> None:
    serving.unix(echo)
    with serving.connect() as sock:
        sock.sendall(post("/", b"ab", "Content-Length: 3"))
        sock.shutdown(1)
        assert sock.recv(1000).startswith(b"HTTP/1.1 400 ")


def test_heads_that_never_end_are_refused(serve) -> None:
    answer = serve(echo).ask(b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 200_000)
    assert answer.startswith(b"HTTP/1.1 431 ")


def test_slow_heads_and_bodies_are_refused(serve, monkeypatch) -> None:
    monkeypatch.setattr("havre.http.server.HEAD_TIMEOUT_S", 0.05)
    monkeypatch.setattr("havre.http.request.BODY_TIMEOUT_S", 0.05)
    one = serve(echo)
    assert b"did not come within" in one.ask(b"GET / HT")
    assert b"did not come within" in one.ask(post("/", b"a", "Content-Length: 2"))


def test_head_requests_get_a_length_and_no_body(serve) -> None:
    answer = serve(echo).ask(b"HEAD / HTTP/1.1\r\nHost: x\r\n" + END)
    assert answer.endswith(b"\r\n\r\n")
    assert b"Content-Length: 7" in answer


def test_header_values_cannot_split_the_answer(serve) -> None:
    async def handler(request: Request) -> None:
        await request.reply(200, b"", X_Evil="a\r\nSet-Cookie: b")

    assert b"\r\nSet-Cookie" not in serve(handler).ask(b"GET / HTTP/1.1\r\nHost: x\r\n" + END)


def test_http_1_0_streams_end_with_the_connection(serve) -> None:
    async def handler(request: Request) -> None:
        stream = await request.stream(200, "text/plain")
        await stream.write(b"ab")
        await stream.end()

    one = serve(handler)
    assert one.ask(b"GET / HTTP/1.0\r\n\r\n").endswith(b"\r\n\r\nab")
    assert one.ask(b"GET / HTTP/1.1\r\nHost: x\r\n" + END).endswith(b"\r\n\r\n2\r\nab\r\n0\r\n\r\n")
