"""exec: the stock CLI, ours, docker-py and raw requests."""

import base64
import http.client
import json
import os
import select
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

pytestmark = [pytest.mark.daemon, pytest.mark.compat]
LIMIT_S = 20
SRC = Path(__file__).parents[2] / "src"


@pytest.fixture(scope="module")
def host(daemon):
    made = daemon.docker("run", "-d", "busybox", "sleep", "10000").stdout.strip()
    yield made
    daemon.docker("rm", "-f", made)


class Api:
    """Requests with JSON, each on a connection of its own."""

    def __init__(self, daemon) -> None:
        self._path = daemon.socket

    def connect(self) -> socket.socket:
        sock = socket.socket(socket.AF_UNIX)
        sock.settimeout(LIMIT_S)
        sock.connect(self._path)
        return sock

    def call(self, method: str, path: str, body: object = None):
        connection = http.client.HTTPConnection("d")
        connection.sock = self.connect()
        data = None if body is None else json.dumps(body)
        connection.request(method, path, data, {"Content-Type": "application/json"} if data else {})
        answer = connection.getresponse()
        text = answer.read()
        return answer.status, json.loads(text) if text.strip() else None

    def create(self, container: str, *command: str, **more: object) -> str:
        status, made = self.call("POST", f"/containers/{container}/exec", {"Cmd": command, **more})
        assert status == 201, made
        return made["Id"]

    def start(self, exec_id: str, **more: object) -> socket.socket:
        """Hijack; the answer's head is read away."""
        sock, data = self.connect(), json.dumps({"Detach": False, **more}).encode()
        head = f"POST /exec/{exec_id}/start HTTP/1.1\r\nHost: x\r\nUpgrade: tcp\r\nConnection: Upgrade\r\n"
        head += f"Content-Type: application/json\r\nContent-Length: {len(data)}\r\n\r\n"
        sock.sendall(head.encode() + data)
        answer = b""
        while not answer.endswith(b"\r\n\r\n"):
            answer += sock.recv(1)
        assert answer.startswith(b"HTTP/1.1 101"), answer
        return sock

    def inspect(self, exec_id: str):
        return self.call("GET", f"/exec/{exec_id}/json")[1]


@pytest.fixture
def api(daemon) -> Api:
    return Api(daemon)


def read_all(sock: socket.socket) -> bytes:
    data = b""
    while piece := sock.recv(65536):
        data += piece
    return data


def read_until(sock: socket.socket, mark: bytes) -> bytes:
    data = b""
    while mark not in data:
        piece = sock.recv(65536)
        assert piece, data
        data += piece
    return data


def wait_for(condition) -> None:
    until = time.monotonic() + LIMIT_S
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.01)


def read_terminal(master: int, mark: bytes) -> None:
    seen = b""
    while mark not in seen:
        assert select.select([master], [], [], LIMIT_S)[0], seen
        seen += os.read(master, 65536)


def events(daemon, name: str) -> list[str]:
    words = ["--since", "1h", "--until", f"{time.time() + 1:.0f}", "--filter", f"container={name}"]
    return daemon.docker(
        "events", *words, "--format", "{{.Action}} {{.Actor.Attributes.execID}}"
    ).stdout.splitlines()


def test_everything_that_can_be_said_about_the_process(host: str, cli, tmp_path) -> None:
    (tmp_path / "env").write_text("B=2\n")
    words = ["-e", "A=1", "--env-file", str(tmp_path / "env"), "-w", "/tmp", "-u", "www"]
    done = cli("exec", *words, host, "sh", "-c", "echo $A $B $PWD $(id -un)")
    assert done.stdout == "1 2 /tmp www\n"
    plain, full = (
        cli("exec", *flag, host, "grep", "CapEff", "/proc/self/status").stdout
        for flag in ((), ("--privileged",))
    )
    assert int(full.split()[1], 16) > int(plain.split()[1], 16)


@pytest.mark.parametrize(
    ("words", "text", "code"),
    [
        (("nosuch",), "executable file not found in $PATH", 127),
        (("/etc/passwd",), "permission denied", 126),
        (("-u", "nobodyhere", "true"), "unable to find user nobodyhere", 126),
        (("-w", "/no/where", "true"), "/no/where", 126),
    ],
)
def test_what_cannot_run_is_said_with_its_code(
    host: str, cli, words: tuple[str, ...], text: str, code: int
) -> None:
    flags, command = words[:-1], words[-1]
    done = cli("exec", *flags, host, command)
    assert text in done.stdout + done.stderr
    assert done.returncode == code
    assert cli("exec", "-d", *flags, host, command).returncode != 0


def test_large_input_goes_through(host: str, cli) -> None:
    data = os.urandom(1 << 20) * 20
    done = cli("exec", "-i", host, "sh", "-c", "cat | md5sum", stdin=data)
    import hashlib

    assert done.stdout.split()[0] == hashlib.md5(data, usedforsecurity=False).hexdigest()


def test_process_that_reads_little_of_a_large_input_ends(host: str, cli) -> None:
    done = cli("exec", "-i", host, "sh", "-c", "head -c 4; exit 5", stdin=b"abcdefgh" * (4 << 20))
    assert (done.stdout, done.returncode) == ("abcd", 5)


def test_inspect_has_dockers_fields(api: Api, host: str, daemon) -> None:
    one = api.create(
        host, "sh", "-c", "exit 3", AttachStdout=True, Tty=True, User="33", DetachKeys="ctrl-a,b"
    )
    wanted = {
        "ID": one, "Running": False, "ExitCode": None, "OpenStdin": False, "OpenStderr": False, "OpenStdout": True,
        "CanRemove": False, "ContainerID": host, "DetachKeys": base64.b64encode(b"\x01b").decode(), "Pid": 0,
        "ProcessConfig": {"tty": True, "entrypoint": "sh", "arguments": ["-c", "exit 3"], "privileged": False, "user": "33"},
    }  # fmt: skip
    assert api.inspect(one) == wanted
    assert one in json.loads(daemon.docker("inspect", host).stdout)[0]["ExecIDs"]
    read_all(api.start(one))
    wait_for(lambda: not api.inspect(one)["Running"])
    found = api.inspect(one)
    assert found["Pid"] > 0
    assert found == {**wanted, "ExitCode": 3, "Pid": found["Pid"]}
    assert one not in (json.loads(daemon.docker("inspect", host).stdout)[0]["ExecIDs"] or [])
    shown = events(daemon, host)
    for action in (f"exec_create: sh -c exit 3 {one}", f"exec_start: sh -c exit 3 {one}", f"exec_die {one}"):
        assert action in shown


def test_wrong_requests_have_dockers_answers(api: Api, host: str) -> None:
    one = api.create(host, "true")
    assert api.call("POST", f"/exec/{one}/start", {"Detach": True})[0] == 200
    wait_for(lambda: not api.inspect(one)["Running"])
    status, found = api.call("POST", f"/exec/{one}/start", {"Detach": True})
    assert (status, found["message"]) == (409, f"Error: Exec command {one} has already run")
    assert api.call("POST", f"/exec/{one}/resize?h=3&w=4")[0] == 404
    assert api.call("GET", "/exec/nothing/json")[0] == 404
    assert api.call("POST", f"/containers/{host}/exec", {"Cmd": []})[0] == 400
    assert api.call("POST", f"/containers/{host}/exec", {"Cmd": ["a"], "DetachKeys": "ctrl-9"})[0] == 400
    assert api.call("POST", "/containers/nobody/exec", {"Cmd": ["a"]})[0] == 404


def test_client_that_leaves_does_not_end_it(api: Api, host: str) -> None:
    one = api.create(host, "sh", "-c", "echo up; sleep 10000", AttachStdout=True)
    sock = api.start(one)
    read_until(sock, b"up\n")
    sock.close()
    again = api.create(host, "sh", "-c", "echo still", AttachStdout=True)
    read_all(api.start(again))
    found = api.inspect(one)
    assert found["Running"]
    assert Path(f"/proc/{found['Pid']}").exists()


def test_detach_keys_leave_it_alive(api: Api, host: str, daemon) -> None:
    options = {"AttachStdin": True, "AttachStdout": True, "Tty": True, "DetachKeys": "ctrl-x,q"}
    one = api.create(host, "sh", **options)
    sock = api.start(one, Tty=True)
    sock.sendall(b"echo $((40+2))\n")
    read_until(sock, b"42\r\n")
    sock.sendall(b"\x18q")
    read_all(sock)
    assert api.inspect(one)["Running"]
    assert f"exec_detach {one}" in events(daemon, host)


def test_size_that_comes_before_the_start_waits_for_it(api: Api, host: str) -> None:
    one = api.create(host, "sh", "-c", "read x; stty size", AttachStdin=True, AttachStdout=True, Tty=True)
    statuses: list[int] = []
    early = threading.Thread(
        target=lambda: statuses.append(api.call("POST", f"/exec/{one}/resize?h=33&w=77")[0])
    )
    early.start()
    sock = api.start(one, Tty=True)
    early.join(LIMIT_S)
    assert statuses == [200]
    sock.sendall(b"\n")
    assert b"33 77" in read_all(sock)


def test_detached_exec_answers_when_it_runs(host: str, cli) -> None:
    done = cli("exec", "-d", host, "sh", "-c", "echo hi > /tmp/hi; sleep 10000")
    assert (done.returncode, done.stdout) == (0, "")
    wait_for(lambda: cli("exec", host, "cat", "/tmp/hi").stdout == "hi\n")
    cli("exec", host, "rm", "/tmp/hi")


def test_docker_py_gets_all_of_a_fast_exec(daemon, host: str) -> None:
    docker = pytest.importorskip("docker")
    client = docker.DockerClient(base_url=daemon.url)
    container = client.containers.get(host)
    for number in range(100):
        code, output = container.exec_run(["echo", str(number)])
        assert (code, output) == (0, f"{number}\n".encode())
    client.close()


def test_many_execs_leave_nothing_but_the_last_thousand(daemon, api: Api) -> None:
    made = daemon.docker("run", "-d", "busybox", "sleep", "10000").stdout.strip()
    first = api.create(made, "true")
    running = api.create(made, "sleep", "10000")
    api.call("POST", f"/exec/{running}/start", {"Detach": True})
    ids = [api.create(made, "true") for _ in range(1100)]  # never started ones are forgotten, too
    assert api.call("GET", f"/exec/{first}/json")[0] == api.call("GET", f"/exec/{ids[0]}/json")[0] == 404
    assert api.inspect(running)["Running"]
    assert api.inspect(ids[-1])["ID"] == ids[-1]
    daemon.docker("rm", "-f", made)
    assert api.call("GET", f"/exec/{ids[-1]}/json")[0] == 404


def test_own_cli_detaches_from_an_exec(daemon, host: str) -> None:
    master, slave = os.openpty()
    words = [
        sys.executable,
        "-m",
        "havre",
        "-H",
        daemon.url,
        "exec",
        "-it",
        "--detach-keys",
        "ctrl-a",
        host,
        "sh",
    ]
    env = {**os.environ, "PYTHONPATH": str(SRC), "DOCKER_CONFIG": str(daemon.root / "config")}
    process = subprocess.Popen(
        words, stdin=slave, stdout=slave, stderr=slave, env=env, start_new_session=True
    )
    os.close(slave)
    read_terminal(master, b"# ")
    os.write(master, b"echo $((40+2))\n")
    read_terminal(master, b"42\r\n")
    os.write(master, b"\x01")
    assert process.wait(LIMIT_S) == 0
    os.close(master)
