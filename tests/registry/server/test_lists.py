"""Tags, catalog and referrers, page by page."""

import pytest

INDEX = "application/vnd.oci.image.index.v1+json"


def pages(server, path: str, key: str) -> list[list[str]]:
    found = []
    while path:
        answer = server.ask("GET", path)
        found.append(answer.json[key])
        link = answer.headers.get("link", "")
        assert not link or link.endswith('>; rel="next"')
        path = link.partition(">")[0].removeprefix("<")
    return found


def test_tags_come_in_order_and_in_pages(serve) -> None:
    server = serve()
    for tag in ("c", "a", "e", "b", "d"):
        server.push_image("a/b", tag)
    assert pages(server, "/v2/a/b/tags/list?n=2", "tags") == [["a", "b"], ["c", "d"], ["e"]]
    assert pages(server, "/v2/a/b/tags/list", "tags") == [["a", "b", "c", "d", "e"]]
    assert server.ask("GET", "/v2/a/b/tags/list?n=0").json["tags"] == []
    assert server.ask("GET", "/v2/a/b/tags/list?last=c").json["tags"] == ["d", "e"]
    assert server.ask("GET", "/v2/none/tags/list").code == "NAME_UNKNOWN"


def test_the_catalog_lists_nested_names(serve) -> None:
    server = serve()
    for name in ("b", "a/b", "a", "a/b/c"):
        server.push_image(name, "x")
    assert pages(server, "/v2/_catalog?n=3", "repositories") == [["a", "a/b", "a/b/c"], ["b"]]


@pytest.mark.parametrize("count", ["-1", "x", "1e9", "99999999999999999999"])
def test_a_page_size_that_is_none_is_refused(serve, count: str) -> None:
    server = serve()
    server.push_image("a", "x")
    answer = server.ask("GET", f"/v2/a/tags/list?n={count}")
    assert (answer.status, answer.code) == (400, "PAGINATION_NUMBER_INVALID")


def refer(server, kind: str, subject: str, size: int) -> str:
    descriptor = {"mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": subject, "size": size}
    return server.push_image("a", "DIGEST", artifactType=kind, subject=descriptor, annotations={"kind": kind})


def test_referrers_are_listed_filtered_and_forgotten(serve) -> None:
    server = serve()
    subject = server.push_image("a", "x")
    first, second = refer(server, "text/a", subject, 9), refer(server, "text/b", subject, 9)
    listed = server.ask("GET", f"/v2/a/referrers/{subject}")
    assert listed.headers["content-type"] == INDEX
    assert {one["digest"] for one in listed.json["manifests"]} == {first, second}
    only = server.ask("GET", f"/v2/a/referrers/{subject}?artifactType=text/b")
    assert only.headers["oci-filters-applied"] == "artifactType"
    assert [(one["digest"], one["annotations"]) for one in only.json["manifests"]] == [
        (second, {"kind": "text/b"})
    ]
    server.ask("DELETE", f"/v2/a/manifests/{first}")
    assert [one["digest"] for one in server.ask("GET", f"/v2/a/referrers/{subject}").json["manifests"]] == [
        second
    ]


def test_referrers_of_what_is_not_here_are_none_and_of_no_digest_an_error(serve) -> None:
    server = serve()
    missing = server.ask("GET", "/v2/a/referrers/sha256:" + "0" * 64)
    assert (missing.status, missing.json["manifests"]) == (200, [])
    assert server.ask("GET", "/v2/a/referrers/latest").code == "DIGEST_INVALID"


def test_referrers_of_a_clients_fallback_tag_are_found(serve) -> None:
    server = serve()
    subject = server.push_image("a", "x")
    digest = refer(server, "text/a", subject, 9)
    for path in (server.root / "data").rglob("referrers/*/*/*/*/link"):
        path.unlink()  # as another registry had left it
    assert server.ask("GET", f"/v2/a/referrers/{subject}").json["manifests"] == []
    entry = {"mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": digest, "size": 1}
    index = {"schemaVersion": 2, "mediaType": INDEX, "manifests": [entry]}
    server.push_manifest("a", subject.replace(":", "-"), index, INDEX)
    found = server.ask("GET", f"/v2/a/referrers/{subject}").json["manifests"]
    assert [one["digest"] for one in found] == [digest]
