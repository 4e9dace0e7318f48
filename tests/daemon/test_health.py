"""Health checks, seen by stock clients: status, log, events, and what they never leave behind."""

import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from .conftest import RealDocker, rootfs
from .wire import call, events, make, state

pytestmark = [pytest.mark.daemon, pytest.mark.compat]
MS = 1_000_000
FAST = ["--health-interval", "50ms", "--health-timeout", "5s"]
SLEEP = ["sleep", "1000"]


def check(*test: str, **more: Any) -> dict[str, Any]:
    """A Healthcheck of the API that probes every 50 ms."""
    return {"Test": list(test), "Interval": 50 * MS, "Timeout": 5000 * MS, **more}


def test_healthy_container_says_so_everywhere(daemon, cli) -> None:
    with events(daemon.socket, container=["hh"]) as seen:
        done = cli("run", "-d", "--name", "hh", *FAST, "--health-cmd", "echo fine", "busybox", *SLEEP)
        assert done.returncode == 0, done.stderr
        try:
            seen.until("health_status: healthy")
            assert seen.seen[:5] == [
                "create",
                "start",
                "exec_create: /bin/sh -c echo fine",
                "exec_start: /bin/sh -c echo fine",
                "exec_die",
            ]
            assert cli("ps", "--filter", "health=healthy", "--format", "{{.Status}}").stdout.endswith(
                "(healthy)\n"
            )
            assert cli("ps", "-q", "--filter", "health=none").stdout == ""
            health = json.loads(cli("inspect", "--format", "{{json .State.Health}}", "hh").stdout)
            assert (health["Status"], health["FailingStreak"]) == ("healthy", 0)
            assert health["Log"][0]["Output"] == "fine\n"
            assert health["Log"][0]["ExitCode"] == 0
            assert health["Log"][0]["Start"] < health["Log"][0]["End"]
            seen.until("exec_die", 7)
            assert len(state(daemon.socket, "hh")["Health"]["Log"]) == 5
            assert json.loads(cli("inspect", "hh").stdout)[0]["ExecIDs"] is None
        finally:
            cli("rm", "-f", "hh")


def test_failing_container_turns_unhealthy_after_its_retries(daemon) -> None:
    wanted = check("CMD", "sh", "-c", "echo bad >&2; exit 7", Retries=2)
    with events(daemon.socket, container=["hh"]) as seen:
        make(daemon.socket, "hh", SLEEP, Healthcheck=wanted)
        try:
            assert "(health: starting)" in daemon.docker("ps", "--format", "{{.Status}}").stdout
            seen.until("health_status: unhealthy")
            assert seen.seen.count("exec_die") == 2
            found = state(daemon.socket, "hh")["Health"]
            assert found["FailingStreak"] >= 2
            assert (found["Log"][0]["ExitCode"], found["Log"][0]["Output"]) == (7, "bad\n")
            assert "(unhealthy)" in daemon.docker("ps", "--format", "{{.Status}}").stdout
        finally:
            daemon.docker("rm", "-f", "hh")


def test_failures_in_the_start_period_do_not_count(daemon) -> None:
    wanted = check(
        "CMD", "test", "-e", "/tmp/ready", Retries=1, StartPeriod=3600_000 * MS, StartInterval=20 * MS
    )
    wanted["Interval"] = 3600_000 * MS
    with events(daemon.socket, container=["hh"]) as seen:
        make(daemon.socket, "hh", SLEEP, Healthcheck=wanted)
        try:
            seen.until("exec_die", 4)
            assert state(daemon.socket, "hh")["Health"]["Status"] == "starting"
            assert state(daemon.socket, "hh")["Health"]["FailingStreak"] == 0
            daemon.docker("exec", "hh", "touch", "/tmp/ready")
            seen.until("health_status: healthy")
        finally:
            daemon.docker("rm", "-f", "hh")


def test_endless_probe_is_killed_with_its_children_and_its_output_kept_short(daemon) -> None:
    script = "yes | head -c 10000; setsid sleep 4321 & sleep 4322; true"
    with events(daemon.socket, container=["hh"]) as seen:
        make(daemon.socket, "hh", SLEEP, Healthcheck=check("CMD-SHELL", script, Timeout=200 * MS, Retries=1))
        try:
            died = seen.until("exec_die")
            assert died["Actor"]["Attributes"]["exitCode"] == "137"
            seen.until("health_status: unhealthy")
            entry = state(daemon.socket, "hh")["Health"]["Log"][0]
            assert entry["ExitCode"] == -1
            assert entry["Output"].startswith("Health check exceeded timeout (200ms): y\ny\n")
            assert entry["Output"].endswith("y\n...")
            assert len(entry["Output"]) == len("Health check exceeded timeout (200ms): ") + 4096 + 3
            seen.until(
                "exec_start: /bin/sh -c " + script
            )  # the next one has not begun before the first was gone
            running = [
                line.split(None, 2)[2] for line in daemon.docker("exec", "hh", "ps").stdout.splitlines()
            ]
            assert running.count("sleep 4321") <= 1
            assert running.count("sleep 4322") <= 1
        finally:
            daemon.docker("rm", "-f", "hh")


def test_probe_that_cannot_run_is_a_failure(daemon) -> None:
    with events(daemon.socket, container=["hh"]) as seen:
        make(daemon.socket, "hh", SLEEP, Healthcheck=check("CMD", "nosuch", Retries=1))
        try:
            seen.until("health_status: unhealthy")
            entry = state(daemon.socket, "hh")["Health"]["Log"][0]
            assert entry["ExitCode"] == -1
            assert "executable file not found" in entry["Output"]
        finally:
            daemon.docker("rm", "-f", "hh")


def test_image_brings_its_check_and_a_shell_runs_it(daemon) -> None:
    changes = ["-c", "HEALTHCHECK --interval=50ms --retries=2 CMD echo $0"]
    done = daemon.docker("import", *changes, "-", "checked", stdin=rootfs())
    assert done.returncode == 0, done.stderr
    body = {"Image": "checked", "Cmd": SLEEP, "Shell": ["/bin/busybox", "ash", "-c"], "StopTimeout": 0}
    with events(daemon.socket, container=["hh"]) as seen:
        assert call(daemon.socket, "POST", "/containers/create?name=hh", body)[0] == 201
        daemon.docker("start", "hh")
        try:
            seen.until("exec_create: /bin/busybox ash -c echo $0")
            shown = daemon.docker("inspect", "--format", "{{json .Config.Healthcheck}}", "hh").stdout
            assert json.loads(shown) == {"Test": ["CMD-SHELL", "echo $0"], "Interval": 50 * MS, "Retries": 2}
        finally:
            daemon.docker("rm", "-f", "hh")


def test_no_healthcheck_switches_the_images_off(daemon, cli) -> None:
    done = cli("create", "--no-healthcheck", "--name", "hh", "busybox", "true")
    try:
        assert done.returncode == 0, done.stderr
        assert cli("inspect", "--format", "{{json .Config.Healthcheck.Test}}", "hh").stdout == '["NONE"]\n'
        assert "Health" not in state(daemon.socket, "hh")
    finally:
        cli("rm", "-f", "hh")


def test_pause_keeps_the_status_and_probes_nothing(daemon) -> None:
    with events(daemon.socket, container=["hh"]) as seen:
        make(daemon.socket, "hh", SLEEP, Healthcheck=check("CMD", "true"))
        try:
            seen.until("health_status: healthy")
            daemon.docker("pause", "hh")
            seen.until("pause")
            before = state(daemon.socket, "hh")["Health"]
            assert before["Status"] == "healthy"
            with events(daemon.socket, container=["hh"]) as later:
                daemon.docker("unpause", "hh")
                later.until("exec_die", 2)
                assert [one for one in later.seen if one.startswith("health_status")] == []
                assert later.seen.index("unpause") <= 1  # at most the killed probe's end came before it
        finally:
            daemon.docker("rm", "-f", "hh")


def test_stopped_container_is_probed_no_more_and_starting_again_begins_anew(daemon) -> None:
    with events(daemon.socket, container=["hh"]) as seen:
        make(daemon.socket, "hh", SLEEP, Healthcheck=check("CMD", "true"))
        try:
            seen.until("health_status: healthy")
            daemon.docker("stop", "hh")
            assert state(daemon.socket, "hh")["Health"]["Status"] == "unhealthy"
            seen.until("stop")
            daemon.docker("start", "hh")
            seen.until("start")
            seen.until("health_status: healthy")
        finally:
            daemon.docker("rm", "-f", "hh")


def test_status_and_probes_go_on_after_the_daemon_was_killed(own_daemon) -> None:
    path = own_daemon.socket
    with events(path, container=["hh"]) as seen:
        make(path, "hh", SLEEP, Healthcheck=check("CMD-SHELL", "test ! -e /tmp/bad", Retries=1))
        seen.until("health_status: healthy")
    own_daemon.end(signal.SIGKILL)
    own_daemon.start()
    assert state(path, "hh")["Health"]["Status"] == "healthy"
    with events(path, container=["hh"]) as seen:
        seen.until("exec_die")
        own_daemon.docker("exec", "hh", "touch", "/tmp/bad")
        seen.until("health_status: unhealthy")


def test_probe_ends_with_the_daemon_that_asked(own_daemon) -> None:
    with events(own_daemon.socket, container=["hh"]) as seen:
        make(
            own_daemon.socket,
            "hh",
            SLEEP,
            Healthcheck=check("CMD", "sh", "-c", "echo $$ > /tmp/pid; exec sleep 1000"),
        )
        seen.until("exec_start: sh -c echo $$ > /tmp/pid; exec sleep 1000")
    inner = ""
    while not inner:
        inner = own_daemon.docker("exec", "hh", "cat", "/tmp/pid").stdout.strip()
    first = state(own_daemon.socket, "hh")["Pid"]
    inside = Path(f"/proc/{first}/root/proc/{inner}/stat")  # the container's own view
    assert inside.exists()
    own_daemon.end(signal.SIGKILL)
    limit = time.monotonic() + 20
    while inside.exists() and ") Z " not in inside.read_text():  # its pid 1 reaps nobody
        assert time.monotonic() < limit
    own_daemon.start()


@pytest.mark.parametrize(
    ("wanted", "words"),
    [
        ({"Interval": 1}, "Interval in Healthcheck cannot be less than 1ms"),
        ({"Timeout": 1000}, "Timeout in Healthcheck cannot be less than 1ms"),
        ({"StartPeriod": -1}, "StartPeriod in Healthcheck cannot be less than 1ms"),
        ({"StartInterval": 999_999}, "StartInterval in Healthcheck cannot be less than 1ms"),
        ({"Retries": -1}, "Retries in Healthcheck cannot be negative"),
        ({"Test": ["CMD"]}, "CMD in Healthcheck needs something to run"),
        ({"Test": ["HTTP", "ftp://x"]}, "invalid URL of a health check"),
        ({"Test": ["HTTP", "http://example.com/"]}, "connects to localhost or to an address"),
        ({"Test": ["TCP", "0"]}, "invalid port of a health check"),
    ],
)
def test_bad_checks_are_refused(daemon, wanted: dict[str, Any], words: str) -> None:
    status, answer = call(
        daemon.socket,
        "POST",
        "/containers/create",
        {"Image": "busybox", "Cmd": ["true"], "Healthcheck": wanted},
    )
    assert status == 400
    assert words in answer


def test_unknown_kind_of_check_is_a_warning(daemon) -> None:
    body = {"Image": "busybox", "Cmd": ["true"], "Healthcheck": {"Test": ["curl", "x"]}}
    status, answer = call(daemon.socket, "POST", "/containers/create", body)
    assert status == 201
    assert "unknown type 'curl' of health check" in answer["Warnings"][0]
    daemon.docker("rm", answer["Id"])


def test_filter_takes_known_words_only(daemon) -> None:
    done = daemon.docker("ps", "--filter", "health=well")
    assert "unrecognised filter value for health: well" in done.stderr


def test_http_and_tcp_probes_start_no_process(daemon, cli) -> None:
    serve = "mkdir /www; echo ok > /www/index.html; exec httpd -f -p 127.0.0.1:8080 -h /www"
    with events(daemon.socket, container=["web", "port"]) as seen:
        web = ["--name", "web", "--health-http", "http://localhost:8080/", "--health-interval", "50ms"]
        port = ["--name", "port", "--health-tcp", "9", "--health-interval", "50ms", "--health-retries", "1"]
        if cli == daemon.havre:
            for words in (web, port):
                done = cli("run", "-d", "--network", "none", *words, "busybox", "sh", "-c", serve)
                assert done.returncode == 0, done.stderr
        else:
            make(
                daemon.socket, "web", ["sh", "-c", serve], Healthcheck=check("HTTP", "http://localhost:8080/")
            )
            make(daemon.socket, "port", ["sh", "-c", serve], Healthcheck=check("TCP", "9", Retries=1))
        try:
            wanted = {"health_status: healthy": "web", "health_status: unhealthy": "port"}
            while wanted:
                event = seen.until(lambda event: event["Action"] in wanted)
                assert event["Actor"]["Attributes"]["name"] == wanted.pop(event["Action"])
            assert not any(action.startswith("exec") for action in seen.seen)
            assert state(daemon.socket, "web")["Health"]["Log"][-1]["Output"] in (
                "HTTP/1.0 200 OK",
                "HTTP/1.1 200 OK",
            )
            assert "connection refused" in state(daemon.socket, "port")["Health"]["Log"][0]["Output"]
        finally:
            cli("rm", "-f", "web", "port")


def test_http_status_and_silence_count_as_failures(daemon) -> None:
    mute = "nc -l -p 8081 -e sleep 1000"
    with events(daemon.socket, container=["gone", "mute"]) as seen:
        missing = check("HTTP", "http://127.0.0.1:8080/nosuch", Retries=1)
        silent = check("HTTP", "http://127.0.0.1:8081/", Retries=1, Timeout=300 * MS)
        make(daemon.socket, "gone", ["httpd", "-f", "-p", "8080", "-h", "/tmp"], Healthcheck=missing)
        make(daemon.socket, "mute", ["sh", "-c", mute], Healthcheck=silent)
        try:
            seen.until("health_status: unhealthy", 2)
            outputs = {one["Output"] for one in state(daemon.socket, "gone")["Health"]["Log"]}
            assert "HTTP/1.0 404 Not Found" in outputs or "HTTP/1.1 404 Not Found" in outputs
            outputs = {one["Output"] for one in state(daemon.socket, "mute")["Health"]["Log"]}
            assert "Health check exceeded timeout (300ms)" in outputs
        finally:
            daemon.docker("rm", "-f", "gone", "mute")


@pytest.mark.parametrize("how", ["restart", "stop", "kill"])
def test_health_on_failure(daemon, how: str) -> None:
    label = {"havre.health-on-failure": how}
    with events(daemon.socket, container=["hh"]) as seen:
        make(daemon.socket, "hh", SLEEP, Healthcheck=check("CMD", "false", Retries=1), Labels=label)
        try:
            seen.until("health_status: unhealthy")
            seen.until("die")
            if how == "restart":
                seen.until("start")
                _, found = call(daemon.socket, "GET", "/containers/hh/json")
                assert found["RestartCount"] >= 1
            else:
                assert call(daemon.socket, "POST", "/containers/hh/wait")[1]["StatusCode"] == 137
                assert state(daemon.socket, "hh")["Status"] == "exited"
        finally:
            daemon.docker("rm", "-f", "hh")


def test_end_by_hand_wins_over_a_restart_for_health(daemon) -> None:
    """A container that is being restarted for its health, and does not want to end, is killed by somebody: it stays down."""
    label = {"havre.health-on-failure": "restart"}
    script = ["sh", "-c", "trap '' TERM; touch /tmp/deaf; sleep 1000"]
    deaf = check("CMD", "test", "!", "-e", "/tmp/deaf", Retries=1)
    with events(daemon.socket, container=["hh"], event=["kill", "die", "start"]) as seen:
        make(daemon.socket, "hh", script, Healthcheck=deaf, Labels=label, StopTimeout=1000)
        try:
            seen.until("kill")
            assert daemon.docker("kill", "hh").returncode == 0
            seen.until("die")
            _, found = call(daemon.socket, "GET", "/containers/hh/json")
            assert (found["State"]["Status"], found["RestartCount"]) == ("exited", 0)
        finally:
            daemon.docker("rm", "-f", "hh")


def test_health_on_failure_of_the_command_line_is_a_label(daemon) -> None:
    done = daemon.havre("create", "--name", "hh", "--health-on-failure", "kill", "busybox", "true")
    try:
        assert done.returncode == 0, done.stderr
        shown = daemon.docker("inspect", "--format", "{{json .Config.Labels}}", "hh").stdout
        assert json.loads(shown) == {"havre.health-on-failure": "kill"}
    finally:
        daemon.docker("rm", "-f", "hh")
    done = daemon.havre("create", "--health-on-failure", "panic", "busybox", "true")
    assert done.returncode != 0
    assert "none, restart, stop, kill" in done.stderr


def test_probes_leave_no_descriptors_in_the_daemon(daemon) -> None:
    with events(daemon.socket, container=["hh"]) as seen:
        make(daemon.socket, "hh", SLEEP, Healthcheck=check("CMD", "true", Interval=1 * MS))
        try:
            seen.until("exec_die", 3)
            before = len(list(Path(f"/proc/{daemon.pid}/fd").iterdir()))
            seen.until("exec_die", 50)
            assert len(list(Path(f"/proc/{daemon.pid}/fd").iterdir())) <= before + 2
        finally:
            daemon.docker("rm", "-f", "hh")


SERVER = """
import socket, ssl, sys
listener = socket.create_server(("127.0.0.1", 8443))
context = None
if sys.argv[1] == "tls":
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(sys.argv[2])
print("ready", flush=True)
while True:
    sock, _ = listener.accept()
    try:
        if context:
            sock = context.wrap_socket(sock, server_side=True)
        if sys.argv[1] == "close":
            continue
        sock.recv(4096)
        sock.sendall(b"HTTP/1.1 204 No Content\\r\\n\\r\\n" if context else b"x" * 1000000)
    except OSError:
        pass
    finally:
        sock.close()
"""


@pytest.mark.parametrize(
    ("mode", "status", "words"),
    [
        ("tls", "healthy", "HTTP/1.1 204 No Content"),
        ("garbage", "unhealthy", "the answer is not HTTP: xxxx"),
        ("close", "unhealthy", "the connection was closed without an answer"),
    ],
)
def test_servers_of_all_kinds_are_judged(daemon, tmp_path: Path, mode: str, status: str, words: str) -> None:
    """The server is a process of the test in the container's network namespace."""
    certificate = tmp_path / "cert.pem"
    if mode == "tls":
        if not shutil.which("openssl"):
            pytest.skip("needs openssl to make a certificate")
        request = ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=x", "-days", "2"]
        files = ["-keyout", str(certificate), "-out", str(tmp_path / "public.pem")]
        subprocess.run(["openssl", *request, *files], check=True, capture_output=True)
        certificate.write_bytes(certificate.read_bytes() + (tmp_path / "public.pem").read_bytes())
    make(daemon.socket, "holder", SLEEP)
    pid = state(daemon.socket, "holder")["Pid"]
    inside = ["nsenter", "-t", str(pid), "-n", "--", sys.executable, "-c", SERVER, mode, str(certificate)]
    server = subprocess.Popen(inside, stdout=subprocess.PIPE)
    try:
        assert server.stdout is not None
        assert server.stdout.readline() == b"ready\n"
        url = f"{'https' if mode == 'tls' else 'http'}://localhost:8443/x?y"
        with events(daemon.socket, container=["hh"]) as seen:
            host = {"NetworkMode": "container:holder"}
            make(daemon.socket, "hh", SLEEP, host, Healthcheck=check("HTTP", url, Retries=1))
            seen.until(f"health_status: {status}")
        output = state(daemon.socket, "hh")["Health"]["Log"][0]["Output"]
        assert output.startswith(words)
        assert len(output) < 5000
    finally:
        server.kill()
        server.communicate()
        daemon.docker("rm", "-f", "hh", "holder")


def story(
    path: str, test: list[str], last: str, **more: Any
) -> tuple[list[tuple[str, list[str]]], dict[str, Any]]:
    """What one container's check makes of events (actions with the names of their attributes) and of State.Health."""
    happened = []
    with events(path, container=["hh"], type=["container"]) as seen:
        make(path, "hh", SLEEP, Healthcheck=check(*test, **more))
        try:
            for event in seen:
                happened.append((event["Action"], sorted(event["Actor"]["Attributes"])))
                if event["Action"] == last:
                    break
            found = state(path, "hh")["Health"]
        finally:
            call(path, "DELETE", "/containers/hh?force=1")
    return happened, found


@pytest.mark.slow
@pytest.mark.parametrize(
    ("test", "last", "more"),
    [
        (["CMD-SHELL", "echo out; echo err >&2"], "health_status: healthy", {}),
        (["CMD", "sh", "-c", "exit 3"], "health_status: unhealthy", {"Retries": 2}),
        (["CMD", "sleep", "100"], "health_status: unhealthy", {"Retries": 1, "Timeout": 300 * MS}),
    ],
)
def test_a_real_dockerd_tells_the_same_story(
    daemon, real_docker: RealDocker, test: list[str], last: str, more: dict[str, Any]
) -> None:
    code, _, words = real_docker.docker("import -c 'CMD [\"sh\"]' - busybox", real_docker.rootfs)
    assert code == 0, words
    ours, our_health = story(daemon.socket, test, last, **more)
    theirs, their_health = story(real_docker.url.removeprefix("unix://"), test, last, **more)
    if (
        "Timeout" in more
    ):  # dockerd tells of the end of a probe it kills before or after the verdict, as it comes
        ours, theirs = ([one for one in each if one[0] != "exec_die"] for each in (ours, theirs))
    assert ours == theirs
    assert our_health.keys() == their_health.keys()
    for name in ("Status", "FailingStreak"):
        assert our_health[name] == their_health[name]
    first, other = our_health["Log"][0], their_health["Log"][0]
    assert first.keys() == other.keys()
    assert (first["ExitCode"], sorted(first["Output"])) == (other["ExitCode"], sorted(other["Output"]))
