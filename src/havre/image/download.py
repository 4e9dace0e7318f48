"""Bring one blob here: resumed after a break, retried with patience, never twice at the same time."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from typing import Any, Protocol, TypeVar, cast
from weakref import WeakValueDictionary

from havre.errors import Unavailable
from havre.image.content import Content, DigestMismatch, Ingest
from havre.image.manifest import Descriptor
from havre.tasks import in_disk_thread

PROGRESS_BYTES = 64 << 10  # an attempt that brought this much does not count
WRITE_BYTES = 1 << 20
REPORT_S = 0.1
T = TypeVar("T")
Locks = WeakValueDictionary[str, asyncio.Lock]
Say = Callable[[Descriptor, str, int, int], None]


class Source(Protocol):
    """Where blobs come from: (offset the bytes begin at, the bytes)."""

    async def __call__(
        self, digest: str, offset: int, *, mirrors: bool
    ) -> tuple[int, AsyncIterator[bytes]]: ...


def lock_for(locks: Locks, name: str) -> asyncio.Lock:
    """Return the one lock of a name; it is forgotten when nobody holds it."""
    found = locks.get(name)
    if found is None:
        found = locks[name] = asyncio.Lock()
    return found


async def whole(work: Awaitable[T]) -> T:
    """Wait for work in a thread even when we are cancelled: a thread cannot be, and its file must stay open."""
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait({task})
        raise


async def download(content: Content, source: Source, blob: Descriptor, say: Say, attempts: int) -> None:
    """Fetch a blob into the content store. Raises Unavailable, DigestMismatch, or what the registry answers."""
    attempt, mismatches, have = 0, 0, 0
    while True:
        writer = await whole(in_disk_thread(content.ingest, blob.digest, blob.size))
        if writer.offset - have >= PROGRESS_BYTES:
            attempt = 0
        have = writer.offset
        try:
            if attempt >= 2:  # what is here may be what disturbs (a wrong part, an offset not served)
                await whole(in_disk_thread(writer.restart))
            await _once(source, blob, writer, say, mirrors=not mismatches)
            return
        except (Unavailable, DigestMismatch) as error:
            attempt += 1
            mismatches += isinstance(error, DigestMismatch)
            if attempt >= attempts or mismatches > 1:
                raise
        finally:
            await whole(in_disk_thread(writer.__exit__))
        await _pause(blob, say, 1 << (attempt - 1))


async def _pause(blob: Descriptor, say: Say, seconds: int) -> None:
    for left in range(seconds, 0, -1):
        say(blob, f"Retrying in {left} second{'s' if left > 1 else ''}", 0, 0)
        await asyncio.sleep(1)


async def _once(source: Source, blob: Descriptor, writer: Ingest, say: Say, *, mirrors: bool) -> None:
    if writer.offset < blob.size:
        offset, chunks = await source(blob.digest, writer.offset, mirrors=mirrors)
        async with aclosing(cast("Any", chunks)):
            if offset != writer.offset:
                await whole(in_disk_thread(writer.restart))
            await _receive(blob, writer, chunks, say)
    say(blob, "Verifying Checksum", 0, 0)
    if writer.offset < blob.size:
        raise Unavailable(f"{blob.digest} was cut short: {writer.offset} of {blob.size} bytes")
    await whole(in_disk_thread(writer.commit))


async def _receive(blob: Descriptor, writer: Ingest, chunks: AsyncIterator[bytes], say: Say) -> None:
    """Hash and write in the thread while the next piece is on its way."""
    clock = asyncio.get_running_loop().time
    pending: list[bytes] = []
    size, said = 0, 0.0
    writing: asyncio.Future[None] | None = None
    try:
        async for chunk in chunks:
            pending.append(chunk)
            size += len(chunk)
            if size >= WRITE_BYTES:
                if writing is not None:
                    await writing
                writing = asyncio.ensure_future(in_disk_thread(_write, writer, pending))
                pending, size = [], 0
                if clock() - said >= REPORT_S:
                    said = clock()
                    say(blob, "Downloading", writer.offset, blob.size)
    finally:
        if writing is not None:
            await whole(writing)
        if pending:
            await whole(in_disk_thread(_write, writer, pending))


def _write(writer: Ingest, pieces: list[bytes]) -> None:
    for piece in pieces:
        writer.write(piece)
