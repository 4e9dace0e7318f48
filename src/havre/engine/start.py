"""POST /containers/{id}/start."""

from havre.engine.rooms import Rooms
from havre.engine.supervise import begin
from havre.errors import Conflict, NotModified


async def start(rooms: Rooms, ref: str) -> None:
    """Start a container. Raises NotModified when it runs; the runtime's errors with their own status and exit code."""
    container = rooms.containers.find(ref)
    async with container.lock:
        status = container.state.status
        if status == "running":
            raise NotModified(f"container {container.record.name} is already running")
        if status == "paused":
            raise Conflict("cannot start a paused container, try unpause instead")
        if status in ("removing", "dead"):
            raise Conflict(f"container is marked for removal and cannot be started: {container.id}")
        container.state.stopped_by_user = False
        container.state.restart_count = 0
        await begin(rooms, container)
