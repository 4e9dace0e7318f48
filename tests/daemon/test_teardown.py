"""`havred --teardown`: what an uninstall takes out of the kernel, and when it refuses to."""

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.daemon]
SRC = Path(__file__).parents[2] / "src"


def teardown(daemon) -> subprocess.CompletedProcess[str]:
    roots = ["--data-root", str(daemon.root / "data"), "--exec-root", str(daemon.root / "run")]
    words = [*daemon.inside(), sys.executable, "-m", "havre.daemon", "--teardown", *roots]
    return subprocess.run(
        words, env={"PYTHONPATH": str(SRC), "PATH": "/usr/sbin:/usr/bin"}, capture_output=True, text=True
    )


def shown(daemon, *words: str) -> str:
    return subprocess.run([*daemon.inside(), *words], capture_output=True, text=True, check=True).stdout


def groups(daemon) -> list[Path]:
    instance = daemon.docker("info", "-f", "{{.ID}}").stdout.strip()
    assert len(instance) == 8
    root = Path("/sys/fs/cgroup")  # v2, or one folder for each hierarchy of v1
    return [path for path in (root / f"havre-{instance}", *root.glob(f"*/havre-{instance}")) if path.is_dir()]


def test_teardown_refuses_while_the_daemon_or_a_container_runs_and_then_leaves_nothing(own_daemon) -> None:
    own_daemon.docker("network", "create", "mine")
    assert (
        own_daemon.docker(
            "run", "-d", "--name", "busy", "--network", "mine", "busybox", "sleep", "600"
        ).returncode
        == 0
    )
    made = groups(own_daemon)
    assert made
    done = teardown(own_daemon)
    assert done.returncode == 1 and "is in use by another havred" in done.stderr
    own_daemon.end()
    done = teardown(own_daemon)
    assert done.returncode == 1 and "containers are running: busy" in done.stderr
    assert "docker" in shown(own_daemon, "ip", "-o", "link")
    own_daemon.start()
    own_daemon.docker("rm", "-f", "busy")
    own_daemon.end()
    done = teardown(own_daemon)
    assert (done.returncode, done.stderr) == (0, "")
    links = shown(own_daemon, "ip", "-o", "link")
    assert "docker" not in links and "br-" not in links
    assert "havre_" not in shown(own_daemon, "nft", "list", "tables")
    assert [path for path in made if path.exists()] == []
    assert teardown(own_daemon).returncode == 0  # again: nothing to do
    own_daemon.start()  # and all of it is made again
    assert own_daemon.docker("run", "--rm", "--network", "mine", "busybox", "true").returncode == 0


def test_teardown_of_a_data_root_that_is_not_there_makes_none(tmp_path) -> None:
    words = [sys.executable, "-m", "havre.daemon", "--teardown", "--data-root", str(tmp_path / "none")]
    assert subprocess.run(words, env={"PYTHONPATH": str(SRC)}).returncode == 0
    assert not (tmp_path / "none").exists()


def test_a_daemon_that_ends_leaves_no_empty_control_group_and_none_of_a_running_container_goes(
    own_daemon,
) -> None:
    own_daemon.docker("run", "-d", "--name", "busy", "busybox", "sleep", "600")
    made = groups(own_daemon)
    own_daemon.end()
    assert made and all(path.is_dir() for path in made)
    own_daemon.start()
    own_daemon.docker("rm", "-f", "busy")
    own_daemon.end()
    assert not any(path.exists() for path in made)
    own_daemon.start()
    assert own_daemon.docker("run", "--rm", "busybox", "echo", "ok").stdout == "ok\n"
