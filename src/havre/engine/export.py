"""GET /containers/{id}/export: a container's files as one tar, whether it runs or not."""

import os
from dataclasses import dataclass

from havre.engine.container import Container
from havre.engine.rooms import Rooms
from havre.errors import Conflict
from havre.runtime.link import Helper
from havre.spec import idmaps


@dataclass(frozen=True, slots=True)
class Export:
    """The tar comes out of `pipe`, which the caller closes; `finish` tells whether all of it did."""

    rooms: Rooms
    container: Container
    helper: Helper
    pipe: int

    async def finish(self) -> None:
        """After the pipe's end. Raises what cut it short: an archive that is not whole must not look like one."""
        await self.helper.word()
        if self.container not in self.rooms.containers:
            raise Conflict(f"container {self.container.id} was removed while it was exported")
        self.rooms.events.publish("container", "export", self.container.id, self.container.attributes())

    def close(self) -> None:
        """Let go; a helper that still writes ends with its next write."""
        os.close(self.pipe)
        self.helper.close()


async def export(rooms: Rooms, ref: str, pipe: tuple[int, int]) -> Export:
    """Begin; returns when the tree can be read. Takes both ends of the pipe. Raises Conflict for one that is being removed."""
    reading, writing = pipe
    helper = None
    try:
        container = rooms.containers.find(ref)
        if container.state.status in ("removing", "dead"):
            raise Conflict(f"you cannot export container {container.id} which is being removed")
        overlay = rooms.images.snapshots.get(container.id)
        layers, id_maps = [overlay["upper"], *overlay["lower"]], container.record.id_maps
        helper = await rooms.runtime.help(
            ("export", layers, idmaps.back(id_maps) if id_maps else None), [writing]
        )
        await helper.word()
    except BaseException:
        os.close(reading)
        if helper is not None:
            helper.close()
        raise
    finally:
        os.close(writing)
    return Export(rooms, container, helper, reading)
