"""POST /commit: an image of a container as it is now; volumes and other mounts are left out."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import msgspec

from havre.engine.container import Container
from havre.engine.pause import pause as pause_container
from havre.engine.pause import unpause
from havre.engine.rooms import Rooms
from havre.errors import Conflict, HavreError, InvalidParameter
from havre.image.archive.commit import Wanted
from havre.spec.engine import ContainerConfig
from havre.tasks import in_archive_thread


async def commit(
    rooms: Rooms,
    ref: str,
    body: ContainerConfig,
    *,
    target: str,
    author: str,
    comment: str,
    changes: Sequence[str],
    pause: bool,
) -> str:
    """Return the new image's id. A running container is frozen meanwhile unless `pause` is off. Raises Conflict, InvalidParameter."""
    container = rooms.containers.find(ref)
    record = container.record
    if container.state.status in ("removing", "dead"):
        raise Conflict(f"You cannot commit container {container.id} which is {container.state.status}")
    wanted = Wanted(
        manifest_digest=record.manifest_digest,
        upper=rooms.images.snapshots.get(record.id)["upper"],
        config=_config(record.config, body),
        changes=changes,
        author=author,
        comment=comment,
        created_by=" ".join([record.path, *record.args]),
        target=target,
        maps=record.id_maps,
    )
    async with _frozen(rooms, container, pause):
        try:
            found: str = await in_archive_thread(rooms.images.commit, wanted)
        except OSError as error:
            raise HavreError(
                f"cannot commit {record.name}: {(error.strerror or str(error)).lower()}"
            ) from error
    attributes = {**container.attributes(), "comment": comment, "imageID": found, "imageRef": target}
    rooms.events.publish("container", "commit", container.id, attributes)
    if target:
        rooms.events.publish("image", "tag", found, {"name": target})
    return found


@asynccontextmanager
async def _frozen(rooms: Rooms, container: Container, wanted: bool) -> AsyncIterator[None]:
    """Nothing of it changes while its layer is read; one that is down or paused already is left as it is."""
    if not wanted or container.state.status != "running":
        yield
        return
    await pause_container(rooms, container.id)
    try:
        yield
    finally:
        try:
            await unpause(rooms, container.id)
        except HavreError:
            pass  # somebody else woke or ended it


def _config(own: ContainerConfig, given: ContainerConfig) -> dict[str, Any]:
    """The container's config; what the caller gives takes its place, key by key, and its lists are added to."""
    found: dict[str, Any] = msgspec.to_builtins(own)
    for key, value in msgspec.to_builtins(given).items():
        if not value:
            continue
        if isinstance(value, dict) and isinstance(found.get(key), dict):
            found[key] = {**found[key], **value}
        elif key == "Env":
            names = {one.partition("=")[0] for one in value}
            found[key] = [one for one in found.get(key) or [] if one.partition("=")[0] not in names] + value
        else:
            found[key] = value
    return found


def target_of(repository: str, tag: str) -> str:
    """Return the name an image is to get. Raises InvalidParameter for a tag alone."""
    if tag and not repository:
        raise InvalidParameter("a tag needs a repository", hint="havre commit CONTAINER REPOSITORY:TAG")
    return f"{repository}:{tag}" if tag else repository
