"""A reply's body sent in pieces."""

import asyncio
from typing import Any, BinaryIO

import msgspec

from havre.http.connection import Connection, Gone

FLUSH_BYTES = 65536


class Stream:
    """What follows a head that is out already; chunked unless the client speaks HTTP/1.0."""

    def __init__(self, connection: Connection, *, chunked: bool, silent: bool) -> None:
        self._connection = connection
        self._chunked = chunked
        self._silent = silent  # the answer to a HEAD
        self._held = bytearray()
        self._flushing: asyncio.Handle | None = None

    async def write(self, data: bytes) -> None:
        """Send a piece now; waits while the client does not read. Raises Gone."""
        if data and not self._silent:
            self._flush()
            await self._connection.write(self._framed(data))

    async def file(self, file: BinaryIO, offset: int, count: int) -> None:
        """Send a part of a file, of an answer whose length is known. Raises Gone, EOFError when it is shorter."""
        if not self._silent:
            self._flush()
            await self._connection.send_file(file, offset, count)

    async def add(self, data: bytes) -> None:
        """Send a piece together with what comes right behind it: at once when the loop has nothing else to do. Raises Gone."""
        if not data or self._silent:
            return
        self._held += data
        if len(self._held) >= FLUSH_BYTES:
            self._flush()
            await self._connection.drain()
        elif self._flushing is None:
            self._flushing = asyncio.get_running_loop().call_soon(self._flush_quietly)

    def _flush_quietly(self) -> None:
        try:
            self._flush()
        except Gone:
            pass  # the next add says it

    def _flush(self) -> None:
        if self._flushing is not None:
            self._flushing.cancel()
            self._flushing = None
        if self._held:
            held, self._held = bytes(self._held), bytearray()
            self._connection.write_soon(self._framed(held))

    def _framed(self, data: bytes) -> bytes:
        return b"%x\r\n%s\r\n" % (len(data), data) if self._chunked else data

    async def json(self, value: Any) -> None:
        """Send one JSON line."""
        await self.write(msgspec.json.encode(value) + b"\r\n")

    async def end(self) -> None:
        """Finish the body. Without it the client knows that the answer is cut short. Raises Gone."""
        self._flush()
        if self._chunked and not self._silent:
            await self._connection.write(b"0\r\n\r\n")
