"""POST /containers/{id}/rename."""

from havre.engine import names
from havre.engine.rooms import Rooms
from havre.errors import Conflict, InvalidParameter


async def rename(rooms: Rooms, ref: str, name: str) -> None:
    """Give a container another name. Raises Conflict naming who has it."""
    container = rooms.containers.find(ref)
    if not name:
        raise InvalidParameter("Neither old nor new names may be empty")
    wanted, old = names.check(name), container.record.name
    if wanted == old:
        raise Conflict("Renaming a container with the same name as its current name")
    rooms.containers.rename(container, wanted)
    rooms.events.publish(
        "container", "rename", container.id, {**container.attributes(), "oldName": f"/{old}"}
    )
