"""How a container's processes are ended: signals, a grace period, then SIGKILL. Used by stop, kill, rm -f and by health checks."""

import asyncio
import signal as signals

from havre.engine.container import Container
from havre.engine.freezer import thaw
from havre.engine.rooms import Rooms
from havre.engine.settings import STOP_TIMEOUT_S
from havre.errors import Conflict, InvalidParameter, NotFound

KILL_TIMEOUT_S = 10  # a process in uninterruptible sleep may need this long after SIGKILL


def parse_signal(text: str) -> int:
    """Return the number of "TERM", "SIGTERM", "15" or "RTMIN+3". Raises InvalidParameter in Docker's words."""
    word = text.strip().upper().removeprefix("SIG")
    if word.isdigit() and 0 < int(word) < signals.NSIG:
        return int(word)
    base, sign, offset = word.partition("+") if "+" in word else word.partition("-")
    known = getattr(signals, f"SIG{base}", None) if base.isalnum() and not base.isdigit() else None
    if known is None or (sign and not (base in ("RTMIN", "RTMAX") and offset.isdigit())):
        raise InvalidParameter(f"Invalid signal: {text}")
    number = int(known) + (int(offset) if sign == "+" else -int(offset) if sign else 0)
    if not 0 < number < signals.NSIG:
        raise InvalidParameter(f"Invalid signal: {text}")
    return number


def stop_signal(container: Container) -> int:
    """The signal its image or its flags name for stopping."""
    return parse_signal(container.record.config.stop_signal or "SIGTERM")


def stop_timeout_s(container: Container) -> int:
    wanted = container.record.config.stop_timeout
    return STOP_TIMEOUT_S if wanted is None else wanted


async def send(rooms: Rooms, container: Container, number: int, *, wake: bool = False) -> None:
    """Signal the first process; one that is gone is on its way out and needs nothing. With `wake` a paused one goes on:
    nothing that is frozen handles a signal, and on cgroup v1 not even SIGKILL ends it.
    """
    monitor = container.monitor
    if monitor is None:
        return
    try:
        monitor.kill(number)
    except NotFound:
        return
    rooms.events.publish("container", "kill", container.id, {**container.attributes(), "signal": str(number)})
    if wake and container.state.status == "paused":
        async with container.lock:
            await _resume(rooms, container)


async def _resume(rooms: Rooms, container: Container) -> None:
    if container.state.status == "paused":
        await thaw(rooms, container)
        container.state.status = "running"
        rooms.containers.note(container)
        rooms.events.publish("container", "unpause", container.id, container.attributes())


async def ended_within(container: Container, timeout_s: float | None) -> bool:
    """Wait for its end, for ever with None."""
    try:
        await asyncio.wait_for(container.ended.wait(), timeout_s)
    except TimeoutError:
        return False
    return True


async def stop_processes(rooms: Rooms, container: Container, number: int, timeout_s: float) -> None:
    """Signal, wait `timeout_s` (negative: for ever), SIGKILL. Raises Conflict when it does not die of that either."""
    await send(rooms, container, number, wake=True)
    if not await ended_within(container, None if timeout_s < 0 else timeout_s):
        await kill_processes(rooms, container)


async def kill_processes(rooms: Rooms, container: Container) -> None:
    """SIGKILL, and wait until all is over. Raises Conflict when it does not die."""
    await send(rooms, container, signals.SIGKILL, wake=True)
    if not await ended_within(container, KILL_TIMEOUT_S):
        raise Conflict(
            f"container {container.record.name} does not die: pid {container.state.pid}",
            hint=f"cat /proc/{container.state.pid}/stack",
        )


async def end_unhealthy(rooms: Rooms, container: Container, how: str) -> None:
    """What --health-on-failure asks for. After `kill` the restart policy decides; after `stop` it stays down."""
    if container.monitor is None:
        return
    if how == "kill":
        await kill_processes(rooms, container)
        return
    if how == "stop":
        container.state.stopped_by_user = True
    container.restart_asked = how == "restart"
    rooms.containers.note(container)
    await stop_processes(rooms, container, stop_signal(container), stop_timeout_s(container))
