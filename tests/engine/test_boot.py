"""Starts when the daemon starts: a few at once, in order; and another boot is noticed."""

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from havre.engine import boot
from havre.engine.container import Container
from havre.store import Records

from .test_bootorder import record


def test_another_boot_is_noticed_once(tmp_path: Path) -> None:
    records = Records(tmp_path / "db")
    assert not boot.rebooted(records)  # nothing is known yet: a first start, or an upgrade
    assert not boot.rebooted(records)
    records.put("boot", "id", b"another")
    assert boot.rebooted(records)
    assert not boot.rebooted(records)
    records.close()


def test_starts_are_bounded_and_wait_for_whom_they_need(monkeypatch: pytest.MonkeyPatch) -> None:
    running: list[str] = []
    seen: list[str] = []
    most = 0

    async def start(rooms: Any, container: Container) -> None:
        nonlocal most
        running.append(container.record.name)
        most = max(most, len(running))
        for _ in range(3):
            await asyncio.sleep(0)  # lets the others come as far as they can
        running.remove(container.record.name)
        seen.append(container.record.name)

    monkeypatch.setattr(boot, "boot", start)
    monkeypatch.setattr(boot, "expect_start", lambda rooms, container: None)

    async def scenario() -> None:
        first = record("z", 50, {"network_mode": "container:y"})
        records = [first, *(record(letter, place) for place, letter in enumerate("abcdefghijy"))]
        boot.start_all(SimpleNamespace(), [Container(one) for one in records])  # type: ignore[arg-type]
        while len(seen) < len(records):
            await asyncio.sleep(0)

    asyncio.run(scenario())
    assert most == boot.STARTS_AT_ONCE
    assert seen.index("y") < seen.index("z")
