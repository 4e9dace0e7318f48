"""POST /containers/{id}/rename."""

from havre.engine import names
from havre.engine.rooms import Rooms
from havre.errors import HavreError, InvalidParameter


async def rename(rooms: Rooms, ref: str, name: str) -> None:
    """Give a container another name. Raises Conflict naming who has it."""
    container = rooms.containers.find(ref)
    if not name:
        raise InvalidParameter("Neither old nor new names may be empty")
    wanted, old = name.removeprefix("/"), container.record.name
    if wanted == old:
        raise InvalidParameter("Renaming a container with the same name as its current name")
    try:
        rooms.containers.rename(container, names.check(f"/{wanted}"))
    except HavreError as error:
        error.context = "Error when allocating new name"
        raise
    rooms.events.publish(
        "container", "rename", container.id, {**container.attributes(), "oldName": f"/{old}"}
    )
