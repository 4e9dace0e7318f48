"""DELETE /containers/{id}: forget a container and give back everything it held. Resumable after kill -9."""

import asyncio
import shutil
import signal

from havre.engine.container import Container
from havre.engine.finish import wake
from havre.engine.pause import let_die
from havre.engine.rooms import Rooms
from havre.errors import Conflict, NotFound
from havre.tasks import in_disk_thread, in_net_thread

KILL_TIMEOUT_S = 10


async def remove(rooms: Rooms, ref: str, *, force: bool = False, volumes: bool = False) -> None:
    """Remove a container. Raises Conflict when it runs and `force` is not set.

    `volumes` asks for its anonymous volumes too; a container has none here, VOLUME paths live in its own layer.
    """
    await remove_container(rooms, rooms.containers.find(ref), force=force)


async def remove_container(rooms: Rooms, container: Container, *, force: bool) -> None:
    """The verb itself, for a container that is already found."""
    if container.state.status == "removing":
        raise Conflict(f"removal of container {container.id} is already in progress")
    if container.running:
        if not force:
            _refuse(container)
        await _kill(rooms, container)
    async with container.lock:
        if container.running:
            _refuse(container)
        container.state.status = "removing"
        rooms.containers.save(container)
        container.restart_now.set()
        await in_net_thread(rooms.networks.disconnect, container.id)
        await in_disk_thread(_give_back, rooms, container.id)
        rooms.containers.discard(container)
    for exec_id in container.execs:
        rooms.execs.discard(exec_id)
    if container.feed is not None:
        container.feed.end()
    wake(container.on_exit, container.state.exit_code)
    wake(container.on_remove, container.state.exit_code)
    rooms.events.publish("container", "destroy", container.id, container.attributes())


def _refuse(container: Container) -> None:
    name, status = container.record.name, container.state.status
    raise Conflict(
        f"cannot remove container {name!r}: container is {status}: stop the container before removing or force remove"
    )


async def _kill(rooms: Rooms, container: Container) -> None:
    container.state.stopped_by_user = True
    try:
        if container.monitor is not None:
            container.monitor.kill(signal.SIGKILL)
    except NotFound:
        pass  # it has just ended by itself
    await let_die(rooms, container)
    try:
        await asyncio.wait_for(container.ended.wait(), KILL_TIMEOUT_S)
    except TimeoutError:
        raise Conflict(
            f"cannot remove container {container.record.name!r}: pid {container.state.pid} does not die",
            hint=f"cat /proc/{container.state.pid}/stack",
        ) from None


def _give_back(rooms: Rooms, container_id: str) -> None:
    """Layers, files and run directory; each step is idempotent."""
    rooms.images.snapshots.remove(container_id)
    shutil.rmtree(rooms.settings.run_dir(container_id), ignore_errors=True)
    shutil.rmtree(rooms.settings.container_dir(container_id), ignore_errors=True)
