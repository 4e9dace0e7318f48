"""GET /containers/json: from memory, nothing is read from the disk unless sizes are asked for."""

from typing import Any

from havre import clock
from havre.engine.container import Container
from havre.engine.endpoints import live
from havre.engine.filters import Filters, predicate
from havre.engine.inspect import image_size, mount_dict, network_dicts
from havre.engine.ports import port_list
from havre.engine.rooms import Rooms
from havre.engine.status import status_line


def list_containers(
    rooms: Rooms, *, all_: bool = False, limit: int = 0, filters: Filters | None = None, size: bool = False
) -> list[dict[str, Any]]:
    """Return the summaries, newest first. Without `all_`, only what runs, unless a filter asks for other states."""
    filters = filters or {}
    passes = predicate(rooms, filters)
    wide = all_ or limit > 0 or "status" in filters
    shown = [
        one
        for one in rooms.containers
        if (wide or one.running or one.state.status == "restarting") and passes(one)
    ]
    shown.sort(key=lambda one: -one.record.created_nanos)
    now = clock.now_nanos()
    return [summary(rooms, one, now, size) for one in (shown[:limit] if limit > 0 else shown)]


def summary(rooms: Rooms, container: Container, now_nanos: int, size: bool = False) -> dict[str, Any]:
    """Return one entry."""
    record = container.record
    endpoints = live(rooms, container)
    ports = tuple(port for endpoint in endpoints.values() for port in endpoint.ports)
    found: dict[str, Any] = {
        "Id": record.id,
        "Names": [f"/{record.name}"],
        "Image": record.image,
        "ImageID": record.image_id,
        "Command": " ".join([record.path, *(_quote(word) for word in record.args)]),
        "Created": record.created_nanos // 1_000_000_000,
        "Ports": port_list(ports, record.config) if container.running else [],
        "Labels": record.config.labels or {},
        "State": record.state.status,
        "Status": status_line(record.state, now_nanos),
        "HostConfig": {"NetworkMode": record.host_config.network_mode or "bridge"},
        "NetworkSettings": {"Networks": network_dicts(rooms, record, endpoints)},
        "Mounts": [mount_dict(point) for point in record.mounts if point.type != "tmpfs"],
    }
    if size:
        found["SizeRw"] = rooms.images.snapshots.usage(record.id)
        found["SizeRootFs"] = found["SizeRw"] + image_size(rooms, record)
    return found


def _quote(word: str) -> str:
    """Docker shows arguments with spaces in single quotes."""
    return f"'{word}'" if " " in word else word
