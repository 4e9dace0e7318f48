"""A request and the ways to answer it."""

import asyncio
import re
from collections.abc import AsyncIterator, Mapping
from typing import Any, NoReturn

import msgspec

from havre.errors import InvalidParameter, TooLarge
from havre.http.connection import Connection
from havre.http.duplex import Duplex
from havre.http.head import Head, parse_query
from havre.http.stream import Stream

MAX_BODY_BYTES = 8 << 20  # a JSON body; archives are streamed
MAX_CHUNK_LINE = 1024
MAX_TRAILER_LINES = 64
BODY_TIMEOUT_S = 60  # a JSON body must be there by then; archives may take their time
_CHUNK_SIZE = re.compile(rb"([0-9a-fA-F]{1,15})[ \t]*(?:;.*)?")
_REASONS = {
    101: "UPGRADED",
    200: "OK",
    201: "Created",
    202: "Accepted",
    204: "No Content",
    206: "Partial Content",
    304: "Not Modified",
    400: "Bad Request",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    406: "Not Acceptable",
    409: "Conflict",
    413: "Request Entity Too Large",
    414: "URI Too Long",
    415: "Unsupported Media Type",
    416: "Requested Range Not Satisfiable",
    429: "Too Many Requests",
    431: "Request Header Fields Too Large",
    500: "Internal Server Error",
    501: "Not Implemented",
    503: "Service Unavailable",
}


def header_lines(headers: Mapping[str, str]) -> str:
    """Return headers as lines; a value cannot end its line."""
    return "".join(
        [
            f"{name}: {value.replace(chr(13), ' ').replace(chr(10), ' ')}\r\n"
            for name, value in headers.items()
        ]
    )


class Request:
    """One request on a connection. Answer it once: reply, stream or hijack."""

    def __init__(self, connection: Connection, head: Head, common: str) -> None:
        self.connection = connection
        self.head = head
        self.method = head.method
        self.path = head.path
        self.query = parse_query(head.query)
        self.answered = False
        self.status = 0  # of the answer
        self.streaming = (
            False  # the head of an answer is out, its body waits for something: ends when the client leaves
        )
        self.close_after = not head.keep_alive
        self._common = common  # header lines of every answer
        self._left = head.content_length or 0
        self._body_done = not head.chunked and not self._left
        self._continued = False

    # body

    @property
    def body_done(self) -> bool:
        """Whether the client has sent all of its body, and all was read."""
        return self._body_done

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
        else:
            await self._chunk_end()

    async def _chunk_end(self) -> None:
        try:
            if await self.connection.read_until(b"\r\n", 0) is not None:
                return
        except ValueError:
            pass
        self.close_after = True
        raise InvalidParameter("malformed chunk, or the request body was cut short")

    async def _chunk_size(self) -> int:
        try:
            line = await self.connection.read_until(b"\r\n", MAX_CHUNK_LINE)
            if line is None:
                raise InvalidParameter("the request body was cut short")
            size = _CHUNK_SIZE.fullmatch(line)
            if size is None:
                raise ValueError
            if int(size[1], 16):
                return int(size[1], 16)
            for _ in range(MAX_TRAILER_LINES):
                if not await self.connection.read_until(b"\r\n", MAX_CHUNK_LINE):
                    return 0
        except ValueError:
            pass
        self.close_after = True
        raise InvalidParameter("malformed chunk")

    async def _continue(self) -> None:
        if not self._continued and self.head.header("expect").lower() == "100-continue":
            await self.connection.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        self._continued = True

    async def body(self, limit: int = MAX_BODY_BYTES) -> bytes:
        """Return the whole body. Raises TooLarge, and InvalidParameter when it does not come."""
        if self._left > limit:
            self._refuse_large(limit)
        found = bytearray()
        try:
            async with asyncio.timeout(BODY_TIMEOUT_S):
                async for chunk in self.chunks():
                    found += chunk
                    if len(found) > limit:
                        self._refuse_large(limit)
        except TimeoutError:
            self.close_after = True
            raise InvalidParameter(f"the request body did not come within {BODY_TIMEOUT_S} seconds") from None
        return bytes(found)

    def _refuse_large(self, limit: int) -> NoReturn:
        self.close_after = True
        raise TooLarge(f"the request body is larger than {limit} bytes")

    async def drain(self) -> None:
        """Read a body nobody wanted, so that the next request can be read; a large one closes the connection instead."""
        if self._body_done:
            return
        if self.head.header("expect") and not self._continued:
            self.close_after = True
            return
        seen = 0
        try:
            async with asyncio.timeout(BODY_TIMEOUT_S):
                async for chunk in self.chunks():
                    seen += len(chunk)
                    if seen > MAX_BODY_BYTES:
                        self.close_after = True
                        return
        except (InvalidParameter, TimeoutError):
            self.close_after = True

    # answers

    def _head(self, status: int, headers: Mapping[str, str]) -> bytes:
        self.status = status
        reason = _REASONS.get(status, "Status")
        text = f"HTTP/1.1 {status} {reason}\r\n{self._common}{header_lines(headers)}\r\n"
        return text.encode("latin-1", "replace")

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

    async def stream(self, status: int, content_type: str, **headers: str) -> Stream:
        """Send the head now; the body follows in pieces. From here on the handler is cancelled when its client leaves."""
        self.answered = self.streaming = True
        wanted = {name.replace("_", "-"): value for name, value in headers.items()}
        chunked = self.head.minor == 1
        self.close_after |= not chunked
        wanted |= {"Content-Type": content_type} | (
            {"Transfer-Encoding": "chunked"} if chunked else {"Connection": "close"}
        )
        await self.connection.write(self._head(status, wanted))
        return Stream(self.connection, chunked=chunked, silent=self.method == "HEAD")

    async def sized(self, status: int, content_type: str, size_bytes: int, **headers: str) -> Stream:
        """Send the head of an answer whose length is known; exactly that many bytes must follow, unless to a HEAD."""
        self.answered = self.streaming = True
        wanted = {name.replace("_", "-"): value for name, value in headers.items()}
        wanted |= {"Content-Type": content_type, "Content-Length": str(size_bytes)}
        if self.close_after:
            wanted["Connection"] = "close"
        await self.connection.write(self._head(status, wanted))
        return Stream(self.connection, chunked=False, silent=self.method == "HEAD")

    async def hijack(self, content_type: str, protocol: str = "tcp") -> Duplex:
        """Take the connection over: 101 when the client asked to upgrade, else 200 and raw bytes. Raises TooLarge."""
        await self.drain()
        if not self._body_done:
            raise TooLarge("the body of a request that takes the connection over is too large")
        self.answered = self.close_after = True
        self.connection.hijacked = True
        if self.head.header("upgrade"):
            upgrade = {"Content-Type": content_type, "Connection": "Upgrade", "Upgrade": protocol}
            await self.connection.write(self._head(101, upgrade))
        else:
            await self.connection.write(self._head(200, {"Content-Type": content_type}))
        return Duplex(self.connection, hasty=self.head.header("user-agent").startswith("docker-sdk-python"))
