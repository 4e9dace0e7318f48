"""load, save and import, with archives of Docker, of skopeo and of hostile hands."""

import gzip
import hashlib
import io
import json
import lzma
import os
import shutil
import subprocess
import tarfile
import traceback
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import zstandard

from havre.errors import HavreError, InvalidParameter, NoSuchImage, Unavailable
from havre.image import manifest as manifests
from havre.image.images import Images
from havre.linux import syscalls
from havre.spec.image import Platform
from havre.spec.platform import host_platform
from havre.store import Records

BUSYBOX = "/bin/busybox"
skopeo = pytest.mark.skipif(not shutil.which("skopeo"), reason="no skopeo here")


def quiet(_: object) -> None:
    """Progress nobody looks at."""


def config_of(*layers: bytes, **more: object) -> bytes:
    return json.dumps(
        {
            "architecture": host_platform().architecture,
            "os": "linux",
            "config": {"Cmd": ["sh"]},
            "rootfs": {
                "type": "layers",
                "diff_ids": [f"sha256:{hashlib.sha256(one).hexdigest()}" for one in layers],
            },
            **more,
        }
    ).encode()


def docker_archive(tar, layer: bytes, tags: list[str] | None, **names: str) -> io.BytesIO:
    """What docker save wrote before 25."""
    config, place = config_of(layer), names.get("place", "abc/layer.tar")
    listing = [{"Config": names.get("config", "c.json"), "RepoTags": tags, "Layers": [place]}]
    return tar.archive(
        tar.member(b"c.json", config),
        tar.folder(b"abc"),
        tar.member(b"abc/layer.tar", layer),
        tar.member(b"manifest.json", json.dumps(listing).encode()),
    )


def layout(tar, layer: bytes, annotations: dict[str, str], **more: object) -> list[bytes]:
    """An OCI image layout, member by member."""
    config = config_of(layer)

    def described(data: bytes, kind: str) -> dict[str, object]:
        return {"mediaType": kind, "digest": tar.digest_of(data), "size": len(data)}

    manifest = json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": manifests.OCI_MANIFEST,
            "config": described(config, manifests.OCI_CONFIG),
            "layers": [described(layer, manifests.OCI_LAYER)],
            **more,
        }
    ).encode()
    index = {
        "schemaVersion": 2,
        "manifests": [{**described(manifest, manifests.OCI_MANIFEST), "annotations": annotations}],
    }
    blobs = [
        tar.member(f"blobs/sha256/{tar.digest_of(one)[7:]}".encode(), one)
        for one in (layer, config, manifest)
    ]
    return [
        tar.member(b"oci-layout", b'{"imageLayoutVersion":"1.0.0"}'),
        *blobs,
        tar.member(b"index.json", json.dumps(index).encode()),
    ]


def nothing_left(images) -> bool:
    return (
        images.all() == []
        and list(images.content.all()) == []
        and os.listdir(images.root / "layers") == []
        and os.listdir(images.root / "ingest") == []
    )


@pytest.mark.parametrize("pack", [bytes, gzip.compress, lzma.compress, zstandard.ZstdCompressor().compress])
def test_load_of_a_docker_archive_of_any_compression(images, tar, pack):
    said: list[dict[str, object]] = []
    archive = docker_archive(tar, tar.layer_of({"f": b"1"}), ["app:1", "registry.test/app:2"]).getvalue()
    assert images.load(io.BytesIO(pack(archive)), said.append) == ["app:1", "registry.test/app:2"]
    assert said == [{"stream": "Loaded image: app:1\n"}, {"stream": "Loaded image: registry.test/app:2\n"}]
    image = images.resolve("app:1")
    assert (images.layers.diff(image.chain_id) / "f").read_text() == "1"
    assert os.listdir(images.root / "ingest") == []


def test_load_without_names_gives_the_id(images, tar):
    (found,) = images.load(docker_archive(tar, tar.layer_of({"f": b"1"}), None), quiet)
    assert images.resolve(found).id == found


def test_load_of_compressed_layers_and_links_between_members(images, tar):
    layer = tar.layer_of({"f": b"1"})
    packed = gzip.compress(layer)
    listing = [{"Config": "c.json", "RepoTags": ["app:1"], "Layers": ["x/layer.tar"]}]
    archive = tar.archive(
        tar.member(b"c.json", config_of(layer)),
        tar.member(b"y/layer.tar", packed),
        tar.symlink(b"x/layer.tar", b"../y/layer.tar"),
        tar.member(b"manifest.json", json.dumps(listing).encode()),
    )
    images.load(archive, quiet)
    manifest = manifests.parse_manifest(images.content.read(images.resolve("app:1").manifest_digest))
    assert manifest.layers[0].media_type.endswith("tar+gzip") and manifest.layers[0].size == len(packed)


@pytest.mark.parametrize(
    ("annotations", "names"),
    [
        (
            {"io.containerd.image.name": "docker.io/library/app:1", "org.opencontainers.image.ref.name": "1"},
            ["app:1"],
        ),
        ({"org.opencontainers.image.ref.name": "registry.test/app:1"}, ["registry.test/app:1"]),
        ({"org.opencontainers.image.ref.name": "latest"}, None),
        ({}, None),
    ],
)
def test_load_of_an_oci_layout(images, tar, annotations, names):
    found = images.load(tar.archive(*layout(tar, tar.layer_of({"f": b"1"}), annotations)), quiet)
    assert found == (names or [images.all()[0].id])


HOSTILE = {
    "config leads upwards": lambda t, layer: docker_archive(t, layer, ["a:1"], config="../../etc/passwd"),
    "layer leads upwards": lambda t, layer: docker_archive(t, layer, ["a:1"], place="../../../etc/shadow"),
    "layer of the host": lambda t, layer: docker_archive(t, layer, ["a:1"], place="/etc/passwd"),
    "layer is missing": lambda t, layer: docker_archive(t, layer, ["a:1"], place="nothing"),
    "bad name": lambda t, layer: docker_archive(t, layer, ["../../x"]),
    "wrong diff id": lambda t, layer: t.archive(
        t.member(b"c.json", config_of(b"other")),
        t.member(b"l", layer),
        t.member(b"manifest.json", b'[{"Config":"c.json","RepoTags":["a:1"],"Layers":["l"]}]'),
    ),
    "layer count differs": lambda t, layer: t.archive(
        t.member(b"c.json", config_of(layer)),
        t.member(b"manifest.json", b'[{"Config":"c.json","RepoTags":["a:1"],"Layers":[]}]'),
    ),
    "symlink to the host": lambda t, layer: t.archive(
        t.symlink(b"c.json", b"/etc/passwd"),
        t.member(b"manifest.json", b'[{"Config":"c.json","RepoTags":["a:1"],"Layers":[]}]'),
    ),
    "symlink upwards": lambda t, layer: t.archive(t.symlink(b"c.json", b"../../etc/passwd")),
    "links in a circle": lambda t, layer: t.archive(
        t.symlink(b"a", b"b"),
        t.symlink(b"b", b"a"),
        t.member(b"manifest.json", b'[{"Config":"a","Layers":[]}]'),
    ),
    "device": lambda t, layer: t.archive(t.block(b"manifest.json", b"3", device=(1, 5))),
    "member leads upwards": lambda t, layer: t.archive(t.member(b"../manifest.json", b"[]")),
    "manifest.json is no JSON": lambda t, layer: t.archive(t.member(b"manifest.json", b"[")),
    "manifest.json of another shape": lambda t, layer: t.archive(
        t.member(b"manifest.json", b'[{"Config":1,"Layers":[2]}]')
    ),
    "manifest.json nested deeply": lambda t, layer: t.archive(t.member(b"manifest.json", b"[" * 100_000)),
    "manifest.json of 5 MB": lambda t, layer: t.archive(t.member(b"manifest.json", b" " * (5 << 20))),
    "no image": lambda t, layer: t.archive(t.member(b"manifest.json", b"[]")),
    "a root filesystem": lambda t, layer: io.BytesIO(layer),
    "empty": lambda t, layer: io.BytesIO(b""),
    "cut off": lambda t, layer: io.BytesIO(docker_archive(t, layer, ["a:1"]).getvalue()[:3000]),
    "blob is not its digest": lambda t, layer: t.archive(
        *[
            part.replace(b"data-of-f", b"evil-of-f")
            for part in layout(t, layer, {"org.opencontainers.image.ref.name": "a:1"})
        ]
    ),
    "manifest is an index too": lambda t, layer: t.archive(*layout(t, layer, {}, manifests=[])),
    "second image is broken": lambda t, layer: t.archive(
        t.member(b"c.json", config_of(layer)),
        t.member(b"l", layer),
        t.member(
            b"manifest.json",
            b'[{"Config":"c.json","RepoTags":["a:1"],"Layers":["l"]},{"Config":"no","RepoTags":["b:1"],"Layers":[]}]',
        ),
    ),
}


@pytest.mark.parametrize("attack", HOSTILE)
def test_load_refuses_and_leaves_nothing(images, tar, attack):
    with pytest.raises(HavreError) as caught:
        images.load(HOSTILE[attack](tar, tar.layer_of({"f": b"data-of-f"})), quiet)
    assert caught.value.status == 400
    assert nothing_left(images)


def test_load_of_one_archive_by_many_at_once(images, tar):
    archive = docker_archive(
        tar, tar.layer_of({f"f{number}": os.urandom(2000) for number in range(100)}), ["app:1"]
    ).getvalue()
    with ThreadPoolExecutor(6) as threads:
        found = list(threads.map(lambda _: images.load(io.BytesIO(archive), quiet), range(12)))
    assert found == [["app:1"]] * 12
    images.collect()
    assert len(os.listdir(images.root / "layers")) == 1 and len(list(images.content.all())) == 3
    assert len(os.listdir(images.layers.diff(images.resolve("app:1").chain_id))) == 100


@pytest.mark.kernel
@pytest.mark.parametrize(
    "size", ["2m", "5m"]
)  # too small for the archive; too small for what comes out of it
def test_load_on_a_full_disk_is_said_and_leaves_nothing(tmp_path, tar, size):
    archive = docker_archive(
        tar, tar.layer_of({f"f{number}": os.urandom(60_000) for number in range(50)}), ["app:1"]
    ).getvalue()
    pid = os.fork()
    if not pid:
        try:
            os._exit(_on_a_small_disk(tmp_path, archive, size))
        except BaseException:
            traceback.print_exc()
            os._exit(99)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def _on_a_small_disk(tmp_path: Path, archive: bytes, size: str) -> int:
    """In a mount namespace of its own, with a tmpfs of this size."""
    syscalls.unshare(syscalls.CLONE_NEWNS)
    syscalls.mount_propagation(b"/", syscalls.MS_PRIVATE | syscalls.MS_REC)
    (tmp_path / "small").mkdir()
    disk = syscalls.fsopen("tmpfs")
    syscalls.fsconfig_string(disk, "size", size, "tmpfs")
    place = os.open(tmp_path / "small", os.O_PATH)
    syscalls.move_mount(syscalls.fsmount(disk, 0, "tmpfs"), place, "small")
    images = Images(tmp_path / "small" / "image", Records(tmp_path / "db"))
    try:
        images.load(io.BytesIO(archive), quiet)
    except Unavailable as error:
        images._trash.empty()
        used = os.statvfs(tmp_path / "small")
        left = (used.f_blocks - used.f_bfree) * used.f_frsize
        return 0 if "no space left" in str(error) and nothing_left(images) and left < 100_000 else 2
    return 1


# save


@pytest.fixture
def loaded(images, tar):
    images.load(docker_archive(tar, tar.layer_of({"f": b"1"}), ["app:1", "app:2", "other:1"]), quiet)
    return images


def saved(images, *refs: str) -> dict[str, bytes]:
    out = io.BytesIO()
    images.save(refs, out)
    with tarfile.open(fileobj=io.BytesIO(out.getvalue())) as tar:
        return {member.name: tar.extractfile(member).read() for member in tar}  # type: ignore[union-attr]


def test_save_writes_both_layouts(loaded):
    found = saved(loaded, "app:1")
    image = loaded.resolve("app:1")
    index, listing = json.loads(found["index.json"]), json.loads(found["manifest.json"])
    assert index["manifests"][0]["digest"] == image.id
    assert index["manifests"][0]["annotations"] == {
        "io.containerd.image.name": "docker.io/library/app:1",
        "org.opencontainers.image.ref.name": "1",
    }
    assert (
        listing[0]["RepoTags"] == ["app:1"]
        and listing[0]["Config"] in found
        and listing[0]["Layers"][0] in found
    )
    for name, data in found.items():
        if name.startswith("blobs/sha256/"):
            assert hashlib.sha256(data).hexdigest() == name[13:]


def test_save_of_several_of_a_repository_and_of_an_id(loaded):
    assert json.loads(saved(loaded, "app:1", "other:1")["manifest.json"])[0]["RepoTags"] == [
        "app:1",
        "other:1",
    ]
    assert json.loads(saved(loaded, "app")["manifest.json"])[0]["RepoTags"] == ["app:1", "app:2"]
    by_id = saved(loaded, loaded.resolve("app:1").id[7:19])
    assert json.loads(by_id["manifest.json"])[0]["RepoTags"] == []
    assert "annotations" not in json.loads(by_id["index.json"])["manifests"][0]


def test_save_of_an_unknown_image_writes_nothing(loaded):
    out = io.BytesIO()
    with pytest.raises(NoSuchImage):
        loaded.save(["app:1", "missing"], out)
    assert out.getvalue() == b""
    with pytest.raises(NoSuchImage):
        loaded.check_saved(["app", "missing"])
    loaded.check_saved(["app", "other:1"])


def test_save_and_load_give_the_same_image(loaded, tmp_path, tar):
    first, second = io.BytesIO(), io.BytesIO()
    loaded.save(["app:1"], first)
    loaded.save(["app:1"], second)
    assert first.getvalue() == second.getvalue()
    (tmp_path / "b").mkdir()
    other = Images(tmp_path / "b" / "image", Records(tmp_path / "b" / "db"))
    assert other.load(io.BytesIO(first.getvalue()), quiet) == ["app:1"]
    assert other.resolve("app:1").id == loaded.resolve("app:1").id


@skopeo
@pytest.mark.compat
def test_skopeo_reads_what_we_save_and_we_load_what_it_writes(loaded, tmp_path):
    for kind in ("docker-archive", "oci-archive"):
        with (tmp_path / "ours.tar").open("wb") as out:
            loaded.save(["app:1"], out)
        copy = ["skopeo", "copy", "-q", "--insecure-policy"]
        subprocess.run([*copy, f"{kind}:{tmp_path}/ours.tar", f"oci:{tmp_path}/{kind}:x:1"], check=True)
        for form in ("docker-archive", "oci-archive"):
            theirs = tmp_path / f"{kind}-{form}.tar"
            subprocess.run(
                [*copy, f"oci:{tmp_path}/{kind}:x:1", f"{form}:{theirs}:their/{kind}:{form}"], check=True
            )
            with theirs.open("rb") as file:
                assert loaded.load(file, quiet) == [f"their/{kind}:{form}"]
    assert loaded.resolve("their/oci-archive:docker-archive").diff_ids == loaded.resolve("app:1").diff_ids


# import


def rootfs(tmp_path: Path) -> io.BytesIO:
    root = tmp_path / "rootfs"
    (root / "bin").mkdir(parents=True)
    (root / "tmp").mkdir()
    os.chmod(root / "tmp", 0o1777)
    shutil.copy(BUSYBOX if os.path.exists(BUSYBOX) else "/bin/true", root / "bin/busybox")
    (root / "bin/sh").symlink_to("busybox")
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as tar:
        tar.add(root, ".")
    out.seek(0)
    return out


def test_import_makes_a_one_layer_image(images, tmp_path):
    changes = [
        "CMD sh -c true",
        'ENTRYPOINT ["/bin/busybox"]',
        "ENV A=1 B='2 3'",
        "EXPOSE 80 53/udp",
        "LABEL x=y",
        "USER 5",
        "VOLUME /v",
        "WORKDIR /w",
    ]
    found = images.import_(
        rootfs(tmp_path), "mine:1", changes=changes, message="hello", platform=Platform("linux", "arm64")
    )
    image = images.resolve("mine:1")
    assert image.id == found and len(image.diff_ids) == 1 and str(image.platform) == "linux/arm64"
    assert image.config["config"] == {
        "Cmd": ["/bin/sh", "-c", "sh -c true"],
        "Entrypoint": ["/bin/busybox"],
        "Env": ["A=1", "B=2 3"],
        "ExposedPorts": {"80/tcp": {}, "53/udp": {}},
        "Labels": {"x": "y"},
        "User": "5",
        "Volumes": {"/v": {}},
        "WorkingDir": "/w",
    }
    assert images.history("mine:1")[0]["Comment"] == "hello"
    diff = images.layers.diff(image.chain_id)
    assert os.readlink(diff / "bin/sh") == "busybox" and (diff / "tmp").stat().st_mode & 0o7777 == 0o1777


@pytest.mark.parametrize(
    ("target", "changes", "word"),
    [
        ("a@sha256:" + "0" * 64, [], "digest"),
        ("BAD", [], "lowercase"),
        ("x", ["RUN x"], "RUN"),
        ("x", ["ENV"], "ENV"),
        ("x", ["ENV A"], "value"),
        ("x", ["LABEL a='b"], "quotation"),
    ],
)
def test_import_refuses_bad_words_before_it_reads(images, target, changes, word):
    class Unread(io.RawIOBase):
        def read(self, size: int = -1) -> bytes:
            raise AssertionError("read")

    with pytest.raises(InvalidParameter, match=word):
        images.import_(Unread(), target, changes=changes, message="", platform=None)
    assert nothing_left(images)


def test_import_of_a_hostile_archive_leaves_nothing(images, tar):
    with pytest.raises(InvalidParameter, match="upwards"):
        images.import_(tar.archive(tar.member(b"../x", b"1")), "x", changes=[], message="", platform=None)
    assert nothing_left(images)


def test_import_twice_shares_the_layer(images, tmp_path):
    archive = rootfs(tmp_path).getvalue()
    first = images.import_(io.BytesIO(archive), "a:1", changes=[], message="", platform=None)
    second = images.import_(io.BytesIO(archive), "b:1", changes=["CMD x"], message="", platform=None)
    assert first != second and len(os.listdir(images.root / "layers")) == 1
