"""havred under a fault: `python faulty.py SOCKET <havred's words>`. No line of this is in havred: it hooks in from outside.

Every step that changes something outside of the daemon's memory is counted: a file made, renamed or removed, a record written, a
word to the kernel, to the zygote or a monitor, a signal, an answer to a client. SOCKET takes one datagram from a test,
"kill N", "term N" (SIGTERM, and it goes on), "fail N ERRNO" (that step only), "full N ERRNO" (that step and every later one that needs space) or "off", and answers
with the steps seen since the last one. "kill N" ends the daemon in front of step N as SIGKILL does.
"""

import errno
import json
import os
import signal
import socket
import sqlite3
import sys
import threading
from collections.abc import Callable
from typing import Any

WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
CHANGES = frozenset(
    "os.mkdir os.rename os.remove os.rmdir os.link os.symlink os.chmod os.chown os.truncate".split()
)
FREES = frozenset("os.remove os.rmdir os.rename".split())  # work on a full disk


class Faults:
    """Counts steps while armed, and strikes at one of them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._action, self._at, self._errno = "off", 0, 0
        self._seen: list[str] = []

    def arm(self, words: list[str]) -> list[str]:
        """Return what was seen so far and begin anew."""
        with self._lock:
            seen, self._seen = self._seen, []
            self._action = words[0]
            self._at = int(words[1]) if len(words) > 1 else 0
            self._errno = int(words[2]) if len(words) > 2 else 0
        return seen

    def step(self, name: str, detail: str = "") -> None:
        """Called in front of every step. Raises OSError where one is to fail."""
        with self._lock:
            if self._action == "off":
                return
            self._seen.append(f"{name} {detail}".strip())
            number = len(self._seen)
            if number < self._at or (number > self._at and self._action != "full"):
                return
            if self._action == "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            if self._action == "term":
                os.kill(os.getpid(), signal.SIGTERM)
                return
            if self._action == "full" and name in FREES:
                return
            if name in ("signal", "answer", "message", "netlink"):
                return  # these have no such failure
        raise OSError(self._errno, os.strerror(self._errno), detail or None)


faults = Faults()


def audit(event: str, args: tuple[Any, ...]) -> None:
    """sys.addaudithook: files."""
    if event == "open":
        path, _, flags = args
        if isinstance(path, (str, bytes)) and isinstance(flags, int) and flags & WRITING:
            text = os.fsdecode(path)
            if not text.startswith(("/proc/", "/dev/", "/sys/")):
                faults.step("open", text)
    elif event in CHANGES:
        faults.step(event, str(args[0]))


class Database(sqlite3.Connection):
    """Records: each statement that writes is a step, and so is the commit."""

    def execute(self, sql: str, *args: Any) -> sqlite3.Cursor:  # type: ignore[override]
        word = sql.split(None, 1)[0].lower()
        if word not in ("select", "pragma", "rollback"):
            try:
                faults.step("record", f"{word} {args[0][:2] if args else ''}")
            except OSError as error:
                full = error.errno == errno.ENOSPC
                failure = sqlite3.OperationalError("database or disk is full" if full else "disk I/O error")
                failure.sqlite_errorcode = sqlite3.SQLITE_FULL if full else sqlite3.SQLITE_IOERR
                raise failure from None
        return super().execute(sql, *args)


def before(owner: Any, name: str, step: str) -> None:
    """Make every call of owner.name a step."""
    real: Callable[..., Any] = getattr(owner, name)

    def counted(*args: Any, **kwargs: Any) -> Any:
        faults.step(step, name)
        return real(*args, **kwargs)

    setattr(owner, name, counted)


def hook() -> None:
    """After the zygote has been forked: it and its monitors are as ever."""
    real = sqlite3.connect
    sqlite3.connect = lambda *args, **kwargs: real(*args, **{**kwargs, "factory": Database})  # type: ignore[assignment]
    from havre.http.connection import Connection
    from havre.linux import syscalls
    from havre.linux.nlsocket import Netlink
    from havre.runtime import wire

    before(Netlink, "request", "netlink")
    before(wire, "send", "message")
    before(syscalls, "pidfd_send_signal", "signal")
    before(Connection, "write", "answer")
    sys.addaudithook(audit)


def listen(path: str) -> None:
    """Take orders from a test."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    sock.bind(path)
    sock.listen(4)

    def serve() -> None:
        while True:
            test, _ = sock.accept()
            with test:
                while words := test.recv(1000).decode().split():
                    test.send(json.dumps(faults.arm(words)).encode())

    threading.Thread(target=serve, name="faults", daemon=True).start()


def main() -> int:
    """What havre.daemon.__main__ does, with the hooks between the zygote and the rest."""
    path, *words = sys.argv[1:]
    from havre.daemon.zygote import launch

    zygote = launch()
    hook()
    listen(path)
    from havre.daemon.main import run

    return run(words, zygote)


if __name__ == "__main__":
    sys.exit(main())
