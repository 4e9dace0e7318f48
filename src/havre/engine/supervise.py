"""Follow running containers to their end: --rm and restart policies happen here."""

import asyncio

from havre import log
from havre.engine import policy, watchhealth
from havre.engine.background import report
from havre.engine.container import Container
from havre.engine.finish import finish
from havre.engine.launch import launch
from havre.engine.remove import remove_container
from havre.engine.rooms import Rooms
from havre.engine.volumes import remove_anonymous
from havre.errors import HavreError
from havre.runtime.link import Monitor
from havre.tasks import spawn


async def begin(rooms: Rooms, container: Container) -> None:
    """Launch with the container's lock held, and follow it."""
    watch(rooms, container, await launch(rooms, container))


def watch(rooms: Rooms, container: Container, monitor: Monitor) -> None:
    """Follow a running container to its end, in the background."""
    spawn(f"watch {container.id[:12]}", _watch(rooms, container, monitor), report)
    watchhealth.begin(rooms, container)


async def _watch(rooms: Rooms, container: Container, monitor: Monitor) -> None:
    ended = await monitor.exited
    watchhealth.end(container)
    async with container.lock:
        again = await finish(rooms, container, ended)
    if again:
        spawn(f"restart {container.id[:12]}", _restart(rooms, container), report)
    elif container.record.host_config.auto_remove:
        await _auto_remove(rooms, container)


def expect_start(rooms: Rooms, container: Container) -> None:
    """A container that is down since before this daemon is to be started: its state says so until `boot` does it."""
    container.forget_failures()
    container.state.status = "restarting"
    container.restart_now.clear()
    rooms.containers.note(container)


async def boot(rooms: Rooms, container: Container) -> None:
    """Try the start once; one that fails goes on in the background, as its policy says."""
    if not await _try(rooms, container):
        spawn(f"restart {container.id[:12]}", _restart(rooms, container), report)


async def _restart(rooms: Rooms, container: Container) -> None:
    """Wait the back-off, then start again; a failed start is retried with a longer pause."""
    while True:
        try:
            await asyncio.wait_for(container.restart_now.wait(), container.restart_pause_s)
        except TimeoutError:
            pass
        if await _try(rooms, container):
            return


async def _try(rooms: Rooms, container: Container) -> bool:
    """Start a container that is restarting; False when it failed and has to be tried again."""
    async with container.lock:
        if container.state.status != "restarting":
            return True
        try:
            await begin(rooms, container)
        except HavreError as error:
            log.warn("restart failed", id=container.id[:12], error=error)
            container.restart_pause_s = policy.next_pause_s(container.restart_pause_s, 0)
            return not _try_again(rooms, container)
        except asyncio.CancelledError:  # the daemon ends: the next one goes on
            container.state.status = "restarting"
            rooms.containers.note(container)
            raise
        return True


def _try_again(rooms: Rooms, container: Container) -> bool:
    if not policy.wants_restart(container.record.host_config.restart_policy, container.state):
        return False
    container.state.status = "restarting"
    container.state.restart_count += 1
    rooms.containers.note(container)
    return True


async def _auto_remove(rooms: Rooms, container: Container) -> None:
    try:
        await remove_container(rooms, container, force=False)
        await remove_anonymous(rooms, container.record)
    except HavreError as error:
        log.warn("could not remove a --rm container", id=container.id[:12], error=error)
