"""What a container may do and use, seen from inside through the stock docker CLI and ours."""

from pathlib import Path

import pytest

from havre.runtime.cgroup.layout import host_layout

pytestmark = [pytest.mark.daemon, pytest.mark.compat]


def test_capabilities_and_filter_are_dockers_defaults(cli) -> None:
    status = cli("run", "--rm", "busybox", "grep", "-E", "^(Cap|Seccomp:)", "/proc/self/status").stdout
    found = {line.split(":")[0]: line.split()[1] for line in status.splitlines()}
    assert found["CapEff"] == found["CapPrm"] == found["CapBnd"] == "00000000a80425fb"
    assert int(found["CapInh"], 16) == int(found["CapAmb"], 16) == 0
    assert found["Seccomp"] == "2"


def test_dropping_all_leaves_none(cli) -> None:
    done = cli("run", "--rm", "--cap-drop", "ALL", "busybox", "chown", "1", "/tmp")
    assert done.returncode != 0
    assert "not permitted" in done.stderr


def test_unknown_capability_names_its_neighbour(cli) -> None:
    done = cli("run", "--rm", "--cap-add", "SYS_ADMN", "busybox", "true")
    assert done.returncode == 125
    assert "CAP_SYS_ADMIN" in done.stderr


def test_filter_can_be_left_out(cli) -> None:
    words = ["busybox", "grep", "Seccomp:", "/proc/self/status"]
    assert cli("run", "--rm", "--security-opt", "seccomp=unconfined", *words).stdout.split()[1] == "0"


def test_memory_over_the_limit_is_killed_and_said_so(cli) -> None:
    hog = ["busybox", "sh", "-c", "x=$(head -c 100m /dev/zero | tr '\\0' x); echo alive"]
    done = cli("run", "--name", "hog", "--memory", "32m", "--memory-swap", "32m", *hog)
    try:
        assert "alive" not in done.stdout
        shown = cli("inspect", "--format", "{{.State.OOMKilled}} {{.HostConfig.Memory}}", "hog").stdout
        assert shown.split() == ["true", str(32 << 20)]
    finally:
        cli("rm", "-f", "hog")


def test_pids_limit_stops_a_fork_bomb(cli) -> None:
    bomb = ["busybox", "sh", "-c", "for i in 1 2 3 4 5 6 7 8 9; do sleep 5 & done; echo made"]
    done = cli("run", "--rm", "--pids-limit", "5", *bomb)
    assert "made" not in done.stdout
    assert "fork" in done.stderr


def test_devices_are_closed_unless_given(cli) -> None:
    look = [
        "busybox",
        "sh",
        "-c",
        "mknod /tmp/full c 1 7 && head -c 1 /tmp/full | wc -c; mknod /tmp/mem c 1 1 && head -c 1 /tmp/mem",
    ]
    done = cli("run", "--rm", *look)
    assert done.stdout.strip() == "1"
    assert "not permitted" in done.stderr


def test_a_limit_the_kernel_lacks_is_said_and_the_container_runs(cli) -> None:
    if "blkio" not in host_layout().v1:
        pytest.skip("needs the blkio controller in v1")
    done = cli("run", "--rm", "--network", "none", "--blkio-weight", "300", "busybox", "echo", "ran")
    assert done.stdout == "ran\n"
    assert ("does not support Block I/O weight" in done.stderr) != _has_bfq()


def _has_bfq() -> bool:
    return any("[bfq]" in path.read_text() for path in Path("/sys/block").glob("*/queue/scheduler"))
