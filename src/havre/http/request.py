"""A request and the ways to answer it."""

import asyncio
import fcntl
import socket
import struct
from collections.abc import AsyncIterator, Mapping
from typing import Any

import msgspec

from havre.errors import InvalidParameter, TooLarge
from havre.http.connection import Connection, Gone
from havre.http.head import Head, parse_query

MAX_BODY_BYTES = 8 << 20  # a JSON body; archives are streamed
MAX_CHUNK_LINE = 1024
SIOCOUTQ = 0x5411  # linux/sockios.h
HEAD_READ_S = 0.1
_REASONS = {
    101: "UPGRADED",
    200: "OK",
    201: "Created",
    204: "No Content",
    304: "Not Modified",
    400: "Bad Request",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    406: "Not Acceptable",
    409: "Conflict",
    413: "Request Entity Too Large",
    500: "Internal Server Error",
    501: "Not Implemented",
    503: "Service Unavailable",
}


class Request:
    """One request on a connection. Answer it once: reply, stream or hijack."""

    def __init__(self, connection: Connection, head: Head, common: Mapping[str, str]) -> None:
        self.connection = connection
        self.head = head
        self.method = head.method
        self.path = head.path
        self.query = parse_query(head.query)
        self.answered = False
        self.close_after = not head.keep_alive
        self._common = common
        self._left = head.content_length or 0
        self._body_done = not head.chunked and not self._left
        self._continued = False

    # body

    async def chunks(self) -> AsyncIterator[bytes]:
        """Yield the body as it comes. Raises InvalidParameter when it is cut short or badly framed."""
        await self._continue()
        while not self._body_done:
            if self.head.chunked and not self._left:
                self._left = await self._chunk_size()
                if not self._left:
                    break
            data = await self.connection.read_some(min(self._left, 65536))
            if not data:
                raise InvalidParameter("the request body was cut short")
            self._left -= len(data)
            await self._end_of_chunk()
            yield data
        self._body_done = True

    async def _end_of_chunk(self) -> None:
        if self._left:
            return
        if not self.head.chunked:
            self._body_done = True
        elif await self.connection.read_until(b"\r\n", 0) is None:
            raise InvalidParameter("the request body was cut short")

    async def _chunk_size(self) -> int:
        try:
            line = await self.connection.read_until(b"\r\n", MAX_CHUNK_LINE)
            size = int((line or b"?").split(b";")[0], 16)
        except ValueError:
            raise InvalidParameter("malformed chunk") from None
        if size < 0:
            raise InvalidParameter("malformed chunk")
        while not size and await self.connection.read_until(b"\r\n", MAX_CHUNK_LINE):
            pass  # trailers
        return size

    async def _continue(self) -> None:
        if not self._continued and self.head.header("expect").lower() == "100-continue":
            await self.connection.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        self._continued = True

    async def body(self, limit: int = MAX_BODY_BYTES) -> bytes:
        """Return the whole body. Raises TooLarge."""
        found = bytearray()
        async for chunk in self.chunks():
            found += chunk
            if len(found) > limit:
                self.close_after = True
                raise TooLarge(f"the request body is larger than {limit} bytes")
        return bytes(found)

    async def drain(self) -> None:
        """Read a body nobody wanted, so that the next request can be read; a large one closes the connection instead."""
        if self._body_done:
            return
        if self.head.header("expect") and not self._continued:
            self.close_after = True
            return
        seen = 0
        async for chunk in self.chunks():
            seen += len(chunk)
            if seen > MAX_BODY_BYTES:
                self.close_after = True
                return

    # answers

    def _head(self, status: int, headers: Mapping[str, str]) -> bytes:
        reason = _REASONS.get(status, "Status")
        lines = [f"HTTP/1.1 {status} {reason}"]
        lines += [f"{name}: {value}" for name, value in {**self._common, **headers}.items()]
        return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1", "replace")

    async def reply(self, status: int, body: bytes = b"", content_type: str = "", **headers: str) -> None:
        """Answer at once with a whole body; keyword arguments are headers with _ for -."""
        self.answered = True
        wanted = {name.replace("_", "-"): value for name, value in headers.items()}
        if content_type:
            wanted["Content-Type"] = content_type
        if status not in (204, 304):
            wanted["Content-Length"] = str(len(body))
        if self.close_after:
            wanted["Connection"] = "close"
        head = self._head(status, wanted)
        await self.connection.write(head if self.method == "HEAD" else head + body)

    async def json(self, status: int, value: Any) -> None:
        """Answer with JSON."""
        await self.reply(status, msgspec.json.encode(value) + b"\n", "application/json")

    async def stream(self, status: int, content_type: str, **headers: str) -> "Stream":
        """Send the head now; the body follows in pieces."""
        self.answered = True
        wanted = {name.replace("_", "-"): value for name, value in headers.items()}
        chunked = self.head.minor == 1
        self.close_after |= not chunked
        wanted |= {"Content-Type": content_type} | (
            {"Transfer-Encoding": "chunked"} if chunked else {"Connection": "close"}
        )
        await self.connection.write(self._head(status, wanted))
        return Stream(self.connection, chunked and self.method != "HEAD", self.method == "HEAD")

    async def hijack(self, content_type: str, protocol: str = "tcp") -> "Duplex":
        """Take the connection over: 101 when the client asked to upgrade, else 200 and raw bytes."""
        await self.drain()
        self.answered = self.close_after = True
        self.connection.hijacked = True
        if self.head.header("upgrade"):
            upgrade = {"Content-Type": content_type, "Connection": "Upgrade", "Upgrade": protocol}
            await self.connection.write(self._head(101, upgrade))
        else:
            await self.connection.write(self._head(200, {"Content-Type": content_type}))
        return Duplex(self.connection)


class Stream:
    """A body sent in pieces."""

    def __init__(self, connection: Connection, chunked: bool, silent: bool) -> None:
        self._connection = connection
        self._chunked = chunked
        self._silent = silent

    async def write(self, data: bytes) -> None:
        """Send a piece; waits while the client does not read. Raises Gone."""
        if data and not self._silent:
            await self._connection.write(b"%x\r\n%s\r\n" % (len(data), data) if self._chunked else data)

    async def json(self, value: Any) -> None:
        """Send one JSON line."""
        await self.write(msgspec.json.encode(value) + b"\r\n")

    async def end(self) -> None:
        if self._chunked:
            await self._connection.write(b"0\r\n\r\n")


class Duplex:
    """A hijacked connection: raw bytes both ways."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection

    async def wait_head_read(self) -> None:
        """Hold the first output until the client has taken the head out of the socket, at most HEAD_READ_S.

        docker-py reads the head through a buffered reader and loses what arrives with it (docs/design.md).
        Only a unix socket can tell: SIOCOUTQ counts what the peer has not read yet.
        """
        sock = self.connection.socket
        if sock is None or sock.family != socket.AF_UNIX:
            return
        loop = asyncio.get_running_loop()
        until = loop.time() + HEAD_READ_S
        while loop.time() < until and not self.connection.gone:
            if not struct.unpack("i", fcntl.ioctl(sock.fileno(), SIOCOUTQ, b"\0\0\0\0"))[0]:
                return
            await asyncio.sleep(0.0002)

    async def pump(self, sock: socket.socket) -> None:
        """Carry bytes between the client and `sock` until the output ends or the client leaves; closes `sock`."""
        loop = asyncio.get_running_loop()
        upward = loop.create_task(self._to_socket(sock), name="hijack input")
        try:
            await self._from_socket(sock)
        except (Gone, ConnectionError):
            pass
        finally:
            upward.cancel()
            await asyncio.gather(upward, return_exceptions=True)
            sock.close()

    async def _to_socket(self, sock: socket.socket) -> None:
        """Client to socket; the client's half-close becomes ours, its leaving shuts the socket down."""
        loop = asyncio.get_running_loop()
        self.connection.on_gone = lambda: _shut(sock, socket.SHUT_RDWR)
        if self.connection.gone:
            _shut(sock, socket.SHUT_RDWR)
        try:
            while data := await self.connection.read_some(65536):
                await loop.sock_sendall(sock, data)
            _shut(sock, socket.SHUT_WR)
        except OSError:
            pass  # the container has closed its side; what it still says goes on

    async def _from_socket(self, sock: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        await self.wait_head_read()
        while data := await loop.sock_recv(sock, 262144):
            await self.connection.write(data)
        self.connection.end_output()


def _shut(sock: socket.socket, how: int) -> None:
    try:
        sock.shutdown(how)
    except OSError:
        pass
