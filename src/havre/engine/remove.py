"""DELETE /containers/{id}: forget a container and give back everything it held. Resumable after kill -9."""

import shutil
from contextlib import suppress

from havre.engine.container import Container
from havre.engine.ending import kill_processes
from havre.engine.finish import wake
from havre.engine.rooms import Rooms
from havre.engine.volumes import remove_anonymous
from havre.errors import Conflict, HavreError
from havre.tasks import in_disk_thread, in_net_thread


async def remove(rooms: Rooms, ref: str, *, force: bool = False, volumes: bool = False) -> None:
    """Remove a container, with `volumes` its anonymous volumes too. Raises Conflict when it runs and `force` is not set."""
    container = rooms.containers.find(ref)
    if container.state.status == "removing":
        raise Conflict(f"removal of container {ref} is already in progress")
    await remove_container(rooms, container, force=force)
    if volumes:
        await remove_anonymous(rooms, container.record)


async def remove_container(rooms: Rooms, container: Container, *, force: bool) -> None:
    """The verb itself, for a container that is already found. One that cannot be removed is dead, and can be tried again."""
    if container.up and not force:
        _refuse(container)
    if container.running:
        container.state.stopped_by_user = True
        await kill_processes(rooms, container)
    async with container.lock:
        if container.state.status == "removing":
            raise Conflict(f"removal of container {container.id} is already in progress")
        if container.running:
            _refuse(container)
        container.state.status = "removing"
        rooms.containers.note(container)
        container.restart_now.set()
        try:
            await in_net_thread(rooms.networks.disconnect, container.id)
            await in_disk_thread(_give_back, rooms, container.id)
        except (HavreError, OSError) as error:
            _bury(rooms, container, error)
            raise HavreError(
                f"container {container.id}: {error}", hint=f"havre rm {container.record.name}"
            ) from error
        rooms.containers.discard(container)
    for exec_id in container.execs:
        rooms.execs.discard(exec_id)
    if container.feed is not None:
        container.feed.end()
    for attached in container.attaching:
        attached.sock.close()
    container.attaching.clear()
    wake(container.on_exit, container.state.exit_code)
    wake(container.on_remove, container.state.exit_code)
    rooms.events.publish("container", "destroy", container.id, container.attributes())


def _bury(rooms: Rooms, container: Container, error: Exception) -> None:
    container.state.status, container.state.error = "dead", str(error)
    rooms.containers.note(container)
    wake(container.on_remove, container.state.exit_code)


def _refuse(container: Container) -> None:
    name, status = container.record.name, container.state.status
    if status == "paused":
        raise Conflict(f'cannot remove container "/{name}": container is paused and must be unpaused first')
    raise Conflict(
        f'cannot remove container "/{name}": container is {status}: stop the container before removing or force remove'
    )


def _give_back(rooms: Rooms, container_id: str) -> None:
    """Layers, files and run directory; each step is idempotent."""
    rooms.images.snapshots.remove(container_id)
    for folder in (rooms.settings.run_dir(container_id), rooms.settings.container_dir(container_id)):
        with suppress(FileNotFoundError):
            shutil.rmtree(folder)
