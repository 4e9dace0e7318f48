"""Read a json-file log: tail, since, until, follow across rotations. Async; the file is read in small steps."""

import asyncio
import os
from collections.abc import AsyncIterator
from typing import Protocol

import msgspec

from havre.spec.runplan import LogPlan

STEP_BYTES = 256 * 1024
POLL_S = 0.1  # how soon a follower sees a new line
MAX_RECORD_BYTES = 1 << 20


class Ended(Protocol):
    """Says whether the container has stopped (asyncio.Event)."""

    def is_set(self) -> bool: ...


class _Record(msgspec.Struct):
    log: str = ""
    stream: str = "stdout"
    time: str = ""


_decoder = msgspec.json.Decoder(_Record)
Line = tuple[str, int, bytes]


def parse(record: bytes) -> Line | None:
    """Return (stream, nanos, text) of one record; None for one a crash has torn."""
    try:
        found = _decoder.decode(record)
        return found.stream, _nanos(found.time), found.log.encode("utf-8", "replace")
    except (msgspec.DecodeError, ValueError):
        return None


def _nanos(stamp: str) -> int:
    """Nanoseconds of 2026-11-24T12:00:00.123456789Z."""
    import calendar
    import time

    seconds = calendar.timegm(time.strptime(stamp[:19], "%Y-%m-%dT%H:%M:%S"))
    fraction = stamp[19:].strip(".Z")
    return seconds * 1_000_000_000 + int((fraction + "0" * 9)[:9])


def files(plan: LogPlan) -> list[str]:
    """Return the existing files, oldest first."""
    path = plan["path"]
    old = [f"{path}.{number}" for number in range(max(plan["max_files"], 1), 0, -1)]
    return [each for each in (*old, path) if os.path.exists(each)]


async def read(
    plan: LogPlan,
    *,
    since: int = 0,
    until: int = 0,
    tail: int | None = None,
    follow: bool = False,
    ended: Ended,
) -> AsyncIterator[Line]:
    """Yield lines oldest first. `since` and `until` are nanoseconds (0: none), `tail` counts lines (None: all).

    With `follow` it goes on until `ended` is set and everything written before was yielded.
    """
    handle = _open(plan["path"])
    position = 0
    for record in _tail_records(plan, tail) if tail is not None else _all_records(plan):
        line = parse(record)
        if line is not None and line[1] >= since and not (until and line[1] > until):
            yield line
        position += 1
        if position % 512 == 0:
            await asyncio.sleep(0)
    if not follow:
        _close(handle)
        return
    async for line in _follow(plan, handle, ended):
        if until and line[1] > until:
            return
        if line[1] >= since:
            yield line


def _open(path: str) -> int:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return -1
    return fd


def _close(fd: int) -> None:
    if fd >= 0:
        os.close(fd)


def _all_records(plan: LogPlan):  # type: ignore[no-untyped-def] # noqa: ANN202
    for path in files(plan):
        try:
            with open(path, "rb") as file:
                yield from file
        except FileNotFoundError:
            continue


def _tail_records(plan: LogPlan, count: int) -> list[bytes]:
    """The last `count` records, read from the end."""
    found: list[bytes] = []
    for path in reversed(files(plan)):
        if len(found) >= count:
            break
        found = _last_lines(path, count - len(found)) + found
    return found[-count:] if count else []


def _last_lines(path: str, count: int) -> list[bytes]:
    with open(path, "rb") as file:
        place = file.seek(0, os.SEEK_END)
        data = b""
        while place > 0 and data.count(b"\n") <= count:
            step = min(STEP_BYTES, place)
            place -= step
            file.seek(place)
            data = file.read(step) + data
    return data.splitlines(keepends=True)[-count:]


async def _follow(plan: LogPlan, handle: int, ended: Ended) -> AsyncIterator[Line]:
    """Yield what is appended from now on; a rotated file is read to its end before the new one is opened."""
    if handle >= 0:
        os.lseek(handle, 0, os.SEEK_END)
    rest = b""
    try:
        while True:
            last_look = ended.is_set()
            if handle < 0:
                handle = _open(plan["path"])
            data = os.read(handle, STEP_BYTES) if handle >= 0 else b""
            if data:
                *records, rest = (rest + data).split(b"\n")
                for record in records:
                    if (line := parse(record)) is not None:
                        yield line
                await asyncio.sleep(0)
                continue
            if handle >= 0 and _rotated(plan["path"], handle):
                os.close(handle)
                handle = _open(plan["path"])
                continue
            if last_look:
                return
            await asyncio.sleep(POLL_S)
    finally:
        _close(handle)


def _rotated(path: str, handle: int) -> bool:
    """Whether the path names another file now, or was cut to nothing."""
    here = os.fstat(handle)
    try:
        there = os.stat(path)
    except FileNotFoundError:
        return False
    if there.st_ino != here.st_ino:
        return True
    if here.st_size < os.lseek(handle, 0, os.SEEK_CUR):
        os.lseek(handle, 0, os.SEEK_SET)
    return False
