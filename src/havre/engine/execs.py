"""The execs of all containers; they live in memory, as in Docker, and end with their container or daemon."""

import asyncio
from dataclasses import dataclass, field

from havre.errors import NotFound
from havre.spec.engine import ExecCreate


@dataclass(slots=True, eq=False)
class Exec:
    """One exec: what was asked and how it stands."""

    id: str
    container_id: str
    body: ExecCreate
    started: bool = False
    running: bool = False
    pid: int = 0
    exit_code: int | None = None
    error: str = ""
    begun: asyncio.Event = field(default_factory=asyncio.Event)  # it runs, or could not


@dataclass(slots=True)
class Execs:
    """By id; unique prefixes are not accepted here, as in Docker."""

    _by_id: dict[str, Exec] = field(default_factory=dict)

    def add(self, one: Exec) -> None:
        self._by_id[one.id] = one

    def find(self, exec_id: str) -> Exec:
        """Return it. Raises NotFound in Docker's words."""
        if (found := self._by_id.get(exec_id)) is None:
            raise NotFound(f"No such exec instance: {exec_id}")
        return found

    def discard(self, exec_id: str) -> None:
        self._by_id.pop(exec_id, None)
