"""The daemon is killed, stopped, replaced; the containers do not notice."""

import contextlib
import http.client
import marshal
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.daemon, pytest.mark.slow]
MANY = 100 if os.environ.get("HAVRE_EVERY_STEP") else 12
FIRST_PORT = 21000
SERVER = "i=0; trap 'exit 7' TERM; while :; do echo line $i | nc -l -p 80 >/dev/null & wait $!; echo $i; i=$((i+1)); done"
ASK = """
import socket, sys, time
for port in range(int(sys.argv[1]), int(sys.argv[2])):
    until = time.monotonic() + 10
    while True:  # the server makes a new listener for each client
        try:
            with socket.create_connection(("127.0.0.1", port), 10) as sock:
                sock.shutdown(socket.SHUT_WR)
                if sock.makefile().readline().startswith("line"): break
        except OSError: pass
        assert time.monotonic() < until, port
"""
WAIT_S = 20


def until(true: Any) -> None:
    end = time.monotonic() + WAIT_S
    while not true():
        assert time.monotonic() < end
        time.sleep(0.02)


def pid_of(bed: Any, name: str) -> int:
    return bed.api.inspect(name)["State"]["Pid"]


def parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def nanos(stamp: str) -> float:
    return datetime.fromisoformat(stamp[:26].rstrip("Z") + "+00:00").timestamp()


def end_of(pid: int, number: int) -> None:
    """Signal a process and wait until it has gone."""
    fd = os.pidfd_open(pid)
    signal.pidfd_send_signal(fd, number)
    import select

    assert select.select([fd], [], [], WAIT_S)[0]
    os.close(fd)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM], ids=["kill", "term"])
def test_many_containers_run_log_and_answer_on(own_bed: Any, number: int) -> None:
    bed = own_bed
    for each in range(MANY):
        ports = {"80/tcp": [{"HostPort": str(FIRST_PORT + each)}]}
        bed.api.run(f"c{each}", "sh", "-c", SERVER, PortBindings=ports)
    key = bed.api.inspect("c0")["Id"]
    ask = [*bed.daemon.inside(), sys.executable, "-c", ASK, str(FIRST_PORT), str(FIRST_PORT + MANY)]
    subprocess.run(ask, check=True)
    pids = [pid_of(bed, f"c{each}") for each in range(MANY)]
    bed.daemon.end(number)
    subprocess.run(ask, check=True)  # no daemon is there
    before = time.time()
    end_of(pids[0], signal.SIGTERM)
    until((bed.root / "run/containers" / key / "exit").exists)
    after = time.time()
    bed.daemon.start()
    assert [pid_of(bed, f"c{each}") for each in range(1, MANY)] == pids[1:]
    state = bed.api.inspect("c0")["State"]
    assert (state["Status"], state["ExitCode"]) == ("exited", 7)
    assert before <= nanos(state["FinishedAt"]) <= after
    bed.api.post("/containers/c0/start").ok()
    subprocess.run(ask, check=True)
    until(lambda: b"2" in bed.api.get("/containers/c1/logs?stdout=1").data)
    assert bed.api.exec("c1", "echo", "hi") == (0, b"hi\r\n")


def test_restart_policies_and_health_resume(own_bed: Any) -> None:
    bed = own_bed
    health = {"Test": ["CMD", "true"], "Interval": 200_000_000}
    body = {"Image": "busybox", "Cmd": ["sleep", "100"], "Healthcheck": health}
    bed.api.post("/containers/create?name=healthy", body).ok()
    bed.api.post("/containers/healthy/start").ok()
    policies = {"always": "always", "failing": "on-failure", "stopped": "unless-stopped", "none": "no"}
    for name, policy in policies.items():
        bed.api.run(name, "sleep", "100", RestartPolicy={"Name": policy})
    bed.api.post("/containers/stopped/stop?t=0").ok()
    until(lambda: bed.api.inspect("healthy")["State"]["Health"]["Status"] == "healthy")
    pids = {name: pid_of(bed, name) for name in policies}
    bed.daemon.end(signal.SIGKILL)
    for name in ("always", "failing", "none"):
        end_of(pids[name], signal.SIGKILL)
    restarted = time.time()
    bed.daemon.start()
    for name in ("always", "failing"):
        until(lambda name=name: bed.api.status(name) == "running")
        assert pid_of(bed, name) != pids[name]
    assert bed.api.status("stopped") == "exited"
    state = bed.api.inspect("none")["State"]
    assert (state["Status"], state["ExitCode"]) == ("exited", 137)
    probed = lambda: bed.api.inspect("healthy")["State"]["Health"]["Log"][-1]["Start"]  # noqa: E731
    until(lambda: nanos(probed()[:26]) > restarted)


def test_start_that_fails_at_boot_is_tried_again(own_bed: Any, tmp_path: Path) -> None:
    bed = own_bed
    source = tmp_path / "late"
    source.mkdir()
    bind = {"Type": "bind", "Source": str(source), "Target": "/late"}
    bed.api.run("late", "sleep", "100", RestartPolicy={"Name": "always"}, Mounts=[bind])
    pid = pid_of(bed, "late")
    bed.daemon.end(signal.SIGKILL)
    end_of(pid, signal.SIGKILL)
    source.rmdir()
    bed.daemon.start()
    until(lambda: "late" in bed.api.inspect("late")["State"]["Error"])
    source.mkdir()
    until(lambda: bed.api.status("late") == "running")


def test_waiting_client_is_cut_off_and_does_not_hang(own_bed: Any) -> None:
    bed = own_bed
    bed.api.run("xx", "sleep", "100")
    connection = bed.api.connect()
    connection.request("POST", "/containers/xx/wait")
    reply = connection.getresponse()  # the head comes at once
    bed.daemon.end(signal.SIGKILL)
    with pytest.raises((http.client.IncompleteRead, ConnectionError)):
        reply.read()
    bed.daemon.start()


def test_exec_that_ends_without_a_daemon_has_its_code(own_bed: Any) -> None:
    bed = own_bed
    bed.api.run("xx", "sleep", "100")
    codes = {}
    for name, command in (
        ("ended", "while [ ! -e /go ]; do sleep 0.05; done; exit 9"),
        ("lasts", "sleep 50; exit 3"),
    ):
        body = {"Cmd": ["sh", "-c", command]}
        codes[name] = bed.api.post("/containers/xx/exec", body).ok().json["Id"]
        bed.api.post(f"/exec/{codes[name]}/start", {"Detach": True}).ok()
    pid = bed.api.get(f"/exec/{codes['ended']}/json").json["Pid"]
    root = pid_of(bed, "xx")
    bed.daemon.end(signal.SIGKILL)
    fd = os.pidfd_open(pid)
    Path(f"/proc/{root}/root/go").touch()
    import select

    assert select.select([fd], [], [], WAIT_S)[0]
    os.close(fd)
    bed.daemon.start()
    inspect = lambda name: bed.api.get(f"/exec/{codes[name]}/json").json  # noqa: E731
    until(lambda: not inspect("ended")["Running"])
    assert inspect("ended")["ExitCode"] == 9
    assert inspect("lasts")["Running"]
    bed.api.post("/containers/xx/kill").ok()
    until(lambda: not inspect("lasts")["Running"])
    assert inspect("lasts")["ExitCode"] == 137


def test_attach_after_a_restart_gets_the_live_stream(own_bed: Any) -> None:
    bed = own_bed
    body = {"Image": "busybox", "Cmd": ["cat"], "OpenStdin": True, "Tty": False}
    bed.api.post("/containers/create?name=xx", body).ok()
    bed.api.post("/containers/xx/start").ok()
    bed.daemon.end(signal.SIGKILL)
    bed.daemon.start()
    connection = bed.api.connect()
    sock = connection.sock
    sock.sendall(
        b"POST /containers/xx/attach?stream=1&stdin=1&stdout=1 HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\n"
        b"Upgrade: tcp\r\n\r\n"
    )
    heard = b""
    while b"\r\n\r\n" not in heard:
        heard += sock.recv(1000)
    sock.sendall(b"live\n")
    while b"live\n" not in heard:
        data = sock.recv(1000)
        assert data
        heard += data
    connection.close()


# doors, files, two daemons


def other(bed: Any, *flags: str) -> subprocess.CompletedProcess[str]:
    """Start a second havred with these flags, which is to refuse."""
    words = [*bed.daemon.inside(), sys.executable, "-m", "havre.daemon", "-H", f"unix://{bed.root}/2.sock"]
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3] / "src")}
    return subprocess.run([*words, *flags], env=env, capture_output=True, text=True, timeout=WAIT_S)


def test_second_daemon_is_refused_while_the_first_runs_and_while_it_stops(own_bed: Any) -> None:
    bed = own_bed
    roots = ("--data-root", str(bed.root / "data"), "--exec-root", str(bed.root / "run"))
    assert "data root" in other(bed, *roots).stderr
    own_data = ("--data-root", str(bed.root / "data2"), "--exec-root", str(bed.root / "run"))
    refused = other(bed, *own_data)
    assert refused.returncode == 1 and "exec root" in refused.stderr and "in use by another" in refused.stderr
    bed.api.run("xx", "sh", "-c", "trap '' TERM; while :; do sleep 0.1; done")
    stopping = threading.Thread(target=bed.api.post, args=("/containers/xx/stop?t=8",))
    stopping.start()
    until(lambda: b"signal" in bed.api.get(f"/events?since=1&until={time.time():.0f}").data)
    daemon = bed.daemon._process
    os.kill(daemon.pid, signal.SIGTERM)
    until(lambda: b"havred stops" in bed.daemon.log.read_bytes())
    refused = other(bed, *roots)  # its `stop` is still on the way
    assert daemon.poll() is None
    assert refused.returncode == 1 and f"pid {daemon.pid}" in refused.stderr
    os.kill(daemon.pid, signal.SIGTERM)  # the second one: at once
    assert daemon.wait(WAIT_S) == 1
    stopping.join()
    bed.daemon._process = None
    bed.daemon.start()
    assert bed.api.status("xx") == "running"


def test_stale_socket_and_pidfile_are_no_obstacle(own_bed: Any) -> None:
    bed = own_bed
    bed.daemon.end(signal.SIGKILL)
    assert Path(bed.daemon.socket).is_socket() and (bed.root / "pid").read_text().strip()
    (bed.root / "pid").write_text("1\n")  # somebody else has that number by now
    bed.daemon.start()
    assert (bed.root / "pid").read_text() == f"{bed.daemon.pid}\n"
    (bed.root / "pid").write_text("1\n")  # another daemon was given the same file
    bed.daemon.end()
    assert (bed.root / "pid").read_text() == "1\n"
    assert not Path(bed.daemon.socket).exists()
    bed.daemon.start()


def test_live_restore_is_accepted_and_changes_nothing(make_daemon: Any, tmp_path: Path) -> None:
    daemon = make_daemon(tmp_path, "--live-restore=false")
    daemon.start()
    daemon.end()
    daemon._holder.kill()
    daemon._holder.wait()


def test_newer_state_is_refused_and_the_containers_run_on(own_bed: Any) -> None:
    bed = own_bed
    bed.api.run("xx", "sleep", "100")
    pid = pid_of(bed, "xx")
    bed.daemon.end()
    with contextlib.closing(sqlite3.connect(bed.root / "data/havre.db")) as db:
        db.execute("pragma user_version=99")
    refused = other(bed, "--data-root", str(bed.root / "data"), "--exec-root", str(bed.root / "run"))
    assert refused.returncode == 1 and "written by a newer havre" in refused.stderr
    assert "Traceback" not in refused.stderr
    with contextlib.closing(sqlite3.connect(bed.root / "data/havre.db")) as db:
        db.execute("pragma user_version=1")
    bed.daemon.start()
    assert pid_of(bed, "xx") == pid


def test_damaged_records_say_what_to_do_and_without_them_the_files_are_kept(own_bed: Any) -> None:
    bed = own_bed
    bed.api.run("xx", "sh", "-c", "echo precious > /kept; sleep 100")
    pid = pid_of(bed, "xx")
    until(lambda: Path(f"/proc/{pid}/root/kept").exists())
    bed.daemon.end()
    db = bed.root / "data/havre.db"
    db.write_bytes(b"\0" * 4096)
    refused = other(bed, "--data-root", str(bed.root / "data"), "--exec-root", str(bed.root / "run"))
    assert (
        refused.returncode == 1 and "is damaged" in refused.stderr and "move havre.db away" in refused.stderr
    )
    assert "Traceback" not in refused.stderr
    db.rename(bed.root / "away.db")
    for name in ("havre.db-wal", "havre.db-shm"):
        (bed.root / "data" / name).unlink(missing_ok=True)
    bed.daemon.start()
    (place,) = (bed.root / "data").glob("lost-*")
    assert [path.read_text() for path in place.glob("image/snapshots/*/upper/kept")] == ["precious\n"]
    assert bed.api.get("/containers/json?all=1").json == []
    assert "a container runs that no record knows" in bed.daemon.log.read_text()
    assert Path(f"/proc/{pid}").exists()
    end_of(pid, signal.SIGKILL)


# processes


def test_monitor_killed_takes_its_container_along(own_bed: Any) -> None:
    bed = own_bed
    before = bed.census()
    bed.api.run("xx", "sleep", "100", AutoRemove=False)
    pid = pid_of(bed, "xx")
    connection = bed.api.connect()
    connection.request("POST", "/containers/xx/wait")
    reply = connection.getresponse()
    fd = os.pidfd_open(pid)
    os.kill(parent_of(pid), signal.SIGKILL)
    assert b'"StatusCode":255' in reply.read()
    import select

    assert select.select([fd], [], [], WAIT_S)[0]
    state = bed.api.inspect("xx")["State"]
    assert (state["Status"], state["ExitCode"]) == ("exited", 255) and "monitor" in state["Error"]
    bed.api.post("/containers/xx/start").ok()
    bed.api.post("/containers/xx/pause").ok()
    pid = pid_of(bed, "xx")
    bed.daemon.end(signal.SIGKILL)
    os.kill(parent_of(pid), signal.SIGKILL)  # and that while it is frozen, with no daemon there
    bed.daemon.start()
    assert bed.api.status("xx") == "exited"
    bed.api.delete("/containers/xx").ok()
    bed.settle(before)


def test_without_its_zygote_a_daemon_says_so_and_a_new_one_is_whole(own_bed: Any) -> None:
    bed = own_bed
    bed.api.run("xx", "sleep", "100")
    children = Path(f"/proc/{bed.daemon.pid}/task/{bed.daemon.pid}/children").read_text().split()
    (zygote,) = [each for each in children if Path(f"/proc/{each}/comm").read_text() == "havre-zygote\n"]
    os.kill(int(zygote), signal.SIGKILL)
    bed.api.create("yy", "true").ok()
    refused = bed.api.post("/containers/yy/start")
    assert refused.status == 503 and b"restart havred" in refused.data
    assert bed.api.exec("xx", "echo", "hi") == (0, b"hi\r\n")
    bed.again(signal.SIGTERM)
    bed.api.post("/containers/yy/start").ok()


def test_processes_of_an_earlier_boot_are_never_touched(own_bed: Any) -> None:
    bed = own_bed
    key = bed.api.run("xx", "sleep", "100")
    pid = pid_of(bed, "xx")
    state = bed.root / "run/containers" / key / "state"
    kept = marshal.loads(state.read_bytes())
    bed.daemon.end(signal.SIGKILL)
    monitor = parent_of(pid)
    end_of(monitor, signal.SIGKILL)
    end_of(pid, signal.SIGKILL)
    innocent = subprocess.Popen(["sleep", "100"])
    started = int(Path(f"/proc/{innocent.pid}/stat").read_text().rpartition(")")[2].split()[19])
    state.write_bytes(marshal.dumps({**kept, "boot": "another", "pid": innocent.pid, "started": started}))
    bed.daemon.start()
    found = bed.api.inspect("xx")["State"]
    assert (found["Status"], found["ExitCode"], found["Pid"]) == ("exited", 255, 0)
    assert innocent.poll() is None
    innocent.kill()
    innocent.wait()


def test_pid_that_was_given_again_is_not_touched(own_bed: Any) -> None:
    """The monitor and init have gone, and their numbers name other processes of this boot."""
    bed = own_bed
    key = bed.api.run("xx", "sleep", "100")
    pid = pid_of(bed, "xx")
    state = bed.root / "run/containers" / key / "state"
    kept = marshal.loads(state.read_bytes())
    bed.daemon.end(signal.SIGKILL)
    end_of(parent_of(pid), signal.SIGKILL)
    end_of(pid, signal.SIGKILL)
    innocent = subprocess.Popen(["sleep", "100"])
    state.write_bytes(marshal.dumps({**kept, "pid": innocent.pid}))
    bed.daemon.start()
    assert bed.api.status("xx") == "exited"
    assert innocent.poll() is None
    innocent.kill()
    innocent.wait()


def test_monitor_that_does_not_answer_holds_nobody_up(own_bed: Any) -> None:
    bed = own_bed
    for name in ("xx", "yy"):
        bed.api.run(name, "sleep", "100")
    monitor = parent_of(pid_of(bed, "xx"))
    os.kill(monitor, signal.SIGSTOP)
    try:
        bed.again()
        assert bed.api.exec("yy", "echo", "hi") == (0, b"hi\r\n")
    finally:
        os.kill(monitor, signal.SIGCONT)
    until(lambda: bed.api.post("/containers/xx/exec", {"Cmd": ["true"]}).status == 201)
    assert bed.api.exec("xx", "echo", "hi") == (0, b"hi\r\n")


def test_socket_of_a_living_daemon_is_not_taken(own_bed: Any) -> None:
    bed = own_bed
    refused = other(
        bed,
        "--data-root",
        str(bed.root / "data2"),
        "--exec-root",
        str(bed.root / "run2"),
        "-H",
        bed.daemon.url,
    )
    assert refused.returncode == 1 and "another daemon listens on" in refused.stderr
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(bed.daemon.socket)
