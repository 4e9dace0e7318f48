"""POST /containers/{id}/pause and /unpause: the freezer."""

from havre.engine.container import Container
from havre.engine.rooms import Rooms
from havre.errors import Conflict, HavreError
from havre.runtime.cgroup import files as cgroup
from havre.runtime.cgroup.layout import host_layout
from havre.runtime.cgroup.plan import make_plan
from havre.tasks import in_disk_thread


async def pause(rooms: Rooms, ref: str) -> None:
    """Freeze every process. Raises Conflict when it does not run or is paused."""
    container = rooms.containers.find(ref)
    async with container.lock:
        if container.state.status == "paused":
            raise Conflict(f"container {container.id} is already paused")
        if container.state.status != "running":
            raise Conflict(f"container {container.id} is not running")
        await in_disk_thread(cgroup.freeze, freezer(rooms, container))
        container.state.status = "paused"
        rooms.containers.save(container)
    rooms.events.publish("container", "pause", container.id, container.attributes())


async def unpause(rooms: Rooms, ref: str) -> None:
    """Let them run again."""
    container = rooms.containers.find(ref)
    async with container.lock:
        if container.state.status != "paused":
            raise Conflict(f"container {container.id} is not paused")
        await in_disk_thread(cgroup.thaw, freezer(rooms, container))
        container.state.status = "running"
        rooms.containers.save(container)
    rooms.events.publish("container", "unpause", container.id, container.attributes())


async def let_die(rooms: Rooms, container: Container) -> None:
    """Thaw a paused container that has got its last signal, as Docker does: what is frozen does not die. Never raises."""
    try:
        await unpause(rooms, container.id)
    except HavreError:
        pass  # not paused, or gone already


def freezer(rooms: Rooms, container: Container) -> str:
    """The file that freezes a container's cgroup."""
    parent = container.record.host_config.cgroup_parent or rooms.settings.cgroup_parent
    return make_plan(host_layout(), f"{parent}/{container.id}", {})["freezer"]
