"""One connection: bytes in with backpressure, bytes out with backpressure, half-close both ways."""

import asyncio
import os
import socket
from collections.abc import Callable
from typing import Any, BinaryIO

from havre.http.leaving import Watch

HIGH_WATER_BYTES = 256 * 1024
KEEPALIVE_IDLE_S, KEEPALIVE_STEP_S, KEEPALIVE_TRIES = (
    30,
    10,
    3,
)  # a client whose machine vanished is found in a minute


class Gone(Exception):
    """The client has closed the connection."""


class Connection(asyncio.Protocol):
    """A buffer between the transport and one reading coroutine."""

    def __init__(self, on_open: Callable[["Connection"], None], watch: Watch) -> None:
        self._on_open = on_open
        self._watch = watch
        self._buffer = bytearray()
        self._eof = False
        self._gone = False
        self._waiter: asyncio.Future[None] | None = None
        self._drainers: set[asyncio.Future[None]] = set()
        self._full = False  # the transport holds enough: writers wait
        self._paused = False
        self._fd = -1
        self.local = False  # a unix socket
        self.transport: Any = None
        self.on_leave: Callable[[], None] | None = (
            None  # the client has left, or on tcp may have: see eof_received
        )
        self.hijacked = False

    # protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        sock = self.socket
        if sock is not None:
            self._fd = sock.fileno()
            self.local = sock.family == socket.AF_UNIX
            if not self.local:
                _keep_alive(sock)
        self._on_open(self)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if len(self._buffer) > HIGH_WATER_BYTES and not self._paused:
            self._paused = True
            self.transport.pause_reading()
        self._wake()

    def eof_received(self) -> bool:
        """The client ends its input. It may still read: our side stays open until the kernel reports a hang-up.

        On a unix socket that comes at once with a close. On tcp nothing tells a half-close from a close before we write, so
        outside a hijack it counts as leaving for whoever waits for one (as in Go's net/http).
        """
        self._eof = True
        self._wake()
        if self._fd >= 0:
            self._watch.add(self._fd, self._hung_up)
        if not self.local and not self.hijacked and self.on_leave is not None:
            self.on_leave()
        return True

    def _hung_up(self) -> None:
        self.transport.abort()

    def connection_lost(self, error: Exception | None) -> None:
        self._watch.discard(self._fd)
        if error is not None and self.hijacked and self.local:
            self._rescue_input()
        self._eof = self._gone = True
        self._wake()
        self._wake_drainers()
        if self.on_leave is not None:
            self.on_leave()

    def _rescue_input(self) -> None:
        """A write that failed makes asyncio close the socket; what the client wrote before it left is still in there."""
        try:
            while data := os.read(self._fd, HIGH_WATER_BYTES):
                self._buffer += data
        except OSError:
            pass  # that was all (the kernel holds net.core.rmem_max at most)

    def pause_writing(self) -> None:
        self._full = True

    def resume_writing(self) -> None:
        self._full = False
        self._wake_drainers()

    def _wake_drainers(self) -> None:
        for one in self._drainers:
            if not one.done():
                one.set_result(None)

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

    def take_until(self, mark: bytes, limit: int) -> bytes | None:
        """Return what comes before `mark` if all of it is here already. Raises ValueError past `limit`."""
        place = self._buffer.find(mark, 0, limit + len(mark))
        if place < 0:
            if len(self._buffer) >= limit + len(mark):
                raise ValueError("too long")
            return None
        found = bytes(self._buffer[:place])
        self._take(place + len(mark))
        return found

    async def read_until(self, mark: bytes, limit: int) -> bytes | None:
        """Return what comes before `mark` and take both; None at the end of input. Raises ValueError past `limit`."""
        while (found := self.take_until(mark, limit)) is None:
            if self._eof:
                return None
            await self._wait()
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

    async def discard_input(self) -> None:
        """Read and forget until the end of input."""
        while await self.read_some():
            pass

    @property
    def gone(self) -> bool:
        """Whether the client has left."""
        return self._gone

    @property
    def ended(self) -> bool:
        """Whether the client has ended its input, and all of it was taken."""
        return self._eof and not self._buffer

    @property
    def socket(self) -> socket.socket | None:
        found: socket.socket | None = self.transport.get_extra_info("socket")
        return found

    # writing

    async def write(self, data: bytes) -> None:
        """Send; waits while the client does not read. Raises Gone when it has left."""
        self.write_soon(data)
        if self._full:
            await self.drain()

    def write_soon(self, data: bytes) -> None:
        """Hand bytes to the transport; the caller drains. Raises Gone when the client has left."""
        if self._gone or self.transport.is_closing():
            raise Gone
        self.transport.write(data)

    async def drain(self) -> None:
        """Wait until the transport takes more. Raises Gone when the client leaves."""
        while self._full and not self._gone:
            waiter = asyncio.get_running_loop().create_future()
            self._drainers.add(waiter)
            try:
                await waiter
            finally:
                self._drainers.discard(waiter)
        if self._gone:
            raise Gone

    async def send_file(self, file: BinaryIO, offset: int, count: int) -> None:
        """Send a part of a file by sendfile(2); over TLS by reading. Raises Gone, EOFError when the file is shorter."""
        if self._gone or self.transport.is_closing():
            raise Gone
        if not isinstance(self.transport, asyncio.Transport):
            await self._send_read(file, offset, count)
            return
        try:
            sent = await asyncio.get_running_loop().sendfile(self.transport, file, offset, count)
        except (ConnectionError, asyncio.InvalidStateError):
            raise Gone from None
        if sent < count:
            raise EOFError

    async def _send_read(self, file: BinaryIO, offset: int, count: int) -> None:
        file.seek(offset)
        while count:
            data = file.read(min(count, HIGH_WATER_BYTES))
            if not data:
                raise EOFError
            await self.write(data)
            count -= len(data)

    def end_output(self) -> None:
        """Half-close: our output is complete."""
        if not self.transport.is_closing() and self.transport.can_write_eof():
            self.transport.write_eof()

    def close(self) -> None:
        self.transport.close()


def _keep_alive(sock: socket.socket) -> None:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, KEEPALIVE_IDLE_S)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, KEEPALIVE_STEP_S)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, KEEPALIVE_TRIES)
