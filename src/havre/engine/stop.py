"""Stop, kill and restart."""

import signal as signals

from havre.engine.container import Container
from havre.engine.ending import (
    kill_processes,
    parse_signal,
    send,
    stop_processes,
    stop_signal,
    stop_timeout_s,
)
from havre.engine.finish import wake
from havre.engine.rooms import Rooms
from havre.engine.start import check_startable
from havre.engine.supervise import begin
from havre.errors import Conflict, HavreError, NotModified


async def stop(rooms: Rooms, ref: str, *, timeout_s: int | None = None, signal: str = "") -> None:
    """Stop a container. `timeout_s` -1 waits for ever; None takes the container's own. Raises NotModified when it is down."""
    container = rooms.containers.find(ref)
    if not container.up:
        raise NotModified(f"container {container.record.name} is not running")
    await _stop(rooms, container, timeout_s, signal)
    rooms.events.publish("container", "stop", container.id, container.attributes())


async def _stop(rooms: Rooms, container: Container, timeout_s: int | None, signal: str) -> None:
    number = parse_signal(signal) if signal else stop_signal(container)
    if await cancel_restart(rooms, container):
        return
    container.state.stopped_by_user = True
    rooms.containers.note(container)
    await stop_processes(
        rooms, container, number, stop_timeout_s(container) if timeout_s is None else timeout_s
    )


async def cancel_restart(rooms: Rooms, container: Container) -> bool:
    """Let a container that waits for its next start stay down; False for one that does not wait. A start that is on its way is awaited."""
    if container.state.status != "restarting":
        return False
    async with container.lock:
        if container.state.status != "restarting":
            return not container.running
        container.state.stopped_by_user = True
        stay_down(rooms, container)
        return True


def stay_down(rooms: Rooms, container: Container) -> None:
    """With the lock of a restarting container held: it does not start again."""
    container.state.status = "exited"
    rooms.containers.note(container)
    container.restart_now.set()
    wake(container.on_exit, container.state.exit_code)


async def restart(rooms: Rooms, ref: str, *, timeout_s: int | None = None, signal: str = "") -> None:
    """Stop if it runs, then start. Raises what stop and start raise, with the container's name in front."""
    container = rooms.containers.find(ref)
    try:
        if container.up:
            await _stop(rooms, container, timeout_s, signal)
            rooms.events.publish("container", "stop", container.id, container.attributes())
        async with container.lock:
            if not container.running:
                check_startable(container)
                container.forget_failures()
                await begin(rooms, container)
    except HavreError as error:
        error.context = f"Cannot restart container {ref}" + (f": {error.context}" if error.context else "")
        raise
    rooms.events.publish("container", "restart", container.id, container.attributes())


async def kill(rooms: Rooms, ref: str, signal: str = "") -> None:
    """Send a signal to the first process; SIGKILL waits until it is gone, so that a `rm` after it works."""
    number = parse_signal(signal) if signal else signals.SIGKILL
    container = rooms.containers.find(ref)
    if not container.up:
        raise Conflict(f"cannot kill container: {ref}: container {container.id} is not running")
    ends = number in (signals.SIGKILL, stop_signal(container))
    if ends:
        if await cancel_restart(rooms, container):
            return
        container.state.stopped_by_user = True
        rooms.containers.note(container)
    if number == signals.SIGKILL:
        await kill_processes(rooms, container)
    else:
        await send(rooms, container, number, wake=ends)
