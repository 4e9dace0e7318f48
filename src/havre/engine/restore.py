"""When the daemon starts: find every container again, record what ended meanwhile, start what must run."""

import asyncio
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import cast

from havre import clock, log
from havre.engine import boot, execrecords, policy
from havre.engine.background import report
from havre.engine.container import Container
from havre.engine.exec import find_again
from havre.engine.execs import Exec
from havre.engine.finish import finish
from havre.engine.freezer import file_of
from havre.engine.remove import remove_container
from havre.engine.rooms import Rooms
from havre.engine.supervise import watch
from havre.errors import HavreError
from havre.runtime import rundir
from havre.runtime.cgroup import files as cgroup
from havre.runtime.link import Monitor, answers
from havre.spec.runplan import ExitRecord
from havre.tasks import in_disk_thread, in_net_thread, spawn

LOST_EXIT_CODE = (
    255  # what Docker records when it cannot know: the host was rebooted, or the monitor was killed
)
PATIENCE_S = (
    5.0  # a monitor that is starting its container answers when that is done: the daemon does not wait for it
)


async def restore(rooms: Rooms) -> None:
    """Bring records and reality together, all containers at once. Never raises for one of them: it says so in the log."""
    execs = execrecords.load(rooms)
    lost = await in_disk_thread(boot.rebooted, rooms.records)
    if lost:
        log.info("the host was booted since: what ran before has ended", containers=len(rooms.containers))
    over = asyncio.Event()
    work = [
        spawn(f"restore {one.id[:12]}", _restore(rooms, one, execs.get(one.id, ()), lost, over), report)
        for one in rooms.containers
    ]
    if work:
        _, late = await asyncio.wait(work, timeout=PATIENCE_S)
        if late:
            log.warn("monitors that have not answered yet are taken in when they do", containers=len(late))
    down = [one.id for one in rooms.containers if one.record.endpoints and not one.running]
    await in_net_thread(_disconnect, rooms, down)
    await in_disk_thread(_sweep, rooms)
    over.set()
    boot.start_all(rooms, [one for one in rooms.containers if not one.lock.locked() and _starts(one)])


async def _restore(
    rooms: Rooms, container: Container, execs: Sequence[Exec], lost: bool, over: asyncio.Event
) -> None:
    try:
        async with container.lock:
            await _find_again(rooms, container, execs, lost)
        await _go_on(rooms, container)
        if over.is_set() and _starts(container):
            boot.start_all(rooms, [container])
    except (HavreError, OSError) as error:
        log.error("could not restore a container", id=container.id[:12], error=error)


async def _find_again(rooms: Rooms, container: Container, execs: Sequence[Exec], lost: bool) -> None:
    run_dir = rooms.settings.run_dir(container.id)
    found = (
        await in_disk_thread(_left_before_boot, run_dir) if lost else await rooms.runtime.adopt(str(run_dir))
    )
    if isinstance(found, Monitor):
        _adopted(rooms, container, found)
        find_again(rooms, container, found, execs)
        return
    container.ended.set()
    state = container.state
    if container.running:
        await finish(rooms, container, found or _lost(state.started_nanos if lost else 0))
    elif found is not None and found["at_nanos"] not in (0, state.finished_nanos):
        state.status = "running"  # it was started and ended between two writes of the record
        await finish(rooms, container, found)
    execrecords.end_all(rooms, container, execs)


async def _go_on(rooms: Rooms, container: Container) -> None:
    """What was to happen to a container that is down."""
    status = container.state.status
    if container.running:
        return
    if status == "removing" or (container.record.host_config.auto_remove and status in ("exited", "dead")):
        container.state.status = "exited"
        await remove_container(rooms, container, force=False)


def _starts(container: Container) -> bool:
    state = container.state
    return state.status == "restarting" or (
        state.status == "exited"
        and policy.wants_start_at_boot(container.record.host_config.restart_policy, state)
    )


def _adopted(rooms: Rooms, container: Container, monitor: Monitor) -> None:
    """Still running: nothing of it was touched by the daemon's end."""
    state = container.state
    before = (state.status, state.pid)
    if not container.running:
        state.started_nanos = clock.now_nanos()
    state.status = "paused" if cgroup.frozen(file_of(rooms, container)) else "running"
    state.pid = monitor.pid
    container.monitor = monitor
    if before != (state.status, state.pid):
        rooms.containers.note(container)
    watch(rooms, container, monitor)
    log.info("container found again", id=container.id[:12], pid=monitor.pid)


def _lost(started_nanos: int) -> ExitRecord:
    """How a container ended that nobody saw end; one that started before the last boot did not outlive it."""
    at_nanos = max(started_nanos, boot.boot_nanos()) if started_nanos else clock.now_nanos()
    return ExitRecord(code=LOST_EXIT_CODE, at_nanos=at_nanos, oom_killed=False, error="")


def _left_before_boot(run_dir: Path) -> ExitRecord | None:
    """The exit record, if there is one. The rest names processes and sockets of another boot and goes unread."""
    record = rundir.read_exit(str(run_dir))
    shutil.rmtree(run_dir, ignore_errors=True)
    return cast("ExitRecord | None", record)


def _disconnect(rooms: Rooms, container_ids: Sequence[str]) -> None:
    for container_id in container_ids:
        rooms.networks.disconnect(container_id)


def _sweep(rooms: Rooms) -> None:
    """Remove directories and snapshots that belong to no record: what a crash left between two steps."""
    known = {one.id for one in rooms.containers} | rooms.containers.unreadable
    for base in (rooms.settings.data_root / "containers", rooms.settings.exec_root / "containers"):
        for name in os.listdir(base) if base.is_dir() else []:
            if name in known:
                continue
            if answers(str(rooms.settings.run_dir(name))):
                log.warn("a container runs that no record knows; it is left alone", id=name[:12])
                continue
            shutil.rmtree(base / name, ignore_errors=True)
            log.info("removed what a crash had left", path=base / name)
    for key in rooms.images.snapshots.keys():
        if key not in known:
            rooms.images.snapshots.remove(key)
