"""update: limits change while processes run, all of them or none; the record says what the kernel holds."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from havre.runtime.cgroup.layout import host_layout

from .wire import call, events, make, state

pytestmark = [pytest.mark.daemon, pytest.mark.compat]
SLEEP = ["sleep", "1000"]
MIB = 1 << 20


def group(pid: int, controller: str) -> Path:
    """The directory of a process's control group for a controller."""
    layout = host_layout()
    wanted = controller if controller in layout.v1 else ""
    for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines():
        _, names, path = line.split(":", 2)
        if wanted in names.split(",") and (wanted or not names):
            return Path((layout.v1[controller] if wanted else layout.v2) + path)
    raise AssertionError(f"no control group for {controller}")


def file_of(pid: int, controller: str, v1: str, v2: str) -> str:
    return (group(pid, controller) / (v1 if controller in host_layout().v1 else v2)).read_text().strip()


@pytest.fixture(params=["running", "paused"])
def up(request: pytest.FixtureRequest, daemon) -> Any:
    """The pid of a container "up" with some memory limit."""
    make(daemon.socket, "up", SLEEP, {"Memory": 64 * MIB, "MemorySwap": 96 * MIB, "PidsLimit": 50})
    if request.param == "paused":
        daemon.docker("pause", "up")
    yield state(daemon.socket, "up")["Pid"]
    daemon.docker("rm", "-f", "up")


def test_limits_change_live(daemon, cli: Callable[..., Any], up: int) -> None:
    words = ["--cpu-shares", "512", "--pids-limit", "77", "--memory", "128m", "--memory-swap", "200m"]
    with events(daemon.socket, container=["up"], event=["update"]) as seen:
        done = cli(
            "update", *words, "--memory-reservation", "32m", "--cpus", "0.5", "--cpuset-cpus", "0", "up"
        )
        assert done.returncode == 0, done.stderr
        assert done.stdout == "up\n"
        seen.until("update")
    assert file_of(up, "pids", "pids.max", "pids.max") == "77"
    assert file_of(up, "memory", "memory.limit_in_bytes", "memory.max") == str(128 * MIB)
    assert file_of(up, "memory", "memory.soft_limit_in_bytes", "memory.low") == str(32 * MIB)
    assert file_of(up, "cpuset", "cpuset.cpus", "cpuset.cpus") == "0"
    if "cpu" in host_layout().v1:
        assert file_of(up, "cpu", "cpu.shares", "") == "512"
        assert file_of(up, "cpu", "cpu.cfs_quota_us", "") == "50000"
    if "memory" in host_layout().v1:
        assert file_of(up, "memory", "memory.memsw.limit_in_bytes", "") == str(200 * MIB)
    _, found = call(daemon.socket, "GET", "/containers/up/json")
    host = found["HostConfig"]
    assert (host["CpuShares"], host["PidsLimit"], host["Memory"]) == (512, 77, 128 * MIB)
    assert (host["MemorySwap"], host["NanoCpus"], host["CpusetCpus"]) == (200 * MIB, 500_000_000, "0")
    done = cli("update", "--pids-limit", "-1", "--memory-swap", "-1", "up")
    assert done.returncode == 0, done.stderr
    assert file_of(up, "pids", "pids.max", "pids.max") == "max"


def test_stopped_container_has_them_at_its_next_start(daemon) -> None:
    make(daemon.socket, "up", SLEEP, {"PidsLimit": 50})
    try:
        daemon.docker("stop", "up")
        assert daemon.docker("update", "--pids-limit", "33", "up").returncode == 0
        daemon.docker("start", "up")
        assert file_of(state(daemon.socket, "up")["Pid"], "pids", "pids.max", "pids.max") == "33"
    finally:
        daemon.docker("rm", "-f", "up")


def test_device_rates_change_live_and_end_with_zero(daemon) -> None:
    disks = [path for path in Path("/sys/block").iterdir() if Path("/dev", path.name).exists()]
    if not disks or "blkio" not in host_layout().v1:
        pytest.skip("needs a block device and the blkio controller in v1")
    device = f"/dev/{disks[0].name}"
    number = (disks[0] / "dev").read_text().strip()
    make(daemon.socket, "up", SLEEP)
    try:
        pid = state(daemon.socket, "up")["Pid"]
        for rate, line in ((1000, f"{number} 1000"), (0, "")):
            body = {"BlkioDeviceReadBps": [{"Path": device, "Rate": rate}]}
            status, answer = call(daemon.socket, "POST", "/containers/up/update", body)
            assert status == 200, answer
            assert (group(pid, "blkio") / "blkio.throttle.read_bps_device").read_text().strip() == line
    finally:
        daemon.docker("rm", "-f", "up")


def test_refusal_of_the_kernel_leaves_everything_as_it_was(daemon) -> None:
    """A memory limit below what is used and cannot be reclaimed (v1); a processor that another group has to itself (v2 takes it all)."""
    if "memory" not in host_layout().v1:
        pytest.skip("v2 takes any memory limit and kills instead")
    hog = "head -c 40m /dev/zero > /dev/shm/x; echo full; exec sleep 1000"
    host = {"Memory": 64 * MIB, "MemorySwap": 64 * MIB, "ShmSize": 64 * MIB}
    make(daemon.socket, "up", ["sh", "-c", hog], host)
    try:
        wait_for_output(daemon, "up", "full")
        pid = state(daemon.socket, "up")["Pid"]
        shares = file_of(pid, "cpu", "cpu.shares", "cpu.weight")
        words = ["--cpu-shares", "99", "--memory", "8m", "--memory-swap", "8m", "--pids-limit", "7"]
        done = daemon.docker("update", *words, "up")
        assert done.returncode == 1
        assert "Cannot update container" in done.stderr
        assert f"unable to set memory limit to {8 * MIB} (current usage: " in done.stderr
        assert file_of(pid, "cpu", "cpu.shares", "cpu.weight") == shares
        assert file_of(pid, "memory", "memory.limit_in_bytes", "memory.max") == str(64 * MIB)
        assert file_of(pid, "pids", "pids.max", "pids.max") == "max"
        _, found = call(daemon.socket, "GET", "/containers/up/json")
        host = found["HostConfig"]
        assert (host["Memory"], host["CpuShares"], host["PidsLimit"]) == (64 * MIB, 0, None)
    finally:
        daemon.docker("rm", "-f", "up")


def wait_for_output(daemon, name: str, text: str) -> None:
    """Follow the log until a line is there."""
    from .wire import Connection

    connection = Connection(daemon.socket)
    try:
        connection.request("GET", f"/containers/{name}/logs?follow=1&stdout=1")
        reply = connection.getresponse()
        seen = b""
        while text.encode() not in seen:
            more = reply.read1()
            assert more, seen
            seen += more
    finally:
        connection.close()


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["--memory", "1g"], "Memory limit should be smaller than already set memoryswap limit"),
        (["--cpus", "99"], "range of CPUs is from 0.01 to"),
        (["--cpuset-cpus", "999"], "Requested CPUs are not available"),
        (["--restart", "bogus"], "invalid restart policy"),
        (["--restart", "always:3"], "maximum retry count"),
        (["--memory", "1m"], "Minimum memory limit allowed is 6MB"),
        ([], "you must provide one or more flags"),
    ],
)
def test_bad_updates_are_refused(daemon, cli, words: list[str], text: str) -> None:
    done = cli("create", "--name", "up", "--memory", "64m", "busybox", "true")
    try:
        assert done.returncode == 0, done.stderr
        done = cli("update", *words, "up")
        assert done.returncode == 1
        assert text in done.stderr
    finally:
        cli("rm", "up")


def test_restart_policy_of_a_container_that_removes_itself_stays(daemon) -> None:
    make(daemon.socket, "up", SLEEP, {"AutoRemove": True})
    try:
        done = daemon.docker("update", "--restart", "always", "up")
        assert (
            "Restart policy cannot be updated because AutoRemove is enabled for the container" in done.stderr
        )
    finally:
        daemon.docker("rm", "-f", "up")


def test_policy_takes_effect_at_once(daemon) -> None:
    """A container that waits for its next start stays down when its policy goes; a running one has the new policy at its end."""
    with events(daemon.socket, container=["up"]) as seen:
        make(daemon.socket, "up", ["false"], {"RestartPolicy": {"Name": "always"}})
        try:
            seen.until("die", 5)
            assert daemon.docker("update", "--restart", "no", "up").returncode == 0
            assert call(daemon.socket, "POST", "/containers/up/wait")[1]["StatusCode"] == 1
            assert state(daemon.socket, "up")["Status"] == "exited"
        finally:
            daemon.docker("rm", "-f", "up")
    with events(daemon.socket, container=["up"]) as seen:
        make(daemon.socket, "up", ["sh", "-c", "mkfifo /tmp/go; read x < /tmp/go; false"])
        try:
            assert daemon.docker("update", "--restart", "on-failure:2", "up").returncode == 0
            daemon.docker("exec", "up", "sh", "-c", "until [ -p /tmp/go ]; do :; done; echo > /tmp/go")
            seen.until("start", 2)
        finally:
            daemon.docker("rm", "-f", "up")


def test_docker_py_updates(daemon) -> None:
    docker = pytest.importorskip("docker")
    client = docker.DockerClient(base_url=daemon.url)
    container = client.containers.run("busybox", SLEEP, detach=True, network_mode="none")
    try:
        assert container.update(cpu_shares=300, restart_policy={"Name": "no"}) == {"Warnings": None}
        container.reload()
        assert container.attrs["HostConfig"]["CpuShares"] == 300
    finally:
        container.remove(force=True)
        client.close()


def test_what_is_fixed_is_refused(daemon) -> None:
    make(daemon.socket, "up", SLEEP)
    try:
        body = {"Devices": [{"PathOnHost": "/dev/null"}]}
        status, answer = call(daemon.socket, "POST", "/containers/up/update", body)
        assert (status, "Devices cannot be updated" in answer) == (400, True)
        assert call(daemon.socket, "POST", "/containers/nosuch/update", {})[0] == 404
    finally:
        daemon.docker("rm", "-f", "up")
