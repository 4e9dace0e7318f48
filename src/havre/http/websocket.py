"""WebSocket, the server's side (RFC 6455): binary frames both ways, ping, close. For /containers/{id}/attach/ws."""

import asyncio
import base64
import contextlib
import hashlib
import socket
from collections.abc import AsyncIterator, Callable

from havre.errors import InvalidParameter
from havre.http.connection import Connection, Gone
from havre.http.duplex import STEP_BYTES, Keys, shut
from havre.http.request import Request

_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA
MAX_FRAME_BYTES = 1 << 20
MAX_CONTROL_BYTES = 125
NORMAL, BROKEN = 1000, 1002  # close codes


async def accept(request: Request) -> "WebSocket":
    """Answer the handshake. Raises InvalidParameter for what is none."""
    head = request.head
    key = head.header("sec-websocket-key")
    upgrade = head.header("upgrade").lower() == "websocket"
    if not upgrade or head.header("sec-websocket-version") != "13" or len(key) != 24:
        raise InvalidParameter("a WebSocket handshake is needed here (RFC 6455)")
    digest = base64.b64encode(hashlib.sha1(key.encode() + _GUID, usedforsecurity=False).digest()).decode()
    request.answered = request.close_after = True
    request.connection.hijacked = True
    lines = [
        "HTTP/1.1 101 Switching Protocols",
        "Upgrade: websocket",
        "Connection: Upgrade",
        f"Sec-WebSocket-Accept: {digest}",
    ]
    await request.connection.write(("\r\n".join(lines) + "\r\n\r\n").encode())
    return WebSocket(request.connection)


def frame(opcode: int, data: bytes) -> bytes:
    """Return one unmasked frame."""
    size = len(data)
    if size < 126:
        head = bytes((0x80 | opcode, size))
    elif size < 1 << 16:
        head = bytes((0x80 | opcode, 126)) + size.to_bytes(2, "big")
    else:
        head = bytes((0x80 | opcode, 127)) + size.to_bytes(8, "big")
    return head + data


class WebSocket:
    """One accepted connection."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._buffer = b""
        self._closed = False
        self._detached = False

    async def send(self, data: bytes) -> None:
        await self._connection.write(frame(BINARY, data))

    async def messages(self) -> AsyncIterator[bytes]:
        """Yield what the client sends, until it closes. Raises InvalidParameter for a broken frame."""
        while (found := await self._frame()) is not None:
            opcode, data = found
            if opcode in (TEXT, BINARY, CONTINUATION):
                yield data
            elif opcode == PING:
                await self._connection.write(frame(PONG, data))
            elif opcode == CLOSE:
                return

    async def _frame(self) -> tuple[int, bytes] | None:
        head = await self._take(2)
        if head is None:
            return None
        size = head[1] & 0x7F
        if size >= 126:
            more = await self._take(2 if size == 126 else 8)
            size = int.from_bytes(more or b"", "big")
        if not head[1] & 0x80 or size > MAX_FRAME_BYTES or head[0] & 0x70:
            raise InvalidParameter("a frame of a client must be masked and of a sane size")
        if head[0] & 0x08 and (size > MAX_CONTROL_BYTES or not head[0] & 0x80):
            raise InvalidParameter("a control frame must be small and whole")
        mask, data = await self._take(4), await self._take(size)
        if mask is None or data is None:
            return None
        repeated = (mask * (size // 4 + 1))[:size]
        plain = (int.from_bytes(data, "big") ^ int.from_bytes(repeated, "big")).to_bytes(size, "big")
        return head[0] & 0x0F, plain

    async def _take(self, count: int) -> bytes | None:
        while len(self._buffer) < count:
            data = await self._connection.read_some()
            if not data:
                return None
            self._buffer += data
        found, self._buffer = self._buffer[:count], self._buffer[count:]
        return found

    async def close(self, code: int = NORMAL) -> None:
        """Send a close frame, once."""
        if not self._closed:
            self._closed = True
            await self._connection.write(frame(CLOSE, code.to_bytes(2, "big")))

    async def pump(
        self, sock: socket.socket, decode: Callable[[bytes], bytes], keys: Keys | None = None
    ) -> bool:
        """Carry bytes between the client and a container's socket until either ends; closes `sock`.

        `decode` turns what the socket says into what the client gets. Returns whether the client has typed `keys`.
        """
        loop = asyncio.get_running_loop()
        inward = loop.create_task(self._inward(sock, keys), name="websocket input")
        self._connection.on_leave = lambda: shut(sock, socket.SHUT_RDWR)
        try:
            while data := await loop.sock_recv(sock, STEP_BYTES):
                if payload := decode(data):
                    await self.send(payload)
            await self.close()
        except (Gone, OSError):
            pass
        finally:
            self._connection.on_leave = None
            inward.cancel()
            await asyncio.gather(inward, return_exceptions=True)
            sock.close()
        return self._detached

    async def _inward(self, sock: socket.socket, keys: Keys | None) -> None:
        """Client to socket. A WebSocket has no half-close: the client's close ends both ways."""
        loop = asyncio.get_running_loop()
        try:
            async for data in self.messages():
                if keys is not None:
                    data, self._detached = keys.feed(data)
                await loop.sock_sendall(sock, data)
                if self._detached:
                    break
        except InvalidParameter:
            with contextlib.suppress(Gone):
                await self.close(BROKEN)
        except (OSError, Gone):
            pass
        shut(sock, socket.SHUT_RDWR)
