"""One more process in the container, followed by the monitor from its start to its end without ever waiting for it. Lean."""

import os

from havre.linux import syscalls as sys
from havre.runtime import spawn
from havre.runtime.loop import IN
from havre.runtime.stdio import Stdio
from havre.runtime.streams import Streams

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from havre.runtime.control import Control
    from havre.runtime.loop import Loop

    Failure = tuple[str, str, int]


class Exec:
    """Calls `started(exec, failure or None)` once, and after a success `ended(exec)` with `code` set."""

    def __init__(
        self,
        loop: "Loop",
        exec_id: str,
        *,
        tty: bool,
        started: "Callable[[Exec, Failure | None], None]",
        ended: "Callable[[Exec], None]",
    ) -> None:
        self.id = exec_id
        self.pid = 0  # on the host, when it has started
        self.code: int | None = None
        self.told = False
        self.deadline = 0.0
        self.streams = Streams(loop, tty=tty, keep_stdin=False, log=None)
        self.asked_by: tuple[Control, int]
        self._loop = loop
        self._tty = tty
        self._started = started
        self._ended = ended
        self._joining: spawn.Joining | None = None
        self._stdio: Stdio | None = None
        self._pidfd = -1

    def begin(self, stdin: bool, begin: "Callable[[tuple[int, int, int]], spawn.Joining]") -> None:
        """Fork it towards the container: `begin` gets its (0, 1, 2). Raises OSError."""
        self._stdio = Stdio(tty=self._tty, stdin=stdin)
        try:
            self._joining = begin(self._stdio.theirs)
        except BaseException:
            self._stdio.close()
            raise
        self._stdio.close_theirs()
        self._loop.watch(self._joining.fileno(), IN, self._on_word)

    def _on_word(self, events: int) -> None:
        joining, stdio = self._joining, self._stdio
        if joining is None or stdio is None or not joining.read():
            return
        self._loop.forget(joining.fileno())
        started = joining.finish()
        self._joining = None
        if started.failure:
            self._fail(started.failure)
            return
        self.pid = started.pid
        self._pidfd = sys.pidfd_open(started.pid)
        stdio.open(self.streams, started.master)
        self._started(self, None)
        self._loop.watch(self._pidfd, IN, self._on_exit)

    def _fail(self, failure: "Failure") -> None:
        if self._stdio is not None:
            self._stdio.close()
        self.streams.close_clients()
        self._started(self, failure)

    def _on_exit(self, events: int) -> None:
        _, status = os.waitpid(self.pid, 0)
        code = os.waitstatus_to_exitcode(status)
        self._loop.forget(self._pidfd)
        os.close(self._pidfd)
        self.code = code if code >= 0 else 128 - code
        self.streams.finish()
        self._ended(self)

    def end(self) -> None:
        """The container has ended, and this with it, wherever it was."""
        if self._joining is not None:
            self._loop.forget(self._joining.fileno())
            self._joining.kill()
            self._joining = None
            self._fail(("exec", "the container has ended", 3))
        elif self.code is None:
            try:
                os.kill(self.pid, 9)  # it is our child and not reaped: the number is still its own
            except ProcessLookupError:
                pass
            self._on_exit(0)
