"""Read a container's log: the last n lines, a stretch of time, and on while the container runs."""

import asyncio
import os
import time
from collections.abc import AsyncIterator
from typing import Any

from havre.errors import KernelError
from havre.linux import inotify
from havre.logs.files import Cursor
from havre.logs.rows import Row
from havre.spec.runplan import LogPlan
from havre.tasks import in_disk_thread, spawn

POLL_S = 0.2  # when the host has no inotify instance left (fs.inotify.max_user_instances)

Ended = asyncio.Event | asyncio.Future[Any]


async def read(
    plan: LogPlan,
    *,
    since: int = 0,
    until: int = 0,
    tail: int | None = None,
    follow: bool = False,
    detailed: bool = False,
    ended: Ended,
) -> AsyncIterator[Row]:
    """Yield (stream, nanos, line) from `since` to `until` (nanoseconds; 0 is open), of the last `tail` rows (None is all).

    With `detailed` each line begins with its attributes. With `follow` it goes on until `ended` is set or done (the container has stopped and its log is whole), or `until` has come.
    """
    if not plan["path"]:
        return
    waker = (
        _Waker(plan["path"], ended) if follow else None
    )  # before the first look: what comes later wakes it
    cursor = await in_disk_thread(
        Cursor,
        plan["path"],
        tail=tail,
        since_nanos=since,
        follow=follow,
        form=plan["format"],
        detailed=detailed,
    )
    try:
        while True:
            last = waker is None or waker.ended
            while (rows := await in_disk_thread(cursor.next_rows)) is not None:
                for row in rows:
                    if until and row[1] > until:
                        return
                    if row[1] >= since:
                        yield row
            if last or waker is None or not await waker.wait(until):
                return
    finally:
        cursor.close()
        if waker is not None:
            waker.close()


class _Waker:
    """Wakes a follower when the log's directory changes or the container has ended."""

    def __init__(self, path: str, ended: Ended) -> None:
        self._changed = asyncio.Event()
        self._watched = -1
        self._own = isinstance(ended, asyncio.Event)
        self._ended: asyncio.Future[Any] = (
            spawn("follow log", ended.wait(), lambda name, error: None)
            if isinstance(ended, asyncio.Event)
            else ended
        )
        self._ended.add_done_callback(self._wake)
        try:
            self._watched = inotify.watch_directory(os.path.dirname(path))
            asyncio.get_running_loop().add_reader(self._watched, self._on_event)
        except KernelError:
            pass  # too many watchers: look again every POLL_S

    @property
    def ended(self) -> bool:
        """Whether the container has ended (perhaps it runs again by now: this follower was its last life's)."""
        return self._ended.done()

    def _wake(self, _: object) -> None:
        self._changed.set()

    def _on_event(self) -> None:
        inotify.drain(self._watched)
        self._changed.set()

    async def wait(self, until_nanos: int) -> bool:
        """Wait for a change; False when `until` has come instead."""
        limit = (until_nanos - time.time_ns()) / 1e9 if until_nanos else None
        if limit is not None and limit <= 0:
            return False
        if self._watched < 0:
            limit = POLL_S if limit is None else min(limit, POLL_S)
        try:
            await asyncio.wait_for(self._changed.wait(), limit)
        except TimeoutError:
            return not until_nanos or time.time_ns() < until_nanos
        self._changed.clear()
        return True

    def close(self) -> None:
        if self._watched >= 0:
            asyncio.get_running_loop().remove_reader(self._watched)
            os.close(self._watched)
            self._watched = -1
        self._ended.remove_done_callback(self._wake)
        if self._own:
            self._ended.cancel()
