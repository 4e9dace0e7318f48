"""A server in a thread of its own, and raw sockets in front of it."""

import asyncio
import contextlib
import shutil
import socket
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from havre.http import server as http

TIMEOUT_S = 20


class Serving:
    """One listening server; everything asynchronous happens in its thread."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.port = 0
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self._thread.start()
        self.listening: list[http.Listening] = []

    def run(self, work):
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(TIMEOUT_S)

    def unix(self, handler: http.Handler) -> None:
        self.listening.append(self.run(http.listen_unix(self.path, handler, common={"Server": "test"})))

    def tcp(self, handler: http.Handler, tls: ssl.SSLContext | None = None) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.listening.append(self.run(http.listen_tcp("127.0.0.1", self.port, handler, tls=tls)))

    def connect(self) -> socket.socket:
        """A client's socket, tcp if there is a port."""
        if self.port:
            return socket.create_connection(("127.0.0.1", self.port), TIMEOUT_S)
        sock = socket.socket(socket.AF_UNIX)
        sock.settimeout(TIMEOUT_S)
        sock.connect(self.path)
        return sock

    def ask(self, data: bytes) -> bytes:
        """Send and return everything until the server closes; the last request should say Connection: close."""
        with self.connect() as sock:
            sock.sendall(data)
            return read_all(sock)

    def close(self) -> None:
        for one in self.listening:
            self.run(one.close())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(TIMEOUT_S)
        self.loop.close()


def read_all(sock: socket.socket) -> bytes:
    found = b""
    with contextlib.suppress(ConnectionResetError):
        while data := sock.recv(65536):
            found += data
    return found


@pytest.fixture
def serving(tmp_path: Path) -> Iterator[Serving]:
    one = Serving(str(tmp_path / "s"))
    yield one
    one.close()


@pytest.fixture(params=["unix", "tcp"])
def serve(request: pytest.FixtureRequest, serving: Serving) -> Callable[[http.Handler], Serving]:
    """Serve a handler on a unix socket, then on tcp: both must do the same."""

    def start(handler: http.Handler) -> Serving:
        serving.unix(handler) if request.param == "unix" else serving.tcp(handler)
        return serving

    return start


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """ca.pem, cert.pem and key.pem for 127.0.0.1, usable by both sides."""
    if shutil.which("openssl") is None:
        pytest.skip("needs openssl")
    folder = tmp_path_factory.mktemp("tls")

    def openssl(words: str) -> None:
        subprocess.run(["openssl", *words.split()], cwd=folder, check=True, capture_output=True)

    openssl("req -x509 -newkey rsa:2048 -nodes -keyout ca-key.pem -out ca.pem -subj /CN=ca -days 2")
    openssl("req -newkey rsa:2048 -nodes -keyout key.pem -out csr -subj /CN=one")
    (folder / "ext").write_text("subjectAltName=IP:127.0.0.1")
    openssl(
        "x509 -req -in csr -CA ca.pem -CAkey ca-key.pem -CAcreateserial -out cert.pem -days 2 -extfile ext"
    )
    return folder
