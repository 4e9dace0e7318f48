"""GET /containers/{id}/stats: one reader for each container, shared by all who look, as long as somebody does."""

import asyncio
import os
from collections.abc import AsyncGenerator

from havre import clock
from havre.engine.background import report
from havre.engine.container import Container
from havre.engine.feed import Feed, Sample
from havre.engine.rooms import Rooms
from havre.linux import proc
from havre.runtime.cgroup import usage
from havre.runtime.cgroup.layout import host_layout
from havre.runtime.cgroup.plan import clean
from havre.tasks import in_disk_thread, spawn

PERIOD_S = 1.0


async def one_shot(rooms: Rooms, container: Container) -> Sample:
    """Return one sample, without a measure of time before it."""
    return _frame(container, await _sample(rooms, container), None)


async def follow(rooms: Rooms, container: Container) -> AsyncGenerator[Sample, None]:
    """Yield a frame now and one each second, until the container is removed; the measure of time is the frame before."""
    feed = container.feed
    if feed is None:
        feed = container.feed = Feed()
        spawn(f"stats {container.id[:12]}", _read_on(rooms, container, feed), report)
    feed.followers += 1
    try:
        async for sample, before in feed.pairs():
            yield _frame(container, sample, before)
    finally:
        feed.followers -= 1


async def measured(rooms: Rooms, container: Container) -> Sample:
    """Return one frame that has another one before it; zeros at once for a container that does not run."""
    if not container.running:
        return _frame(container, _zero(), None)
    frames = follow(rooms, container)
    try:
        async for frame in frames:
            if frame["preread"] != clock.ZERO or not container.running:
                return frame
    finally:
        await frames.aclose()
    return _frame(container, _zero(), None)  # it was removed meanwhile


async def _read_on(rooms: Rooms, container: Container, feed: Feed) -> None:
    """Read while somebody follows."""
    loop = asyncio.get_running_loop()
    try:
        due = loop.time()
        while feed.followers:
            feed.publish(await _sample(rooms, container))
            due = max(due + PERIOD_S, loop.time())
            await asyncio.sleep(due - loop.time())
    finally:
        if container.feed is feed:
            container.feed = None
        feed.end()


async def _sample(rooms: Rooms, container: Container) -> Sample:
    pid = container.state.pid
    if not container.running or not pid:
        return _zero()
    parent = container.record.host_config.cgroup_parent or rooms.settings.cgroup_parent
    places = usage.places(host_layout(), clean(f"{parent}/{container.id}"))
    own = (container.record.host_config.network_mode or "") != "host"
    return await in_disk_thread(_read, places, pid if own else 0, rooms.host.memory_bytes)


def _read(places: usage.Places, pid: int, memory_bytes: int) -> Sample:
    """Counters of the network come from /proc/<pid>/net/dev: 30 us, where a socket opened in the namespace takes a thread and setns."""
    found = usage.read(places, memory_bytes)
    found["cpu_stats"]["system_cpu_usage"] = usage.system_cpu(proc.text("/proc/stat"))
    found["cpu_stats"]["online_cpus"] = os.sysconf("SC_NPROCESSORS_ONLN")
    found["read"] = clock.rfc3339(clock.now_nanos())
    try:
        networks = usage.networks(proc.text(f"/proc/{pid}/net/dev")) if pid else {}
    except OSError:
        networks = {}  # it has just ended
    if networks:
        found["networks"] = networks
    return found


def _zero() -> Sample:
    return {"read": clock.ZERO, **usage.empty()}


def _frame(container: Container, sample: Sample, before: Sample | None) -> Sample:
    return {
        **sample,
        "preread": before["read"] if before else clock.ZERO,
        "precpu_stats": before["cpu_stats"] if before else usage.no_cpu(),
        "name": f"/{container.record.name}",
        "id": container.id,
    }
