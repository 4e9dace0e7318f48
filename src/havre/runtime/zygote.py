"""The zygote: a small process that forks one monitor per container. Lean; no threads, no loop, no logging.

It is forked before the daemon imports anything, because fork costs with the size of what is forked (1.2 ms from here, 5 ms from
the daemon). It leaves when the daemon's socket closes; the monitors it forked stay.
"""

import gc
import os
import signal
import socket

from havre.linux import syscalls as sys
from havre.runtime import monitor, wire

TYPE_CHECKING = False
if TYPE_CHECKING:
    from havre.runtime.monitor import OpenLog


def launch(open_log: "OpenLog") -> socket.socket:
    """Fork the zygote; return the daemon's end of its socket. Call it while the process is small and single-threaded."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    if os.fork() == 0:
        ours.close()
        try:
            _serve(theirs, open_log)
        finally:
            os._exit(1)
    theirs.close()
    return ours


def _serve(sock: socket.socket, open_log: "OpenLog") -> None:
    os.setsid()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # it ends with its socket, never before
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # monitors are nobody's to wait for
    sys.set_name(b"havre-zygote")
    sys.prctl(sys.PR_SET_DUMPABLE, 0)
    os.chdir("/")
    gc.disable()
    gc.freeze()
    while True:
        message, fds = wire.receive(sock)
        if message is None:
            os._exit(0)
        if os.fork() == 0:
            sock.close()
            monitor.run(message, fds, open_log)
        for fd in fds:
            os.close(fd)
