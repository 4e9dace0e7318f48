"""An overlay over idmapped layers, on both ways: detached layers (Linux 6.15) and attached ones."""

import os

import pytest

from havre.errors import KernelError
from havre.runtime import idmapped, overlay

pytestmark = pytest.mark.kernel
MAPS = "0 300000 1000\n"


def in_child(work):
    """Do `work` in a forked child, which may change its namespaces; its exception is ours."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            work()
            os.write(writing, b"ok")
        except BaseException as error:
            os.write(writing, repr(error).encode())
        os._exit(0)
    os.close(writing)
    os.waitpid(pid, 0)
    with open(reading, "rb") as file:
        assert file.read().decode() == "ok"


@pytest.fixture
def layers(tmp_path):
    if os.geteuid() != 0:
        pytest.skip("needs root")
    for name in ("one", "two", "upper", "work", "place"):
        (tmp_path / name).mkdir()
    (tmp_path / "one/a").write_text("a")
    (tmp_path / "two/b").write_text("b")
    os.chown(tmp_path / "two/b", 7, 8)
    os.chown(tmp_path / "upper", 300000, 300000)
    return tmp_path


def mount(folder):
    userns = idmapped.new_namespace(MAPS, MAPS)
    lower = [str(folder / "one"), str(folder / "two")]
    return overlay.mount_idmapped(
        lower, str(folder / "upper"), str(folder / "work"), userns, str(folder / "place")
    )


def check(folder, tree):
    assert os.stat("a", dir_fd=tree).st_uid == 300000
    status = os.stat("b", dir_fd=tree)
    assert (status.st_uid, status.st_gid) == (300007, 300008)
    os.chmod("b", 0o600, dir_fd=tree)  # copied up: the upper directory holds the host's numbers
    assert (folder / "upper/b").stat().st_uid == 300007 and (folder / "two/b").stat().st_uid == 7


def test_layers_are_shown_through_the_maps(layers):
    in_child(lambda: check(layers, mount(layers)))


def test_layers_are_attached_for_a_kernel_that_takes_no_detached_ones(layers, monkeypatch):
    real, calls = overlay.mount, []

    def first_refuses(*words):
        calls.append(words)
        if len(calls) == 1:
            raise KernelError("fsconfig", "overlay create", 22)
        return real(*words)

    def work():
        monkeypatch.setattr(overlay, "mount", first_refuses)
        os.chdir(layers / "one")
        before = os.readlink("/proc/self/ns/mnt"), os.listdir(".")
        check(layers, mount(layers))
        assert len(calls) == 2 and (os.readlink("/proc/self/ns/mnt"), os.listdir(".")) == before
        assert os.listdir(layers / "place") == []

    in_child(work)
    with open("/proc/self/mountinfo", encoding="utf-8") as file:
        assert str(layers) not in file.read()


@pytest.mark.parametrize("linux", [(0, 0), (99, 0)], ids=["layer by layer", "as before 6.7"])
@pytest.mark.parametrize("count", [2, 120], ids=["few", "many"])
def test_layers_lie_in_order_on_every_kernel(layers, monkeypatch, linux, count):
    """120: more names than one fsconfig string holds, as many as Docker lets an image have (127 with the base's)."""
    monkeypatch.setattr(overlay, "LAYER_BY_LAYER", linux)
    lower = [layers / f"{number}-{'x' * 100}" for number in range(count)]
    for number, folder in enumerate(lower):
        folder.mkdir()
        (folder / "every").write_text(str(number))
        (folder / str(number)).write_text("")

    def work():
        os.chdir(layers / "one")
        tree = overlay.mount([str(each) for each in lower], str(layers / "upper"), str(layers / "work"))
        assert os.listdir(".") == ["a"]
        assert sorted(os.listdir(f"/proc/self/fd/{tree}")) == sorted(
            ["every", *(str(number) for number in range(count))]
        )
        with open("every", opener=lambda path, flags: os.open(path, flags, dir_fd=tree)) as file:
            assert file.read() == "0"
        os.mkdir("new", dir_fd=tree)
        assert os.listdir(layers / "upper") == ["new"]
        shown = overlay.mount_readonly([str(each) for each in (layers / "upper", *lower)])
        assert len(os.listdir(f"/proc/self/fd/{shown}")) == count + 2

    in_child(work)
    with open("/proc/self/mountinfo", encoding="utf-8") as file:
        assert str(layers) not in file.read()


def test_layer_that_is_gone_is_named(layers, monkeypatch):
    monkeypatch.setattr(overlay, "LAYER_BY_LAYER", (99, 0))
    with pytest.raises(KernelError) as caught:
        overlay.mount([str(layers / "gone")], str(layers / "upper"), str(layers / "work"))
    assert (caught.value.target, caught.value.errno) == (str(layers / "gone"), 2)


def test_file_system_that_cannot_is_named(layers):
    with pytest.raises(KernelError) as caught:
        userns = idmapped.new_namespace(MAPS, MAPS)
        overlay.mount_idmapped(["/proc"], str(layers / "upper"), str(layers / "work"), userns, "/")
    assert (caught.value.call, caught.value.target, caught.value.errno) == ("idmap", "/proc (proc)", 22)


def test_to_host_and_back_of_several_lines():
    lines = "0 1000 1\n1 100000 10\n"
    assert [idmapped.to_host(lines, one) for one in (0, 1, 10, 11)] == [1000, 100000, 100009, -1]
