"""Push: what was pulled goes out byte for byte; nothing is sent twice."""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from havre.errors import Forbidden, InvalidParameter, NoSuchImage, Unavailable
from havre.image.images import Images
from havre.image.pull import pull
from havre.image.push import push
from havre.registry.auth import Credentials
from havre.registry.client import Client
from havre.spec import reference as references
from havre.spec.image import Image


def send(images: Images, name: str, credentials: Credentials | None = None) -> list[dict[str, Any]]:
    messages: list[dict[str, Any]] = []

    async def work() -> None:
        client = Client()
        try:
            reference = references.parse(name, default_tag=False)
            await push(images, client, reference, credentials=credentials, progress=messages.append)
        finally:
            client.close()

    asyncio.run(work())
    return messages


def fetch(images: Images, name: str, credentials: Credentials | None = None) -> Image:
    async def work() -> Image:
        client = Client()
        try:
            return await pull(
                images,
                client,
                references.parse(name),
                platform=None,
                credentials=credentials,
                progress=lambda _: None,
            )
        finally:
            client.close()

    return asyncio.run(work())


def made(images: Images, make_layer: Any, tmp_path: Path, *names: str) -> str:
    """An image with one layer and several names."""
    (tmp_path / "root.tar").write_bytes(make_layer({"a": b"x" * 3_000_000}))
    with (tmp_path / "root.tar").open("rb") as file:
        digest = images.import_(file, names[0], changes=[], message="", platform=None)
    for name in names[1:]:
        images.tag(names[0], name)
    return digest


def test_image_comes_back_the_same(
    real_registry: Callable[..., Any], make_images: Any, make_layer: Any, tmp_path: Path
) -> None:
    name = f"{real_registry(password=True).name}/a/b:1"
    credentials = Credentials("ann", "s3cret")
    images = make_images("here")
    digest = made(images, make_layer, tmp_path, name)
    messages = send(images, name, credentials)
    size = images.content.size(digest)
    assert messages[0] == {"status": f"The push refers to repository [{name[:-2]}]"}
    steps = list(dict.fromkeys(one["status"] for one in messages if "id" in one))
    assert [step for step in steps if step != "Pushing"] == ["Preparing", "Pushed"]
    assert messages[-2] == {"status": f"1: digest: {digest} size: {size}"}
    assert messages[-1] == {"progressDetail": {}, "aux": {"Tag": "1", "Digest": digest, "Size": size}}
    assert images.resolve(name).repo_digests == (f"{name[:-2]}@{digest}",)
    other = make_images("there")
    assert fetch(other, name, credentials).id == digest
    assert other.content.read(digest) == images.content.read(digest)


def test_known_layers_are_not_sent_again_and_others_mounted(
    real_registry: Callable[..., Any], make_images: Any, make_layer: Any, tmp_path: Path
) -> None:
    host = real_registry().name
    images = make_images()
    made(images, make_layer, tmp_path, f"{host}/a:1", f"{host}/a:2", f"{host}/b:1")
    assert "Pushed" in [one.get("status") for one in send(images, f"{host}/a:1")]
    assert "Layer already exists" in [one.get("status") for one in send(images, f"{host}/a:2")]
    assert "Mounted from a" in [one.get("status") for one in send(images, f"{host}/b:1")]


def test_all_local_tags_are_pushed_when_none_is_named(
    real_registry: Callable[..., Any], make_images: Any, make_layer: Any, tmp_path: Path
) -> None:
    host = real_registry().name
    images = make_images()
    made(images, make_layer, tmp_path, f"{host}/a:1", f"{host}/a:2")
    tags = [one["aux"]["Tag"] for one in send(images, f"{host}/a") if "aux" in one]
    assert sorted(tags) == ["1", "2"]

    async def listed() -> list[str]:
        client = Client()
        found = await client.tags(references.parse(f"{host}/a"))
        client.close()
        return found

    assert sorted(asyncio.run(listed())) == ["1", "2"]


def test_partly_pulled_index_is_pushed_as_its_manifest_and_a_whole_one_as_it_is(
    real_registry: Callable[..., Any], make_images: Any, stub: Any, shop: Any, make_layer: Any
) -> None:
    host = real_registry().name
    images = make_images()
    entries = [
        {
            **shop.image(make_layer({"arch": name.encode()}), architecture=name),
            "platform": {"os": "linux", "architecture": name},
        }
        for name in ("amd64", "arm64")
    ]
    index = shop.index(entries, tag="1")

    async def bring(platform: str) -> None:
        from havre.spec import platform as platforms

        async with stub(shop) as registry:
            client = Client()
            wanted = platforms.parse(platform)
            reference = references.parse(f"{registry.name}/a:1")
            found = await pull(
                images, client, reference, platform=wanted, credentials=None, progress=lambda _: None
            )
            client.close()
            images.tag(found.id, f"{host}/b:1")

    asyncio.run(bring("linux/amd64"))
    messages = send(images, f"{host}/b:1")
    note = next(one["aux"] for one in messages if one.get("aux", {}).get("manifestPushedInsteadOfIndex"))
    assert note["originalIndex"]["digest"] == index["digest"]
    assert messages[-1]["aux"]["Digest"] == entries[0]["digest"] == note["selectedManifest"]["digest"]
    asyncio.run(bring("linux/arm64"))
    assert send(images, f"{host}/b:1")[-1]["aux"]["Digest"] == index["digest"]
    assert fetch(make_images("there"), f"{host}/b:1").id == index["digest"]


def test_unknown_image_and_digest_are_refused(make_images: Any) -> None:
    with pytest.raises(NoSuchImage):
        send(make_images(), "127.0.0.1:1/a:1")
    with pytest.raises(NoSuchImage):
        send(make_images(), "127.0.0.1:1/a")
    with pytest.raises(InvalidParameter, match="cannot push a digest reference"):
        send(make_images(), "127.0.0.1:1/a@sha256:" + "0" * 64)


def test_refusal_of_the_registry_is_said(
    stub: Any, reply: Any, make_images: Any, make_layer: Any, tmp_path: Path
) -> None:
    images = make_images()
    body = json.dumps({"errors": [{"code": "DENIED", "message": "quota exceeded"}]}).encode()

    def handler(asked: Any) -> Any:
        return reply(404) if asked.method == "HEAD" else reply(403, body)

    async def work() -> None:
        async with stub(handler) as registry:
            name = f"{registry.name}/a:1"
            made(images, make_layer, tmp_path, name)
            client = Client()
            with pytest.raises(Forbidden, match=r"push access denied for .*: denied: quota exceeded"):
                await push(images, client, references.parse(name), credentials=None, progress=lambda _: None)
            client.close()

    asyncio.run(work())
    assert images._leases == 0


def test_broken_upload_is_tried_again(
    stub: Any, reply: Any, make_images: Any, make_layer: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = make_images()
    uploads: list[int] = []
    real_sleep = asyncio.sleep
    monkeypatch.setattr("havre.image.push.asyncio.sleep", lambda _: real_sleep(0))

    def handler(asked: Any) -> Any:
        if asked.method == "HEAD":
            return reply(404)
        if asked.method == "POST":
            return reply(202, b"", {"Location": "/up"})
        if asked.path == "/up":
            uploads.append(len(asked.body))
            return reply(500) if len(uploads) == 1 else reply(201)
        return reply(201) if asked.method == "PUT" else reply(200)

    async def work() -> None:
        async with stub(handler) as registry:
            name = f"{registry.name}/a:1"
            made(images, make_layer, tmp_path, name)
            client = Client()
            await push(images, client, references.parse(name), credentials=None, progress=lambda _: None)
            registry.handler = lambda asked: reply(500) if asked.method == "PUT" else handler(asked)
            with pytest.raises(Unavailable, match="answered 500"):
                await push(images, client, references.parse(name), credentials=None, progress=lambda _: None)
            client.close()

    asyncio.run(work())
    assert len(uploads) == 3
