"""Manifests and tags: pushed byte for byte, checked, replaced, removed."""

import hashlib
import json

import pytest

from havre.registry.server.manifest import DOCKER_LIST, IMAGE, INDEX, read
from havre.registry.server.refusal import Refused

ZERO = "sha256:" + "0" * 64
PART = {"mediaType": "text/plain", "digest": ZERO, "size": 3}


def test_a_manifest_comes_back_byte_for_byte(serve) -> None:
    server = serve()
    server.push_image("a", "old")
    data = server.ask("GET", "/v2/a/manifests/old").body
    odd = b"  " + data.replace(b", ", b" ,\n\t")
    assert server.ask("PUT", "/v2/a/manifests/new", odd, Content_Type=IMAGE).status == 201
    for reference in ("new", "sha256:" + hashlib.sha256(odd).hexdigest()):
        found = server.ask("GET", f"/v2/a/manifests/{reference}")
        assert (found.body, found.headers["content-type"]) == (odd, IMAGE)
    assert server.ask("HEAD", "/v2/a/manifests/new").headers["content-length"] == str(len(odd))


def test_a_manifest_whose_parts_are_missing_is_refused(serve) -> None:
    server = serve()
    value = {"schemaVersion": 2, "mediaType": IMAGE, "config": PART, "layers": []}
    answer = server.ask("PUT", "/v2/a/manifests/x", json.dumps(value).encode(), Content_Type=IMAGE)
    assert (answer.status, answer.code) == (404, "MANIFEST_BLOB_UNKNOWN")
    index = {"schemaVersion": 2, "mediaType": INDEX, "manifests": [PART]}
    assert (
        server.ask("PUT", "/v2/a/manifests/x", json.dumps(index).encode(), Content_Type=INDEX).code
        == answer.code
    )
    assert server.files() == set()
    loose = serve(validation={"disabled": True})
    assert loose.ask("PUT", "/v2/a/manifests/x", json.dumps(index).encode(), Content_Type=INDEX).status == 201


def test_several_tags_in_one_push_by_digest(serve) -> None:
    server = serve()
    digest = server.push_image("a", "one")
    data = server.ask("GET", "/v2/a/manifests/one").body
    answer = server.ask("PUT", f"/v2/a/manifests/{digest}?tag=two&tag=three", data, Content_Type=IMAGE)
    assert (answer.status, answer.headers["oci-tag"]) == (201, "two, three")
    assert server.ask("GET", "/v2/a/tags/list").json == {"name": "a", "tags": ["one", "three", "two"]}
    wrong = server.ask("PUT", f"/v2/a/manifests/{ZERO}", data, Content_Type=IMAGE)
    assert (wrong.status, wrong.code) == (400, "DIGEST_INVALID")


def test_deleting_a_tag_keeps_the_manifest_deleting_the_manifest_takes_its_tags(serve) -> None:
    server = serve()
    digest = server.push_image("a", "one")
    data = server.ask("GET", "/v2/a/manifests/one").body
    server.ask("PUT", "/v2/a/manifests/two", data, Content_Type=IMAGE)
    assert server.ask("DELETE", "/v2/a/manifests/one").status == 202
    assert server.ask("GET", "/v2/a/manifests/one").code == "MANIFEST_UNKNOWN"
    assert server.ask("GET", f"/v2/a/manifests/{digest}").status == 200
    assert server.ask("DELETE", f"/v2/a/manifests/{digest}").status == 202
    assert server.ask("GET", "/v2/a/manifests/two").status == 404
    assert server.ask("GET", "/v2/a/tags/list").json["tags"] == []
    assert server.ask("DELETE", f"/v2/a/manifests/{digest}").code == "MANIFEST_UNKNOWN"


def test_a_manifest_survives_kill_9_at_once(serve) -> None:
    server = serve()
    digest = server.push_image("a", "one")
    server.kill()
    server.start()
    assert server.ask("HEAD", "/v2/a/manifests/one").headers["docker-content-digest"] == digest


def test_a_manifest_too_large_is_refused(serve) -> None:
    server = serve()
    answer = server.ask("PUT", "/v2/a/manifests/x", b" " * (4 << 20) + b"{}", Content_Type=IMAGE)
    assert (answer.status, answer.code) == (413, "SIZE_INVALID")


@pytest.mark.parametrize("tag", ["-x", "a" * 129, "x:y", ".hidden"])
def test_a_tag_that_is_none_is_refused(serve, tag: str) -> None:
    answer = serve().ask("PUT", f"/v2/a/manifests/{tag}", b"{}", Content_Type=IMAGE)
    assert answer.status == 400
    assert answer.code in ("TAG_INVALID", "DIGEST_INVALID")


@pytest.mark.parametrize(
    "text",
    [
        "", "[]", "x" * 10, "[" * 100_000, '{"schemaVersion": 1}', '{"schemaVersion": 2}',
        json.dumps({"schemaVersion": 2, "mediaType": "text/html", "config": PART}),
        json.dumps({"schemaVersion": 2, "mediaType": IMAGE, "config": PART, "manifests": [PART]}),
        json.dumps({"schemaVersion": 2, "mediaType": INDEX, "manifests": [], "layers": []}),
        json.dumps({"schemaVersion": 2, "mediaType": IMAGE, "config": {"digest": ZERO, "size": -1}}),
        json.dumps({"schemaVersion": 2, "mediaType": IMAGE, "config": {"digest": "x", "size": 1}}),
        json.dumps({"schemaVersion": 2, "mediaType": IMAGE, "config": PART, "layers": {}}),
        json.dumps({"schemaVersion": 2, "mediaType": IMAGE, "config": PART, "annotations": {"a": 1}}),
        json.dumps({"schemaVersion": 2, "mediaType": IMAGE, "config": PART, "subject": "x"}),
        json.dumps({"schemaVersion": 2, "mediaType": IMAGE, "config": PART, "artifactType": 3}),
    ],
)  # fmt: skip
def test_what_is_no_manifest_is_refused(text: str) -> None:
    with pytest.raises(Refused) as error:
        read(text.encode(), IMAGE)
    assert error.value.code == "MANIFEST_INVALID"


def test_the_content_type_must_agree() -> None:
    data = json.dumps({"schemaVersion": 2, "mediaType": IMAGE, "config": PART}).encode()
    assert read(data, "application/json").media_type == IMAGE
    with pytest.raises(Refused):
        read(data, INDEX)
    assert (
        read(json.dumps({"schemaVersion": 2, "manifests": []}).encode(), DOCKER_LIST).media_type
        == DOCKER_LIST
    )


def test_layers_that_are_kept_elsewhere_need_not_be_here() -> None:
    foreign = {**PART, "mediaType": "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"}
    found = read(
        json.dumps({"schemaVersion": 2, "mediaType": IMAGE, "config": PART, "layers": [foreign]}).encode()
    )
    assert [str(one) for one in found.blobs] == [ZERO]
