"""A container has ended: record, network, events, waiters."""

import asyncio

from havre import clock, log
from havre.engine import health, policy
from havre.engine.container import Container
from havre.engine.endpoints import tell
from havre.engine.rooms import Rooms
from havre.engine.volumes import publish_mounts
from havre.errors import HavreError
from havre.spec.runplan import ExitRecord
from havre.tasks import in_net_thread


async def finish(rooms: Rooms, container: Container, ended: ExitRecord) -> bool:
    """Record the end with the lock held; idempotent for a container that is already down. Return whether it has to start again.

    Its state is "restarting" from the first moment then: a stop that comes now finds something to stop.
    """
    if not container.running:
        return False
    state = container.state
    runs_s = (ended["at_nanos"] - state.started_nanos) / 1e9
    state.status, state.pid, state.exit_code = "exited", 0, ended["code"]
    state.oom_killed, state.error = ended["oom_killed"], ended["error"]
    again = _starts_again(container)
    state.finished_nanos = ended["at_nanos"] or clock.now_nanos()
    state.health = health.end(state.health)
    container.monitor = None
    rooms.containers.note(container)
    if container.record.endpoints:
        await _disconnect(rooms, container)
    attributes = {**container.attributes(), "exitCode": str(ended["code"])}
    if state.oom_killed:
        rooms.events.publish("container", "oom", container.id, container.attributes())
    attributes["execDuration"] = str(max(0, int(runs_s)))
    rooms.events.publish("container", "die", container.id, attributes)
    tell(rooms, container, "disconnect")
    publish_mounts(rooms, container.record, "unmount")
    container.restart_pause_s = policy.next_pause_s(container.restart_pause_s, runs_s)
    container.ended.set()
    wake(container.on_exit, ended["code"])
    return again


def _starts_again(container: Container) -> bool:
    state = container.state
    asked, container.restart_asked = container.restart_asked and not state.stopped_by_user, False
    if not asked and not policy.wants_restart(container.record.host_config.restart_policy, state):
        return False
    state.status = "restarting"
    state.restart_count += 1
    container.restart_now.clear()
    return True


async def _disconnect(rooms: Rooms, container: Container) -> None:
    """Whatever the network says, the container has ended, and who waits for it must hear so; the next start or rm tries again."""
    try:
        await in_net_thread(rooms.networks.disconnect, container.id)
    except HavreError as error:
        log.error("could not take a container off its networks", id=container.id[:12], error=error)


def wake(waiters: list["asyncio.Future[int]"], code: int) -> None:
    """Answer everyone who waits."""
    for waiter in waiters:
        if not waiter.done():
            waiter.set_result(code)
    waiters.clear()
