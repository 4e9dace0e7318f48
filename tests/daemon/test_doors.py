"""The API's other doors: websocket attach, TCP with mutual TLS, raw wire facts."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.daemon]


def raw(daemon, data: bytes, *, until_close: bool = True) -> bytes:
    """Send bytes on the unix socket and return the answer."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(20)
        sock.connect(daemon.socket)
        sock.sendall(data)
        found = b""
        while piece := sock.recv(65536):
            found += piece
            if not until_close and b"\r\n\r\n" in found:
                break
        return found


def get(path: str, *headers: str) -> bytes:
    return "\r\n".join([f"GET {path} HTTP/1.1", "Host: x", "Connection: close", *headers, "", ""]).encode()


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (get("/_ping"), b"200"),
        (get("/v1.24/containers/json"), b"200"),
        (get("/v1.23/containers/json"), b"400"),
        (get("/v1.99/containers/json"), b"400"),
        (get("/nonsense"), b"404"),
        (get("/containers/..%2f..%2fetc/json"), b"404"),
        (get("/containers/json?filters=nonsense"), b"400"),
        (get("/containers/json?filters=%7B%22bogus%22%3A%5B%22x%22%5D%7D"), b"400"),
        (b"GET /_ping HTTP/1.1\r\n\r\n", b"400"),
        (
            b"POST /containers/create HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n",
            b"400",
        ),
        (
            b"POST /containers/create HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nContent-Length: 5\r\n\r\n",
            b"400",
        ),
        (b"GET /" + b"x" * 100_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", b"431"),
        (b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n", b"400"),
    ],
)
def test_wire_answers_have_the_right_status(daemon, request_bytes: bytes, status: bytes) -> None:
    assert raw(daemon, request_bytes).split(b" ", 2)[1] == status


def test_a_start_that_carries_a_host_config_is_refused(daemon) -> None:
    """As Docker does since API 1.24; what would be ignored must not look as if it worked."""
    body = b'{"Binds":["/:/host"]}'
    name = daemon.docker("create", "busybox", "true").stdout.strip()
    head = f"POST /containers/{name}/start HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    try:
        answer = raw(daemon, head.encode() + body)
        assert answer.split(b" ", 2)[1] == b"400"
        assert b"non-empty request body" in answer
        assert daemon.docker("inspect", "-f", "{{.State.Status}}", name).stdout == "created\n"
    finally:
        daemon.docker("rm", name)


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"[]",
        b'{"Image":1}',
        b'{"Image":"busybox","HostConfig":{"Memory":"x"}}',
        b"[" * 100_000,
        b'{"Image":NaN}',
        b"\xff\xfe",
    ],
)
def test_bad_bodies_are_refused(daemon, body: bytes) -> None:
    head = f"POST /containers/create HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    answer = raw(daemon, head.encode() + body)
    assert answer.split(b" ", 2)[1] == b"400"
    assert "message" in json.loads(answer.partition(b"\r\n\r\n")[2])


def test_keys_in_any_case_are_understood_as_go_does(daemon) -> None:
    body = json.dumps({"image": "busybox", "CMD": ["true"], "hostconfig": {"networkmode": "none"}}).encode()
    head = f"POST /containers/create?name=folded HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    answer = raw(daemon, head.encode() + body)
    assert answer.split(b" ", 2)[1] == b"201"
    try:
        assert (
            daemon.docker("inspect", "-f", "{{.HostConfig.NetworkMode}} {{.Path}}", "folded").stdout
            == "none true\n"
        )
    finally:
        daemon.docker("rm", "-f", "folded")


def test_wait_sends_its_head_before_the_container_ends(daemon) -> None:
    name = daemon.docker("create", "busybox", "true").stdout.strip()
    try:
        with socket.socket(socket.AF_UNIX) as sock:
            sock.settimeout(20)
            sock.connect(daemon.socket)
            sock.sendall(
                f"POST /containers/{name}/wait?condition=next-exit HTTP/1.1\r\nHost: x\r\n\r\n".encode()
            )
            assert sock.recv(65536).startswith(b"HTTP/1.1 200")
            daemon.docker("start", name)
            assert b'"StatusCode":0' in sock.recv(65536)
    finally:
        daemon.docker("rm", name)


def test_websocket_attach_carries_input_and_output(daemon) -> None:
    client = pytest.importorskip("websockets.sync.client")
    name = daemon.docker("create", "-i", "busybox", "sh", "-c", "read word; echo got $word").stdout.strip()
    try:
        with socket.socket(socket.AF_UNIX) as sock:
            sock.connect(daemon.socket)
            query = "stream=1&stdin=1&stdout=1&stderr=1"
            with client.connect(f"ws://x/containers/{name}/attach/ws?{query}", sock=sock) as ws:
                daemon.docker("start", name)
                ws.send(b"it\n")
                assert ws.recv(timeout=20) == b"got it\n"
    finally:
        daemon.docker("rm", "-f", name)


def make_certificates(folder: Path) -> None:
    """A CA, a server certificate for 127.0.0.1 and a client certificate."""

    def openssl(*words: str) -> None:
        subprocess.run(["openssl", *words], cwd=folder, check=True, capture_output=True)

    openssl(
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-keyout",
        "ca-key.pem",
        "-out",
        "ca.pem",
        "-subj",
        "/CN=ca",
        "-days",
        "2",
    )
    for name, extension in (("server", "subjectAltName=IP:127.0.0.1"), ("", "extendedKeyUsage=clientAuth")):
        prefix = f"{name}-" if name else ""
        (folder / "ext").write_text(extension)
        openssl(
            "req",
            "-newkey",
            "rsa:2048",
            "-nodes",
            "-keyout",
            f"{prefix}key.pem",
            "-out",
            "csr",
            "-subj",
            f"/CN={name or 'client'}",
        )
        openssl(
            "x509", "-req", "-in", "csr", "-CA", "ca.pem", "-CAkey", "ca-key.pem", "-CAcreateserial", "-out", f"{prefix}cert.pem",
            "-days", "2", "-extfile", "ext",
        )  # fmt: skip


def _streams_over_tls(program: list[str], env: dict[str, str]) -> None:
    """Output alone, a half-close, much both ways, and pieces that come late: each needs something else of a TLS client."""
    run = [*program, "run", "--rm", "--network", "none", "--log-driver", "none"]
    data = b"0123456789abcde\n" * 200_000
    late = "for i in 1 2 3; do head -c 40000 /dev/zero; sleep 0.1; done"
    for words, stdin, wanted in (
        (["busybox", "echo", "hi"], b"", b"hi\n"),
        (["-i", "busybox", "sh", "-c", "cat; echo end"], b"in\n", b"in\nend\n"),
        (["-i", "busybox", "cat"], data, data),
        (["busybox", "sh", "-c", late], b"", bytes(120_000)),
    ):
        done = subprocess.run([*run, *words], input=stdin, env=env, capture_output=True, timeout=60)
        assert done.stdout == wanted, done.stderr


def test_mutual_tls_runs_containers_and_refuses_strangers(tmp_path, daemon, busybox_tar) -> None:
    import shutil

    if shutil.which("openssl") is None:
        pytest.skip("needs openssl")
    make_certificates(tmp_path)
    files = [
        f"--tlscacert={tmp_path}/ca.pem",
        f"--tlscert={tmp_path}/server-cert.pem",
        f"--tlskey={tmp_path}/server-key.pem",
    ]
    own = tmp_path / "d"
    own.mkdir()
    one = type(daemon)(own, "--tlsverify", *files, "-H", "tcp://127.0.0.1:2376")
    try:
        one.start()
        words = [*one.inside(), "docker", "--tlsverify", "-H", "tcp://127.0.0.1:2376"]
        env = {**os.environ, "DOCKER_CERT_PATH": str(tmp_path), "DOCKER_CONFIG": str(tmp_path / "config")}
        done = subprocess.run(
            [*words, "run", "--rm", "--network", "none", "hello-world"],
            env=env,
            capture_output=True,
            text=True,
            timeout=30,
        )
        assert "Hello from Havre!" in done.stdout, done.stderr
        ours = [*one.inside(), sys.executable, "-m", "havre", "--tlsverify", "-H", "tcp://127.0.0.1:2376"]
        imported = one.docker("import", "-", "busybox", stdin=busybox_tar)
        assert imported.returncode == 0, imported.stderr
        for program in (words, ours):
            _streams_over_tls(program, {**env, "PYTHONPATH": str(Path(__file__).parents[2] / "src")})
        (tmp_path / "cert.pem").unlink()
        for program in (words, ours):
            done = subprocess.run(
                [*program, "version"],
                env={**env, "PYTHONPATH": str(Path(__file__).parents[2] / "src")},
                capture_output=True,
                text=True,
                timeout=30,
            )
            assert done.returncode != 0
            assert "Server: Havre" not in done.stdout
            assert "certificate required" in done.stderr.lower()
    finally:
        one.close()
