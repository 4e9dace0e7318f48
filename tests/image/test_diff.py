"""Changes read from a container's own layer, beside what a walk over both whole trees finds (Docker's way to find them)."""

import os
import random
import shutil
import socket
import stat
import traceback
from collections.abc import Callable
from pathlib import Path

import pytest

from havre.image import diff
from havre.linux import syscalls
from havre.spec.runplan import Overlay

LETTERS = "CAD"


def build(root: Path) -> Overlay:
    """Two image layers, the upper one with a whiteout and an opaque directory, and an empty layer of a container."""
    base, top = root / "base", root / "top"
    for name in ("d/deep/er", "gone", "opaque", "e", "etc"):
        (base / name).mkdir(parents=True)
    for name in (
        "d/a",
        "d/b",
        "d/deep/c",
        "d/deep/er/f",
        "gone/x",
        "opaque/old",
        "e/one",
        "e/two",
        "file",
        "etc/passwd",
    ):
        (base / name).write_text(name)
    os.symlink("file", base / "link")
    (top / "d/deep").mkdir(parents=True)
    (top / "d/deep/c").write_text("changed in the image")
    os.mknod(top / "gone", stat.S_IFCHR, 0)
    (top / "opaque").mkdir()
    os.setxattr(top / "opaque", "trusted.overlay.opaque", b"y")
    (top / "opaque/new").write_text("new")
    for name in ("upper", "work"):
        (root / name).mkdir()
    return Overlay(lower=[str(top), str(base)], upper=str(root / "upper"), work=str(root / "work"))


def mount(overlay: Overlay, at: Path, *options: tuple[str, str], writable: bool = True) -> None:
    at.mkdir(exist_ok=True)
    disk = syscalls.fsopen("overlay")
    syscalls.fsconfig_string(disk, "lowerdir", ":".join(overlay["lower"]), "overlay")
    if writable:
        syscalls.fsconfig_string(disk, "upperdir", overlay["upper"], "overlay")
        syscalls.fsconfig_string(disk, "workdir", overlay["work"], "overlay")
    for key, value in options:
        syscalls.fsconfig_string(disk, key, value, "overlay")
    place = os.open(at, os.O_PATH)
    syscalls.move_mount(syscalls.fsmount(disk, 0, "overlay"), place, str(at))
    os.close(place)


def in_own_mounts(work: Callable[[], None]) -> None:
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


def compare(old: Path, new: Path, path: str = "") -> dict[str, str]:
    """The reference: both trees name by name, as dockerd's ChangesDirs does."""
    before = set(os.listdir(old)) if old.is_dir() and not old.is_symlink() else set()
    found: dict[str, str] = {}
    for name in set(os.listdir(new)) | before:
        place = f"{path}/{name}"
        if not os.path.lexists(new / name):
            found[place] = "D"
            continue
        b = os.lstat(new / name)
        if name not in before:
            found[place] = "A"
        else:
            a = os.lstat(old / name)
            same = (a.st_mode, a.st_uid, a.st_gid, a.st_rdev) == (b.st_mode, b.st_uid, b.st_gid, b.st_rdev)
            if not stat.S_ISDIR(a.st_mode):
                same = same and (a.st_mtime_ns, a.st_size) == (b.st_mtime_ns, b.st_size)
            if not same:
                found[place] = "C"
        if stat.S_ISDIR(b.st_mode):
            below = compare(old / name if name in before else Path("/nonexistent"), new / name, place)
            if below and place not in found:
                found[place] = "C"
            found |= below
    return found


def ours(overlay: Overlay) -> dict[str, str]:
    found = diff.changes(overlay)
    assert [one.path.split(b"/") for one in found] == sorted(one.path.split(b"/") for one in found)
    return {os.fsdecode(one.path): LETTERS[one.kind] for one in found}


def look(
    overlay: Overlay, root: Path, work: Callable[[Path], None], *options: tuple[str, str]
) -> dict[str, str]:
    """Do work in the mounted container; the reference must agree while it is mounted. Return what we found."""

    def child() -> None:
        mount(overlay, root / "image", writable=False)
        mount(overlay, root / "merged", *options)
        work(root / "merged")
        assert ours(overlay) == compare(root / "image", root / "merged")

    in_own_mounts(child)
    return ours(overlay)


@pytest.mark.kernel
def test_every_way_to_change_a_thing(tmp_path: Path) -> None:
    def work(at: Path) -> None:
        (at / "new/dir").mkdir(parents=True)
        (at / "new/dir/file").write_text("1")
        (at / "d/a").unlink()
        (at / "d/deep/er/f").write_text("longer than before")
        os.link(at / "file", at / "second")
        os.chmod(at / "e/one", 0o600)
        shutil.rmtree(at / "opaque")
        (at / "opaque").mkdir()
        (at / "opaque/again").write_text("x")
        (at / "link").unlink()
        (at / "link").mkdir()
        (at / "link/in").write_text("")
        os.mkfifo(at / "fifo")
        os.mknod(at / "null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
        socket.socket(socket.AF_UNIX).bind(str(at / "socket"))
        os.setxattr(
            at / "e/two", "security.capability", bytes.fromhex("0100000200040000000000000000000000000000")
        )

    overlay = build(tmp_path)

    def without_capability(at: Path) -> None:
        work(at)
        os.removexattr(at / "e/two", "security.capability")

    found = look(overlay, tmp_path, without_capability)
    assert found == {
        "/d": "C", "/d/a": "D", "/d/deep": "C", "/d/deep/er": "C", "/d/deep/er/f": "C", "/e": "C", "/e/one": "C",
        "/fifo": "A", "/link": "C", "/link/in": "A", "/new": "A", "/new/dir": "A", "/new/dir/file": "A", "/null": "A",
        "/opaque": "C", "/opaque/again": "A", "/opaque/new": "D", "/second": "A", "/socket": "A",
    }  # fmt: skip
    os.setxattr(
        Path(overlay["upper"]) / "e/two",
        "security.capability",
        bytes.fromhex("0100000200040000000000000000000000000000"),
    )
    assert ours(overlay)["/e/two"] == "C"


@pytest.mark.kernel
def test_renamed_directories_are_gone_there_and_whole_here(tmp_path: Path) -> None:
    def work(at: Path) -> None:
        (at / "d/deep").rename(at / "e/moved")
        (at / "e/moved/er").rename(at / "e/moved/re")
        (at / "e/moved/more").write_text("1")
        (at / "d").rename(at / "dd")

    found = look(build(tmp_path), tmp_path, work, ("redirect_dir", "on"), ("metacopy", "on"))
    assert found == {
        "/d": "D", "/dd": "A", "/dd/a": "A", "/dd/b": "A", "/e": "C", "/e/moved": "A", "/e/moved/c": "A",
        "/e/moved/more": "A", "/e/moved/re": "A", "/e/moved/re/f": "A",
    }  # fmt: skip


@pytest.mark.kernel
@pytest.mark.parametrize("seed", range(12))
def test_any_history_is_seen_as_by_a_walk_over_both_trees(tmp_path: Path, seed: int) -> None:
    """Random work with and without redirects; it fails with the seed in its name."""
    chance = random.Random(seed)

    def step(at: Path) -> None:
        every = [Path(base) / name for base, folders, files in os.walk(at) for name in (*folders, *files)]
        one = chance.choice(every) if every else at
        other = chance.choice([at, *(path for path in every if path.is_dir() and not path.is_symlink())])
        kind = chance.randrange(7)
        if kind == 0 and one.is_dir() and not one.is_symlink():
            shutil.rmtree(one)
        elif kind == 0 and one != at:
            one.unlink()
        elif kind == 1:
            (other / f"n{chance.randrange(4)}").mkdir(exist_ok=True)
        elif kind == 2 and not (other / "f").is_dir():
            (other / "f").write_text("x" * chance.randrange(5))
        elif kind == 3 and one != at:
            one.rename(other / f"m{chance.randrange(4)}")
        elif kind == 4 and not one.is_symlink():
            os.chmod(one, chance.choice([0o700, 0o755]))
        elif kind == 5 and one.is_file() and not one.is_symlink():
            os.link(one, other / f"l{chance.randrange(99)}")
        elif kind == 6 and one.is_dir() and not one.is_symlink() and one != at:
            shutil.rmtree(one)
            one.mkdir()

    def work(at: Path) -> None:
        for _ in range(40):
            try:
                step(at)
            except OSError:
                continue  # a rename onto itself, a name that is taken, EXDEV without redirects

    look(build(tmp_path), tmp_path, work, *((("redirect_dir", "on"), ("metacopy", "on")) if seed % 2 else ()))


def test_what_every_container_gets_is_no_change(tmp_path: Path) -> None:
    overlay = build(tmp_path)
    upper = Path(overlay["upper"])
    for name in ("etc", "dev/pts", "proc"):
        (upper / name).mkdir(parents=True)
    os.chmod(upper / "etc", 0o755)
    for name in ("etc/hosts", "dev/console"):
        (upper / name).write_text("")
    assert ours(overlay) == {}
    (upper / "etc/hosts").write_text("somebody's own")
    assert ours(overlay) == {"/etc": "C", "/etc/hosts": "A"}


def test_links_that_a_container_plants_lead_nowhere(tmp_path: Path) -> None:
    overlay = build(tmp_path)
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret/key").write_text("k")
    os.symlink(tmp_path / "secret", Path(overlay["upper"]) / "out")
    os.symlink("/", Path(overlay["upper"]) / "d")
    assert ours(overlay) == {"/d": "C", "/out": "A"}


def test_path_that_is_too_long_is_refused(tmp_path: Path) -> None:
    overlay = build(tmp_path)
    fd = os.open(overlay["upper"], os.O_PATH)
    for _ in range(20):
        os.mkdir("x" * 250, dir_fd=fd)
        inner = os.open("x" * 250, os.O_PATH, dir_fd=fd)
        os.close(fd)
        fd = inner
    os.close(fd)
    with pytest.raises(diff.InvalidParameter, match="file name too long"):
        diff.changes(overlay)
