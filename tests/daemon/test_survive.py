"""The daemon is killed and comes back; nothing of a container is lost, and nothing is left on the host."""

import hashlib
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

pytestmark = [pytest.mark.daemon, pytest.mark.slow]


def host_state(daemon) -> dict[str, object]:
    """What a run could leave on the host: mounts, links, nft elements, cgroups, directories."""
    found: dict[str, object] = {}
    links = subprocess.run(
        [*daemon.inside(), "ip", "-o", "link"], capture_output=True, text=True, check=True
    ).stdout
    found["links"] = [line.split(":")[1] for line in links.splitlines()]
    rules = subprocess.run(
        [*daemon.inside(), "nft", "list", "ruleset"], capture_output=True, text=True, check=True
    )
    found["nft"] = rules.stdout
    found["mounts"] = Path("/proc/self/mounts").read_text().count(str(daemon.root))
    instance = hashlib.sha256(str(daemon.root / "data").encode()).hexdigest()[
        :8
    ]  # other daemons run beside us
    tops = [
        each for pattern in ("", "*/") for each in Path("/sys/fs/cgroup").glob(f"{pattern}havre-{instance}")
    ]
    groups = [folder for top in tops for folder in top.iterdir()]
    found["cgroups"] = sorted(str(path) for path in groups if path.is_dir())
    for folder in ("data/containers", "run/containers", "data/image/snapshots", "data/image/trash"):
        found[folder] = sorted(os.listdir(daemon.root / folder)) if (daemon.root / folder).is_dir() else []
    return found


def test_running_container_goes_on_when_the_daemon_is_killed(own_daemon) -> None:
    script = "i=0; while :; do echo $i; i=$((i+1)); sleep 0.05; done"
    own_daemon.docker("run", "-d", "--name", "cc", "busybox", "sh", "-c", script)
    pid = own_daemon.docker("inspect", "-f", "{{.State.Pid}}", "cc").stdout.strip()
    own_daemon.end(signal.SIGKILL)
    assert Path(f"/proc/{pid}").exists()
    own_daemon.start()
    assert (
        own_daemon.docker("inspect", "-f", "{{.State.Pid}} {{.State.Status}}", "cc").stdout
        == f"{pid} running\n"
    )
    assert own_daemon.docker("exec", "cc", "echo", "still here").stdout == "still here\n"
    own_daemon.docker("stop", "-t", "0", "cc")
    lines = own_daemon.docker("logs", "cc").stdout.split()
    assert lines == [str(number) for number in range(len(lines))]
    assert len(lines) > 5


def test_exit_that_happened_meanwhile_is_recorded(own_daemon) -> None:
    own_daemon.docker("run", "-d", "--name", "cc", "-i", "busybox", "sh", "-c", "sleep 0.5; exit 9")
    pid = int(own_daemon.docker("inspect", "-f", "{{.State.Pid}}", "cc").stdout)
    own_daemon.end(signal.SIGKILL)
    fd = os.pidfd_open(pid)
    import select

    assert select.select([fd], [], [], 20)[0]
    os.close(fd)
    own_daemon.start()
    assert own_daemon.docker("wait", "cc").stdout == "9\n"
    assert (
        own_daemon.docker("inspect", "-f", "{{.State.Status}} {{.State.ExitCode}}", "cc").stdout
        == "exited 9\n"
    )


def test_second_daemon_on_one_data_root_is_refused(own_daemon) -> None:
    import sys

    words = [
        sys.executable,
        "-m",
        "havre.daemon",
        "--data-root",
        str(own_daemon.root / "data"),
        "-H",
        f"unix://{own_daemon.root}/2.sock",
    ]
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2] / "src")}
    done = subprocess.run(
        [*own_daemon.inside(), *words], env=env, capture_output=True, text=True, timeout=30, check=False
    )
    assert done.returncode == 1
    assert "in use by another havred" in done.stderr


def test_nothing_is_left_after_passing_and_failing_runs(own_daemon) -> None:
    own_daemon.docker("run", "-d", "--name", "seen", "busybox", "sleep", "60")
    seen = host_state(own_daemon)
    assert seen["cgroups"] and seen["run/containers"] and "veth" in str(seen["links"])
    own_daemon.docker("rm", "-f", "seen")
    until = time.monotonic() + 20
    before = host_state(own_daemon)
    while (before["cgroups"] or "veth" in str(before["links"])) and time.monotonic() < until:
        time.sleep(0.05)  # that first run's own
        before = host_state(own_daemon)
    for _ in range(10):
        assert own_daemon.docker("run", "--rm", "-p", "18081:80", "busybox", "true").returncode == 0
        assert own_daemon.docker("run", "--rm", "-p", "18081:80", "busybox", "nosuch").returncode == 127
        assert own_daemon.docker("run", "--rm", "-v", "/dev/null:/etc", "busybox", "true").returncode != 0
    until = time.monotonic() + 20
    while host_state(own_daemon) != before and time.monotonic() < until:
        time.sleep(0.05)  # the kernel takes a namespace's veth down in the background
    assert host_state(own_daemon) == before
