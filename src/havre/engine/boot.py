"""Start what its policy wants running when the daemon starts: in order, a few at a time; and notice that the host was rebooted."""

import asyncio
from collections.abc import Iterable

from havre.engine.background import report
from havre.engine.bootorder import order
from havre.engine.container import Container
from havre.engine.rooms import Rooms
from havre.engine.supervise import boot, expect_start
from havre.store import Records
from havre.tasks import spawn

STARTS_AT_ONCE = 4  # as many as there are disk threads: more would only wait for each other
_BOOT_ID = "/proc/sys/kernel/random/boot_id"  # random(4): another one after each boot


def rebooted(records: Records) -> bool:
    """Whether the host was booted since a daemon last asked this; what was recorded as running then is gone."""
    with open(_BOOT_ID, "rb") as file:
        current = file.read().strip()
    before = records.get("boot", "id")
    if before != current:
        records.put("boot", "id", current)
    return before not in (None, current)


def boot_nanos() -> int:
    """When the host was booted: what ran before has ended before."""
    with open("/proc/stat", encoding="ascii") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("btime ")) * 1_000_000_000


def start_all(rooms: Rooms, wanted: Iterable[Container]) -> None:
    """Start them in the background. Who is needed by another has been tried before it; all are restarting until then."""
    by_id = {one.id: one for one in wanted}
    for container in by_id.values():
        expect_start(rooms, container)
    if by_id:
        spawn("boot", _start_all(rooms, by_id), report)


async def _start_all(rooms: Rooms, by_id: dict[str, Container]) -> None:
    slots = asyncio.Semaphore(STARTS_AT_ONCE)
    tried: dict[str, asyncio.Event] = {key: asyncio.Event() for key in by_id}

    async def start(key: str, needs: frozenset[str]) -> None:
        try:
            for other in needs:
                await tried[other].wait()
            async with slots:
                await boot(rooms, by_id[key])
        finally:
            tried[key].set()

    for key, needs in order(one.record for one in by_id.values()):
        spawn(f"boot {key[:12]}", start(key, needs), report)
