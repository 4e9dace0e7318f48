"""Volumes for the API and for containers: create, list, inspect, remove, prune; and who uses which."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from havre import ids
from havre.clock import rfc3339
from havre.engine.container import ContainerRecord, MountPoint
from havre.engine.labels import labels_pass
from havre.engine.rooms import Rooms
from havre.errors import Conflict, HavreError, InvalidParameter, NotFound
from havre.spec.engine import VolumeCreate
from havre.tasks import in_disk_thread
from havre.volume.volumes import DRIVER, Volume

ANONYMOUS = "com.docker.volume.anonymous"  # the label by which Docker knows what nobody has named
Filters = Mapping[str, Sequence[str]]
_FILTERS = frozenset({"dangling", "driver", "label", "label!", "name"})


def users(rooms: Rooms) -> Counter[str]:
    """How many containers use each volume."""
    return Counter(name for one in rooms.containers for name in names_of(one.record.mounts))


def names_of(points: Iterable[MountPoint]) -> set[str]:
    return {point.name for point in points if point.type == "volume"}


def check_driver(name: str) -> None:
    """Raises NotFound in Docker's words."""
    if name not in ("", DRIVER):
        raise NotFound(f'error looking up volume plugin {name}: plugin "{name}" not found')


async def create(rooms: Rooms, body: VolumeCreate) -> dict[str, Any]:
    """POST /volumes/create: make it, or return the one that is there. Raises InvalidParameter, NotFound, Conflict."""
    check_driver(body.driver or "")
    labels = dict(body.labels or {})
    name = body.name or ids.new_id()
    if not body.name:
        labels.setdefault(ANONYMOUS, "")
    volume, new = await in_disk_thread(rooms.volumes.create, name, body.driver_opts, labels)
    if new:
        rooms.events.publish("volume", "create", name, {"driver": DRIVER})
    return describe(volume)


def describe(volume: Volume) -> dict[str, Any]:
    """Return what inspect and list show."""
    return {
        "CreatedAt": rfc3339(volume.created_nanos // 1_000_000_000 * 1_000_000_000),
        "Driver": DRIVER,
        "Labels": volume.labels or None,
        "Mountpoint": volume.path,
        "Name": volume.name,
        "Options": volume.options or None,
        "Scope": "local",
    }


async def inspect(rooms: Rooms, name: str) -> dict[str, Any]:
    """Raises NotFound."""
    return describe(await in_disk_thread(rooms.volumes.get, name))


async def listed(rooms: Rooms, filters: Filters) -> dict[str, Any]:
    """GET /volumes. Raises InvalidParameter."""
    for key in filters:
        if key not in _FILTERS:
            raise InvalidParameter(f"invalid filter '{key}'", hint=" ".join(sorted(_FILTERS)))
    used = users(rooms)
    found = [one for one in await in_disk_thread(rooms.volumes.list) if _passes(one, filters, used)]
    return {"Volumes": [describe(one) for one in found], "Warnings": None}


def _passes(volume: Volume, filters: Filters, used: Mapping[str, int]) -> bool:
    wanted = [_boolean(value) for value in filters.get("dangling", ())]
    return (
        all(dangling == (not used.get(volume.name)) for dangling in wanted)
        and _any(value == DRIVER for value in filters.get("driver", ()))
        and _any(value in volume.name for value in filters.get("name", ()))
        and labels_pass(volume.labels, filters)
    )


def _any(tests: Iterable[bool]) -> bool:
    """One value of a filter is enough; none asks for nothing."""
    found = list(tests)
    return not found or any(found)


def _boolean(value: str) -> bool:
    if value.lower() in ("1", "true"):
        return True
    if value.lower() in ("0", "false"):
        return False
    raise InvalidParameter(f"invalid filter 'dangling={value}'")


async def remove(rooms: Rooms, name: str, *, force: bool) -> None:
    """DELETE /volumes/{name}. Raises NotFound (not with force), Conflict when a container has it."""
    holders = [one.id for one in rooms.containers if name in names_of(one.record.mounts)]
    if holders:
        raise Conflict(f"remove {name}: volume is in use - [{', '.join(holders)}]")
    with rooms.claims.removing(name):
        try:
            await in_disk_thread(rooms.volumes.remove, name)
        except NotFound:
            if force:
                return
            raise
    rooms.events.publish("volume", "destroy", name, {"driver": DRIVER})


async def prune(rooms: Rooms, filters: Filters) -> dict[str, Any]:
    """Remove what no container has: what nobody has named, or with all=true everything. Raises InvalidParameter."""
    for key in filters:
        if key not in ("all", "label", "label!"):
            raise InvalidParameter(f"invalid filter '{key}'", hint="all label label!")
    everything = any(_boolean(value) for value in filters.get("all", ()))
    used, removed, freed = users(rooms), [], 0
    for volume in await in_disk_thread(rooms.volumes.list):
        if (
            used[volume.name]
            or not (everything or ANONYMOUS in volume.labels)
            or not labels_pass(volume.labels, filters)
        ):
            continue
        size = await in_disk_thread(rooms.volumes.size_bytes, volume)
        try:
            await remove(rooms, volume.name, force=True)
        except HavreError:
            continue  # somebody began to use it in the meantime
        removed.append(volume.name)
        freed += max(0, size)
    rooms.events.publish("volume", "prune", "", {"reclaimed": str(freed)})
    return {"VolumesDeleted": removed, "SpaceReclaimed": freed}


async def usage(rooms: Rooms) -> list[dict[str, Any]]:
    """Every volume with its size and users: what system df shows."""
    used, found = users(rooms), []
    for volume in await in_disk_thread(rooms.volumes.list):
        size = await in_disk_thread(rooms.volumes.size_bytes, volume)
        found.append({**describe(volume), "UsageData": {"RefCount": used[volume.name], "Size": size}})
    return found


# containers


def claim(rooms: Rooms, record: ContainerRecord) -> list[str]:
    """Make the volumes a container needs; return the names of those that are new. Blocking. Undo with `give_back`."""
    made: list[str] = []
    try:
        for point in record.mounts:
            if point.type != "volume":
                continue
            check_driver(point.driver)
            labels = dict(point.labels)
            if not point.name:
                point.name = ids.new_id()
                labels[ANONYMOUS] = ""
            volume, new = rooms.volumes.create(point.name, point.driver_opts, labels)
            point.source = volume.path
            if new:
                made.append(point.name)
    except BaseException:
        give_back(rooms, made)
        raise
    return made


def give_back(rooms: Rooms, made: Iterable[str]) -> None:
    """Take back what a failed create has made. Blocking."""
    for name in made:
        rooms.volumes.remove(name)


async def populate(rooms: Rooms, record: ContainerRecord, lower: Sequence[str]) -> None:
    """Copy what the image has below each volume's target into the volumes that are empty, with owners and modes."""
    for point in record.mounts:
        if point.type == "volume" and point.copy and point.rw:
            helper = await rooms.runtime.help(("populate", list(lower), point.destination, point.source), [])
            try:
                await helper.word()
            finally:
                helper.close()


async def remove_anonymous(rooms: Rooms, record: ContainerRecord) -> None:
    """Remove the volumes that nobody has named and no other container has: rm -v, and --rm."""
    used = users(rooms)
    for name in names_of(record.mounts):
        try:
            volume = await in_disk_thread(rooms.volumes.get, name)
            if ANONYMOUS in volume.labels and not used[name]:
                await remove(rooms, name, force=True)
        except HavreError:
            continue  # it went with another container


def publish_mounts(rooms: Rooms, record: ContainerRecord, action: str) -> None:
    """The events mount and unmount."""
    for point in record.mounts:
        if point.type == "volume":
            attributes = {"container": record.id, "driver": DRIVER}
            if action == "mount":
                attributes |= {
                    "destination": point.destination,
                    "propagation": point.propagation,
                    "read/write": "true" if point.rw else "false",
                }
            rooms.events.publish("volume", action, point.name, attributes)
