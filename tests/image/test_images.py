"""Names, ids, tags, removing by Docker's rules, collecting, the built-in hello-world."""

import json
import os
import subprocess
import threading
from collections.abc import Callable

import pytest

from havre.errors import Conflict, InvalidParameter, NoSuchImage
from havre.image import hello
from havre.image import manifest as manifests
from havre.image.images import Images
from havre.image.manifest import Descriptor
from havre.image.remove import Use
from havre.spec.image import Image, Platform
from havre.spec.platform import host_platform


def nobody(_: str) -> list[Use]:
    return []


@pytest.fixture
def make(images: Images, tar) -> Callable[..., Image]:
    """Register a one-layer image of a file's content under names."""

    def made(
        text: str, *names: str, sources: tuple[str, ...] = (), config: dict[str, object] | None = None
    ) -> Image:
        layer = tar.layer_of({"f": text.encode()})
        document = {
            "architecture": host_platform().architecture,
            "os": "linux",
            "created": f"2026-01-0{len(text) % 9 + 1}T00:00:00Z",
            "config": {"Cmd": ["sh"]},
            "rootfs": {"type": "layers", "diff_ids": [tar.digest_of(layer)]},
            **(config or {}),
        }
        data = json.dumps(document).encode()
        manifest = json.dumps(
            {
                "schemaVersion": 2,
                "mediaType": manifests.OCI_MANIFEST,
                "config": Descriptor(manifests.OCI_CONFIG, images.content.put(data), len(data)).as_dict(),
                "layers": [Descriptor(manifests.OCI_LAYER, images.content.put(layer), len(layer)).as_dict()],
            }
        ).encode()
        images.unpack(manifests.parse_manifest(manifest))
        target = Descriptor(manifests.OCI_MANIFEST, images.content.put(manifest), len(manifest))
        return images.register(target, [f"docker.io/library/{name}" for name in names], sources)

    return made


def test_resolve_by_name_id_and_short_id(images, make):
    image = make("one", "app:1")
    for ref in ("app:1", "docker.io/library/app:1", image.id, image.id[7:], image.id[:19], image.id[7:19]):
        assert images.resolve(ref).id == image.id
    assert (image.repo_tags, image.size_bytes > 3) == (("app:1",), True)


def test_name_wins_over_a_short_id(images, make):
    first = make("one", "app:1")
    second = make("two", first.id[7:15] + ":latest")
    assert images.resolve(first.id[7:15]).id == second.id


def test_ambiguous_short_id_is_said(images, make):
    made = [make(f"{number}") for number in range(20)]
    starts = [image.id[7] for image in made]
    twice = next(one for one in starts if starts.count(one) > 1)
    with pytest.raises(InvalidParameter, match="ambiguous"):
        images.resolve(f"sha256:{twice}")


def test_unknown_name_comes_with_a_near_one(images, make):
    make("one", "postgres:16")
    with pytest.raises(NoSuchImage, match=r"No such image: postgre:16 \(try: postgres:16\)"):
        images.resolve("postgre:16")
    with pytest.raises(NoSuchImage, match=r"No such image: nothing:latest$"):
        images.resolve("nothing")
    with pytest.raises(NoSuchImage):
        images.resolve("sha256:" + "0" * 64)
    with pytest.raises(InvalidParameter):
        images.resolve("UPPER case")


def test_digest_reference_must_name_its_repository(images, make):
    image = make("one", "app:1", sources=("registry.test:5000/team/app",))
    assert images.resolve(f"registry.test:5000/team/app@{image.id}").id == image.id
    assert images.resolve(f"app@{image.id}").id == image.id
    with pytest.raises(NoSuchImage):
        images.resolve(f"other@{image.id}")
    assert image.repo_digests == (f"registry.test:5000/team/app@{image.id}",)


def test_tag_moves_and_the_old_image_dangles(images, make, reopen):
    old, new = make("old", "app:1"), make("newer", "app:1")
    assert images.resolve("app:1").id == new.id and images.resolve(old.id).repo_tags == ()
    images.tag(old.id, "team/app:2")
    assert images.resolve("team/app:2").repo_tags == ("team/app:2",)
    again = reopen()
    assert {image.id: image.repo_tags for image in again.all()} == {
        old.id: ("team/app:2",),
        new.id: ("app:1",),
    }
    with pytest.raises(InvalidParameter, match="digest reference"):
        images.tag(old.id, f"x@{old.id}")
    with pytest.raises(NoSuchImage):
        images.tag("missing", "x")


def test_remove_of_the_only_name_deletes_the_image(images, make):
    image = make("one", "app:1")
    assert images.remove("app:1", force=False, used_by=nobody) == [
        {"Untagged": "app:1"},
        {"Deleted": image.id},
    ]
    assert (
        images.all() == [] and list(images.content.all()) == [] and os.listdir(images.root / "layers") == []
    )
    with pytest.raises(NoSuchImage):
        images.remove("app:1", force=True, used_by=nobody)


def test_remove_of_one_of_several_names_untags(images, make):
    image = make("one", "app:1", "app:2")
    assert images.remove("app:1", force=False, used_by=lambda _: [Use("c" * 64, True)]) == [
        {"Untagged": "app:1"}
    ]
    assert images.resolve(image.id).repo_tags == ("app:2",)


def test_remove_by_id_with_several_names_must_be_forced(images, make):
    image = make("one", "app:1", "app:2")
    with pytest.raises(
        Conflict, match=r"unable to delete [0-9a-f]{12} \(must be forced\) - image is referenced in multiple"
    ):
        images.remove(image.id[7:19], force=False, used_by=nobody)
    done = images.remove(image.id[7:19], force=True, used_by=nobody)
    assert done == [{"Untagged": "app:1"}, {"Untagged": "app:2"}, {"Deleted": image.id}]


def test_remove_of_a_used_image(images, make):
    image = make("one", "app:1")
    stopped, running = (lambda _: [Use("c" * 64, False)]), (lambda _: [Use("c" * 64, True)])
    for users in (stopped, running):
        with pytest.raises(
            Conflict,
            match=r"unable to delete app:1 \(must be forced\) - container cccccccccccc is using its referenced image",
        ):
            images.remove("app:1", force=False, used_by=users)
    with pytest.raises(
        Conflict, match=r"\(must be forced\) - image is being used by stopped container cccccccccccc"
    ):
        images.remove(image.id, force=False, used_by=stopped)
    with pytest.raises(
        Conflict, match=r"\(cannot be forced\) - image is being used by running container cccccccccccc"
    ):
        images.remove(image.id, force=True, used_by=running)
    assert images.remove("app:1", force=True, used_by=running) == [{"Untagged": "app:1"}]
    assert images.resolve(image.id).repo_tags == ()
    assert images.remove(image.id, force=True, used_by=stopped) == [{"Deleted": image.id}]


def test_layers_of_a_container_outlive_their_image(images, make):
    image = make("one", "app:1")
    overlay = images.snapshots.prepare(image.chain_id, "c")
    images.remove(image.id, force=True, used_by=lambda _: [Use("c", False)])
    assert os.listdir(overlay["lower"][0]) == ["f"] and list(images.content.all()) == []
    images.snapshots.remove("c")
    images.collect()
    assert os.listdir(images.root / "layers") == []


def test_shared_content_stays_with_the_other_image(images, make):
    first = make("same", "a:1")
    second = make("same", "b:1", config={"author": "me"})
    assert first.chain_id == second.chain_id
    images.remove("a:1", force=False, used_by=nobody)
    assert images.resolve("b:1").id == second.id and images.layers.has(second.chain_id)
    images.snapshots.prepare(second.chain_id, "k")


def test_nothing_is_collected_while_a_lease_is_held(images, make):
    make("one", "app:1")
    with images.lease():
        images.content.put(b"on its way")
        images.remove("app:1", force=False, used_by=nobody)
        assert len(list(images.content.all())) == 4
    assert list(images.content.all()) == []


@pytest.mark.parametrize("tidy", [True, False])
def test_failed_work_leaves_content_only_for_another_try(images, tidy):
    with pytest.raises(RuntimeError), images.lease(tidy=tidy):
        images.content.put(b"half")
        raise RuntimeError
    assert len(list(images.content.all())) == (0 if tidy else 1)
    images.collect()
    assert list(images.content.all()) == []


def test_unsound_image_is_not_registered(images, make):
    for config in (
        {"history": "x"},
        {"config": []},
        {"config": {"Env": "A=b"}},
        {"rootfs": {}},
        {"created": 5},
        {"os": 3},
    ):
        with pytest.raises(InvalidParameter):
            make("bad", "bad:1", config=config)
    assert images.all() == [] and images.names() == {}


def test_command_in_one_word_is_a_list(make):
    assert make("x", "x:1", config={"config": {"Cmd": "sh", "Entrypoint": None}}).config["config"]["Cmd"] == [
        "sh"
    ]


def test_readers_and_writers_at_the_same_time(images, make):
    image = make("one", "app:1")
    errors: list[BaseException] = []
    done = threading.Event()

    def read() -> None:
        try:
            while not done.is_set():
                assert images.resolve("app:1").id == image.id
                images.all()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=read) for _ in range(3)]
    [thread.start() for thread in threads]
    for number in range(100):
        images.tag("app:1", f"t{number}:x")
        if number % 2:
            images.remove(f"t{number}:x", force=False, used_by=nobody)
    done.set()
    [thread.join() for thread in threads]
    assert errors == [] and len(images.names()) == 51


def test_index_resolves_to_the_platform_that_is_here(images, make):
    amd = make("amd", config={"architecture": "amd64"})
    arm = make("arm64!", config={"architecture": "arm64"})
    entries = [
        {
            "mediaType": manifests.OCI_MANIFEST,
            "digest": one.id,
            "size": images.content.size(one.id),
            "platform": {"os": "linux", "architecture": arch},
        }
        for one, arch in ((amd, "amd64"), (arm, "arm64"), (amd, "unknown"))
    ]
    missing = {
        **entries[0],
        "digest": "sha256:" + "1" * 64,
        "platform": {"os": "linux", "architecture": "s390x"},
    }
    index = json.dumps(
        {"schemaVersion": 2, "mediaType": manifests.OCI_INDEX, "manifests": [missing, *entries]}
    ).encode()
    target = Descriptor(manifests.OCI_INDEX, images.content.put(index), len(index))
    both = images.register(target, ["docker.io/library/multi:1"])
    assert both.manifest_digest == (amd.id if host_platform().architecture == "amd64" else arm.id)
    assert images.resolve("multi:1", Platform("linux", "arm64")).manifest_digest == arm.id
    assert images.resolve("multi:1", Platform("linux", "arm64")).id == target.digest
    with pytest.raises(NoSuchImage, match="for platform linux/s390x"):
        images.resolve("multi:1", Platform("linux", "s390x"))
    with pytest.raises(NoSuchImage, match="for platform linux/s390x"):
        images.resolve(amd.id, Platform("linux", "s390x"))


def test_inspect_and_history_have_the_engines_shape(images, make):
    steps = [
        {"created": "2026-01-01T00:00:00.5Z", "created_by": "ADD f", "comment": "first"},
        {"created": "2026-01-02T00:00:00Z", "created_by": "CMD sh", "empty_layer": True},
    ]
    image = make("12345", "app:1", sources=("app",), config={"history": steps, "author": "me"})
    found = images.inspect("app:1")
    assert (
        found["Id"] == image.id
        and found["RepoTags"] == ["app:1"]
        and found["RepoDigests"] == [f"app@{image.id}"]
    )
    assert found["Config"] == {"Cmd": ["sh"]} and found["Os"] == "linux" and found["Author"] == "me"
    assert found["RootFS"] == {"Type": "layers", "Layers": list(image.diff_ids)}
    assert found["Descriptor"]["digest"] == image.id and found["GraphDriver"]["Name"] == "overlay2"
    newest, oldest = images.history("app:1")
    assert (newest["CreatedBy"], newest["Size"]) == ("CMD sh", 0)
    assert (oldest["CreatedBy"], oldest["Size"], oldest["Created"]) == ("ADD f", 5, 1767225600)


def test_history_gives_the_id_to_the_newest_step(images, make):
    steps = [{"created_by": "one"}, {"created_by": "two", "empty_layer": True}]
    image = make("12345", "app:1", config={"history": steps})
    newest, oldest = images.history("app:1")
    assert (newest["Id"], newest["Tags"], newest["CreatedBy"]) == (image.id, ["app:1"], "two")
    assert (oldest["Id"], oldest["Tags"]) == ("<missing>", None)


def test_usage_counts_shared_layers_once(images, make):
    make("same", "a:1")
    before = images.layers.usage()
    make("same", "b:1", config={"author": "me"})
    assert images.layers.usage() == before == 4 and images.usage() > 4


# hello-world


def test_hello_world_is_made_when_somebody_asks(images):
    image = images.resolve("hello-world")
    assert image.repo_tags == ("hello-world:latest",) and image.config["config"]["Cmd"] == ["/hello"]
    program = images.layers.diff(image.chain_id) / "hello"
    assert b"Hello from Havre!" in subprocess.run([program], capture_output=True, check=True).stdout


def test_hello_world_is_not_made_to_be_removed(images):
    with pytest.raises(NoSuchImage):
        images.remove("hello-world", force=False, used_by=nobody)
    assert images.all() == []


def test_hello_world_of_another_platform_is_not_ours(images):
    with pytest.raises(NoSuchImage, match="s390x"):
        images.resolve("hello-world", Platform("linux", "s390x"))


def test_pulled_hello_world_wins_over_the_built_in_one(images, make):
    image = make("pulled", "hello-world:latest")
    assert images.resolve("hello-world").id == image.id


@pytest.mark.parametrize("architecture", ["amd64", "arm64"])
def test_hello_world_is_always_the_same(architecture):
    parts = hello.image(Platform("linux", architecture))
    assert parts == hello.image(Platform("linux", architecture))
    program = hello.program(architecture)
    assert program[:4] == b"\x7fELF" and program[18] == {"amd64": 62, "arm64": 183}[architecture]
    assert len(program) < 2000
