"""POST /containers/{id}/pause and /unpause: the freezer. Health is not probed meanwhile, and keeps its status."""

from havre.engine.container import check_runs
from havre.engine.freezer import freeze, thaw
from havre.engine.rooms import Rooms
from havre.errors import Conflict, HavreError


async def pause(rooms: Rooms, ref: str) -> None:
    """Freeze every process. Raises Conflict when it does not run or is paused."""
    container = rooms.containers.find(ref)
    async with container.lock:
        check_runs(container)
        if container.state.status == "paused":
            raise Conflict(f"container {container.id} is already paused")
        container.pauses += 1
        if container.probe_id and container.monitor is not None:
            container.monitor.cancel_probe(container.probe_id)
        await freeze(rooms, container)
        container.state.status = "paused"
        rooms.containers.note(container)
    rooms.events.publish("container", "pause", container.id, container.attributes())


async def unpause(rooms: Rooms, ref: str) -> None:
    """Let them run again. Raises HavreError, status 500 as dockerd's, when it is not paused."""
    container = rooms.containers.find(ref)
    async with container.lock:
        if container.state.status != "paused":
            raise HavreError(f"container {container.id} is not paused")
        await thaw(rooms, container)
        container.state.status = "running"
        rooms.containers.note(container)
    rooms.events.publish("container", "unpause", container.id, container.attributes())
