"""The kernel's own view: our layers, mounted by overlayfs, look as the OCI image-spec says; and a container's layer goes back into a tar."""

import io
import os
import stat
import tarfile
import traceback
from collections.abc import Callable
from pathlib import Path

import pytest

from havre.image.tar.writer import write_layer
from havre.linux import syscalls

pytestmark = pytest.mark.kernel


def in_own_mounts(work: Callable[[], None]) -> None:
    """Run in a forked child with a mount namespace of its own; its assertion errors fail the test."""
    pid = os.fork()
    if not pid:
        try:
            syscalls.unshare(syscalls.CLONE_NEWNS)
            syscalls.mount_propagation(b"/", syscalls.MS_PRIVATE | syscalls.MS_REC)
            work()
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def mount(overlay: dict[str, object], at: Path) -> None:
    at.mkdir(exist_ok=True)
    disk = syscalls.fsopen("overlay")
    syscalls.fsconfig_string(disk, "lowerdir", ":".join(overlay["lower"]), "overlay")  # type: ignore[arg-type]
    syscalls.fsconfig_string(disk, "upperdir", str(overlay["upper"]), "overlay")
    syscalls.fsconfig_string(disk, "workdir", str(overlay["work"]), "overlay")
    place = os.open(at, os.O_PATH)
    syscalls.move_mount(syscalls.fsmount(disk, 0, "overlay"), place, str(at))


def test_whiteouts_and_opaque_directories_hide_what_is_below(images, tar, tmp_path):
    base = tar.archive(
        tar.member(b"keep", b"1"),
        tar.member(b"gone", b"1"),
        tar.member(b"d/a"),
        tar.member(b"d/b"),
        tar.member(b"o/old"),
        tar.member(b"r/old"),
        tar.folder(b"tmp", 0o1777),
    )
    top = tar.archive(
        tar.member(b".wh.gone"),
        tar.member(b"d/.wh.a"),
        tar.member(b"o/.wh..wh..opq"),
        tar.member(b"o/new"),
        tar.member(b".wh.r"),
        tar.member(b"r/new"),
        tar.member(b"tmp/x"),
    )
    below, _ = images.layers.unpack(base, "")
    chain, _ = images.layers.unpack(top, below)
    overlay = images.snapshots.prepare(chain, "k")

    def look() -> None:
        at = tmp_path / "merged"
        mount(overlay, at)
        assert sorted(os.listdir(at)) == ["d", "keep", "o", "r", "tmp"]
        assert [os.listdir(at / name) for name in ("d", "o", "r", "tmp")] == [["b"], ["new"], ["new"], ["x"]]
        assert stat.S_IMODE((at / "tmp").stat().st_mode) == 0o1777

    in_own_mounts(look)


def test_opaque_root_hides_the_whole_image_below(images, tar, tmp_path):
    below, _ = images.layers.unpack(tar.archive(tar.member(b"old")), "")
    chain, _ = images.layers.unpack(tar.archive(tar.member(b".wh..wh..opq"), tar.member(b"new")), below)
    overlay = images.snapshots.prepare(chain, "k")

    def look() -> None:
        mount(overlay, tmp_path / "merged")
        assert os.listdir(tmp_path / "merged") == ["new"]

    in_own_mounts(look)


def test_what_a_container_changed_becomes_a_layer_with_the_same_effect(images, tar, tmp_path):
    base = tar.archive(
        tar.member(b"gone", b"1"), tar.member(b"d/a"), tar.member(b"r/old"), tar.member(b"same")
    )
    chain, _ = images.layers.unpack(base, "")
    overlay = images.snapshots.prepare(chain, "k")

    def change() -> None:
        at = tmp_path / "merged"
        mount(overlay, at)
        (at / "gone").unlink()
        (at / "d/a").write_text("changed")
        (at / "r/old").unlink()
        (at / "r").rmdir()
        (at / "r").mkdir()
        (at / "r/new").write_text("1")

    in_own_mounts(change)
    out = io.BytesIO()
    write_layer(out, overlay["upper"])
    names = tarfile.open(fileobj=io.BytesIO(out.getvalue())).getnames()
    assert names == [".wh.gone", "d", "d/a", "r", "r/.wh..wh..opq", "r/new"]
    out.seek(0)
    committed, _ = images.layers.unpack(out, chain)
    again = images.snapshots.prepare(committed, "again")

    def look() -> None:
        at = tmp_path / "again"
        mount(again, at)
        assert sorted(os.listdir(at)) == ["d", "r", "same"] and os.listdir(at / "r") == ["new"]
        assert (at / "d/a").read_text() == "changed"

    in_own_mounts(look)


def test_127_layers_can_be_mounted(images, tar, tmp_path):
    chain = ""
    for number in range(127):
        chain, _ = images.layers.unpack(io.BytesIO(tar.layer_of({f"f{number}": b"1"})), chain)
    overlay = images.snapshots.prepare(chain, "k")

    def look() -> None:
        at = tmp_path / "merged"
        at.mkdir()
        disk = syscalls.fsopen("overlay")
        for lower in overlay["lower"]:  # one by one: a string of fsconfig holds 256 bytes
            syscalls.fsconfig_string(disk, "lowerdir+", lower, "overlay")
        syscalls.fsconfig_string(disk, "upperdir", overlay["upper"], "overlay")
        syscalls.fsconfig_string(disk, "workdir", overlay["work"], "overlay")
        syscalls.move_mount(syscalls.fsmount(disk, 0, "overlay"), os.open(at, os.O_PATH), str(at))
        assert len(os.listdir(at)) == 127

    in_own_mounts(look)
