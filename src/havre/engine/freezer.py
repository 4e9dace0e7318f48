"""Freeze and thaw a container's processes (cgroup v1 or v2), with its lock held."""

from havre.engine.container import Container
from havre.engine.rooms import Rooms
from havre.runtime.cgroup import files as cgroup
from havre.runtime.cgroup.layout import host_layout
from havre.runtime.cgroup.plan import freezer_file
from havre.tasks import in_disk_thread


async def freeze(rooms: Rooms, container: Container) -> None:
    """Stop them all where they are. Raises KernelError; they run on then."""
    await in_disk_thread(cgroup.freeze, file_of(rooms, container))


async def thaw(rooms: Rooms, container: Container) -> None:
    """Let them run again."""
    await in_disk_thread(cgroup.thaw, file_of(rooms, container))


def cgroup_path(rooms: Rooms, container: Container) -> str:
    """Where its control group is, below each hierarchy."""
    parent = container.record.host_config.cgroup_parent or rooms.settings.cgroup_parent
    return f"{parent}/{container.id}"


def file_of(rooms: Rooms, container: Container) -> str:
    """The file that freezes its control group."""
    return freezer_file(host_layout(), cgroup_path(rooms, container))
