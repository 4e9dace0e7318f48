"""A health probe: an exec that the monitor ends by itself when its time is over, and of whose output it keeps the beginning. Lean.

The daemon may die or be replaced meanwhile: no probe outlives its timeout, and none is waited for by anybody else.
"""

import os
import time

from havre.errors import KernelError
from havre.linux import syscalls as sys
from havre.runtime.exec import Exec

OUTPUT_BYTES = 4096  # what Docker keeps of a probe's output
SIGKILL = 9
TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from havre.runtime.exec import Failure
    from havre.runtime.loop import Loop


class Head:
    """Takes a process's output like a log, and keeps its first OUTPUT_BYTES; what is cut off is said with three dots, as in Docker."""

    full = False  # what it does not keep it throws away

    def __init__(self) -> None:
        self._data = b""
        self._cut = False

    def write(self, stream: bytes, data: bytes, nanos: int) -> None:
        room = OUTPUT_BYTES - len(self._data)
        self._cut |= len(data) > room
        self._data += data[:room]

    def close(self) -> None:
        """Nothing is held."""

    def text(self) -> bytes:
        return self._data + b"..." if self._cut else self._data


class Probe(Exec):
    """An exec without clients. `timeout_s` counts from its execve: how long a start takes is not the probe's fault."""

    def __init__(
        self,
        loop: "Loop",
        exec_id: str,
        timeout_s: float,
        *,
        started: "Callable[[Exec, Failure | None], None]",
        ended: "Callable[[Exec], None]",
    ) -> None:
        super().__init__(loop, exec_id, tty=False, started=started, ended=ended)
        self.head = Head()
        self.streams.log = self.head
        self.timed_out = False
        self.due = float("inf")
        self._timeout_s = timeout_s
        self._cancelled = False

    def running(self) -> None:
        """It has reached its execve."""
        self.due = time.monotonic() + self._timeout_s
        if self._cancelled:
            kill_tree(self.pid)

    def expire(self) -> None:
        """Its time is over: end it and all it has started."""
        self.timed_out, self.due = True, float("inf")
        kill_tree(self.pid)

    def cancel(self) -> None:
        """Nobody wants to know any more: the container is being paused, or the daemon has gone."""
        self._cancelled = True
        if self.pid and self.code is None:
            kill_tree(self.pid)

    def report(self) -> "tuple[Any, ...]":
        """What the daemon is told when it has ended."""
        return ("probe", self.id, self.code, self.timed_out, self.head.text())


def kill_tree(pid: int) -> None:
    """SIGKILL a child of ours that is not reaped yet, its process group, and everything that descends from it.

    Descendants are held by pidfds from the moment they are seen, so that no other process with the same number is hit.
    """
    held = [fd for child in _descendants(pid) if (fd := _hold(child)) >= 0]
    for group in (-pid, pid):  # it is the leader of its own session since before its execve
        try:
            os.kill(group, SIGKILL)
        except ProcessLookupError:
            pass
    for fd in held:
        try:
            sys.pidfd_send_signal(fd, SIGKILL)
        except KernelError:
            pass  # it has ended by itself
        os.close(fd)


def _hold(pid: int) -> int:
    try:
        return sys.pidfd_open(pid)
    except KernelError:
        return -1


def _descendants(pid: int) -> list[int]:
    """Children, and children of children (proc_pid_task(5): children needs CONFIG_PROC_CHILDREN; without it there are none here)."""
    found = []
    for child in _children(pid):
        found += [child, *_descendants(child)]
    return found


def _children(pid: int) -> list[int]:
    found: list[int] = []
    try:
        for thread in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{thread}/children", "rb") as file:
                found += [int(word) for word in file.read().split()]
    except OSError:
        pass  # it has gone
    return found
