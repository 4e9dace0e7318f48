"""Pulling blobs: whole, in part, not at all."""

import hashlib
import http.client
import os
import shutil
import socket
import ssl
import subprocess

import pytest

from havre.registry.server.blobs import read_range
from havre.registry.server.refusal import Refused


@pytest.mark.parametrize(
    ("text", "found"),
    [("", (0, 10)), ("bytes=2-4", (2, 5)), ("bytes=2-", (2, 10)), ("bytes=-3", (7, 10)), ("bytes=-99", (0, 10)),
     ("bytes=2-99", (2, 10)), ("items=1-2", (0, 10)), ("bytes=1-2,4-5", (0, 10))],
)  # fmt: skip
def test_a_range_is_read_as_http_wants(text: str, found: tuple[int, int]) -> None:
    assert read_range(text, 10) == found


@pytest.mark.parametrize("text", ["bytes=10-", "bytes=5-2", "bytes=-0", "bytes=99-100"])
def test_a_range_outside_is_refused_with_the_size(text: str) -> None:
    with pytest.raises(Refused) as error:
        read_range(text, 10)
    assert (error.value.status, error.value.headers) == (416, {"Content-Range": "bytes */10"})


def test_a_blob_is_sent_whole_in_part_and_as_a_head(serve) -> None:
    server, data = serve(), bytes(range(256)) * 20_000
    digest = server.push_blob("a/b", data)
    whole = server.ask("GET", f"/v2/a/b/blobs/{digest}")
    assert (whole.status, whole.body == data, whole.headers["docker-content-digest"]) == (200, True, digest)
    part = server.ask("GET", f"/v2/a/b/blobs/{digest}", Range="bytes=1000-2000000")
    assert (part.status, part.body == data[1000:2000001]) == (206, True)
    assert part.headers["content-range"] == f"bytes 1000-2000000/{len(data)}"
    head = server.ask("HEAD", f"/v2/a/b/blobs/{digest}")
    assert (head.status, head.headers["content-length"], head.body) == (200, str(len(data)), b"")
    assert server.ask("GET", f"/v2/a/b/blobs/{digest}", If_None_Match=f'"{digest}"').status == 304


def test_a_blob_of_another_repository_is_unknown_and_a_deleted_one_at_once(serve) -> None:
    server = serve()
    digest = server.push_blob("a", b"secret")
    other = server.ask("GET", f"/v2/b/blobs/{digest}")
    assert (other.status, other.code) == (404, "BLOB_UNKNOWN")
    assert server.ask("DELETE", f"/v2/a/blobs/{digest}").status == 202
    assert server.ask("HEAD", f"/v2/a/blobs/{digest}").status == 404
    assert server.ask("DELETE", f"/v2/a/blobs/{digest}").code == "BLOB_UNKNOWN"


def test_nothing_is_deleted_where_the_config_does_not_allow_it(serve) -> None:
    server = serve(storage={"delete": {"enabled": False}})
    digest = server.push_blob("a", b"x")
    answer = server.ask("DELETE", f"/v2/a/blobs/{digest}")
    assert (answer.status, answer.code) == (405, "UNSUPPORTED")
    assert server.ask("HEAD", f"/v2/a/blobs/{digest}").status == 200


def test_a_blob_comes_whole_over_tls(serve, tmp_path) -> None:
    if not shutil.which("openssl"):
        pytest.skip("needs openssl")
    cert, key = tmp_path / "c.crt", tmp_path / "c.key"
    make = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-days",
        "2",
        "-subj",
        "/CN=localhost",
        "-keyout",
        str(key),
    ]
    subprocess.run(
        [*make, "-out", str(cert), "-addext", "subjectAltName=IP:127.0.0.1"], check=True, capture_output=True
    )
    server, data = serve(http={"tls": {"certificate": str(cert), "key": str(key)}}), os.urandom(3_000_000)
    context = ssl.create_default_context(cafile=cert)

    def ask(method: str, path: str, body: bytes | None = None, **headers: str) -> tuple[int, bytes]:
        connection = http.client.HTTPSConnection("127.0.0.1", server.port, context=context, timeout=20)
        connection.request(method, path, body, headers)
        answer = connection.getresponse()
        return answer.status, answer.read()

    digest = "sha256:" + hashlib.sha256(data).hexdigest()
    assert ask("POST", f"/v2/a/blobs/uploads/?digest={digest}", data)[0] == 201
    assert ask("GET", f"/v2/a/blobs/{digest}") == (200, data)
    assert ask("GET", f"/v2/a/blobs/{digest}", Range="bytes=5-1000004") == (206, data[5:1000005])


def test_a_blob_that_was_cut_on_disk_is_never_sent_as_a_whole(serve) -> None:
    server, data = serve(), bytes(50_000_000)
    digest = server.push_blob("a", data)
    path = next((server.root / "data").rglob("data"))
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as sock:
        sock.sendall(f"GET /v2/a/blobs/{digest} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        head = sock.recv(1000)
        assert f"Content-Length: {len(data)}".encode() in head
        os.truncate(path, 1)
        got = len(head)
        while piece := sock.recv(1 << 20):
            got += len(piece)
    assert got < len(data)
