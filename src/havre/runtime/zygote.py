"""The zygote: a small process that forks one monitor per container. Lean; no threads, no loop, no logging.

It is forked before the daemon imports anything, because fork costs with the size of what is forked (1.2 ms from here, 5 ms from
the daemon). It leaves when the daemon's socket closes; the monitors it forked stay.
"""

import encodings.ascii  # noqa: F401 - what opens a text file as ASCII looks for it, 1 ms in every start
import gc
import os
import signal
import socket

from havre.linux import syscalls as sys
from havre.runtime import monitor, wire

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from havre.runtime.monitor import OpenLog

    Helpers = dict[str, Callable[[tuple[Any, ...], list[int]], None]]


def launch(open_log: "OpenLog", helpers: "Helpers | None" = None) -> socket.socket:
    """Fork the zygote; return the daemon's end of its socket. Call it while the process is small and single-threaded.

    A message whose first word is one of `helpers` is that one's, in a process of its own; every other is a start.
    """
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    if os.fork() == 0:
        ours.close()
        try:
            serve(theirs, open_log, helpers)
        finally:
            os._exit(1)
    theirs.close()
    return ours


def serve(sock: socket.socket, open_log: "OpenLog", helpers: "Helpers | None" = None) -> None:
    """Be the zygote on this socket until the daemon leaves. Never returns."""
    _leave_daemon(sock)
    while True:
        message, fds = wire.receive(sock)
        if message is None:
            os._exit(0)
        try:
            child = os.fork()
        except OSError as error:  # no memory, or no process numbers left: this start fails, the next may not
            _refuse(fds, error)
            continue
        if child == 0:
            sock.close()
            if helpers and message[0] in helpers:
                helpers[message[0]](message, fds)
                os._exit(0)
            monitor.run(message, fds, open_log)
        for fd in fds:
            os.close(fd)


def _leave_daemon(sock: socket.socket) -> None:
    """Keep nothing of the daemon: no signals from its terminal, no sockets that systemd passed to it."""
    os.setsid()
    sys.set_name(b"havre-zygote")
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # it ends with its socket, never before
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # monitors are nobody's to wait for
    os.closerange(3, sock.fileno())
    os.closerange(sock.fileno() + 1, os.sysconf("SC_OPEN_MAX"))
    sys.prctl(sys.PR_SET_DUMPABLE, 0)
    os.chdir("/")
    gc.disable()
    gc.freeze()


def _refuse(fds: list[int], error: OSError) -> None:
    control = socket.socket(fileno=fds.pop(0))
    try:
        wire.send(control, ("failed", "fork", "monitor", error.errno or 0))
    except OSError:
        pass  # that daemon has gone
    control.close()
    for fd in fds:
        os.close(fd)
