"""Archives between a client and blocking work on a thread, through pipes: the client sets the pace, the loop never waits."""

import asyncio
import fcntl
import io
import os
from collections.abc import Awaitable, Callable
from typing import Any, BinaryIO, TypeVar, cast

from havre.errors import HavreError, InvalidParameter
from havre.http.server import Request, Stream

T = TypeVar("T")
PIPE_STEP_BYTES = 262144
PIPE_BYTES = 1 << 20  # /proc/sys/fs/pipe-max-size allows that much to everybody


class BodyFile(io.RawIOBase):
    """The reading end. A body that was cut short raises there, so that half an archive is never taken for a whole one."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self.failure: HavreError | None = None

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        count = os.readv(self._fd, [buffer])
        if not count and self.failure is not None:
            raise self.failure
        return count

    def close(self) -> None:
        if not self.closed:
            super().close()
            os.close(self._fd)


def open_pipe() -> tuple[int, int]:
    reading, writing = os.pipe()
    try:
        fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
    except OSError:
        pass  # it stays at 64 KiB
    return reading, writing


async def with_body(request: Request, work: Callable[[BinaryIO], Awaitable[T]]) -> T:
    """Give blocking work the body as a file. When the caller is cancelled the work sees a cut body and ends by itself."""
    reading, writing = open_pipe()
    file = BodyFile(reading)
    feeding = asyncio.ensure_future(_feed(request, writing, file))
    working = asyncio.ensure_future(work(cast("BinaryIO", io.BufferedReader(file, PIPE_STEP_BYTES))))
    working.add_done_callback(lambda _: file.close())  # not before: its thread may be reading
    try:
        return await asyncio.shield(working)
    finally:
        if not feeding.done():
            file.failure = InvalidParameter("the request body was cut short")
            feeding.cancel()
        await asyncio.gather(feeding, return_exceptions=True)
        working.add_done_callback(_look)


def _look(done: "asyncio.Future[Any]") -> None:
    """Take the exception of work nobody waits for any more."""
    if not done.cancelled():
        done.exception()


async def _feed(request: Request, fd: int, file: BodyFile) -> None:
    """Write the body into a pipe as fast as it is read."""
    os.set_blocking(fd, False)
    try:
        async for chunk in request.chunks():
            view = memoryview(chunk)
            while view:
                try:
                    view = view[os.write(fd, view) :]
                except BlockingIOError:
                    await _ready(fd, writing=True)
    except BrokenPipeError:
        pass  # the work has what it wanted
    except HavreError as error:
        file.failure = error
    except BaseException:
        file.failure = InvalidParameter("the request body was cut short")
        raise
    finally:
        os.close(fd)


async def _ready(fd: int, *, writing: bool) -> None:
    """Wait until a pipe can be read or written."""
    loop = asyncio.get_running_loop()
    ready: asyncio.Future[None] = loop.create_future()

    def wake() -> None:
        if not ready.done():
            ready.set_result(None)

    if writing:
        loop.add_writer(fd, wake)
    else:
        loop.add_reader(fd, wake)
    try:
        await ready
    finally:
        loop.remove_writer(fd) if writing else loop.remove_reader(fd)


async def send_output(stream: Stream, work: Callable[[BinaryIO], Awaitable[None]]) -> None:
    """Send what blocking work writes into a file. When the client leaves, the work's next write fails and it ends by itself."""
    reading, writing = open_pipe()
    working = asyncio.ensure_future(_into(writing, work))
    try:
        await send_pipe(stream, reading)
    finally:
        os.close(reading)
        working.add_done_callback(_look)
    await working


async def _into(fd: int, work: Callable[[BinaryIO], Awaitable[None]]) -> None:
    """Unbuffered, so that a close has nothing left to write: it happens in the loop, which reads the other end."""
    file = _PipeFile(fd)
    try:
        await work(cast("BinaryIO", file))
    finally:
        file.close()


class _PipeFile(io.RawIOBase):
    """The writing end: every write is whole."""

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        view = memoryview(data).cast("B")
        size = len(view)
        while view:
            view = view[os.write(self._fd, view) :]
        return size

    def close(self) -> None:
        if not self.closed:
            super().close()
            os.close(self._fd)


async def send_pipe(stream: Stream, fd: int) -> None:
    """Send what comes out of a pipe until its end."""
    os.set_blocking(fd, False)
    while True:
        try:
            data = os.read(fd, PIPE_STEP_BYTES)
        except BlockingIOError:
            await _ready(fd, writing=False)
            continue
        if not data:
            return
        await stream.write(data)
