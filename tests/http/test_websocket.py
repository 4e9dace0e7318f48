import os
import socket

import pytest

from havre.errors import HavreError
from havre.http import websocket
from havre.http.server import Request

KEY = "dGhlIHNhbXBsZSBub25jZQ=="  # RFC 6455 1.3
HANDSHAKE = (
    "GET /ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY}\r\n\r\n"
).encode()


def masked(opcode: int, data: bytes, *, final: bool = True) -> bytes:
    mask = os.urandom(4)
    size = len(data)
    if size < 126:
        length = bytes((0x80 | size,))
    else:
        length = bytes((0x80 | 127,)) + size.to_bytes(8, "big")
    body = bytes(byte ^ mask[place % 4] for place, byte in enumerate(data))
    return bytes(((0x80 if final else 0) | opcode,)) + length + mask + body


class Client:
    """A websocket client at byte level."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self._buffer = b""

    def take(self, count: int) -> bytes:
        while len(self._buffer) < count:
            data = self.sock.recv(65536)
            if not data:
                raise EOFError
            self._buffer += data
        found, self._buffer = self._buffer[:count], self._buffer[count:]
        return found

    def head(self) -> bytes:
        found = b""
        while not found.endswith(b"\r\n\r\n"):
            found += self.take(1)
        return found

    def frame(self) -> tuple[int, bytes]:
        first, size = self.take(2)
        assert first & 0x80
        if size >= 126:
            size = int.from_bytes(self.take(2 if size == 126 else 8), "big")
        return first & 0x0F, self.take(size)


@pytest.fixture
def talk(serving):
    """(client, the container's end of the socket)."""
    theirs, ours = socket.socketpair()
    theirs.settimeout(20)
    ours.setblocking(False)

    async def handler(request: Request) -> None:
        try:
            ws = await websocket.accept(request)
        except HavreError as error:
            await request.json(error.status, {"message": str(error)})
            return
        await ws.pump(ours, lambda data: data)

    serving.unix(handler)
    with serving.connect() as sock, theirs:
        yield Client(sock), theirs


def open_(talk) -> tuple[Client, socket.socket]:
    client, container = talk
    client.sock.sendall(HANDSHAKE)
    head = client.head()
    assert head.startswith(b"HTTP/1.1 101 ")
    assert b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n" in head
    return client, container


def test_bytes_go_both_ways_in_all_frame_sizes(talk) -> None:
    client, container = open_(talk)
    for size in (0, 1, 125, 126, 70_000):
        client.sock.sendall(masked(websocket.BINARY, b"i" * size))
        found = b""
        while len(found) < size:
            found += container.recv(65536)
        assert found == b"i" * size
    container.sendall(b"o" * 70_000)
    found = b""
    while len(found) < 70_000:
        opcode, data = client.frame()
        assert opcode == websocket.BINARY
        found += data
    assert found == b"o" * 70_000


def test_fragments_and_pings_between_them_are_understood(talk) -> None:
    client, container = open_(talk)
    client.sock.sendall(
        masked(websocket.TEXT, b"one ", final=False)
        + masked(websocket.PING, b"p")
        + masked(websocket.CONTINUATION, b"two")
    )
    assert client.frame() == (websocket.PONG, b"p")
    found = b""
    while len(found) < 7:
        found += container.recv(100)
    assert found == b"one two"


def test_the_end_of_output_closes_in_order(talk) -> None:
    client, container = open_(talk)
    container.close()
    assert client.frame() == (websocket.CLOSE, b"\x03\xe8")


def test_a_closing_client_is_answered_and_detached(talk) -> None:
    client, container = open_(talk)
    client.sock.sendall(masked(websocket.CLOSE, b"\x03\xe8"))
    assert client.frame() == (websocket.CLOSE, b"\x03\xe8")
    assert container.recv(10) == b""


def test_a_client_that_vanishes_is_detached(talk) -> None:
    client, container = open_(talk)
    client.sock.close()
    assert container.recv(10) == b""


@pytest.mark.parametrize(
    "data",
    [
        websocket.frame(websocket.BINARY, b"not masked"),
        bytes((0x82, 0xFF)) + (1 << 40).to_bytes(8, "big"),
        bytes((0xF2, 0x80)),
        masked(websocket.PING, b"x" * 126),
        masked(websocket.PING, b"x", final=False),
    ],
)
def test_broken_frames_end_the_connection(talk, data: bytes) -> None:
    client, container = open_(talk)
    client.sock.sendall(data)
    assert client.frame() == (websocket.CLOSE, b"\x03\xea")
    assert container.recv(10) == b""


@pytest.mark.parametrize("wrong", [(b"websocket", b"h2c"), (b": 13", b": 8"), (KEY.encode(), b"short")])
def test_bad_handshakes_are_refused(talk, wrong: tuple[bytes, bytes]) -> None:
    client, _ = talk
    client.sock.sendall(HANDSHAKE.replace(*wrong))
    assert client.head().startswith(b"HTTP/1.1 400 ")


def test_frames_are_those_of_the_rfc() -> None:
    assert websocket.frame(websocket.TEXT, b"Hello") == bytes.fromhex("810548656c6c6f")  # RFC 6455 5.7
    assert websocket.frame(websocket.BINARY, bytes(256))[:4] == bytes.fromhex("827e0100")
    assert websocket.frame(websocket.BINARY, bytes(65536))[:10] == bytes.fromhex("827f0000000000010000")


def test_a_real_client_understands_us(talk) -> None:
    client = pytest.importorskip("websockets.sync.client")
    raw, container = talk
    with client.connect("ws://x/ws", sock=raw.sock, max_size=None) as ws:
        ws.send(b"in")
        assert container.recv(10) == b"in"
        container.sendall(b"out")
        assert ws.recv(timeout=20) == b"out"
