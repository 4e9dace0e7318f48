"""Pulling blobs: whole, in part, not at all."""

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
