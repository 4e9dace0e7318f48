"""POST /containers/{id}/start."""

from havre.engine.container import Container
from havre.engine.remove import remove_container
from havre.engine.rooms import Rooms
from havre.engine.supervise import begin
from havre.errors import Conflict, NotModified


async def start(rooms: Rooms, ref: str) -> None:
    """Start a container. Raises NotModified when it runs; the runtime's errors with their own status and exit code.

    A --rm container that cannot start is removed: the stock CLI waits for that before it tells the error.
    """
    container = rooms.containers.find(ref)
    async with container.lock:
        check_startable(container)
        container.forget_failures()
        try:
            await begin(rooms, container)
            return
        except BaseException as error:  # noqa: BLE001 - raised again below, after the lock is free
            failure = error
    if container.record.host_config.auto_remove and not container.running:
        await remove_container(rooms, container, force=False)
    raise failure


def check_startable(container: Container) -> None:
    """Raise NotModified or Conflict in Docker's words."""
    status = container.state.status
    if status in ("running", "restarting"):
        raise NotModified(f"container {container.record.name} is already running")
    if status == "paused":
        raise Conflict("cannot start a paused container, try unpause instead")
    if status in ("removing", "dead"):
        raise Conflict("container is marked for removal and cannot be started")
