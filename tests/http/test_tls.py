import contextlib
import socket
import ssl
import time
from pathlib import Path

import pytest

from havre.errors import InvalidParameter
from havre.http import tls
from havre.http.server import Request


class HalfClosing:
    """A TLS client that can close one way, as Go's does and Python's SSLSocket does not."""

    def __init__(self, sock: socket.socket, folder: Path, *, certificate: bool = True) -> None:
        context = ssl.create_default_context(cafile=str(folder / "ca.pem"))
        context.verify_flags &= ~ssl.VERIFY_X509_STRICT
        if certificate:
            context.load_cert_chain(folder / "cert.pem", folder / "key.pem")
        self._sock = sock
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._in, self._out, server_hostname="127.0.0.1")
        self._until(self._tls.do_handshake)

    def _until(self, work):
        while True:
            try:
                found = work()
                self._flush()
                return found
            except ssl.SSLWantReadError:
                self._flush()
                data = self._sock.recv(65536)
                if data:
                    self._in.write(data)
                else:
                    self._in.write_eof()

    def _flush(self) -> None:
        if data := self._out.read():
            self._sock.sendall(data)

    def send(self, data: bytes) -> None:
        self._tls.write(data)
        self._flush()

    def half_close(self) -> None:
        with contextlib.suppress(ssl.SSLWantReadError):
            self._tls.unwrap()
        self._flush()

    def read_all(self) -> bytes:
        found = b""
        with contextlib.suppress(ssl.SSLZeroReturnError, ssl.SSLEOFError):
            while data := self._until(lambda: self._tls.read(65536)):
                found += data
        return found


async def reverse(request: Request) -> None:
    """Read the raw input to its end, then answer: impossible without a half-close."""
    duplex = await request.hijack("text/plain")
    found = b""
    while data := await duplex.connection.read_some():
        found += data
    await duplex.write(found[::-1])


@pytest.fixture
def context(certificates: Path) -> ssl.SSLContext:
    return tls.server_context(*(str(certificates / name) for name in ("cert.pem", "key.pem", "ca.pem")))


@pytest.mark.parametrize("size", [10, 3_000_000])
def test_half_close_keeps_the_other_way_open(serving, certificates: Path, context, size: int) -> None:
    serving.tcp(reverse, context)
    with serving.connect() as sock:
        client = HalfClosing(sock, certificates)
        client.send(b"POST / HTTP/1.1\r\nHost: x\r\nUpgrade: tcp\r\nConnection: Upgrade\r\n\r\n")
        client.send(bytes(range(10)) * (size // 10))
        client.half_close()
        assert client.read_all().endswith(b"\r\n\r\n" + bytes(range(9, -1, -1)) * (size // 10))


def test_strangers_are_told_why_and_reach_no_handler(serving, certificates: Path, context) -> None:
    reached = []

    async def handler(request: Request) -> None:
        reached.append(request)

    serving.tcp(handler, context)
    with serving.connect() as sock, pytest.raises(ssl.SSLError, match=r"(?i)certificate.required"):
        client = HalfClosing(sock, certificates, certificate=False)
        client.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        client.read_all()
    assert not reached


def test_plain_http_on_a_tls_door_is_cut_off(serving, context) -> None:
    serving.tcp(reverse, context)
    answer = serving.ask(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    assert b"HTTP" not in answer


def test_silent_clients_are_cut_off(serving, context, monkeypatch) -> None:
    monkeypatch.setattr(tls, "HANDSHAKE_TIMEOUT_S", 0.05)
    serving.tcp(reverse, context)
    with serving.connect() as sock, contextlib.suppress(ConnectionResetError):
        assert sock.recv(10) == b""


def test_clients_that_leave_in_the_handshake_are_forgotten(serving, context) -> None:
    serving.tcp(reverse, context)
    with serving.connect() as sock:
        sock.sendall(b"\x16\x03\x01")
        sock.shutdown(socket.SHUT_WR)
        started = time.monotonic()
        with contextlib.suppress(ConnectionResetError):
            assert sock.recv(10) == b""
        assert time.monotonic() - started < tls.HANDSHAKE_TIMEOUT_S / 2


def test_old_protocols_are_refused(serving, certificates: Path, context) -> None:
    serving.tcp(reverse, context)
    assert context.minimum_version == ssl.TLSVersion.TLSv1_2


@pytest.mark.parametrize("missing", ["cert.pem", "key.pem", "ca.pem"])
def test_files_that_cannot_be_used_are_named(certificates: Path, missing: str) -> None:
    names = [
        str(certificates / name) if name != missing else "/no/such/file"
        for name in ("cert.pem", "key.pem", "ca.pem")
    ]
    with pytest.raises(InvalidParameter, match="/no/such/file"):
        tls.server_context(*names)
