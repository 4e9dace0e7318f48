"""POST /containers/{id}/wait. Registers at once: stock clients send /start only after the head of this reply."""

import asyncio
from collections.abc import Awaitable
from dataclasses import dataclass

from havre.engine.rooms import Rooms
from havre.errors import InvalidParameter


@dataclass(frozen=True, slots=True)
class WaitResult:
    status_code: int
    error: str = ""


def wait(rooms: Rooms, ref: str, condition: str = "") -> Awaitable[WaitResult]:
    """Return what resolves when the condition is met: not-running (default), next-exit or removed.

    Raises NotFound and InvalidParameter at once, before anything is awaited.
    """
    container = rooms.containers.find(ref)
    condition = condition or "not-running"
    if condition not in ("not-running", "next-exit", "removed"):
        raise InvalidParameter(f'invalid condition: "{condition}"', hint="not-running, next-exit or removed")
    future: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    if condition == "not-running" and not container.running and container.state.status != "restarting":
        future.set_result(container.state.exit_code)
    else:
        (container.on_remove if condition == "removed" else container.on_exit).append(future)
    return _result(future)


async def _result(future: "asyncio.Future[int]") -> WaitResult:
    return WaitResult(await future)
