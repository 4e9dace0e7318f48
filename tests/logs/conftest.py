"""What logs are sent to, on loopback: servers that collect what they get, and the hand that steers a log."""

import json
import os
import shutil
import socket
import ssl
import subprocess
import sys
import threading
from pathlib import Path

import pytest

SRC = Path(__file__).parents[2] / "src"
PATIENCE_S = 20
NO_LOG = {
    "driver": "none", "format": "", "path": "", "max_size_bytes": 0, "max_files": 0, "compress": False,
    "attributes": {}, "buffer_bytes": 0, "remote": {},
}  # fmt: skip


class Hand:
    """One log in a process of its own. `said` is its answer to the opening."""

    def __init__(self, plan, *, grace_s=0.3, journal="/no/journal"):
        words = [sys.executable, str(Path(__file__).with_name("harness.py")), json.dumps({**NO_LOG, **plan})]
        self._process = subprocess.Popen(
            [*words, str(grace_s), journal],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": str(SRC)},
        )
        self.said = self._read()

    def _read(self):
        return json.loads(self._process.stdout.readline())

    def do(self, *command):
        self._process.stdin.write(json.dumps(command).encode() + b"\n")
        self._process.stdin.flush()

    def write(self, text, stream="stdout", nanos=1_795_521_600_123_456_789):
        self.do("write", stream, text, nanos)

    def lines(self, first, last, pad=0):
        """Log "line N" for a range of numbers, each behind `pad` more bytes."""
        self.do("lines", first, last, pad)

    def state(self):
        self.do("state")
        return self._read()

    def close(self):
        """The container has ended: everything was handed over."""
        self._process.stdin.close()
        assert self._read() == {"flushed": True}
        assert self._process.wait(PATIENCE_S) == 0
        self._process.stdout.close()

    def end(self):
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        self._process.stdin.close()
        self._process.stdout.close()


class Server:
    """Takes connections (or datagrams) one after the other; `data` is all that came. `answer(data)` may say something back."""

    def __init__(self, kind="tcp", *, path="", port=0, context=None, answer=None, limit=0):
        family = socket.AF_UNIX if path else socket.AF_INET
        self._stream = kind in ("tcp", "tls", "unix")
        self._sock = socket.socket(family, socket.SOCK_STREAM if self._stream else socket.SOCK_DGRAM)
        if not path:
            self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._sock.bind(path or ("127.0.0.1", port))
        if self._stream:
            self._sock.listen(5)
        self.port = 0 if path else self._sock.getsockname()[1]
        self._context, self._answer, self._limit = context, answer, limit
        self.data, self.datagrams, self.fds = bytearray(), [], []
        self.reading = threading.Event()
        self.reading.set()
        self._changed = threading.Condition()
        self._stopped = False
        self._open = None
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self):
        try:
            while not self._stopped:
                if self._stream:
                    self._take(self._sock.accept()[0])
                else:
                    data, fds, _, _ = socket.recv_fds(self._sock, 1 << 17, 4)
                    self._add(data, fds)
        except OSError:
            pass

    def _take(self, connection):
        if self._context:
            try:
                connection = self._context.wrap_socket(connection, server_side=True)
            except OSError:
                return
        self._open = connection
        if self._stopped:
            connection.close()
        got = 0
        while self.reading.wait() and (data := connection.recv(1 << 16)):
            self._add(data, [])
            got += len(data)
            if self._answer and (said := self._answer(data)):
                connection.sendall(said)
            if self._limit and got >= self._limit:
                self._limit = 0
                break
        connection.close()

    def _add(self, data, fds):
        with self._changed:
            self.data += data
            self.datagrams.append(data)
            self.fds += fds
            self._changed.notify_all()

    def wait(self, enough):
        """Wait until `enough(self)` holds; return self."""
        with self._changed:
            assert self._changed.wait_for(lambda: enough(self), PATIENCE_S), self.data[-500:]
        return self

    def close(self):
        self._stopped = True
        self.reading.set()
        for sock in (self._open, self._sock):
            if sock is not None:
                try:
                    sock.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass
                sock.close()
        self._thread.join(PATIENCE_S)


def certificates(folder):
    """Make a CA, a server's and a client's certificate with openssl; return their folder."""
    run = lambda *words: subprocess.run(["openssl", *words], cwd=folder, check=True, capture_output=True)  # noqa: E731
    new = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]
    run("req", "-x509", *new, "-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=ca",
        "-addext", "keyUsage=critical,keyCertSign", "-addext", "basicConstraints=critical,CA:TRUE")  # fmt: skip
    for name in ("server", "client"):
        (folder / "ext").write_text("subjectAltName=IP:127.0.0.1,DNS:localhost\n")
        run("req", *new, "-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", f"/CN={name}")
        run("x509", "-req", "-in", f"{name}.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial",
            "-days", "2", "-out", f"{name}.pem", "-extfile", "ext")  # fmt: skip
    return folder


def server_context(folder, *, ask_client=False):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "server.pem", folder / "server.key")
    if ask_client:
        context.load_verify_locations(folder / "ca.pem")
        context.verify_mode = ssl.CERT_REQUIRED
    return context


@pytest.fixture
def hand():
    """Open logs: hand(plan, ...) -> Hand. What a test leaves open is ended."""
    opened = []

    def make(plan, **words):
        opened.append(Hand(plan, **words))
        return opened[-1]

    yield make
    for one in opened:
        one.end()
    for pid in log_processes("Z"):
        os.waitpid(pid, 0)


def log_processes(states):
    """The logs' processes in one of these states: this process's own children, born as their makers' siblings."""
    found = set()
    for pid in map(int, Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()):
        try:
            stat = Path(f"/proc/{pid}/stat").read_text()
        except OSError:  # reaped meanwhile
            continue
        if "(havre-log)" in stat and stat.rpartition(")")[2].split()[0] in states:
            found.add(pid)
    return found


@pytest.fixture
def running_logs():
    """Ask for the pids of the logs' processes that still run."""
    return lambda: log_processes("RSDT")


@pytest.fixture
def serve():
    """Start receivers: serve(kind, ...) -> Server."""
    started = []

    def make(kind="tcp", **words):
        started.append(Server(kind, **words))
        return started[-1]

    yield make
    for one in started:
        one.close()


@pytest.fixture
def tls(tmp_path):
    """The folder of a CA, a server's and a client's certificate; tls.context(ask_client=...) for a server."""
    if shutil.which("openssl") is None:
        pytest.skip("needs openssl")
    return Tls(certificates(tmp_path))


class Tls:
    def __init__(self, folder):
        self.folder = folder

    def context(self, **words):
        return server_context(self.folder, **words)
