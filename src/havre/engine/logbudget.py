"""How much disk all logs take together, and a warning when it is more than `log-budget` allows: beyond what Docker has.

Rotation bounds each container; a thousand of them fill a disk all the same. Nothing is deleted here: the warning stands in the daemon's
log, in `info` and, once for each time the line is crossed, in the events (type daemon, action log-budget).
"""

import asyncio
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from havre import log
from havre.engine.rooms import Rooms
from havre.tasks import in_disk_thread
from havre.units import human_bytes

CHECK_S = 30.0
SHOWN = 3  # the largest logs are named


@dataclass(frozen=True, slots=True)
class Over:
    """The logs are larger than they may be."""

    total_bytes: int
    budget_bytes: int
    largest: tuple[tuple[str, int], ...]  # (container's name, bytes)

    def __str__(self) -> str:
        names = ", ".join(f"{name} {human_bytes(size)}" for name, size in self.largest)
        total, budget = human_bytes(self.total_bytes), human_bytes(self.budget_bytes)
        return f"WARNING: logs take {total}, more than the log-budget of {budget} (largest: {names})"


def measure(containers: Path) -> dict[str, int]:
    """Bytes of each container's log files, by id; rotated, compressed and kept copies included. Blocking."""
    found: dict[str, int] = {}
    for folder in os.scandir(containers) if containers.is_dir() else ():
        if folder.is_dir(follow_symlinks=False):
            size = _sizes(folder.path, f"{folder.name}-json.log") + _sizes(f"{folder.path}/local-logs", "")
            found[folder.name] = size
    return found


def _sizes(folder: str, beginning: str) -> int:
    try:
        return sum(
            one.stat(follow_symlinks=False).st_size
            for one in os.scandir(folder)
            if one.name.startswith(beginning) and one.is_file(follow_symlinks=False)
        )
    except FileNotFoundError:
        return 0  # no such log, or its container is being removed


def judge(sizes: Mapping[str, int], names: Mapping[str, str], budget_bytes: int) -> Over | None:
    """Whether the logs are larger than they may be; containers without a name are on their way out. Pure."""
    total = sum(sizes.values())
    if not budget_bytes or total <= budget_bytes:
        return None
    by_size = sorted(((size, names[key]) for key, size in sizes.items() if key in names), reverse=True)
    return Over(total, budget_bytes, tuple((name, size) for size, name in by_size[:SHOWN]))


async def check(rooms: Rooms) -> Over | None:
    """Look now; say it when a line was crossed since the last look."""
    budget = rooms.settings.log_budget_bytes
    sizes = await in_disk_thread(measure, rooms.settings.data_root / "containers") if budget else {}
    over = judge(sizes, {one.id: one.record.name for one in rooms.containers}, budget)
    if over and not rooms.log_use.over:
        log.warn("the logs are larger than log-budget", bytes=over.total_bytes, budget=over.budget_bytes)
        attributes = {"bytes": str(over.total_bytes), "budget": str(over.budget_bytes)}
        if over.largest:
            attributes["largest"] = over.largest[0][0]
        rooms.events.publish("daemon", "log-budget", rooms.settings.instance, attributes)
    elif rooms.log_use.over and not over:
        log.info("the logs are within log-budget again")
    rooms.log_use.over = bool(over)
    return over


async def watch(rooms: Rooms) -> None:
    """Look again and again while the daemon runs."""
    while True:
        await check(rooms)
        await asyncio.sleep(CHECK_S)
