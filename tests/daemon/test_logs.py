"""Logs as stock clients and ours see them: drivers end to end, a dead remote, a killed daemon, followers."""

import os
import signal
import subprocess
import sys
import threading
import time

import pytest

pytestmark = [pytest.mark.daemon, pytest.mark.compat]

RECEIVER = """if 1:
    import socket, sys
    server = socket.create_server(("127.0.0.1", int(sys.argv[1])))
    print("ready", flush=True)
    while True:
        connection, _ = server.accept()
        while data := connection.recv(65536):
            sys.stdout.buffer.write(data)
            sys.stdout.flush()
"""
PORTS = iter(range(17001, 17100))


class Receiver:
    """A tcp server in the daemon's network namespace."""

    def __init__(self, daemon, port=0):
        self.port = port or next(PORTS)
        words = [*daemon.inside(), sys.executable, "-c", RECEIVER, str(self.port)]
        self._process = subprocess.Popen(words, stdout=subprocess.PIPE)
        assert self._process.stdout.readline() == b"ready\n"

    def read_until(self, mark):
        data = b""
        while mark not in data:
            piece = os.read(self._process.stdout.fileno(), 65536)
            assert piece, data
            data += piece
        return data

    def stop(self):
        self._process.kill()
        self._process.wait()
        self._process.stdout.close()


@pytest.fixture
def receiver(daemon):
    one = Receiver(daemon)
    yield one
    one.stop()


@pytest.fixture
def name(daemon, request):
    name = f"log-{abs(hash(request.node.name)) % 10**8}"
    yield name
    daemon.docker("rm", "-f", name)


def ok(done):
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("driver", ["json-file", "local"])
def test_logs_show_what_was_said_with_details_and_times(cli, name, driver):
    words = [
        "--log-driver",
        driver,
        "--log-opt",
        "tag={{.Name}}/{{.ImageName}}",
        "--log-opt",
        "env=E",
        "-e",
        "E=a b",
    ]
    ok(
        cli(
            "run",
            "--name",
            name,
            *words,
            "--network",
            "none",
            "busybox",
            "sh",
            "-c",
            "echo one; echo two >&2; printf end",
        )
    )
    done = cli("logs", name)
    assert (done.stdout, done.stderr) == ("one\nend", "two\n")
    assert (
        cli("logs", "--details", name).stdout
        == f"E=a+b,tag={name}%2Fbusybox one\nE=a+b,tag={name}%2Fbusybox end"
    )
    line = cli("logs", "--details", "-t", "--tail", "all", name).stdout.splitlines()[0]
    assert line.startswith("20") and line.split(" ", 1)[1] == f"E=a+b,tag={name}%2Fbusybox one"
    path = ok(cli("inspect", "-f", "{{.LogPath}}", name)).strip()
    assert bool(path) == (driver == "json-file")
    assert not path or os.path.isfile(path)


def test_none_has_no_logs(cli, name):
    ok(cli("run", "--name", name, "--log-driver", "none", "--network", "none", "busybox", "echo", "x"))
    done = cli("logs", name)
    assert done.returncode == 1
    assert done.stderr == "Error response from daemon: configured logging driver does not support reading\n"


def test_bad_option_is_refused_and_leaves_nothing(cli, name):
    done = cli("run", "--name", name, "--log-driver", "syslog", "--log-opt", "nix=1", "busybox", "true")
    assert done.returncode == 125 and "unknown log opt 'nix' for syslog log driver" in done.stderr
    assert cli("inspect", name).returncode == 1


def test_start_fails_when_nobody_takes_the_log(cli, name):
    done = cli("run", "--name", name, "--network", "none", "--log-driver", "fluentd", "busybox", "true")
    assert done.returncode == 125
    assert (
        "failed to create task for container: failed to initialize logging driver: "
        "dial tcp 127.0.0.1:24224: connect: connection refused" in done.stderr
    )
    state = ok(cli("inspect", "-f", "{{.State.Status}} {{.State.ExitCode}}", name))
    assert state.strip() == "created 128"


def test_sent_log_arrives_and_is_kept_for_logs(cli, name, receiver):
    words = ["--log-driver", "syslog", "--log-opt", f"syslog-address=tcp://127.0.0.1:{receiver.port}"]
    ok(
        cli(
            "run",
            "--name",
            name,
            *words,
            "--network",
            "none",
            "busybox",
            "sh",
            "-c",
            "echo here; echo there >&2; echo last",
        )
    )
    data = receiver.read_until(b": last\n")
    assert b": here\n" in data
    done = cli("logs", name)
    assert (done.stdout, done.stderr) == ("here\nlast\n", "there\n")
    assert ok(cli("inspect", "-f", "{{.LogPath}}", name)).strip() == ""


def test_copy_can_be_left_out(daemon, name, receiver):
    words = ["--log-driver", "syslog", "--log-opt", f"syslog-address=tcp://127.0.0.1:{receiver.port}"]
    ok(
        daemon.docker(
            "run",
            "--name",
            name,
            *words,
            "--log-opt",
            "cache-disabled=true",
            "--network",
            "none",
            "busybox",
            "true",
        )
    )
    assert "does not support reading" in daemon.docker("logs", name).stderr


def test_dead_remote_holds_up_nothing_but_the_output(daemon, name, receiver):
    """The server goes; exec, logs, attach and stop work; what was said arrives when a server is there again."""
    words = [
        "--log-driver",
        "syslog",
        "--log-opt",
        f"syslog-address=tcp://127.0.0.1:{receiver.port}",
        "--stop-signal",
        "KILL",
    ]
    script = "echo first; while read line; do echo got $line; done"
    ok(
        daemon.docker(
            "run", "-di", "--name", name, *words, "--network", "none", "busybox", "sh", "-c", script
        )
    )
    receiver.read_until(b": first\n")
    receiver.stop()
    client = subprocess.Popen(
        [*daemon.inside(), "docker", "-H", daemon.url, "attach", name],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    client.stdin.write(b"hello\nworld\n")
    client.stdin.flush()
    assert [client.stdout.readline() for _ in range(2)] == [b"got hello\n", b"got world\n"]
    assert ok(daemon.docker("exec", name, "echo", "exec works")) == "exec works\n"
    assert ok(daemon.docker("logs", name)) == "first\ngot hello\ngot world\n"
    begun = time.monotonic()
    ok(daemon.docker("stop", name))
    assert ok(daemon.docker("inspect", "-f", "{{.State.Status}}", name)) == "exited\n"
    assert time.monotonic() - begun < 8  # it does not wait for LOG_LINGER_S
    client.communicate(timeout=20)
    again = Receiver(daemon, receiver.port)
    try:
        data = again.read_until(b": got world\n")
        assert data.index(b"got hello") < data.index(b"got world")
    finally:
        again.stop()


@pytest.mark.parametrize("driver", ["json-file", "local"])
def test_lines_go_on_while_the_daemon_is_killed(own_daemon, driver):
    """The monitor writes, the next daemon reads: no line is missing."""
    daemon = own_daemon
    script = (
        "i=0; while [ $i -lt 3000 ]; do echo line $i; i=$((i+1)); [ $((i % 100)) = 0 ] && usleep 20000; done"
    )
    ok(daemon.docker("run", "-d", "--name", "long", "--log-driver", driver, "--log-opt", "max-size=20k", "--log-opt", "max-file=50", "--network", "none", "busybox", "sh", "-c", script))  # fmt: skip
    daemon.end(signal.SIGKILL)
    daemon.start()
    followed = ok(daemon.docker("logs", "-f", "long"))
    assert followed == "".join(f"line {n}\n" for n in range(3000))
    assert ok(daemon.docker("wait", "long")).strip() == "0"
    assert ok(daemon.docker("logs", "--tail", "1500", "long")) == "".join(
        f"line {n}\n" for n in range(1500, 3000)
    )


def test_hundred_followers_see_every_line(daemon, name):
    script = "i=0; while [ $i -lt 300 ]; do echo line $i; i=$((i+1)); [ $((i % 30)) = 0 ] && usleep 50000; done; read x"
    ok(daemon.docker("run", "-di", "--name", name, "--network", "none", "busybox", "sh", "-c", script))
    import http.client
    import socket

    found, threads = [], []

    def follow():
        connection = http.client.HTTPConnection("x")
        connection.sock = socket.socket(socket.AF_UNIX)
        connection.sock.connect(daemon.socket)
        connection.request("GET", f"/containers/{name}/logs?stdout=1&follow=1")
        found.append(connection.getresponse().read().count(b"line "))

    for _ in range(100):
        threads.append(threading.Thread(target=follow))
        threads[-1].start()
    daemon.docker("attach", name, stdin=b"\n")
    for thread in threads:
        thread.join(60)
    assert found == [300] * 100


def test_follower_ends_when_the_container_is_removed(daemon, name):
    ok(
        daemon.docker(
            "run", "-d", "--name", name, "--network", "none", "busybox", "sh", "-c", "echo x; sleep 1000"
        )
    )
    words = [*daemon.inside(), "docker", "-H", daemon.url, "logs", "-f", name]
    follower = subprocess.Popen(words, stdout=subprocess.PIPE)
    assert follower.stdout.readline() == b"x\n"
    ok(daemon.docker("rm", "-f", name))
    assert follower.stdout.read() == b""
    assert follower.wait(20) == 0
    follower.stdout.close()


def test_daemon_wide_driver_is_what_a_container_gets(own_daemon):
    daemon = own_daemon
    daemon.end()
    daemon._flags = ("--log-driver", "local", "--log-opt", "max-size=1m")
    daemon.start()
    ok(daemon.docker("run", "--name", "plain", "--network", "none", "busybox", "echo", "x"))
    assert ok(daemon.docker("inspect", "-f", "{{json .HostConfig.LogConfig}}", "plain")).strip() == (
        '{"Type":"local","Config":{"max-size":"1m"}}'
    )
    assert ok(daemon.docker("info", "-f", "{{.LoggingDriver}}")) == "local\n"
    ok(
        daemon.docker(
            "run", "--name", "other", "--log-driver", "json-file", "--network", "none", "busybox", "echo", "x"
        )
    )
    assert '"Config":{}' in ok(daemon.docker("inspect", "-f", "{{json .HostConfig.LogConfig}}", "other"))
    daemon.end()
    daemon._flags = ("--log-driver", "json-file")
    daemon.start()
    assert ok(daemon.docker("logs", "plain")) == "x\n"  # what a container was made with stays


def test_budget_of_all_logs_is_warned_about_once(own_daemon):
    daemon = own_daemon
    daemon.end()
    daemon._flags = ("--log-budget", "20k")
    daemon.start()
    assert "log-budget" not in daemon.docker("info").stderr
    ok(daemon.docker("run", "--name", "loud", "--network", "none", "busybox", "seq", "10000"))
    for _ in range(2):
        assert "more than the log-budget of 20kB (largest: loud" in daemon.docker("info").stderr
    words = (
        "events",
        "--since",
        "1m",
        "--until",
        f"{time.time() + 1:.3f}",
        "--filter",
        "type=daemon",
        "--format",
        "{{.Action}} {{.Actor.Attributes.largest}}",
    )
    assert ok(daemon.docker(*words)).split("\n").count("log-budget loud") == 1
    ok(daemon.docker("rm", "loud"))
    assert "log-budget" not in daemon.docker("info").stderr
