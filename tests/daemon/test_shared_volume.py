"""Attacks of a container on a neighbour that shares a volume with it and starts: names are exchanged all the time (renameat2).

Each way leads through the volume: a mount target, a working directory, a device, a tmpfs, an exec. Nothing of the host may be
touched, and nothing of it seen; a start may fail.
"""

import ctypes
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from .conftest import Daemon

pytestmark = [pytest.mark.kernel, pytest.mark.daemon]
ROUNDS = 6


def snapshot(folder: Path) -> list[tuple[str, int, int, int]]:
    found = [folder, *folder.rglob("*")]
    return sorted(
        (str(path), path.lstat().st_mode, path.lstat().st_uid, path.lstat().st_size) for path in found
    )


@pytest.fixture
def outside(tmp_path: Path) -> Iterator[Path]:
    """A directory of the host that the links lead to, with the names the attack would like to find."""
    folder = tmp_path / "outside"
    (folder / "sub").mkdir(parents=True)
    (folder / "secret").write_text("of the host\n")
    before = snapshot(folder)
    yield folder
    assert snapshot(folder) == before
    assert str(folder) not in Path("/proc/self/mountinfo").read_text()


@pytest.fixture(params=["absolute", "upwards", "root of a process"])
def volume(request: pytest.FixtureRequest, tmp_path: Path, outside: Path) -> Iterator[Path]:
    """A volume in which somebody exchanges a directory and a link to the host, without a pause."""
    folder = tmp_path / "volume"
    (folder / "dir/sub").mkdir(parents=True)
    folder.chmod(0o777)
    target = {
        "absolute": str(outside),
        "upwards": "../" * 12 + str(outside).lstrip("/"),
        "root of a process": f"/proc/1/root{outside}",
    }[request.param]
    (folder / "link").symlink_to(target)
    pid = os.fork()
    if pid == 0:
        libc = ctypes.CDLL(None)
        one, two = os.fsencode(folder / "dir"), os.fsencode(folder / "link")
        while True:
            libc.renameat2(-100, one, -100, two, 2)  # RENAME_EXCHANGE
    try:
        yield folder
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


LOOK = "cat /v/dir/secret /v/link/secret secret 2>/dev/null; pwd"
WAYS = {
    "a mount below": ["-v", "{other}:/v/dir/sub/deep"],
    "a file mounted below": ["-v", "{other}/file:/v/dir/sub/file"],
    "a tmpfs below": ["--tmpfs", "/v/dir/sub/tmp"],
    "the working directory": ["-w", "/v/dir/sub/work"],
    "a device": ["--device", "/dev/null:/v/dir/sub/null"],
    "a read-only mount": ["-v", "{other}:/v/dir/ro:ro"],
}


@pytest.mark.parametrize("mode", ["host", "auto"])
@pytest.mark.parametrize("way", sorted(WAYS))
def test_start_never_leaves_the_root(
    daemon: Daemon, tmp_path: Path, outside: Path, volume: Path, way: str, mode: str
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "file").write_text("the neighbour's\n")
    flags = [word.format(other=other) for word in WAYS[way]]
    for _ in range(ROUNDS):
        done = daemon.havre(
            "run", "--rm", "--userns", mode, "-v", f"{volume}:/v", *flags, "busybox", "sh", "-c", LOOK
        )
        assert "of the host" not in done.stdout + done.stderr
        assert done.returncode == 0 or "Traceback" not in done.stderr
    assert (other / "file").read_text() == "the neighbour's\n" and sorted(os.listdir(other)) == ["file"]


@pytest.mark.parametrize("mode", ["host", "auto"])
def test_exec_never_leaves_the_root(daemon: Daemon, outside: Path, volume: Path, mode: str) -> None:
    ref = daemon.havre(
        "run", "-d", "--userns", mode, "-v", f"{volume}:/v", "busybox", "sleep", "1000"
    ).stdout.strip()
    try:
        for _ in range(ROUNDS):
            for words in (["-w", "/v/dir"], ["-w", "/v/link"], ["-w", "/v/dir/sub/../sub"]):
                done = daemon.havre("exec", *words, ref, "sh", "-c", LOOK)
                assert "of the host" not in done.stdout + done.stderr
    finally:
        daemon.docker("rm", "-f", ref)


@pytest.mark.parametrize("target", ["/proc", "/proc/sys", "/proc/self"])
def test_nothing_of_a_volume_lies_over_proc(daemon: Daemon, tmp_path: Path, target: str) -> None:
    done = daemon.docker("run", "--rm", "-v", f"{tmp_path}:{target}", "busybox", "true")
    assert done.returncode != 0 and "/proc" in done.stderr
    assert daemon.docker("ps", "-aq", "--filter", "status=running").stdout == ""
