"""POST /containers/{id}/resize."""

from havre.engine.container import check_runs
from havre.engine.rooms import Rooms
from havre.errors import Conflict, InvalidParameter

MAX_SIDE = 65535  # struct winsize holds unsigned shorts


async def resize(rooms: Rooms, ref: str, rows: int, cols: int) -> None:
    """Set the size of the container's terminal."""
    if not (0 <= rows <= MAX_SIDE and 0 <= cols <= MAX_SIDE):
        raise InvalidParameter(f"terminal size {rows}x{cols} is out of range")
    container = rooms.containers.find(ref)
    check_runs(container)
    if container.monitor is None:
        raise Conflict(f"container {container.id} is not running")
    await container.monitor.resize("", rows, cols)
    attributes = {**container.attributes(), "height": str(rows), "width": str(cols)}
    rooms.events.publish("container", "resize", container.id, attributes)
