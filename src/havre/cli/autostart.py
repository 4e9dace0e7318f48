"""Start havred from the CLI: detached, and waited for by its own readiness message (sd_notify), without polling."""

import os
import socket
import sys
import tempfile

from havre.client.connection import DEFAULT_HOST
from havre.errors import HavreError

READY_S = 30.0
LOG = "/run/havre/havred.log"


def start_daemon(host: str) -> None:
    """Start the daemon on `host` and wait until it is ready. Raises HavreError that names its log."""
    os.makedirs(os.path.dirname(LOG), mode=0o711, exist_ok=True)  # the group docker passes through
    with tempfile.TemporaryDirectory(prefix="havre-") as folder:
        notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        notify.bind(f"{folder}/notify")
        log = os.open(LOG, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o640)
        pid = os.fork()
        if pid == 0:
            _become_daemon(host, f"{folder}/notify", log)
        os.close(log)
        _wait_ready(notify, pid)


def _become_daemon(host: str, notify: str, log: int) -> None:
    """In the child: a session of its own, no terminal, then havred in this very interpreter."""
    try:
        os.setsid()
        null = os.open(os.devnull, os.O_RDWR)
        for fd, source in ((0, null), (1, log), (2, log)):
            os.dup2(source, fd)
        os.chdir("/")
        words = [] if host == DEFAULT_HOST else ["-H", host]  # without -H daemon.json may name more hosts
        code = f"import sys; sys.path[:] = {sys.path!r}; from havre.daemon.__main__ import main; sys.exit(main({words!r}))"
        environment = {**os.environ, "NOTIFY_SOCKET": notify}
        os.closerange(3, 256)
        os.execve(sys.executable, [sys.executable, "-IS", "-c", code], environment)
    finally:
        os._exit(127)


def _wait_ready(notify: socket.socket, pid: int) -> None:
    import select

    pidfd = os.pidfd_open(pid)
    try:
        ready, _, _ = select.select([notify.fileno(), pidfd], [], [], READY_S)
    finally:
        os.close(pidfd)
    if notify.fileno() not in ready:
        raise HavreError("havred did not start", hint=f"tail {LOG}")
