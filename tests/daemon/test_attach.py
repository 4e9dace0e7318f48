"""attach over raw sockets: half-close, detach keys, logs=1, clients that come early, stop reading, or leave."""

import base64
import json
import os
import select
import socket
import time

import pytest

pytestmark = [pytest.mark.daemon, pytest.mark.compat]
LIMIT_S = 20
CTRL_PQ = b"\x10\x11"


class Wire:
    """A raw connection to the daemon."""

    def __init__(self, daemon) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(LIMIT_S)
        self.sock.connect(daemon.socket)
        self.data = b""

    def send(self, data: bytes) -> None:
        self.sock.sendall(data)

    def until(self, mark: bytes) -> bytes:
        """Return what comes up to and with a mark."""
        while mark not in self.data:
            piece = self.sock.recv(65536)
            assert piece, f"{mark!r} did not come: {self.data!r}"
            self.data += piece
        found, _, self.data = self.data.partition(mark)
        return found + mark

    def rest(self) -> bytes:
        """Everything to the end."""
        while piece := self.sock.recv(65536):
            self.data += piece
        found, self.data = self.data, b""
        return found

    def half_close(self) -> None:
        self.sock.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        self.sock.close()


def hijack(daemon, path: str, body: object = None) -> tuple[Wire, bytes]:
    """POST with an upgrade; return the connection and the head of the answer."""
    wire, data = Wire(daemon), b"" if body is None else json.dumps(body).encode()
    kind = "" if body is None else "Content-Type: application/json\r\n"
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nUpgrade: tcp\r\nConnection: Upgrade\r\n{kind}Content-Length: {len(data)}\r\n\r\n"
    wire.send(head.encode() + data)
    return wire, wire.until(b"\r\n\r\n")


def attach(daemon, name: str, **flags: object) -> Wire:
    wanted = {"stream": 1, "stdin": 1, "stdout": 1, "stderr": 1, **flags}
    query = "&".join(f"{key}={value}" for key, value in wanted.items())
    wire, head = hijack(daemon, f"/containers/{name}/attach?{query}")
    assert head.startswith(b"HTTP/1.1 101"), head
    return wire


def frames(data: bytes) -> list[tuple[int, bytes]]:
    found = []
    while data:
        size = int.from_bytes(data[4:8], "big")
        assert len(data) >= 8 + size
        found.append((data[0], data[8 : 8 + size]))
        data = data[8 + size :]
    return found


def payload(data: bytes, stream: int = 1) -> bytes:
    return b"".join(text for number, text in frames(data) if number == stream)


@pytest.fixture
def create(daemon):
    made = []

    def run(*words: str, start: bool = True) -> str:
        done = daemon.docker("create", *words)
        assert done.returncode == 0, done.stderr
        made.append(done.stdout.strip())
        if start:
            assert daemon.docker("start", made[-1]).returncode == 0
        return made[-1]

    yield run
    for name in made:
        daemon.docker("rm", "-f", name)


def events(daemon, name: str) -> list[str]:
    shown = daemon.docker(
        "events",
        "--since",
        "1h",
        "--until",
        f"{time.time() + 1:.0f}",
        "--filter",
        f"container={name}",
        "--format",
        "{{.Action}}",
    )
    return shown.stdout.splitlines()


def descriptors(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/fd"))


def wait_for(condition) -> None:
    until = time.monotonic() + LIMIT_S
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.01)


def test_input_that_ends_before_the_start_is_all_there(daemon, create) -> None:
    name = create("-i", "busybox", "sh", "-c", "cat; echo end", start=False)
    wire = attach(daemon, name)
    wire.send(b"early words\n")
    wire.half_close()
    daemon.docker("start", name)
    assert payload(wire.rest()) == b"early words\nend\n"


def test_stdin_once_ends_with_its_first_client(daemon, create) -> None:
    docker = pytest.importorskip("docker")
    client = docker.APIClient(base_url=daemon.url)
    config = client.create_container_config("busybox", ["sh", "-c", "cat; echo end"], stdin_open=True)
    made = client.create_container_from_config({**config, "StdinOnce": True})["Id"]
    first, second = attach(daemon, made), attach(daemon, made)
    client.start(made)
    second.send(b"from the second\n")
    assert first.until(b"from the second\n") and second.until(b"from the second\n")
    first.half_close()
    second_says = second.rest()
    assert payload(second_says) == payload(first.rest()) == b"end\n"
    client.remove_container(made, force=True)
    client.close()


def test_stdin_stays_open_without_stdin_once(daemon, create) -> None:
    docker = pytest.importorskip("docker")
    client = docker.APIClient(base_url=daemon.url)
    command = ["sh", "-c", "while read x; do echo got $x; done"]
    config = client.create_container_config("busybox", command, stdin_open=True)
    made = client.create_container_from_config({**config, "StdinOnce": False})["Id"]
    client.start(made)
    for word in (b"one", b"two"):
        wire = attach(daemon, made)
        wire.send(word + b"\n")
        wire.until(b"got " + word + b"\n")
        wire.half_close()
        wire.close()
    client.remove_container(made, force=True)
    client.close()


def test_default_detach_keys_leave_a_terminal(daemon, create) -> None:
    name = create("-it", "busybox", "sh")
    wire = attach(daemon, name)
    wire.send(b"echo $((40+2))\n")
    wire.until(b"42\r\n")
    wire.send(b"echo not" + CTRL_PQ + b" said\n")
    wire.rest()
    again = attach(daemon, name)
    again.send(b"\x15echo $((50+2))\n")
    assert b"said" not in again.until(b"52\r\n")
    assert events(daemon, name).count("detach") == 1
    assert events(daemon, name).count("attach") == 2


def test_detach_keys_of_ones_own(daemon, create) -> None:
    name = create("-it", "busybox", "sh")
    wire = attach(daemon, name, detachKeys="x,ctrl-a")
    wire.send(b"echo " + CTRL_PQ + b"$((40+2))\n")
    wire.until(b"42\r\n")
    wire.send(b"x")
    wire.send(b"\x01")
    wire.rest()
    assert "detach" in events(daemon, name)
    assert json.loads(daemon.docker("inspect", name).stdout)[0]["State"]["Running"]


def test_keys_mean_nothing_without_a_terminal(daemon, create) -> None:
    name = create("-i", "busybox", "cat", start=False)
    wire = attach(daemon, name)
    daemon.docker("start", name)
    wire.send(CTRL_PQ + b"\n")
    wire.half_close()
    assert payload(wire.rest()) == CTRL_PQ + b"\n"
    assert "detach" not in events(daemon, name)


@pytest.mark.parametrize(
    "path",
    ["/containers/{name}/attach?stream=1&detachKeys=ctrl-9", "/containers/{name}/attach?detachKeys=a,,b"],
)
def test_bad_keys_are_refused(daemon, create, path: str) -> None:
    name = create("-it", "busybox", "sh", start=False)
    _, head = hijack(daemon, path.format(name=name))
    assert head.startswith(b"HTTP/1.1 400")


def test_logs_come_first_and_whole(daemon, create) -> None:
    script = "i=0; while [ $i -lt 3000 ]; do echo line $i; echo err $i >&2; i=$((i+1)); done; printf begun; read go; echo ' and done'; cat"
    name = create("-i", "busybox", "sh", "-c", script)
    seen = []
    for _ in range(6):  # at whatever moment they come: nothing twice, nothing missing
        wire = attach(daemon, name, logs=1, stdin=0)
        wire.half_close()
        seen.append(wire)
    last = attach(daemon, name, logs=1)
    last.send(b"go\n")
    last.until(b"and done\n")
    late = attach(daemon, name, logs=1, stream=0)
    late_says = late.rest()
    daemon.docker("stop", "-t", "0", name)
    wanted = b"".join(b"line %d\n" % number for number in range(3000)) + b"begun and done\n"
    errors = b"".join(b"err %d\n" % number for number in range(3000))
    assert payload(late_says) == wanted
    for wire in seen:
        said = wire.rest()
        assert payload(said) == wanted
        assert payload(said, 2) == errors


def test_logs_of_a_stopped_container_then_its_next_life(daemon, create) -> None:
    name = create("busybox", "sh", "-c", "echo life")
    daemon.docker("wait", name)
    assert payload(attach(daemon, name, logs=1, stream=0).rest()) == b"life\n"
    wire = attach(daemon, name, logs=1)
    daemon.docker("start", name)
    assert payload(wire.rest()) == b"life\nlife\n"


def test_begun_line_is_replayed_once(daemon, create) -> None:
    name = create("-it", "busybox", "sh", "-c", "stty -echo; printf 'name? '; read x; echo hello $x")
    first = attach(daemon, name, logs=1)
    first.until(b"name? ")
    second = attach(daemon, name, logs=1)
    second.until(b"name? ")
    second.send(b"me\n")
    assert second.rest() == first.rest() == b"hello me\r\n"


def test_client_that_waited_for_a_start_ends_with_the_container(daemon, create) -> None:
    name = create("busybox", "true", start=False)
    wire = attach(daemon, name)
    daemon.docker("rm", name)
    assert wire.rest() == b""


def test_clients_that_leave_before_the_start_leave_nothing(daemon, create) -> None:
    name = create("busybox", "echo", "hi", start=False)
    before = descriptors(daemon.pid)
    for _ in range(50):
        wire = attach(daemon, name)
        wire.half_close()
        wire.close()
    wait_for(lambda: descriptors(daemon.pid) <= before)
    assert daemon.docker("start", "-a", name).stdout == "hi\n"


def test_attach_is_refused_when_paused_or_unknown(daemon, create) -> None:
    name = create("busybox", "sleep", "100")
    daemon.docker("pause", name)
    assert hijack(daemon, f"/containers/{name}/attach?stream=1&stdout=1")[1].startswith(b"HTTP/1.1 409")
    daemon.docker("unpause", name)
    assert hijack(daemon, "/containers/nobody/attach?stream=1")[1].startswith(b"HTTP/1.1 404")


def test_half_of_a_hundred_readers_stop_and_nobody_else_notices(daemon, create) -> None:
    script = "read go; i=0; while [ $i -lt 128 ]; do dd if=/dev/zero bs=65536 count=1 2>/dev/null; i=$((i+1)); done; echo end"
    name = create("-i", "busybox", "sh", "-c", script, start=False)
    wires = [attach(daemon, name, stdin=int(number == 0)) for number in range(100)]
    daemon.docker("start", name)
    wires[0].send(b"go\n")
    readers, stopped = wires[:50], wires[50:]
    sizes = dict.fromkeys(readers, 0)
    by_fd = {wire.sock.fileno(): wire for wire in readers}
    poll = select.poll()
    for fd in by_fd:
        poll.register(fd, select.POLLIN)
    until = time.monotonic() + 60
    while by_fd:
        assert time.monotonic() < until
        for fd, _ in poll.poll(1000):
            data = by_fd[fd].sock.recv(1 << 20)
            sizes[by_fd[fd]] += len(data)
            if not data:
                poll.unregister(fd)
                del by_fd[fd]
    assert min(sizes.values()) == max(sizes.values()) > 128 * 65536
    assert daemon.docker("wait", name).stdout == "0\n"
    log = daemon.docker("logs", "--tail", "1", name).stdout
    assert log.endswith("end\n")
    for wire in stopped:
        wire.close()


def mask(data: bytes, opcode: int = 2) -> bytes:
    """A client's frame."""
    key = b"abcd"
    masked = bytes(byte ^ key[place % 4] for place, byte in enumerate(data))
    assert len(data) < 126
    return bytes((0x80 | opcode, 0x80 | len(data))) + key + masked


def test_websocket_has_detach_keys_too(daemon, create) -> None:
    name = create("-it", "busybox", "sh")
    wire = Wire(daemon)
    key = base64.b64encode(bytes(16)).decode()
    query = "stream=1&stdin=1&stdout=1&stderr=1&detachKeys=ctrl-x"
    wire.send(
        f"GET /containers/{name}/attach/ws?{query} HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n\r\n".encode()
    )
    assert wire.until(b"\r\n\r\n").startswith(b"HTTP/1.1 101")
    wire.send(mask(b"echo $((40+2))\n"))
    wire.until(b"42\r\n")
    wire.send(mask(b"\x18"))
    assert wire.rest().endswith(b"\x88\x02\x03\xe8")  # a close frame, 1000
    assert "detach" in events(daemon, name)
    assert json.loads(daemon.docker("inspect", name).stdout)[0]["State"]["Running"]
