"""Running execs as records, so that a new daemon still knows them and their exit codes. Kind "exec"; one that has ended has none."""

from collections.abc import Sequence

import msgspec

from havre import log
from havre.engine.container import Container
from havre.engine.execs import Exec
from havre.engine.rooms import Rooms
from havre.spec.engine import ExecCreate

KIND = "exec"
KILLED = 137  # what an exec ends with when its container does


class ExecRecord(msgspec.Struct):
    container_id: str
    body: ExecCreate


def keep(rooms: Rooms, one: Exec) -> None:
    """Before it is started. On a full disk it is started all the same: it may be what frees some space."""
    rooms.records.owe(KIND, one.id, msgspec.json.encode(ExecRecord(one.container_id, one.body)))


def forget(rooms: Rooms, one: Exec) -> None:
    """It has ended, or never started; this daemon knows how."""
    rooms.records.owe(KIND, one.id, None)


def load(rooms: Rooms) -> dict[str, list[Exec]]:
    """Return what ran, or was about to, when the last daemon ended, by container id. What cannot be read is forgotten."""
    found: dict[str, list[Exec]] = {}
    for key, doc in rooms.records.all(KIND):
        try:
            record = msgspec.json.decode(doc, type=ExecRecord)
        except ValueError as error:
            log.error("unreadable exec record", id=key[:12], error=error)
            rooms.records.owe(KIND, key, None)
            continue
        found.setdefault(record.container_id, []).append(Exec(key, record.container_id, record.body))
    return found


def take_in(rooms: Rooms, container: Container, execs: Sequence[Exec]) -> None:
    """Let them be inspected again."""
    for one in execs:
        rooms.execs.add(one)
        container.execs.append(one.id)


def end_all(rooms: Rooms, container: Container, execs: Sequence[Exec]) -> None:
    """Their container has ended meanwhile."""
    take_in(rooms, container, execs)
    for one in execs:
        one.started, one.exit_code = True, KILLED
        forget(rooms, one)
