"""What ends containers, what waits for it, and what is remembered of it."""

import json
import os
import select
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from .wire import Connection, call, events, make, state

pytestmark = [pytest.mark.daemon, pytest.mark.compat]
SLEEP = ["sleep", "1000"]
TRAP = "trap 'exit 3' USR1; trap 'exit 4' TERM; echo ready; while :; do sleep 1000 & wait; done"


def when_ready(path: str, name: str, text: bytes = b"ready") -> None:
    """Wait until a container has written `text`."""
    connection = Connection(path)
    try:
        connection.request("GET", f"/containers/{name}/logs?follow=1&stdout=1")
        reply = connection.getresponse()
        seen = b""
        while text not in seen:
            more = reply.read1()
            assert more, seen
            seen += more
    finally:
        connection.close()


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["stop"], 4),
        (["stop", "-s", "USR1"], 3),
        (["stop", "-t", "30", "--signal", "SIGUSR1"], 3),
        (["kill"], 137),
        (["kill", "-s", "10"], 3),
        (["rm", "-f"], 137),
    ],
)
def test_ways_to_end(daemon, cli: Callable[..., Any], words: list[str], code: int) -> None:
    with events(daemon.socket, container=["cc"]) as seen:
        make(daemon.socket, "cc", ["sh", "-c", TRAP], StopTimeout=30)
        try:
            when_ready(daemon.socket, "cc")
            assert cli(*words, "cc").returncode == 0
            assert seen.until("die")["Actor"]["Attributes"]["exitCode"] == str(code)
        finally:
            daemon.docker("rm", "-f", "cc")


def test_image_or_flag_names_signal_and_timeout(daemon, cli: Callable[..., Any]) -> None:
    words = ["--stop-signal", "USR1", "--stop-timeout", "30", "--network", "none"]
    assert cli("run", "-d", "--name", "cc", *words, "busybox", "sh", "-c", TRAP).returncode == 0
    try:
        when_ready(daemon.socket, "cc")
        assert cli("stop", "cc").returncode == 0
        assert state(daemon.socket, "cc")["ExitCode"] == 3
    finally:
        daemon.docker("rm", "-f", "cc")


def test_who_ignores_signals_is_killed(daemon, cli: Callable[..., Any]) -> None:
    with events(daemon.socket, container=["cc"], event=["kill", "die", "stop"]) as seen:
        make(daemon.socket, "cc", ["sh", "-c", "trap '' TERM; echo ready; sleep 1000"])
        try:
            when_ready(daemon.socket, "cc")
            assert cli("stop", "-t", "1", "cc").returncode == 0
            seen.until("stop")
            assert seen.seen == ["kill", "kill", "die", "stop"]
            assert state(daemon.socket, "cc")["ExitCode"] == 137
        finally:
            daemon.docker("rm", "-f", "cc")


def test_reaper_passes_the_signal_on(daemon) -> None:
    make(daemon.socket, "cc", SLEEP, {"Init": True}, StopTimeout=30)
    try:
        assert daemon.docker("stop", "cc").returncode == 0
        assert state(daemon.socket, "cc")["ExitCode"] == 143
    finally:
        daemon.docker("rm", "-f", "cc")


def waiter(path: str, target: str, answers: list[Any]) -> threading.Thread:
    """Wait in a thread; return when the daemon has registered it, which the head of its answer says."""
    connection = Connection(path)
    connection.request("POST", target)
    reply = connection.getresponse()
    assert reply.status == 200, reply.read()

    def read() -> None:
        answers.append(json.loads(reply.read()))
        connection.close()

    thread = threading.Thread(target=read)
    thread.start()
    return thread


def test_waits_see_what_they_asked_for(daemon) -> None:
    body = {"Image": "busybox", "Cmd": ["sh", "-c", "exit 5"], "HostConfig": {"NetworkMode": "none"}}
    assert call(daemon.socket, "POST", "/containers/create?name=cc", body)[0] == 201
    answers: dict[str, list[Any]] = {"next-exit": [], "removed": []}
    threads = [waiter(daemon.socket, f"/containers/cc/wait?condition={one}", answers[one]) for one in answers]
    assert call(daemon.socket, "POST", "/containers/cc/wait?condition=not-running") == (
        200,
        {"StatusCode": 0},
    )
    assert call(daemon.socket, "POST", "/containers/cc/start")[0] == 204
    threads[0].join(30)
    assert answers["next-exit"] == [{"StatusCode": 5}]
    assert call(daemon.socket, "POST", "/containers/cc/wait") == (200, {"StatusCode": 5})
    assert answers["removed"] == []
    assert call(daemon.socket, "DELETE", "/containers/cc")[0] == 204
    threads[1].join(30)
    assert answers["removed"] == [{"StatusCode": 5}]


def test_wait_refuses_conditions_it_does_not_know(daemon) -> None:
    made = make(daemon.socket, "cc", SLEEP)
    try:
        status, words = call(daemon.socket, "POST", "/containers/cc/wait?condition=bored")
        assert (status, words.startswith('invalid condition: "bored"')) == (400, True)
        assert call(daemon.socket, "POST", "/containers/nosuch/wait")[0] == 404
    finally:
        call(daemon.socket, "DELETE", f"/containers/{made}?force=1")


def test_failed_start_keeps_its_reason(daemon, cli: Callable[..., Any]) -> None:
    assert cli("run", "--name", "cc", "--network", "none", "busybox", "nosuch").returncode == 127
    try:
        found = state(daemon.socket, "cc")
        assert (found["Status"], found["ExitCode"]) == ("created", 127)
        assert 'exec: "nosuch": executable file not found in $PATH' in found["Error"]
        assert found["StartedAt"] == found["FinishedAt"] == "0001-01-01T00:00:00Z"
    finally:
        daemon.docker("rm", "-f", "cc")


def test_started_again_remembers_its_last_end(daemon) -> None:
    make(daemon.socket, "cc", SLEEP)
    try:
        daemon.docker("stop", "cc")
        ended = state(daemon.socket, "cc")
        daemon.docker("start", "cc")
        found = state(daemon.socket, "cc")
        assert found["FinishedAt"] == ended["FinishedAt"] < found["StartedAt"]
        assert (found["ExitCode"], found["Error"], found["Running"]) == (0, "", True)
    finally:
        daemon.docker("rm", "-f", "cc")


def test_paused_processes_do_nothing(daemon) -> None:
    script = "i=0; while :; do echo $i > /tmp/i; i=$((i+1)); done"
    make(daemon.socket, "cc", ["sh", "-c", script])
    try:
        pid = state(daemon.socket, "cc")["Pid"]
        assert daemon.docker("pause", "cc").returncode == 0
        first = [Path(f"/proc/{pid}/root/tmp/i").read_text(), Path(f"/proc/{pid}/stat").read_text()]
        busy = time.process_time() + 0.1
        while time.process_time() < busy:  # it would have counted on meanwhile
            pass
        assert first == [Path(f"/proc/{pid}/root/tmp/i").read_text(), Path(f"/proc/{pid}/stat").read_text()]
        assert daemon.docker("unpause", "cc").returncode == 0
        while Path(f"/proc/{pid}/root/tmp/i").read_text() == first[0]:
            assert Path(f"/proc/{pid}").exists()
    finally:
        daemon.docker("rm", "-f", "cc")


def test_end_while_no_daemon_was_there_has_its_own_time(own_daemon) -> None:
    make(own_daemon.socket, "cc", SLEEP)
    pid = state(own_daemon.socket, "cc")["Pid"]
    own_daemon.end(signal.SIGKILL)
    held = os.pidfd_open(pid)
    before = time.time_ns()
    os.kill(pid, signal.SIGKILL)
    assert select.select([held], [], [], 20)[0]
    os.close(held)
    exit_record = own_daemon.root / "run" / "containers"
    while not list(exit_record.glob("*/exit")):  # the monitor writes it a moment after the process has gone
        assert exit_record.exists()
    after = time.time_ns()
    own_daemon.start()
    found = state(own_daemon.socket, "cc")
    assert (found["Status"], found["ExitCode"]) == ("exited", 137)
    stamp, nanos = found["FinishedAt"].removesuffix("Z").split(".")
    import calendar

    finished = calendar.timegm(time.strptime(stamp, "%Y-%m-%dT%H:%M:%S")) * 10**9 + int(nanos)
    assert before <= finished <= after


def prune(cli: Callable[..., Any], *filters: str) -> list[str]:
    """Prune with filters; return what docker says was deleted."""
    words = [word for text in filters for word in ("--filter", text)]
    done = cli("container", "prune", "-f", *words)
    assert done.returncode == 0, done.stderr
    return [line for line in done.stdout.split() if len(line) == 64]


def test_prune_takes_what_its_filters_leave(daemon, cli: Callable[..., Any]) -> None:
    prune(cli)
    made = {}
    for name, labels in (("p1", {"a": "1"}), ("p2", {"a": "2", "keep": ""}), ("p3", {})):
        body = {"Image": "busybox", "Cmd": ["true"], "Labels": labels}
        made[name] = call(daemon.socket, "POST", f"/containers/create?name={name}", body)[1]["Id"]
    running = make(daemon.socket, "p4", SLEEP, Labels={"a": "1"})
    try:
        assert prune(cli, "until=1h") == []
        assert prune(cli, "label=b") == []
        assert prune(cli, "label=a=3") == []
        assert prune(cli, "label=a", "label!=keep") == [made["p1"]]
        assert prune(cli, "label!=keep") == [made["p3"]]
        assert prune(cli, f"until={int(time.time()) + 10}") == [made["p2"]]
        assert call(daemon.socket, "GET", f"/containers/{running}/json")[0] == 200
        done = cli("container", "prune", "-f", "--filter", "nope=1")
        assert done.returncode == 1
        assert "nope" in done.stderr
        done = cli("container", "prune", "-f", "--filter", "until=yesterday")
        assert done.returncode == 1
    finally:
        daemon.docker("rm", "-f", "p4")


def test_stop_goes_on_when_its_client_has_left(daemon) -> None:
    with events(daemon.socket, container=["cc"], event=["kill", "die"]) as seen:
        make(daemon.socket, "cc", ["sh", "-c", "trap '' TERM; echo ready; sleep 1000"])
        try:
            when_ready(daemon.socket, "cc")
            connection = Connection(daemon.socket)
            connection.request("POST", "/containers/cc/stop?t=1")
            seen.until("kill")
            connection.close()
            assert seen.until("die")["Actor"]["Attributes"]["exitCode"] == "137"
        finally:
            daemon.docker("rm", "-f", "cc")
