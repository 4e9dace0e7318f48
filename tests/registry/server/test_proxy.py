"""A pull-through cache before a registry that works, changes, lies, or is away."""

import hashlib
import os
import socket
import threading

import pytest

from havre.registry.server.proxy import expire
from havre.registry.server.storage import Storage

IMAGE = "application/vnd.oci.image.manifest.v1+json"


@pytest.fixture
def pair(serve):
    """Return (upstream, cache)."""
    upstream = serve()
    return upstream, serve(proxy={"remoteurl": f"http://{upstream.name}"})


def test_what_was_asked_for_once_is_served_when_upstream_is_away(pair) -> None:
    upstream, cache = pair
    digest = upstream.push_image("a/b", "x")
    layer = cache.ask("GET", "/v2/a/b/manifests/x").json["layers"][0]["digest"]
    first = cache.ask("GET", f"/v2/a/b/blobs/{layer}")
    assert (first.status, first.body) == (200, b"layer of a/b x")
    upstream.kill()
    assert cache.ask("GET", "/v2/a/b/manifests/x").headers["docker-content-digest"] == digest
    assert cache.ask("GET", f"/v2/a/b/manifests/{digest}").status == 200
    assert cache.ask("GET", f"/v2/a/b/blobs/{layer}", Range="bytes=0-4").body == b"layer"
    assert cache.ask("GET", "/v2/a/b/tags/list").json["tags"] == ["x"]
    away = cache.ask("GET", "/v2/a/b/manifests/other")
    assert (away.status, away.code) == (503, "UNAVAILABLE")
    upstream.start()


def test_a_tag_follows_upstream(pair) -> None:
    upstream, cache = pair
    upstream.push_image("a", "x")
    cache.ask("GET", "/v2/a/manifests/x")
    new = upstream.push_image("a", "y")
    data = upstream.ask("GET", "/v2/a/manifests/y").body
    upstream.ask("PUT", "/v2/a/manifests/x", data, Content_Type=IMAGE)
    assert cache.ask("HEAD", "/v2/a/manifests/x").headers["docker-content-digest"] == new
    assert cache.ask("GET", "/v2/a/tags/list").json["tags"] == ["x", "y"]
    upstream.ask("DELETE", "/v2/a/manifests/x")
    assert cache.ask("GET", "/v2/a/manifests/x").code == "MANIFEST_UNKNOWN"


def test_many_clients_cause_one_download(pair) -> None:
    upstream, cache = pair
    data = os.urandom(5_000_000)
    digest = upstream.push_blob("a", data)
    found: list[bool] = []

    def get() -> None:
        found.append(cache.ask("GET", f"/v2/a/blobs/{digest}").body == data)

    threads = [threading.Thread(target=get) for _ in range(8)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert found == [True] * 8
    assert not any("/_uploads/" in name for name in cache.files())
    assert cache.ask("HEAD", f"/v2/a/blobs/{digest}").headers["content-length"] == str(len(data))


@pytest.mark.parametrize("how", ["wrong", "short"])
def test_what_comes_wrong_is_neither_kept_nor_ended_well(serve, how: str) -> None:
    """Upstream sends other bytes than the digest's, or breaks off."""
    data = os.urandom(3_000_000)
    digest = "sha256:" + hashlib.sha256(data).hexdigest()
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def lie() -> None:
            while True:
                try:
                    sock, _ = listener.accept()
                except OSError:
                    return
                with sock:
                    head = sock.recv(65536)
                    body = data[:-1] + b"!" if how == "wrong" else data[: 1 << 20]
                    if b"/blobs/" in head:
                        sock.sendall(
                            f"HTTP/1.1 200 OK\r\nContent-Length: {len(data)}\r\n\r\n".encode() + body
                        )
                    else:
                        sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")

        threading.Thread(target=lie, daemon=True).start()
        cache = serve(proxy={"remoteurl": f"http://127.0.0.1:{listener.getsockname()[1]}"})
        with socket.create_connection(("127.0.0.1", cache.port), timeout=20) as sock:
            sock.sendall(f"GET /v2/a/blobs/{digest} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            got = b""
            while piece := sock.recv(1 << 20):
                got += piece
        assert not got.endswith(b"0\r\n\r\n")
        listener.shutdown(socket.SHUT_RDWR)
    assert cache.files() == set()


def test_nothing_is_pushed_to_it(pair) -> None:
    _, cache = pair
    assert cache.ask("POST", "/v2/a/blobs/uploads/").code == "UNSUPPORTED"
    assert cache.ask("PUT", "/v2/a/manifests/x", b"{}").code == "UNSUPPORTED"


def test_what_nobody_asks_for_goes(pair) -> None:
    upstream, cache = pair
    for tag in ("old", "new"):
        upstream.push_image("a", tag)
        layers = cache.ask("GET", f"/v2/a/manifests/{tag}").json["layers"]
        cache.ask("GET", f"/v2/a/blobs/{layers[0]['digest']}")
    for path in (cache.root / "data").rglob("*"):
        os.utime(path, (1, 1))
    cache.ask("GET", "/v2/a/manifests/new")
    expire(Storage(cache.root / "data"), 3600)
    storage = Storage(cache.root / "data")
    assert [
        len(list(storage.repositories())),
        len(list((cache.root / "data").rglob("revisions/*/*/link"))),
    ] == [1, 1]
    assert cache.ask("GET", "/v2/a/tags/list").json["tags"] == ["new", "old"]  # upstream's
