"""One HTTP/1.1 connection, the client's side: an asyncio Protocol with backpressure, limits and deadlines."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import httptools

from havre.registry.origin import Origin

HEAD_S = 60.0  # for the whole head of an answer: a slow drip does not prolong it
STALL_S, STALL_BYTES = 60.0, 4096  # fewer bytes than this in that time is a stalled body
MAX_HEAD_BYTES = 64 * 1024
HIGH_WATER_BYTES = 2 << 20

Body = bytes | Callable[[], AsyncIterator[bytes]] | None  # a factory, so that a request can be sent again


class Broken(ConnectionError):
    """The exchange cannot go on; `answered` says whether a byte of an answer had come."""

    def __init__(self, reason: str, *, answered: bool) -> None:
        super().__init__(reason)
        self.answered = answered


class Link(asyncio.Protocol):
    """One exchange after the other. status, headers and the pieces of the body belong to the present one."""

    def __init__(self, origin: Origin) -> None:
        self.origin = origin
        self.status = 0
        self.headers: dict[str, list[str]] = {}
        self.keep = False
        self.complete = True  # between exchanges
        self.transport: Any = None
        self._parser: Any = None
        self._headed, self._bodiless, self._ended = False, False, False
        self._head_bytes, self._buffered, self._received = 0, 0, 0
        self._pieces: list[bytes] = []
        self._patience_s, self._window_start = STALL_S, 0
        self._fault: BaseException | None = None
        self._paused = False
        self._news: asyncio.Future[None] | None = None
        self._writable: asyncio.Future[None] | None = None

    # asyncio's callbacks

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self._received += len(data)
        if self.complete:  # nobody asked: whatever it is, this connection cannot be trusted any more
            self.keep = False
            self.close()
            return
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self._fault = ConnectionError(f"malformed HTTP: {error.__context__ or error}")
            self.close()
        if not self._headed and self._received > MAX_HEAD_BYTES:
            self._fault = ConnectionError("the head of the answer is too long")
            self.close()
        self._tell()

    def eof_received(self) -> bool:
        return False

    def connection_lost(self, error: Exception | None) -> None:
        self._ended = True
        self._fault = self._fault or error
        if self._headed and not self.complete and self._until_end():
            self.complete = True
        if self._writable is not None and not self._writable.done():
            self._writable.set_result(None)
        self._tell()

    def pause_writing(self) -> None:
        self._writable = asyncio.get_running_loop().create_future()

    def resume_writing(self) -> None:
        if self._writable is not None and not self._writable.done():
            self._writable.set_result(None)
        self._writable = None

    def _tell(self) -> None:
        if self._news is not None and not self._news.done():
            self._news.set_result(None)

    def _until_end(self) -> bool:
        """An answer without a length ends with the connection."""
        return "content-length" not in self.headers and "transfer-encoding" not in self.headers

    # httptools' callbacks

    def on_message_begin(self) -> None:
        if self._headed:
            raise ConnectionError("a second answer to one request")
        self.headers, self._head_bytes = {}, 0

    def on_header(self, name: bytes, value: bytes) -> None:
        self._head_bytes += len(name) + len(value) + 4
        if self._head_bytes > MAX_HEAD_BYTES:
            raise ConnectionError("the head of the answer is too long")
        if not self._headed:  # trailers say nothing here
            self.headers.setdefault(name.decode("latin-1").lower(), []).append(value.decode("latin-1"))

    def on_headers_complete(self) -> None:
        self.status = self._parser.get_status_code()
        self._headed = self.status >= 200  # 1xx: the answer itself follows
        if self._headed:
            self.keep = self._parser.should_keep_alive()
            self.complete = self._bodiless or self.status in (204, 304)

    def on_body(self, data: bytes) -> None:
        if self._bodiless:
            return
        self._pieces.append(data)
        self._buffered += len(data)
        if self._buffered > HIGH_WATER_BYTES and not self._paused and not self._ended:
            self._paused = True
            self.transport.pause_reading()

    def on_message_complete(self) -> None:
        self.complete = self.complete or self._headed

    # what the pool and a Response use

    @property
    def usable(self) -> bool:
        return not self._ended and self.complete and not self.transport.is_closing()

    async def exchange(self, head: bytes, body: Body, *, bodiless: bool) -> None:
        """Send a request and wait for the head of its answer. Raises Broken."""
        self.status, self.headers, self.keep, self.complete = 0, {}, False, False
        self._headed, self._bodiless, self._fault = False, bodiless, None
        self._head_bytes, self._buffered, self._received = 0, 0, 0
        self._pieces = []
        self._patience_s, self._window_start = STALL_S, 0
        self._parser = httptools.HttpResponseParser(self)
        self.transport.write(head + body if isinstance(body, bytes) else head)
        sent = True
        if body is not None and not isinstance(body, bytes):
            sent = await self._send(body())
        try:
            async with asyncio.timeout(HEAD_S):
                while not self._headed:
                    await self._wait()
        except TimeoutError:
            self.close()
            raise Broken(f"no answer within {HEAD_S:.0f} s", answered=False) from None
        self.keep = self.keep and sent

    async def _send(self, chunks: AsyncIterator[bytes]) -> bool:
        """Send a body; False when an answer came before all of it was sent."""
        async for chunk in chunks:
            if self._headed or self._ended:
                return False
            self.transport.write(chunk)
            if self._writable is not None:
                await self._drained()
        return True

    async def _drained(self) -> None:
        try:
            async with asyncio.timeout(STALL_S):
                while self._writable is not None and not self._writable.done() and not self._headed:
                    await asyncio.wait({self._writable}, timeout=1.0)
        except TimeoutError:
            self.close()
            raise Broken("the other side takes no more data", answered=self._received > 0) from None

    async def _wait(self) -> None:
        """Wait for news of the connection. Raises Broken when there cannot be any."""
        if self._ended or self._fault is not None:
            reason = str(self._fault or "") or "the connection was closed"
            raise Broken(reason, answered=self._received > 0) from self._fault
        self._news = asyncio.get_running_loop().create_future()
        await self._news

    async def piece(self) -> bytes | None:
        """Return what has come of the body, None at its end. Raises Broken."""
        if not self._pieces and not self.complete:
            await self._next_piece()
        if not self._pieces:
            return None
        data = self._pieces[0] if len(self._pieces) == 1 else b"".join(self._pieces)
        self._pieces.clear()
        self._buffered = 0
        if self._paused:
            self._paused = False
            if not self._ended:
                self.transport.resume_reading()
        return data

    async def _next_piece(self) -> None:
        """Wait; only waiting counts against the other side's patience, not what our caller does between two pieces."""
        clock = asyncio.get_running_loop().time
        began = clock()
        try:
            async with asyncio.timeout(self._patience_s):
                while not self._pieces and not self.complete:
                    await self._wait()
        except TimeoutError:
            self.close()
            raise Broken(f"nothing more came for {STALL_S:.0f} s", answered=True) from None
        self._patience_s -= clock() - began
        if self._received - self._window_start >= STALL_BYTES:
            self._patience_s, self._window_start = STALL_S, self._received

    def close(self) -> None:
        """End the connection, whatever is under way."""
        if self.transport is not None:
            self.transport.abort()
