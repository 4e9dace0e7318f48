"""When the daemon starts: find every container again, record what ended meanwhile, start what must run."""

import os
import shutil

from havre import clock, log
from havre.engine import policy
from havre.engine.background import report
from havre.engine.container import Container
from havre.engine.finish import finish
from havre.engine.freezer import file_of
from havre.engine.remove import remove_container
from havre.engine.rooms import Rooms
from havre.engine.supervise import begin, watch
from havre.errors import HavreError
from havre.runtime.cgroup import files as cgroup
from havre.runtime.link import Monitor
from havre.spec.runplan import ExitRecord
from havre.tasks import in_disk_thread, in_net_thread, spawn

LOST_EXIT_CODE = (
    255  # what Docker records when it cannot know: the host was rebooted, or the monitor was killed
)


async def restore(rooms: Rooms) -> None:
    """Bring records and reality together. Never raises for one container: it says so in the log and goes on."""
    for container in rooms.containers:
        try:
            await _restore_one(rooms, container)
        except HavreError as error:
            log.error("could not restore a container", id=container.id[:12], error=error)
    await in_disk_thread(_sweep, rooms)
    for container in rooms.containers:
        if not container.running and _starts_at_boot(container):
            spawn(f"boot {container.id[:12]}", _start_at_boot(rooms, container), report)


async def _restore_one(rooms: Rooms, container: Container) -> None:
    found = await rooms.runtime.adopt(str(rooms.settings.run_dir(container.id)))
    if isinstance(found, Monitor):
        await _adopted(rooms, container, found)
        return
    container.ended.set()
    if container.running:
        await finish(rooms, container, found or _lost())
    elif found is not None and container.state.started_nanos < found["at_nanos"]:
        container.state.status = "running"  # it was started and ended between two writes of the record
        await finish(rooms, container, found)
    else:
        await in_net_thread(rooms.networks.disconnect, container.id)
    if container.state.status == "removing" or (
        container.record.host_config.auto_remove and _has_run(container)
    ):
        container.state.status = "exited"
        await remove_container(rooms, container, force=False)


def _has_run(container: Container) -> bool:
    return container.state.status in ("exited", "dead", "removing")


async def _adopted(rooms: Rooms, container: Container, monitor: Monitor) -> None:
    """Still running: nothing of it was touched by the daemon's end."""
    state = container.state
    if not container.running:
        state.started_nanos = state.started_nanos or clock.now_nanos()
    state.status = "paused" if cgroup.frozen(file_of(rooms, container)) else "running"
    state.pid = monitor.pid
    container.monitor = monitor
    rooms.containers.save(container)
    watch(rooms, container, monitor)
    log.info("container found again", id=container.id[:12], pid=monitor.pid)


def _lost() -> ExitRecord:
    return ExitRecord(code=LOST_EXIT_CODE, at_nanos=clock.now_nanos(), oom_killed=False, error="")


def _sweep(rooms: Rooms) -> None:
    """Remove directories and snapshots that belong to no record: what a crash left between two steps."""
    known = {one.id for one in rooms.containers}
    for base in (rooms.settings.data_root / "containers", rooms.settings.exec_root / "containers"):
        for name in os.listdir(base) if base.is_dir() else []:
            if name not in known:
                shutil.rmtree(base / name, ignore_errors=True)
                log.info("removed what a crash had left", path=base / name)
    for key in rooms.images.snapshots.keys():
        if key not in known:
            rooms.images.snapshots.remove(key)


def _starts_at_boot(container: Container) -> bool:
    state = container.state
    return state.status == "restarting" or policy.wants_start_at_boot(
        container.record.host_config.restart_policy, state
    )


async def _start_at_boot(rooms: Rooms, container: Container) -> None:
    async with container.lock:
        if container.running:
            return
        container.state.status = "exited"
        await begin(rooms, container)
