"""One connection: bytes in with backpressure, bytes out with backpressure, half-close both ways."""

import asyncio
import select
import socket
from collections.abc import Callable
from typing import Any

HIGH_WATER_BYTES = 256 * 1024


class Gone(Exception):
    """The client has closed the connection."""


class Connection(asyncio.Protocol):
    """A buffer between the transport and one reading coroutine."""

    def __init__(self, on_open: Callable[["Connection"], None]) -> None:
        self._on_open = on_open
        self._buffer = bytearray()
        self._eof = False
        self._gone = False
        self._waiter: asyncio.Future[None] | None = None
        self._drained: asyncio.Future[None] | None = None
        self._paused = False
        self.transport: Any = None
        self.on_gone: Callable[[], None] | None = None  # called once when the client has left
        self.hijacked = False

    # protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self._on_open(self)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if len(self._buffer) > HIGH_WATER_BYTES and not self._paused:
            self._paused = True
            self.transport.pause_reading()
        self._wake()

    def eof_received(self) -> bool:
        self._eof = True
        self._wake()
        if not self.hijacked and self._closed_both_ways():
            self._leave()
        return True  # our side stays open: the client may only have ended its input

    def _closed_both_ways(self) -> bool:
        """On a unix socket the kernel tells a half-close from a close; on tcp an EOF outside a hijack counts as leaving."""
        sock = self.socket
        if sock is None or sock.family != socket.AF_UNIX:
            return True
        poller = select.poll()
        poller.register(sock.fileno(), 0)
        return any(events & select.POLLHUP for _, events in poller.poll(0))

    def connection_lost(self, error: Exception | None) -> None:
        self._eof = True
        self._leave()
        self._wake()
        if self._drained is not None and not self._drained.done():
            self._drained.set_exception(Gone())

    def _leave(self) -> None:
        if not self._gone:
            self._gone = True
            if self.on_gone is not None:
                self.on_gone()

    def pause_writing(self) -> None:
        self._drained = asyncio.get_running_loop().create_future()

    def resume_writing(self) -> None:
        if self._drained is not None and not self._drained.done():
            self._drained.set_result(None)
        self._drained = None

    # reading

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def wait_input(self) -> bool:
        """Wait until there are bytes to take; False at the end of input."""
        while not self._buffer:
            if self._eof:
                return False
            await self._wait()
        return True

    async def _wait(self) -> None:
        """Wait for whatever comes next: bytes or the end."""
        self._waiter = asyncio.get_running_loop().create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    async def read_until(self, mark: bytes, limit: int) -> bytes | None:
        """Return what comes before `mark` and take both; None at the end of input. Raises ValueError past `limit`."""
        seen = 0
        while (place := self._buffer.find(mark, max(0, seen - len(mark)))) < 0:
            seen = len(self._buffer)
            if seen > limit:
                raise ValueError("too long")
            if self._eof:
                return None
            await self._wait()
        if place > limit:
            raise ValueError("too long")
        found = bytes(self._buffer[:place])
        self._take(place + len(mark))
        return found

    async def read_some(self, most: int = HIGH_WATER_BYTES) -> bytes:
        """Return at least one byte, or b"" at the end of input."""
        if not await self.wait_input():
            return b""
        found = bytes(self._buffer[:most])
        self._take(len(found))
        return found

    def _take(self, count: int) -> None:
        del self._buffer[:count]
        if self._paused and len(self._buffer) < HIGH_WATER_BYTES // 2 and not self._gone:
            self._paused = False
            self.transport.resume_reading()

    @property
    def gone(self) -> bool:
        """Whether the client has left."""
        return self._gone

    @property
    def socket(self) -> socket.socket | None:
        found: socket.socket | None = self.transport.get_extra_info("socket")
        return found

    # writing

    async def write(self, data: bytes) -> None:
        """Send; waits while the client does not read. Raises Gone when it has left."""
        if self._gone or self.transport.is_closing():
            raise Gone
        self.transport.write(data)
        if self._drained is not None:
            await self._drained

    def end_output(self) -> None:
        """Half-close: our output is complete."""
        if not self.transport.is_closing() and self.transport.can_write_eof():
            self.transport.write_eof()

    def close(self) -> None:
        self.transport.close()
