"""Images for the API: the image and registry rooms, with events. Streams are blocking files, so they run in disk threads."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, BinaryIO

from havre.engine.labels import has
from havre.engine.rooms import Rooms
from havre.errors import HavreError, InvalidParameter
from havre.image import pull as pulling
from havre.image import push as pushing
from havre.image.remove import Use
from havre.registry.auth import Credentials
from havre.spec import reference as references
from havre.spec.image import Image
from havre.spec.platform import parse as parse_platform
from havre.tasks import in_archive_thread, in_disk_thread

Progress = Callable[[dict[str, Any]], None]


def credentials(auth: Mapping[str, str | None]) -> Credentials | None:
    """Return what X-Registry-Auth says, or None when it says nothing."""
    found = Credentials(
        username=auth.get("username") or "",
        password=auth.get("password") or "",
        identity_token=auth.get("identitytoken") or "",
    )
    return found if found.username or found.identity_token else None


async def pull(
    rooms: Rooms, name: str, tag: str, *, platform: str, auth: Mapping[str, str | None], progress: Progress
) -> None:
    """Pull one image, or all tags when there is neither tag nor digest. Progress comes as Docker's JSON messages."""
    reference = references.parse(_named(name, tag), default_tag=False)
    wanted = parse_platform(platform) if platform else None
    image = await pulling.pull(
        rooms.images,
        rooms.registry,
        reference,
        platform=wanted,
        credentials=credentials(auth),
        progress=progress,
    )
    _tell(rooms, "pull", reference.familiar(), reference.familiar_name(), image)


def _named(name: str, tag: str) -> str:
    if not tag:
        return name
    return f"{name}@{tag}" if ":" in tag else f"{name}:{tag}"


async def push(
    rooms: Rooms, name: str, tag: str, *, auth: Mapping[str, str | None], progress: Progress
) -> None:
    """Push one tag, or all tags of the repository when `tag` is empty."""
    reference = references.parse(_named(name, tag), default_tag=False)
    await pushing.push(
        rooms.images, rooms.registry, reference, credentials=credentials(auth), progress=progress
    )
    _tell(
        rooms, "push", reference.familiar(), reference.familiar_name(), _known(rooms, reference.canonical())
    )


async def load(rooms: Rooms, stream: BinaryIO, progress: Progress) -> list[str]:
    """Load an archive; returns the names. `progress` is called in the event loop."""
    loop = asyncio.get_running_loop()

    def report(message: dict[str, Any]) -> None:
        loop.call_soon_threadsafe(progress, message)

    names = await in_archive_thread(rooms.images.load, stream, report)
    for name in names:
        _tell_of(rooms, "load", name)
    return names


async def save(rooms: Rooms, refs: Sequence[str], out: BinaryIO) -> None:
    """Write an archive of the named images to a blocking file. Raises NoSuchImage before the first byte."""
    await in_archive_thread(rooms.images.save, refs, out)
    for ref in refs:
        _tell_of(rooms, "save", ref)


async def import_(
    rooms: Rooms, stream: BinaryIO, target: str, *, changes: Sequence[str], message: str, platform: str
) -> str:
    """Make a one-layer image of a root filesystem; returns its id."""
    wanted = parse_platform(platform) if platform else None
    found = await in_archive_thread(
        rooms.images.import_, stream, target, changes=changes, message=message, platform=wanted
    )
    if target:
        _tell_of(rooms, "tag", target)
    _tell(rooms, "import", found, found, _known(rooms, found))
    return found


def tag(rooms: Rooms, source: str, repository: str, tag_: str) -> None:
    """Give an image one more name. Raises NoSuchImage or InvalidParameter."""
    if not repository:
        raise InvalidParameter("a repository name is needed", hint="havre tag IMAGE NAME[:TAG]")
    target = _named(repository, tag_)
    rooms.images.tag(source, target)
    _tell_of(rooms, "tag", target)


async def remove(rooms: Rooms, ref: str, *, force: bool) -> list[dict[str, str]]:
    """Untag or delete. Raises Conflict when containers use it."""
    remove = rooms.images.remove
    image = _known(rooms, ref)
    done = await in_disk_thread(remove, ref, force=force, used_by=lambda image_id: _users(rooms, image_id))
    for entry in done:
        for action, value in entry.items():
            told = "untag" if action == "Untagged" else "delete"
            _tell(rooms, told, image.id if image else value, value, image)
    return done


def _known(rooms: Rooms, ref: str) -> Image | None:
    try:
        return rooms.images.resolve(ref)
    except HavreError:
        return None


def _tell(rooms: Rooms, action: str, actor: str, name: str, image: Image | None) -> None:
    """Publish an image event; the image's labels are attributes, as in Docker."""
    labels = ((image.config.get("config") or {}).get("Labels") or {}) if image else {}
    rooms.events.publish("image", action, actor, {**labels, "name": name})


def _tell_of(rooms: Rooms, action: str, ref: str) -> None:
    """Publish what happened to an image that is known by a name or an id."""
    image = _known(rooms, ref)
    name = references.parse(ref).familiar() if image and not image.id.endswith(ref) else ref
    _tell(rooms, action, image.id if image else ref, name, image)


def _users(rooms: Rooms, image_id: str) -> list[Use]:
    return [Use(one.id, one.running) for one in rooms.containers if one.record.image_id == image_id]


def listed(rooms: Rooms, filters: Mapping[str, Sequence[str]], *, all_: bool = False) -> list[dict[str, Any]]:
    """Return GET /images/json."""
    _check_filters(filters)
    users: dict[str, int] = {}
    for one in rooms.containers:
        users[one.record.image_id] = users.get(one.record.image_id, 0) + 1
    patterns = filters.get("reference") or ()
    return [
        summary(_named_as(image, patterns), users.get(image.id, 0))
        for image in rooms.images.all()
        if _passes(rooms, image, filters)
    ]


def _named_as(image: Image, patterns: Sequence[str]) -> Image:
    """With a reference filter only the names that match it are shown."""
    if not patterns:
        return image
    kept = [name for name in image.repo_tags if any(references.matches(each, name) for each in patterns)]
    return replace(image, repo_tags=tuple(kept))


_FILTERS = frozenset({"before", "since", "label", "reference", "dangling", "until"})


def _check_filters(filters: Mapping[str, Sequence[str]]) -> None:
    for key in filters:
        if key not in _FILTERS:
            raise InvalidParameter(f"invalid filter '{key}'", hint=" ".join(sorted(_FILTERS)))


def _passes(rooms: Rooms, image: Image, filters: Mapping[str, Sequence[str]]) -> bool:
    labels = (image.config.get("config") or {}).get("Labels") or {}
    if not all(has(labels, value) for value in filters.get("label", ())):
        return False
    if dangling := filters.get("dangling"):
        wants = dangling[0].lower() in ("1", "true")
        if wants == bool(image.repo_tags):
            return False
    patterns = filters.get("reference")
    if patterns and not any(references.matches(each, name) for each in patterns for name in image.repo_tags):
        return False
    before = [rooms.images.resolve(value).created for value in filters.get("before", ())]
    since = [rooms.images.resolve(value).created for value in filters.get("since", ())]
    return all(image.created < one for one in before) and all(image.created > one for one in since)


def summary(image: Image, containers: int) -> dict[str, Any]:
    """Return one entry of the list."""
    return {
        "Id": image.id,
        "ParentId": "",
        "RepoTags": list(image.repo_tags),
        "RepoDigests": list(image.repo_digests),
        "Created": created_seconds(image.created),
        "Size": image.size_bytes,
        "SharedSize": -1,
        "VirtualSize": image.size_bytes,
        "Labels": (image.config.get("config") or {}).get("Labels") or {},
        "Containers": containers,
    }


def created_seconds(stamp: str) -> int:
    """Return seconds since 1970 of an RFC 3339 stamp; 0 when it cannot be read."""
    from datetime import datetime

    try:
        return int(datetime.fromisoformat(stamp[:19] + "+00:00").timestamp())
    except ValueError:
        return 0
