"""Background tasks: named, referenced until they end, awaited at shutdown; blocking work on named bounded threads."""

import asyncio
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, ParamSpec, TypeVar

from havre.errors import Unavailable

P = ParamSpec("P")
T = TypeVar("T")

DISK_THREADS = 4  # tar, hash, fsync, records: small-file syscalls hold the GIL, more threads do not help
ARCHIVE_THREADS = (
    8  # what a client feeds or reads at its own pace: a slow one must not hold up starts and pulls
)


class Pool(ThreadPoolExecutor):
    """Where the host gives no more threads (pids.max), work waits for one that is there, and is refused when there is none."""

    def _adjust_thread_count(self) -> None:
        try:
            super()._adjust_thread_count()
        except RuntimeError:
            if self._threads:
                return
            self._work_queue.get_nowait()
            raise Unavailable(
                "the host gives havred no more threads", hint="more of them: TasksMax, pids.max, ulimit -u"
            ) from None


_running: set[asyncio.Task[Any]] = set()
_disk: Pool | None = None
_archive: Pool | None = None
_net: Pool | None = None


def spawn(
    name: str, work: Coroutine[Any, Any, T], on_error: Callable[[str, BaseException], None]
) -> asyncio.Task[T]:
    """Start a task that cannot be lost: it is referenced here, and an exception goes to `on_error(name, error)`."""
    task = asyncio.get_running_loop().create_task(work, name=name)
    _running.add(task)
    task.add_done_callback(partial(_done, on_error))
    return task


def _done(on_error: Callable[[str, BaseException], None], task: asyncio.Task[Any]) -> None:
    _running.discard(task)
    if not task.cancelled() and (error := task.exception()) is not None:
        on_error(task.get_name(), error)


async def shutdown(timeout_s: float) -> None:
    """Cancel what still runs and wait for it, at most `timeout_s`."""
    tasks = [task for task in _running if task is not asyncio.current_task()]
    for task in tasks:
        task.cancel()
    if tasks:
        await asyncio.wait(tasks, timeout=timeout_s)


async def in_disk_thread(work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run blocking disk work on one of DISK_THREADS threads named havre-disk."""
    global _disk
    if _disk is None:
        _disk = Pool(DISK_THREADS, thread_name_prefix="havre-disk")
    return await asyncio.get_running_loop().run_in_executor(_disk, partial(work, *args, **kwargs))


async def in_archive_thread(work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run blocking work on a client's stream (load, import, save) on one of ARCHIVE_THREADS threads named havre-archive."""
    global _archive
    if _archive is None:
        _archive = Pool(ARCHIVE_THREADS, thread_name_prefix="havre-archive")
    return await asyncio.get_running_loop().run_in_executor(_archive, partial(work, *args, **kwargs))


async def in_net_thread(work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run netlink and nft work on the one thread named havre-net: kernel network changes stay in order."""
    global _net
    if _net is None:
        _net = Pool(1, thread_name_prefix="havre-net")
    return await asyncio.get_running_loop().run_in_executor(_net, partial(work, *args, **kwargs))
