"""Probe a running container at its intervals; say what changes, and do what is asked for when it turns unhealthy."""

import asyncio

from havre import log
from havre.clock import now_nanos
from havre.engine import ending, health, probes
from havre.engine.background import report
from havre.engine.container import Container, HealthResult
from havre.engine.rooms import Rooms
from havre.runtime.link import Monitor
from havre.spec.engine import HealthConfig
from havre.tasks import spawn


def begin(rooms: Rooms, container: Container) -> None:
    """Probe it from now on, if it has a health check: it has been started, or found again."""
    end(container)
    check, monitor = container.record.config.healthcheck, container.monitor
    if check is not None and monitor is not None and health.kind(check):
        task = _watch(rooms, container, monitor, check)
        container.health_task = spawn(f"health {container.id[:12]}", task, report)


def end(container: Container) -> None:
    """No more probes; one that is on its way is ended."""
    task, container.health_task = container.health_task, None
    if task is not None:
        task.cancel()


async def _watch(rooms: Rooms, container: Container, monitor: Monitor, check: HealthConfig) -> None:
    plan = probes.prepare(rooms, container, check)
    while True:
        await asyncio.sleep(health.pause_s(check, container.state, now_nanos()))
        if container.state.status == "paused":
            continue
        pauses = container.pauses
        result = await probes.run(rooms, container, monitor, check, plan)
        if result is None or container.monitor is not monitor:
            return
        if container.pauses == pauses:
            _take_in(rooms, container, check, result)


def _take_in(rooms: Rooms, container: Container, check: HealthConfig, result: HealthResult) -> None:
    """Results that change nothing are not stored: a healthy container costs no write."""
    state = container.state
    before, state.health = state.health, health.take_in(check, state, result)
    after = state.health
    if before is None or (before.status, before.failing_streak) != (after.status, after.failing_streak):
        rooms.containers.note(container)
    if before is None or before.status == after.status:
        return
    action = f"health_status: {after.status}"
    rooms.events.publish("container", action, container.id, container.attributes())
    wanted = health.on_failure(container.record.config)
    if after.status == "unhealthy" and wanted != "none":
        log.info("an unhealthy container is ended", id=container.id[:12], how=wanted)
        # a task of its own: the end of the container ends this one
        spawn(f"unhealthy {container.id[:12]}", ending.end_unhealthy(rooms, container, wanted), report)
