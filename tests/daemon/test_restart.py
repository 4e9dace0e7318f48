"""Restart policies: back-off, counts, stops by hand; and what they do when the daemon or the host comes back."""

import contextlib
import os
import select
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from typing import Any

import pytest

from havre.runtime import rundir
from havre.store import Records

from .wire import call, events, make, state

pytestmark = [pytest.mark.daemon, pytest.mark.compat]
SLEEP = ["sleep", "1000"]


def policy(name: str, count: int = 0) -> dict[str, Any]:
    return {"RestartPolicy": {"Name": name, "MaximumRetryCount": count}}


def inspect(path: str, name: str) -> dict[str, Any]:
    status, found = call(path, "GET", f"/containers/{name}/json")
    assert status == 200, found
    return dict(found)


def until(path: str, name: str, good: Callable[[dict[str, Any]], bool]) -> None:
    """Ask for a container's state until it is as wanted: the daemon does this without an event."""
    limit = time.monotonic() + 30
    while not good(found := state(path, name)):
        assert time.monotonic() < limit, found


def end(pids: list[int]) -> None:
    """Kill processes and wait until they have gone."""
    held = [os.pidfd_open(pid) for pid in pids]
    for fd in held:
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(fd, signal.SIGKILL)
    for fd in held:
        assert select.select([fd], [], [], 20)[0]
        os.close(fd)


def test_on_failure_gives_up_after_its_count_and_pauses_longer_each_time(
    daemon, cli: Callable[..., Any]
) -> None:
    with events(daemon.socket, container=["rr"], event=["die", "start"]) as seen:
        done = cli(
            "run", "-d", "--name", "rr", "--network", "none", "--restart", "on-failure:3", "busybox", "false"
        )
        assert done.returncode == 0, done.stderr
        try:
            times = [seen.until("start")["timeNano"]]
            for _ in range(3):
                times += [seen.until("die")["timeNano"], seen.until("start")["timeNano"]]
            seen.until("die")
            assert call(daemon.socket, "POST", "/containers/rr/wait")[1]["StatusCode"] == 1
            found = inspect(daemon.socket, "rr")
            assert (found["RestartCount"], found["State"]["Status"], found["State"]["Restarting"]) == (
                3,
                "exited",
                False,
            )
            assert cli("start", "rr").returncode == 0  # which forgets the count
            seen.until("die", 4)
            assert call(daemon.socket, "POST", "/containers/rr/wait")[1]["StatusCode"] == 1
            assert inspect(daemon.socket, "rr")["RestartCount"] == 3
            pauses = [(times[place + 1] - times[place]) / 1e9 for place in (1, 3, 5)]
            assert all(pause >= least for pause, least in zip(pauses, (0.1, 0.2, 0.4), strict=True)), pauses
        finally:
            cli("rm", "-f", "rr")


def test_success_and_hand_made_ends_are_not_repeated(daemon) -> None:
    with events(daemon.socket, container=["rr"], event=["die", "start"]) as seen:
        make(daemon.socket, "rr", ["true"], policy("on-failure"))
        seen.until("die")
        assert state(daemon.socket, "rr")["Status"] == "exited"
        daemon.docker("rm", "rr")
    for verb in ("stop", "kill"):
        make(daemon.socket, "rr", SLEEP, policy("always"))
        assert daemon.docker(verb, "rr").returncode == 0
        found = inspect(daemon.socket, "rr")
        assert (found["State"]["Status"], found["RestartCount"]) == ("exited", 0)
        daemon.docker("rm", "rr")


def test_restarting_is_said_and_seen(daemon, cli: Callable[..., Any]) -> None:
    with events(daemon.socket, container=["rr"]) as seen:
        make(daemon.socket, "rr", ["sh", "-c", "exit 9"], policy("unless-stopped"))
        try:
            seen.until("die", 6)  # 3.2 s until the next start
            found = state(daemon.socket, "rr")
            assert (found["Status"], found["Running"], found["Restarting"]) == ("restarting", True, True)
            assert (found["Pid"], found["ExitCode"]) == (0, 9)
            assert cli(
                "ps", "--filter", "status=restarting", "--format", "{{.Names}} {{.Status}}"
            ).stdout.startswith("rr Restarting (9) ")
            assert cli("stop", "rr").returncode == 0
            assert state(daemon.socket, "rr")["Status"] == "exited"
            assert cli("start", "rr").returncode == 0
            seen.until("die", 5)
            assert "container is restarting" in cli("rm", "rr").stderr
            assert cli("rm", "-f", "rr").returncode == 0
        finally:
            call(daemon.socket, "DELETE", "/containers/rr?force=1")


def test_rm_with_a_policy_is_refused(daemon, cli: Callable[..., Any]) -> None:
    done = cli("run", "--rm", "--restart", "always", "busybox", "true")
    assert done.returncode == 125
    status, words = call(
        daemon.socket,
        "POST",
        "/containers/create",
        {"Image": "busybox", "Cmd": ["true"], "HostConfig": {"AutoRemove": True, **policy("always")}},
    )
    assert status == 409
    assert words.startswith("can't create 'AutoRemove' container with restart policy")


def test_daemon_that_comes_back_starts_what_its_policy_says(own_daemon) -> None:
    """Killed with its containers' processes: as after a crash of everything but the host."""
    path = own_daemon.socket
    wanted = {"always": "running", "unless-stopped": "running", "on-failure": "running", "no": "exited"}
    for name in wanted:
        make(path, f"r-{name}", SLEEP, policy(name))
    for name in ("always", "unless-stopped"):
        make(path, f"s-{name}", SLEEP, policy(name))
        own_daemon.docker("stop", f"s-{name}")
    pids = [state(path, f"r-{name}")["Pid"] for name in wanted]
    own_daemon.end(signal.SIGKILL)
    end(pids)
    own_daemon.start()
    with events(path, event=["start"]) as seen:
        expected = {f"r-{name}": status for name, status in wanted.items()}
        expected |= {"s-always": "running", "s-unless-stopped": "exited"}
        while any(
            state(path, name)["Status"] != "running"
            for name, status in expected.items()
            if status == "running"
        ):
            seen.until("start")
    for name, status in expected.items():
        assert state(path, name)["Status"] == status, name


def test_start_that_fails_at_boot_is_tried_again(own_daemon) -> None:
    path = own_daemon.socket
    source = own_daemon.root / "disk"
    source.mkdir()
    host = {**policy("always"), "Mounts": [{"Type": "bind", "Source": str(source), "Target": "/disk"}]}
    make(path, "rr", SLEEP, host)
    pid = state(path, "rr")["Pid"]
    own_daemon.end(signal.SIGKILL)
    end([pid])
    source.rmdir()
    own_daemon.start()
    until(path, "rr", lambda found: found["Status"] == "restarting" and str(source) in found["Error"])
    with events(path, container=["rr"], event=["start"]) as seen:
        source.mkdir()
        if state(path, "rr")["Status"] != "running":
            seen.until("start")
    assert state(path, "rr")["Status"] == "running"


def monitors_of(pids: list[int]) -> list[int]:
    """The parents of containers' first processes."""
    found = []
    for pid in pids:
        with open(f"/proc/{pid}/stat", encoding="ascii") as file:
            found.append(int(file.read().rpartition(")")[2].split()[1]))
    return found


def test_host_that_comes_back_has_lost_everything_that_ran(own_daemon) -> None:
    """Stood in for by killing daemon, monitors and containers at once and giving the store another boot id.

    The run directory stays, as on a host where it is on a disk, and names a process that has nothing to do with it now.
    """
    path = own_daemon.socket
    wanted = {"always": "running", "unless-stopped": "running", "on-failure": "running", "no": "exited"}
    for name in wanted:
        make(path, f"r-{name}", SLEEP, policy(name))
    make(path, "stopped", SLEEP, policy("unless-stopped"))
    own_daemon.docker("stop", "stopped")
    pids = [state(path, f"r-{name}")["Pid"] for name in wanted]
    lost = inspect(path, "r-no")["Id"]
    monitors = monitors_of(pids)
    own_daemon.end(signal.SIGKILL)
    end([*monitors, *pids])
    bystander = subprocess.Popen(["sleep", "1000"])
    try:
        folder = own_daemon.root / "run" / "containers" / lost
        shutil.rmtree(folder)
        folder.mkdir(mode=0o700)
        none = {"directories": [], "oom": ""}
        rundir.write_state(str(folder), bystander.pid, none)  # type: ignore[arg-type]
        records = Records(own_daemon.root / "data" / "havre.db")
        assert records.get("boot", "id")
        records.put("boot", "id", b"another-boot")
        records.close()
        own_daemon.start()
        for name, status in wanted.items():
            if status == "running":
                until(path, f"r-{name}", lambda found: found["Status"] == "running")
            found = state(path, f"r-{name}")
            assert found["Status"] == status, name
            if status == "exited":
                assert found["ExitCode"] == 255
                assert found["FinishedAt"] >= found["StartedAt"]
        assert state(path, "stopped")["Status"] == "exited"
        assert state(path, "stopped")["ExitCode"] == 137
        assert bystander.poll() is None
    finally:
        bystander.kill()
        bystander.wait()
