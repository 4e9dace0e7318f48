"""Pull: verified, resumed, in one piece or not at all."""

import asyncio
import gzip
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from havre.errors import HavreError, InvalidParameter, NoSuchImage, NotFound, Unavailable
from havre.image.images import Images
from havre.image.pull import pull
from havre.registry.client import Client
from havre.spec import platform as platforms
from havre.spec import reference as references
from havre.spec.image import Image

OCI = "application/vnd.oci.image"


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Retries wait seconds."""

    async def at_once(*_: object) -> None:
        return None

    monkeypatch.setattr("havre.image.download._pause", at_once)


def noise(size: int) -> bytes:
    return os.urandom(size)


def go(
    stub: Any,
    shop: Any,
    images: Images,
    tag: str = "1",
    *,
    platform: str = "linux/amd64",
    client: Client | None = None,
) -> tuple[Image, list[dict[str, Any]], list[Any]]:
    """Pull a/b:<tag> from a scripted registry; return the image, the messages, what was asked."""
    messages: list[dict[str, Any]] = []

    async def work() -> tuple[Image, list[Any]]:
        own = client or Client()
        async with stub(shop) as registry:
            reference = references.parse(
                f"{registry.name}/a/b" + (f":{tag}" if tag else ""), default_tag=False
            )
            try:
                image = await pull(
                    images,
                    own,
                    reference,
                    platform=platforms.parse(platform) if platform else None,
                    credentials=None,
                    progress=messages.append,
                )
            finally:
                own.close()
                shop.asked = registry.asked
        return image, registry.asked

    image, asked = asyncio.run(work())
    return image, messages, asked


def nothing_visible(images: Images) -> bool:
    return images.all() == [] and os.listdir(images.root / "layers") == []


def refused(stub: Any, shop: Any, images: Images, text: str, kind: type[HavreError] = HavreError) -> None:
    """A pull fails with a clear error and leaves no image and no layer."""
    with pytest.raises(kind, match=text):
        go(stub, shop, images)
    assert nothing_visible(images)


# what works


def test_layers_are_unpacked_in_order_and_progress_is_dockers(
    stub: Any, shop: Any, make_images: Any, make_layer: Any
) -> None:
    images = make_images()
    shop.image(make_layer({"a": b"1", "b": b"1"}), make_layer({"b": b"2", ".wh.a": b""}), tag="1")
    image, messages, _ = go(stub, shop, images)
    upper, lower = images.layers.stack(image.chain_id)
    assert (Path(upper) / "b").read_bytes() == b"2" and (Path(lower) / "a").read_bytes() == b"1"
    said = [(one.get("id"), one["status"]) for one in messages]
    assert said[0] == ("1", "Pulling from a/b")
    layer = json.loads(shop.manifests["1"][1])["layers"][0]["digest"][7:19]
    steps = list(dict.fromkeys(status for name, status in said if name == layer))
    assert [step for step in steps if step not in ("Downloading", "Extracting")] == [
        "Pulling fs layer", "Verifying Checksum", "Download complete", "Pull complete",
    ]  # fmt: skip
    assert said[-2][1] == f"Digest: {image.id}"
    assert said[-1][1].startswith("Status: Downloaded newer image for 127.0.0.1:")
    assert said[-1][1].endswith("/a/b:1")


def test_second_pull_asks_one_head_and_is_up_to_date(
    stub: Any, shop: Any, make_images: Any, make_layer: Any
) -> None:
    images = make_images()
    shop.image(make_layer({"a": b"1"}), tag="1")

    async def work() -> tuple[list[Any], list[dict[str, Any]]]:
        messages: list[dict[str, Any]] = []
        async with stub(shop) as registry:
            client, reference = Client(), references.parse(f"{registry.name}/a/b:1")
            await pull(images, client, reference, platform=None, credentials=None, progress=lambda _: None)
            registry.asked.clear()
            await pull(images, client, reference, platform=None, credentials=None, progress=messages.append)
            client.close()
            return registry.asked, messages

    asked, messages = asyncio.run(work())
    assert [one.method for one in asked] == ["HEAD"]
    assert messages[-1]["status"].startswith("Status: Image is up to date for")


def test_moved_tag_is_pulled_again_and_shared_layers_stay(
    stub: Any, shop: Any, make_images: Any, make_layer: Any
) -> None:
    images = make_images()
    base = make_layer({"a": b"1"})
    shop.image(base, tag="1")
    first, _, _ = go(stub, shop, images)
    shop.image(base, make_layer({"b": b"2"}), tag="1")
    second, messages, asked = go(stub, shop, images)
    assert first.id != second.id
    shared = json.loads(shop.manifests["1"][1])["layers"][0]["digest"]
    assert {"status": "Already exists", "progressDetail": {}, "id": shared[7:19]} in messages
    assert not any(one.path.endswith(shared) for one in asked)


def test_index_is_kept_and_its_platform_chosen(
    stub: Any, shop: Any, make_images: Any, make_layer: Any
) -> None:
    images = make_images()
    entries = [
        {
            **shop.image(make_layer({"arch": name.encode()}), architecture=name),
            "platform": {"os": "linux", "architecture": name},
        }
        for name in ("s390x", "arm64", "amd64")
    ]
    entries.append(
        {**shop.image(make_layer({"x": b""})), "platform": {"os": "unknown", "architecture": "unknown"}}
    )
    shop.index(entries, tag="2")
    image, _, _ = go(stub, shop, images, "2")
    assert image.id == shop.index(entries)["digest"] and image.manifest_digest == entries[2]["digest"]
    assert images.content.read(image.id) == shop.manifests["2"][1]
    other, _, _ = go(stub, shop, images, "2", platform="linux/arm64/v8")
    chosen = images.resolve(image.id, platforms.parse("linux/arm64"))
    assert other.id == image.id and chosen.manifest_digest == entries[1]["digest"]
    assert not images.content.has(entries[0]["digest"])
    with pytest.raises(NotFound, match="no matching manifest for linux/riscv64"):
        go(stub, shop, images, "2", platform="linux/riscv64")


def test_digest_is_pulled_without_a_name(stub: Any, shop: Any, make_images: Any, make_layer: Any) -> None:
    images = make_images()
    digest = shop.image(make_layer({"a": b"1"}), tag="1")["digest"]

    async def work() -> Image:
        async with stub(shop) as registry:
            client = Client()
            reference = references.parse(f"{registry.name}/a/b:1@{digest}")
            found = await pull(
                images, client, reference, platform=None, credentials=None, progress=lambda _: None
            )
            client.close()
            return found

    image = asyncio.run(work())
    assert image.id == digest and image.repo_tags == ()
    assert images.resolve(image.repo_digests[0]).id == digest


def test_all_tags_are_pulled_when_none_is_named(
    stub: Any, shop: Any, make_images: Any, make_layer: Any
) -> None:
    images = make_images()
    for tag in ("1", "2", "3"):
        shop.image(make_layer({"tag": tag.encode()}), tag=tag)
    _, messages, _ = go(stub, shop, images, "")
    assert sorted(name.rpartition(":")[2] for image in images.all() for name in image.repo_tags) == [
        "1",
        "2",
        "3",
    ]
    assert sum(one["status"].startswith("Status:") for one in messages) == 1


def test_same_layer_twice_is_downloaded_once(stub: Any, shop: Any, make_images: Any, make_layer: Any) -> None:
    images = make_images()
    layer = make_layer({"a": b"1"})
    shop.image(layer, layer, tag="1")
    image, _, asked = go(stub, shop, images)
    assert len(images.layers.stack(image.chain_id)) == 2
    digest = json.loads(shop.manifests["1"][1])["layers"][0]["digest"]
    assert sum(one.path.endswith(digest) for one in asked) == 1


def test_two_pulls_at_once_download_each_blob_once(
    stub: Any, shop: Any, make_images: Any, make_layer: Any
) -> None:
    images = make_images()
    shop.image(make_layer({"a": noise(3 << 20)}), tag="1")

    async def work() -> list[Any]:
        async with stub(shop) as registry:
            client, reference = Client(), references.parse(f"{registry.name}/a/b:1")
            found = await asyncio.gather(
                *(
                    pull(images, client, reference, platform=None, credentials=None, progress=lambda _: None)
                    for _ in range(5)
                )
            )
            assert len({image.id for image in found}) == 1
            client.close()
            return registry.asked

    asked = [one.path for one in asyncio.run(work()) if "/blobs/" in one.path]
    assert len(asked) == len(set(asked)) == 2


# what breaks off


def test_cut_blob_is_resumed_where_it_broke(
    stub: Any, shop: Any, make_images: Any, make_layer: Any, reply: Any
) -> None:
    images = make_images()
    shop.image(make_layer({"a": noise(8 << 20)}), tag="1")
    digest = json.loads(shop.manifests["1"][1])["layers"][0]["digest"]
    ranges: list[str] = []

    def twist(asked: Any) -> Any:
        if not asked.path.endswith(digest):
            return None
        ranges.append(asked.headers.get("range", ""))
        whole = shop._blob(asked, shop.blobs[digest])
        whole.cut = 3 << 20 if len(ranges) < 3 else -1
        return whole

    shop.twist = twist
    image, _, _ = go(stub, shop, images)
    assert ranges[0] == "" and len(ranges) == 3
    starts = [int(one[6:-1]) for one in ranges[1:]]
    assert 0 < starts[0] < starts[1]
    assert images.layers.has(image.chain_id)


def test_registry_without_ranges_starts_again(
    stub: Any, shop: Any, make_images: Any, make_layer: Any, reply: Any
) -> None:
    images = make_images()
    shop.image(make_layer({"a": noise(2 << 20)}), tag="1")
    digest = json.loads(shop.manifests["1"][1])["layers"][0]["digest"]
    count = iter(range(10))
    shop.twist = lambda asked: (
        reply(200, shop.blobs[digest], cut=1 << 20 if next(count) == 0 else -1)
        if asked.path.endswith(digest)
        else None
    )
    image, _, _ = go(stub, shop, images)
    assert images.layers.has(image.chain_id)


def test_registry_that_never_finishes_is_given_up(
    stub: Any, shop: Any, make_images: Any, make_layer: Any, reply: Any
) -> None:
    images = make_images()
    shop.image(make_layer({"a": noise(1 << 20)}), tag="1")
    digest = json.loads(shop.manifests["1"][1])["layers"][0]["digest"]
    shop.twist = lambda asked: (
        reply(200, shop.blobs[digest], cut=100) if asked.path.endswith(digest) else None
    )
    refused(stub, shop, images, "cut off", Unavailable)
    assert sum(one.path.endswith(digest) for one in shop.asked) == 5


def test_kill_in_a_download_leaves_a_part_that_is_resumed(
    real_registry: Callable[..., Any], make_images: Any, make_layer: Any, stub: Any, shop: Any, tmp_path: Path
) -> None:
    """kill -9 of a pulling process; the next pull asks only for the rest."""
    shop.image(make_layer({"a": noise(6 << 20)}), tag="1")
    digest = json.loads(shop.manifests["1"][1])["layers"][0]["digest"]
    make_images("killed")
    script = (
        "import asyncio, sys; from pathlib import Path; from havre.image.images import Images; from havre.store import Records\n"
        "from havre.registry.client import Client; from havre.image.pull import pull; from havre.spec import reference\n"
        "folder = Path(sys.argv[1]); images = Images(folder / 'image', Records(folder / 'havre.db'))\n"
        "asyncio.run(pull(images, Client(), reference.parse(sys.argv[2]), platform=None, credentials=None, progress=lambda _: None))\n"
    )
    ranges: list[str] = []

    async def work() -> None:
        async def hanging(asked: Any) -> Any:
            if asked.path.endswith(digest) and not ranges:
                ranges.append("")
                data = shop.blobs[digest]
                head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(data)}\r\n\r\n".encode()
                return head + data[: 4 << 20]
            if asked.path.endswith(digest):
                ranges.append(asked.headers.get("range", ""))
            return shop(asked)

        async with stub(lambda asked: None) as registry:
            registry.handler = hanging
            name = f"{registry.name}/a/b:1"
            process = subprocess.Popen([sys.executable, "-c", script, str(tmp_path / "killed"), name])
            part = tmp_path / "killed" / "image" / "ingest" / digest.replace(":", "-")
            end = time.monotonic() + 20
            while not (part.exists() and part.stat().st_size > 1 << 20) and time.monotonic() < end:
                await asyncio.sleep(0.01)
            process.send_signal(signal.SIGKILL)
            process.wait()
            images = make_images("killed")
            assert images.all() == []
            client = Client()
            image = await pull(
                images,
                client,
                references.parse(name),
                platform=None,
                credentials=None,
                progress=lambda _: None,
            )
            client.close()
            assert images.layers.has(image.chain_id)

    asyncio.run(work())
    assert int(ranges[-1].removeprefix("bytes=").rstrip("-")) > 1 << 20


def test_cancelled_pull_leaves_only_parts(stub: Any, shop: Any, make_images: Any, make_layer: Any) -> None:
    images = make_images()
    shop.image(make_layer({"a": b"1"}), make_layer({str(n): b"x" * 2000 for n in range(3000)}), tag="1")

    async def work() -> None:
        async with stub(shop) as registry:
            client, reference = Client(), references.parse(f"{registry.name}/a/b:1")
            seen = asyncio.Event()
            task = asyncio.ensure_future(
                pull(
                    images,
                    client,
                    reference,
                    platform=None,
                    credentials=None,
                    progress=lambda one: seen.set() if one["status"] == "Extracting" else None,
                )
            )
            await seen.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            client.close()

    asyncio.run(work())
    assert images.all() == []
    assert images._leases == 0
    assert len(os.listdir(images.root / "layers")) == len(images.layers._known) <= 1
    images.collect()
    assert os.listdir(images.root / "layers") == []


# what lies


def test_blob_of_another_digest_is_refused(stub: Any, shop: Any, make_images: Any, make_layer: Any) -> None:
    shop.image(make_layer({"a": b"1"}), tag="1")
    digest = json.loads(shop.manifests["1"][1])["layers"][0]["digest"]
    shop.blobs[digest] = bytes(len(shop.blobs[digest]))
    images = make_images()
    refused(stub, shop, images, f"content of {digest} does not match")
    assert not images.content.has(digest)
    assert os.listdir(images.root / "ingest") == []


@pytest.mark.parametrize("change", [-1, 1], ids=["longer", "shorter"])
def test_blob_of_another_size_is_refused(
    stub: Any, shop: Any, make_images: Any, make_layer: Any, change: int
) -> None:
    shop.image(make_layer({"a": b"1"}), tag="1")
    document = json.loads(shop.manifests["1"][1])
    document["layers"][0]["size"] += change
    shop.manifest(document, "1")
    refused(stub, shop, make_images(), "larger than|cut short")


def test_endless_blob_is_cut_off(stub: Any, shop: Any, make_images: Any, make_layer: Any) -> None:
    shop.image(make_layer({"a": b"1"}), tag="1")
    digest = json.loads(shop.manifests["1"][1])["layers"][0]["digest"]
    endless = (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
        + (b"100000\r\n" + bytes(0x100000) + b"\r\n") * 20
    )
    shop.twist = lambda asked: endless if asked.path.endswith(digest) else None
    images = make_images()
    refused(stub, shop, images, "larger than the")
    assert os.listdir(images.root / "ingest") == []


def test_layer_with_another_diff_id_is_refused(
    stub: Any, shop: Any, make_images: Any, make_layer: Any
) -> None:
    shop.image(make_layer({"a": b"1"}), tag="1")
    document = json.loads(shop.manifests["1"][1])
    config = json.loads(shop.blobs[document["config"]["digest"]])
    config["rootfs"]["diff_ids"] = ["sha256:" + "0" * 64]
    document["config"].update(shop.blob(json.dumps(config).encode()))
    shop.manifest(document, "1")
    refused(stub, shop, make_images(), "not sha256:0000")


def manifest(shop: Any, **changes: Any) -> None:
    """A manifest with one empty layer, changed."""
    layer = gzip.compress(bytes(1024), mtime=0)
    config = {"rootfs": {"type": "layers", "diff_ids": []}, "os": "linux", "architecture": "amd64"}
    shop.manifest(
        {
            "schemaVersion": 2,
            "mediaType": f"{OCI}.manifest.v1+json",
            "config": {"mediaType": f"{OCI}.config.v1+json", **shop.blob(json.dumps(config).encode())},
            "layers": [{"mediaType": f"{OCI}.layer.v1.tar+gzip", **shop.blob(layer)}],
            **changes,
        },
        "1",
    )


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({}, "1 layers, the config 0"),
        ({"manifests": []}, "ambiguous manifest"),
        ({"mediaType": f"{OCI}.index.v1+json"}, "ambiguous manifest"),
        ({"schemaVersion": 1}, "schema 1 is not supported"),
        ({"layers": [{"mediaType": f"{OCI}.layer.nondistributable.v1.tar", "digest": "sha256:" + "0" * 64, "size": 1, "urls": ["http://127.0.0.1:1/"]}]}, "foreign"),
        ({"layers": [{"mediaType": "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip", "digest": "sha256:" + "0" * 64, "size": 1}]}, "foreign"),
        ({"layers": [{"mediaType": f"{OCI}.layer.v1.tar+gzip+encrypted", "digest": "sha256:" + "0" * 64, "size": 1}]}, "unsupported kind"),
        ({"layers": [{"mediaType": f"{OCI}.layer.v1.tar", "digest": "sha256:" + "0" * 64, "size": 1}] * 100_000}, "too large|sound list|larger than"),
        ({"layers": [{"mediaType": f"{OCI}.layer.v1.tar", "digest": "sha256:" + "0" * 64, "size": 1}] * 200}, "at most 127"),
        ({"layers": [{"digest": "../../etc/passwd", "size": 1}]}, "invalid digest"),
        ({"layers": [{"digest": "sha256:" + "0" * 64, "size": -1}]}, "invalid size"),
        ({"layers": "x"}, "sound list"),
        ({"config": {"mediaType": "application/vnd.cncf.helm.config.v1+json", "digest": "sha256:" + "0" * 64, "size": 2}}, "no container image"),
        ({"config": {"mediaType": f"{OCI}.config.v1+json", "digest": "sha256:" + "0" * 64, "size": 50 << 20}}, "config is too large"),
    ],
)  # fmt: skip
def test_hostile_manifest_is_refused(
    stub: Any, shop: Any, make_images: Any, changes: dict[str, Any], text: str
) -> None:
    manifest(shop, **changes)
    refused(stub, shop, make_images(), text)
    assert not any("127.0.0.1:1" in one.target for one in shop.asked)


@pytest.mark.parametrize("data", [b"", b"[]", b"null", b"{", b"[" * 100_000, b'{"schemaVersion":2}'])
def test_nonsense_instead_of_a_manifest_is_refused(
    stub: Any, shop: Any, make_images: Any, data: bytes
) -> None:
    shop.manifests["1"] = ("application/json", data)
    refused(stub, shop, make_images(), "manifest", InvalidParameter)


def test_nested_indexes_are_bounded(stub: Any, shop: Any, make_images: Any, make_layer: Any) -> None:
    entry = shop.image(make_layer({"a": b"1"}))
    for _ in range(10):
        entry = shop.index([{**entry, "platform": {"os": "linux", "architecture": "amd64"}}], tag="1")
    refused(stub, shop, make_images(), "nested too deeply")
    assert len(shop.asked) < 10


def test_index_entry_of_another_size_is_refused(
    stub: Any, shop: Any, make_images: Any, make_layer: Any
) -> None:
    entry = shop.image(make_layer({"a": b"1"}))
    entry["size"] += 1
    shop.index([{**entry, "platform": {"os": "linux", "architecture": "amd64"}}], tag="1")
    refused(stub, shop, make_images(), "bytes, not")


def test_hostile_layer_leaves_nothing(stub: Any, shop: Any, make_images: Any, make_layer: Any) -> None:
    shop.image(make_layer({"a": b"1"}), make_layer({"../../evil": b"x"}), tag="1")
    images = make_images()
    with pytest.raises(HavreError, match="evil"):
        go(stub, shop, images)
    assert images.all() == []
    images.collect()
    assert os.listdir(images.root / "layers") == []
    with pytest.raises(NoSuchImage):
        images.resolve("127.0.0.1:1/a/b:1")


# a real registry, filled by somebody else


def test_image_pushed_by_skopeo_is_pulled(
    real_registry: Callable[..., Any], make_images: Any, make_layer: Any, tmp_path: Path
) -> None:
    if not shutil.which("skopeo"):
        pytest.skip("skopeo is not installed")
    name = real_registry().name
    images = make_images()
    with (tmp_path / "root.tar").open("wb") as file:
        file.write(make_layer({"etc/motd": b"hello", "bin/x": b"y" * 100_000}))
    with (tmp_path / "root.tar").open("rb") as file:
        images.import_(file, "made:1", changes=["CMD /bin/x"], message="", platform=None)
    with (tmp_path / "made.tar").open("wb") as out:
        images.save(["made:1"], out)
    for form, flags in (("docker", ["--format", "v2s2"]), ("oci", ["--format", "oci"])):
        subprocess.run(
            [
                *("skopeo", "copy", "-q", "--insecure-policy", "--dest-tls-verify=false", *flags),
                *(f"docker-archive:{tmp_path}/made.tar:made:1", f"docker://{name}/{form}/made:1"),
            ],
            check=True,
        )

        async def work(reference: str) -> Image:
            client = Client()
            try:
                return await pull(
                    make_images(reference.replace("/", "-")), client, references.parse(reference),
                    platform=None, credentials=None, progress=lambda _: None,
                )  # fmt: skip
            finally:
                client.close()

        found = asyncio.run(work(f"{name}/{form}/made:1"))
        assert found.config["config"]["Cmd"] == ["/bin/sh", "-c", "/bin/x"]
        assert found.repo_digests == (f"{name}/{form}/made@{found.id}",)
