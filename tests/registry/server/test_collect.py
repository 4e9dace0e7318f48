"""Collection: what nothing refers to goes, everything else and everything young stays."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from havre.registry.server import upload
from havre.registry.server.collect import collect, purge_uploads
from havre.registry.server.manifest import IMAGE, INDEX, read
from havre.registry.server.names import Digest, digest_of
from havre.registry.server.repository import Repository
from havre.registry.server.storage import Storage


def push_blob(storage: Storage, name: str, data: bytes) -> Digest:
    one = upload.begin(storage, name)
    one.append(data)
    one.commit(digest_of(data))
    return digest_of(data)


def descriptor(digest: Digest, kind: str = "x/y") -> dict:
    return {"mediaType": kind, "digest": str(digest), "size": 1}


def push(storage: Storage, name: str, tags: list[str], value: dict) -> Digest:
    data = json.dumps({"schemaVersion": 2, **value}).encode()
    Repository(storage, name).put(digest_of(data), data, read(data), tags, check=True)
    return digest_of(data)


def push_image(storage: Storage, name: str, tags: list[str], layer: bytes, **more: object) -> Digest:
    config, blob = push_blob(storage, name, b"{}"), push_blob(storage, name, layer)
    return push(
        storage,
        name,
        tags,
        {"mediaType": IMAGE, "config": descriptor(config), "layers": [descriptor(blob)], **more},
    )


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    return Storage(tmp_path)


def test_only_what_no_manifest_refers_to_goes(storage: Storage) -> None:
    push_image(storage, "a", ["x"], b"kept")
    loose = push_blob(storage, "a", b"loose")
    gone = push_image(storage, "a", ["y"], b"gone")
    Repository(storage, "a").delete(gone)
    assert collect(storage, grace_s=0, dry_run=True).blobs == 3
    done = collect(storage, grace_s=0)
    assert (done.blobs, storage.has(loose), storage.has(digest_of(b"gone")), storage.has(gone)) == (
        3,
        False,
        False,
        False,
    )
    assert storage.has_in("a", digest_of(b"kept"))
    assert not storage.layout.layer("a", loose).exists()
    assert collect(storage, grace_s=0).blobs == 0


def test_what_is_young_stays_and_is_young_again_when_it_is_needed(storage: Storage) -> None:
    loose = push_blob(storage, "a", b"loose")
    assert collect(storage).blobs == 0
    for path in (storage.layout.blob(loose), storage.layout.layer("a", loose)):
        os.utime(path, (1, 1))
    assert storage.link("b", loose)
    assert collect(storage).blobs == 0
    os.utime(storage.layout.blob(loose), (1, 1))
    assert storage.touch("b", loose)  # a client asks with HEAD, or pushes a manifest
    assert collect(storage).blobs == 0
    os.utime(storage.layout.blob(loose), (1, 1))
    assert collect(storage).blobs == 1


def test_untagged_manifests_go_only_when_nothing_needs_them(storage: Storage) -> None:
    child, loose = push_image(storage, "a", [], b"child"), push_image(storage, "a", [], b"loose")
    index = push(storage, "a", ["x"], {"mediaType": INDEX, "manifests": [descriptor(child, IMAGE)]})
    signature = push_image(storage, "a", [], b"signature", subject=descriptor(index, INDEX))
    collect(storage, grace_s=0)
    assert set(Repository(storage, "a").manifests()) == {child, loose, index, signature}
    assert collect(storage, grace_s=0, untagged=True).manifests == 1
    assert set(Repository(storage, "a").manifests()) == {child, index, signature}


def test_uploads_nobody_continues_go(storage: Storage) -> None:
    old, young = upload.begin(storage, "a"), upload.begin(storage, "a")
    folder = storage.layout.upload("a", old.key)
    for path in (folder / "data", folder):
        os.utime(path, (1, 1))
    assert purge_uploads(storage, 3600) == 1
    assert [one.name for one in storage.layout.uploads("a").iterdir()] == [young.key]


def test_the_command_collects_beside_a_running_server(serve) -> None:
    server = serve()
    server.push_image("a", "x")
    loose = server.push_blob("a", b"loose")
    for path in (server.root / "data").rglob(f"{loose.partition(':')[2]}/*"):
        os.utime(path, (1, 1))
    command = [sys.executable, "-m", "havre", "registry", "garbage-collect", str(server.file)]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3] / "src")}
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    assert done.stdout == "1 blobs (5 bytes) and 0 manifests removed\n"
    assert server.ask("HEAD", f"/v2/a/blobs/{loose}").status == 404
    assert server.ask("GET", "/v2/a/manifests/x").status == 200
