"""GET /containers/{id}/changes: what a container has changed in its image."""

import os
from typing import Any

from havre.engine.rooms import Rooms
from havre.image import diff
from havre.tasks import in_archive_thread


async def changes(rooms: Rooms, ref: str) -> list[dict[str, Any]] | None:
    """Return [{"Path", "Kind"}], None for no change, as Docker does. Only the container's own layer is walked."""
    container = rooms.containers.find(ref)
    overlay = rooms.images.snapshots.get(container.id)
    found = await in_archive_thread(diff.changes, overlay, container.record.id_maps)
    return [
        {"Path": os.fsdecode(one.path).encode("utf-8", "replace").decode(), "Kind": one.kind} for one in found
    ] or None
