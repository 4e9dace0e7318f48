"""Blobs on their way in: every form the specification has, and everything that can be wrong with one."""

import hashlib
import os
import re
import socket

import pytest

DATA = os.urandom(300_000)
DIGEST = "sha256:" + hashlib.sha256(DATA).hexdigest()


def begin(server, name: str = "a") -> str:
    answer = server.ask("POST", f"/v2/{name}/blobs/uploads/")
    assert (answer.status, answer.headers["range"]) == (202, "0-0")
    return answer.headers["location"]


def no_upload_left(server) -> bool:
    return not any("/_uploads/" in name for name in server.files())


def test_post_then_put(serve) -> None:
    server = serve()
    answer = server.ask("PUT", begin(server) + f"?digest={DIGEST}", DATA)
    assert (answer.status, answer.headers["docker-content-digest"]) == (201, DIGEST)
    assert server.ask("GET", answer.headers["location"]).body == DATA
    assert no_upload_left(server)


def test_chunks_must_follow_each_other(serve) -> None:
    server = serve()
    place = begin(server)
    first = server.ask("PATCH", place, DATA[:100_000], Content_Range="0-99999")
    assert (first.status, first.headers["range"]) == (202, "0-99999")
    for wrong in ("0-99999", "100001-200000", "200000-299999", "x", "100000-99"):
        size = 100_000 if wrong != "100000-99" else 0
        answer = server.ask("PATCH", place, DATA[:size], Content_Range=wrong)
        assert (answer.status, answer.headers["range"]) == (416, "0-99999"), wrong
    state = server.ask("GET", place)
    assert (state.status, state.headers["range"]) == (204, "0-99999")
    assert server.ask("PATCH", place, DATA[100_000:200_000], Content_Range="100000-199999").status == 202
    last = server.ask("PUT", place + f"?digest={DIGEST}", DATA[200_000:], Content_Range="200000-299999")
    assert last.status == 201
    assert server.ask("GET", f"/v2/a/blobs/{DIGEST}").body == DATA


def test_a_stream_of_unknown_length(serve) -> None:
    server = serve()
    place = begin(server)
    pieces = (DATA[at : at + 1000] for at in range(0, len(DATA), 1000))
    assert (
        server.ask("PATCH", place, pieces, Transfer_Encoding="chunked").headers["range"]
        == f"0-{len(DATA) - 1}"
    )
    assert server.ask("PUT", place + f"?digest={DIGEST}").status == 201


@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
def test_a_wrong_digest_leaves_nothing(serve, algorithm: str) -> None:
    server = serve()
    wrong = f"{algorithm}:" + hashlib.new(algorithm, b"other").hexdigest()
    answer = server.ask("PUT", begin(server) + f"?digest={wrong}", DATA)
    assert (answer.status, answer.code) == (400, "DIGEST_INVALID")
    assert server.ask("POST", f"/v2/a/blobs/uploads/?digest={wrong}", DATA).code == "DIGEST_INVALID"
    assert server.files() == set()


@pytest.mark.parametrize(
    "digest",
    ["", "sha256:abc", "md5:" + "0" * 32, "sha256:" + "G" * 64, "../../x", "sha256:" + "0" * 63 + "/"],
)
def test_a_digest_that_is_none_is_refused(serve, digest: str) -> None:
    server = serve()
    answer = server.ask("PUT", begin(server) + f"?digest={digest}", DATA)
    assert (answer.status, answer.code) == (400, "DIGEST_INVALID")


def test_an_upload_is_known_in_its_own_repository_only(serve) -> None:
    server = serve()
    place = begin(server)
    foreign = place.replace("/v2/a/", "/v2/b/")
    for method in ("GET", "PATCH", "PUT", "DELETE"):
        answer = server.ask(
            method, foreign + f"?digest={DIGEST}", DATA if method in ("PATCH", "PUT") else None
        )
        assert (answer.status, answer.code) == (404, "BLOB_UPLOAD_UNKNOWN")
    for key in ("nothing", "..", "%2e%2e%2f%2e%2e", "00000000-0000-0000-0000-000000000000"):
        assert server.ask("GET", f"/v2/a/blobs/uploads/{key}").status == 404
    assert server.ask("DELETE", place).status == 204
    assert server.ask("GET", place).status == 404
    assert server.files() == set()


def test_a_client_that_was_cut_off_goes_on_where_it_was(serve) -> None:
    server = serve()
    place = begin(server)
    with socket.create_connection(("127.0.0.1", server.port)) as sock:
        sock.sendall(
            f"PATCH {place} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(DATA)}\r\n\r\n".encode()
            + DATA[:70_000]
        )
        sock.shutdown(socket.SHUT_WR)
        while sock.recv(65536):
            pass
    state = server.ask("GET", place)
    here = int(state.headers["range"].partition("-")[2]) + 1
    assert here == 70_000
    assert server.ask("PATCH", place, DATA[here:], Content_Range=f"{here}-{len(DATA) - 1}").status == 202
    assert server.ask("PUT", place + f"?digest={DIGEST}").status == 201


def test_an_upload_survives_kill_9(serve) -> None:
    server = serve()
    place = begin(server)
    assert server.ask("PATCH", place, DATA[:200_000], Content_Range="0-199999").status == 202
    server.kill()
    server.start()
    assert server.ask("GET", place).headers["range"] == "0-199999"
    assert (
        server.ask("PUT", place + f"?digest={DIGEST}", DATA[200_000:], Content_Range="200000-299999").status
        == 201
    )
    assert server.ask("GET", f"/v2/a/blobs/{DIGEST}").body == DATA


def test_a_blob_is_mounted_from_another_repository(serve) -> None:
    server = serve()
    server.push_blob("from/here", DATA)
    named = server.ask("POST", f"/v2/to/there/blobs/uploads/?mount={DIGEST}&from=from/here")
    assert (named.status, named.headers["location"]) == (201, f"/v2/to/there/blobs/{DIGEST}")
    assert server.ask("POST", f"/v2/any/where/blobs/uploads/?mount={DIGEST}").status == 201
    assert server.ask("GET", f"/v2/any/where/blobs/{DIGEST}").body == DATA
    missing = server.ask("POST", f"/v2/to/there/blobs/uploads/?mount={'sha256:' + '0' * 64}&from=from/here")
    assert missing.status == 202
    assert re.fullmatch(r"/v2/to/there/blobs/uploads/[0-9a-f-]{36}", missing.headers["location"])


@pytest.mark.parametrize(
    "name", ["UPPER", "a//b", "a/", "-a", "a/../b", "a%2f..%2fb", "a" * 256, "a/_layers"]
)
def test_a_name_that_is_none_never_becomes_a_path(serve, name: str) -> None:
    server = serve()
    answer = server.ask("POST", f"/v2/{name}/blobs/uploads/")
    assert answer.status in (400, 404)
    assert answer.code in ("NAME_INVALID", "UNSUPPORTED")
    assert server.files() == set()


def test_a_quota_ends_a_repository_and_no_other(serve) -> None:
    server = serve(quota=250)
    server.push_blob("small", b"x" * 200)
    body = b"y" * 100
    digest = "sha256:" + hashlib.sha256(body).hexdigest()
    answer = server.ask("POST", f"/v2/small/blobs/uploads/?digest={digest}", body)
    assert (answer.status, answer.code) == (403, "DENIED")
    assert server.push_blob("other", body) == digest


def test_a_full_disk_is_said_and_leaves_nothing(serve) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root to mount a small tmpfs")
    import ctypes

    server = serve()
    libc = ctypes.CDLL(None, use_errno=True)
    place = os.fsencode(server.root / "data" / "docker" / "registry" / "v2" / "repositories")
    if libc.mount(b"tmpfs", place, b"tmpfs", 0, b"size=1m") != 0:
        pytest.skip("cannot mount a tmpfs here")
    try:
        big = os.urandom(4 << 20)
        digest = "sha256:" + hashlib.sha256(big).hexdigest()
        answer = server.ask("POST", f"/v2/a/blobs/uploads/?digest={digest}", big)
        assert (answer.status, answer.code) == (503, "UNAVAILABLE")
        assert "no space left" in answer.json["errors"][0]["message"]
        assert server.files() == set()
    finally:
        libc.umount2(place, 2)
