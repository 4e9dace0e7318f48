"""Stop, kill and restart: signals, a grace period, then SIGKILL."""

import asyncio
import signal as signals

from havre.engine.container import Container
from havre.engine.finish import wake
from havre.engine.pause import let_die
from havre.engine.rooms import Rooms
from havre.engine.settings import STOP_TIMEOUT_S
from havre.engine.supervise import begin
from havre.errors import Conflict, InvalidParameter, NotFound, NotModified

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


async def stop(rooms: Rooms, ref: str, *, timeout_s: int | None = None, signal: str = "") -> None:
    """Stop a container. `timeout_s` -1 waits for ever; None takes the container's own. Raises NotModified when it is down."""
    container = rooms.containers.find(ref)
    if container.state.status == "restarting":
        _cancel_restart(rooms, container)
        return
    if not container.running:
        raise NotModified(f"container {container.record.name} is not running")
    await _stop(rooms, container, timeout_s, signal)
    rooms.events.publish("container", "stop", container.id, container.attributes())


def _cancel_restart(rooms: Rooms, container: Container) -> None:
    container.state.status, container.state.stopped_by_user = "exited", True
    rooms.containers.save(container)
    container.restart_now.set()
    wake(container.on_exit, container.state.exit_code)


async def _stop(rooms: Rooms, container: Container, timeout_s: int | None, signal: str) -> None:
    config = container.record.config
    number = parse_signal(signal or config.stop_signal or "SIGTERM")
    if timeout_s is None:
        timeout_s = STOP_TIMEOUT_S if config.stop_timeout is None else config.stop_timeout
    container.state.stopped_by_user = True
    rooms.containers.save(container)
    _send(rooms, container, number)
    await let_die(rooms, container)
    if await _ended_within(container, None if timeout_s < 0 else timeout_s):
        return
    _send(rooms, container, signals.SIGKILL)
    if not await _ended_within(container, KILL_TIMEOUT_S):
        raise Conflict(
            f"cannot stop container: {container.record.name}: pid {container.state.pid} does not die",
            hint=f"cat /proc/{container.state.pid}/stack",
        )


def _send(rooms: Rooms, container: Container, number: int) -> None:
    """Signal the first process; one that is gone is on its way out and needs nothing."""
    monitor = container.monitor
    if monitor is None:
        return
    try:
        monitor.kill(number)
    except NotFound:
        return
    rooms.events.publish("container", "kill", container.id, {**container.attributes(), "signal": str(number)})


async def _ended_within(container: Container, timeout_s: float | None) -> bool:
    try:
        await asyncio.wait_for(container.ended.wait(), timeout_s)
    except TimeoutError:
        return False
    return True


async def restart(rooms: Rooms, ref: str, *, timeout_s: int | None = None, signal: str = "") -> None:
    """Stop if it runs, then start."""
    container = rooms.containers.find(ref)
    if container.running:
        await _stop(rooms, container, timeout_s, signal)
    elif container.state.status == "restarting":
        _cancel_restart(rooms, container)
    async with container.lock:
        if not container.running:
            container.state.stopped_by_user = False
            await begin(rooms, container)
    rooms.events.publish("container", "restart", container.id, container.attributes())


async def kill(rooms: Rooms, ref: str, signal: str = "") -> None:
    """Send a signal to the first process; SIGKILL waits until it is gone, so that a `rm` after it works."""
    container = rooms.containers.find(ref)
    number = parse_signal(signal or "SIGKILL")
    if not container.running or container.monitor is None:
        raise Conflict(f"cannot kill container: {ref}: container {container.id} is not running")
    last = number in (signals.SIGKILL, parse_signal(container.record.config.stop_signal or "SIGTERM"))
    if last:
        container.state.stopped_by_user = True
        rooms.containers.save(container)
    monitor = container.monitor
    _send(rooms, container, number)
    if last:
        await let_die(rooms, container)
    if number == signals.SIGKILL:
        await asyncio.wait({monitor.exited}, timeout=KILL_TIMEOUT_S)
        await _ended_within(container, KILL_TIMEOUT_S)
