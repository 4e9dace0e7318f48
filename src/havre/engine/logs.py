"""GET /containers/{id}/logs."""

from collections.abc import AsyncIterator
from dataclasses import dataclass

from havre.clock import rfc3339
from havre.engine.container import Container
from havre.engine.plan import log_file
from havre.engine.rooms import Rooms
from havre.errors import InvalidParameter, NotImplementedHere
from havre.logs import reader

Line = tuple[str, int, bytes]  # stream, nanos, the line with its newline


@dataclass(frozen=True, slots=True)
class LogStream:
    tty: bool
    lines: AsyncIterator[Line]


async def logs(
    rooms: Rooms,
    ref: str,
    *,
    stdout: bool,
    stderr: bool,
    since_nanos: int = 0,
    until_nanos: int = 0,
    timestamps: bool = False,
    tail: int | None = None,
    follow: bool = False,
    details: bool = False,
) -> LogStream:
    """Return the log of a container as lines; `tail` None is everything. With `details` each begins with its attributes. With `follow` it ends when the container does."""
    if not (stdout or stderr):
        raise InvalidParameter("Bad parameters: you must choose at least one stream")
    container = rooms.containers.find(ref)
    return container_logs(
        rooms,
        container,
        stdout=stdout,
        stderr=stderr,
        since_nanos=since_nanos,
        until_nanos=until_nanos,
        timestamps=timestamps,
        tail=tail,
        follow=follow and container.running,
        details=details,
    )


def container_logs(
    rooms: Rooms,
    container: Container,
    *,
    stdout: bool,
    stderr: bool,
    since_nanos: int = 0,
    until_nanos: int = 0,
    timestamps: bool = False,
    tail: int | None = None,
    follow: bool = False,
    details: bool = False,
) -> LogStream:
    """The same for a container that is already found. Raises NotImplementedHere for a driver without reading."""
    plan = log_file(container.record, rooms.settings)
    if not plan["path"]:
        raise NotImplementedHere("configured logging driver does not support reading")
    wanted = {name for name, asked in (("stdout", stdout), ("stderr", stderr)) if asked}
    lines = reader.read(
        plan,
        since=since_nanos,
        until=until_nanos,
        tail=tail,
        follow=follow,
        detailed=details,
        ended=container.ended,
    )
    return LogStream(bool(container.record.config.tty), _chosen(lines, wanted, timestamps))


async def _chosen(lines: AsyncIterator[Line], wanted: set[str], timestamps: bool) -> AsyncIterator[Line]:
    async for stream, nanos, line in lines:
        if stream in wanted:
            yield stream, nanos, (rfc3339(nanos).encode() + b" " + line if timestamps else line)
