"""Prune: remove what nobody uses."""

from collections.abc import Mapping, Sequence
from typing import Any

from havre import clock
from havre.engine import images as image_verbs
from havre.engine.container import Container
from havre.engine.labels import labels_pass
from havre.engine.remove import remove_container
from havre.engine.rooms import Rooms
from havre.errors import Conflict, HavreError, InvalidParameter
from havre.tasks import in_disk_thread

Filters = Mapping[str, Sequence[str]]
_DURATIONS = {"s": 1, "m": 60, "h": 3600}


async def containers(rooms: Rooms, filters: Filters) -> dict[str, Any]:
    """Remove every container that is down and passes `until` and `label`."""
    _check(filters, {"until", "label", "label!"})
    limit = parse_until(filters.get("until", ()))
    removed, freed = [], 0
    for one in rooms.containers:
        if one.state.status not in ("created", "exited", "dead") or not _container_passes(
            one, filters, limit
        ):
            continue
        size = await in_disk_thread(rooms.images.snapshots.usage, one.id)
        try:
            await remove_container(rooms, one, force=False)
        except Conflict:
            continue  # somebody started or removed it in the meantime
        removed.append(one.id)
        freed += size
    rooms.events.publish("container", "prune", "", {"reclaimed": str(freed)})
    return {"ContainersDeleted": removed or None, "SpaceReclaimed": freed}


def _container_passes(one: Container, filters: Filters, limit: int) -> bool:
    if limit and one.record.created_nanos > limit:
        return False
    return labels_pass(one.record.config.labels or {}, filters)


async def images(rooms: Rooms, filters: Filters) -> dict[str, Any]:
    """Remove dangling images, or with dangling=false all that no container uses."""
    _check(filters, {"until", "label", "label!", "dangling"})
    limit = parse_until(filters.get("until", ()))
    only_dangling = (filters.get("dangling") or ["true"])[0].lower() in ("1", "true")
    used = {one.record.image_id for one in rooms.containers}
    deleted: list[dict[str, str]] = []
    before = await in_disk_thread(rooms.images.usage)
    for image in rooms.images.all():
        labels = (image.config.get("config") or {}).get("Labels") or {}
        old = not limit or image_verbs.created_seconds(image.created) * 1_000_000_000 <= limit
        if (
            image.id in used
            or (only_dangling and image.repo_tags)
            or not old
            or not labels_pass(labels, filters)
        ):
            continue
        try:
            deleted += await image_verbs.remove(rooms, image.id, force=True)
        except HavreError:
            continue
    freed = max(0, before - await in_disk_thread(rooms.images.usage)) if deleted else 0
    rooms.events.publish("image", "prune", "", {"reclaimed": str(freed)})
    return {"ImagesDeleted": deleted or None, "SpaceReclaimed": freed}


def _check(filters: Filters, known: set[str]) -> None:
    for key in filters:
        if key not in known:
            raise InvalidParameter(f"invalid filter '{key}'", hint=" ".join(sorted(known)))


def parse_until(values: Sequence[str]) -> int:
    """Return nanoseconds of "24h", a Unix time or an RFC 3339 stamp; 0 for none."""
    if not values:
        return 0
    if len(values) > 1:
        raise InvalidParameter("more than one until filter specified")
    text = values[0]
    if text.replace(".", "", 1).isdigit():
        return int(float(text) * 1e9)
    if (seconds := _duration_s(text)) is not None:
        return clock.now_nanos() - int(seconds * 1e9)
    from datetime import UTC, datetime

    try:
        stamp = datetime.fromisoformat(text.replace("Z", "+00:00"))
    except ValueError:
        raise InvalidParameter(
            f"invalid until filter: {text!r}", hint="24h, or 2026-01-31T12:00:00Z"
        ) from None
    return int((stamp if stamp.tzinfo else stamp.replace(tzinfo=UTC)).timestamp() * 1e9)


def _duration_s(text: str) -> float | None:
    """Seconds of Go's "1h30m"; None when it is none."""
    total, number = 0.0, ""
    for letter in text:
        if letter.isdigit() or letter == ".":
            number += letter
        elif letter in _DURATIONS and number.replace(".", "", 1).isdigit():
            total, number = total + float(number) * _DURATIONS[letter], ""
        else:
            return None
    return total if text and not number else None
