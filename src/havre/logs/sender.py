"""The process of a log that is sent, or that must never hold its container up: it takes what the monitor hands over, and may wait.

A driver here is one object: `connect()` once at the start (raises ConnectFailed), `log(messages)` for what was read together (blocks as
long as it takes, raises Ended). A message is (source, text, nanos, Partial or None). What it gave up is told in a message of its own.
"""

import os
import socket

from havre.linux import syscalls as sys
from havre.logs.fluentd import Fluentd
from havre.logs.gelf import Gelf
from havre.logs.journald import Journald
from havre.logs.lines import Lines, Partial
from havre.logs.link import Ended, Feed
from havre.logs.logfile import CLONE_PARENT, SIGCHLD
from havre.logs.syslog import Syslog
from havre.logs.wire import NAMES, Records

READ_BYTES = 1 << 18
TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Protocol

    from havre.spec.runplan import LogPlan

    Message = tuple[bytes, bytes, int, Partial | None]

    class Driver(Protocol):
        def connect(self) -> None: ...
        def log(self, messages: list[Message]) -> int: ...

    class Sink(Protocol):
        def write(self, stream: bytes, data: bytes, nanos: int) -> None: ...
        def close(self) -> None: ...


def run(sock: socket.socket, plan: "LogPlan", *, answer: bool) -> None:
    """Be the log's process until the monitor closes. With `answer` the first word says whether the log could be opened."""
    sys.set_name(b"havre-log")
    try:
        sink = _open(Feed(sock), plan, first=answer)
    except Exception as error:  # noqa: BLE001 - whatever it is, the start must fail with its words
        if answer:
            sock.sendall(b"!" + str(error).encode())
        return
    if answer:
        sock.sendall(b"+")
    try:
        records = Records()
        while data := sock.recv(READ_BYTES):
            for stream, nanos, text in records.feed(data):
                sink.write(NAMES[stream], text, nanos)
            if isinstance(sink, Messages):
                sink.flush()
        sink.close()
    except Ended:
        pass


def _open(feed: Feed, plan: "LogPlan", *, first: bool) -> "Sink":
    if not plan["remote"]:
        from havre.logs.openfile import open_file

        return open_file(plan)
    driver = _driver(feed, plan)
    if first and plan["remote"]["required"]:
        driver.connect()
    return Messages(driver)


def _driver(feed: Feed, plan: "LogPlan") -> "Driver":
    kinds: dict[str, Callable[[LogPlan, Feed], Driver]] = {
        "syslog": Syslog,
        "journald": Journald,
        "gelf": Gelf,
        "fluentd": Fluentd,
    }
    return kinds[plan["driver"]](plan, feed)


class Messages:
    """Turns what was read into messages, and hands them to the driver together."""

    def __init__(self, driver: "Driver") -> None:
        self._driver = driver
        self._lines: dict[bytes, Lines] = {}
        self._waiting: list[Message] = []
        self._lost = 0
        self._nanos = 0

    def write(self, stream: bytes, data: bytes, nanos: int) -> None:
        lines = self._lines.setdefault(stream, Lines())
        source, self._nanos = b"stderr" if stream == b"notice" else stream, nanos
        whole, mixed = lines.feed(data, nanos)
        self._waiting += [(source, line, nanos, None) for line in whole]
        self._add(source, mixed, nanos)

    def _add(self, source: bytes, found: "list[Partial | bytes]", nanos: int) -> None:
        for one in found:
            if isinstance(one, Partial):
                self._waiting.append((source, one.text, one.nanos, one))
            else:
                self._waiting.append((source, one, nanos, None))

    def flush(self) -> None:
        waiting, self._waiting = self._waiting, []
        if self._lost:
            text = f"havre: {self._lost} log lines were dropped: nobody took them".encode()
            waiting.insert(0, (b"stderr", text, self._nanos, None))
        if waiting:
            self._lost = self._driver.log(waiting)

    def close(self) -> None:
        for stream, lines in self._lines.items():
            self._add(b"stderr" if stream == b"notice" else stream, lines.end(self._nanos), self._nanos)
        self.flush()


def start(plan: "LogPlan", *, answer: bool) -> socket.socket:
    """Fork the log's process from the monitor; return the monitor's end of its socket. Raises KernelError, OSError.

    It is the zygote's child, not the monitor's: nobody here waits for it.
    """
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    if sys.clone(CLONE_PARENT, SIGCHLD) == 0:
        try:
            keep = theirs.fileno()
            limit = os.sysconf("SC_OPEN_MAX")
            os.closerange(3, keep)  # attached clients and daemons must not wait for this process's end
            os.closerange(keep + 1, limit)
            run(theirs, plan, answer=answer)
        finally:
            os._exit(0)
    theirs.close()
    return ours
