"""The pipes between a process and its monitor, or the promise of a pty that the process makes itself. Lean."""

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType

    from havre.runtime.streams import Streams


class Stdio:
    """`theirs` goes to the process; `open` gives the monitor's ends to its Streams. As a context manager it closes the rest."""

    def __init__(self, *, tty: bool, stdin: bool) -> None:
        self.theirs = (0, 1, 2)  # with a tty the process opens its own
        self._theirs: list[int] = []
        self._ours: list[int] = []
        self._stdin = -1
        if not tty:
            try:
                self._open_pipes(stdin)
            except OSError:
                self.close()
                raise

    def _open_pipes(self, stdin: bool) -> None:
        if stdin:
            reading, self._stdin = os.pipe()
            self._ours.append(self._stdin)
        else:
            reading = os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC)
        self._theirs.append(reading)
        for _ in range(2):
            reading, writing = os.pipe()
            self._ours.append(reading)
            self._theirs.append(writing)
        self.theirs = (self._theirs[0], self._theirs[1], self._theirs[2])

    def close_theirs(self) -> None:
        """The process has its own copies."""
        for fd in self._theirs:
            os.close(fd)
        self._theirs.clear()

    def open(self, streams: "Streams", master: int) -> None:
        """Give the monitor's ends away; `master` is the pty's, -1 without one."""
        ours, self._ours = self._ours, []
        if master < 0:
            streams.open_pipes(self._stdin, ours[-2], ours[-1])
        else:
            streams.open_master(master)

    def close(self) -> None:
        """Close what is left on both sides."""
        self.close_theirs()
        for fd in self._ours:
            os.close(fd)
        self._ours.clear()

    def __enter__(self) -> "Stdio":
        return self

    def __exit__(
        self, kind: "type[BaseException] | None", error: "BaseException | None", trace: "TracebackType | None"
    ) -> None:
        self.close()
