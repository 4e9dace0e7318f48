"""Start havred from the CLI: detached, and waited for by its own readiness message (sd_notify), without polling."""

import fcntl
import os
import socket
import subprocess
import sys
import tempfile

from havre.client.connection import DEFAULT_HOST
from havre.errors import HavreError

READY_S = 30.0
LOG = "/run/havre/havred.log"
TURN = "/run/havre/start.lock"
SYSTEMD, UNIT = "/run/systemd/system", "/etc/systemd/system/havred.socket"


def start_daemon(host: str) -> None:
    """Start the daemon on `host` and wait until it is ready. Raises HavreError that names its log.

    Of several `havre` that find none at once, one starts it and the others wait.
    """
    if host == DEFAULT_HOST and os.path.isdir(SYSTEMD) and os.path.exists(UNIT):
        _ask_systemd()
        return
    mask = os.umask(0o022)
    os.makedirs(os.path.dirname(LOG), mode=0o711, exist_ok=True)  # the group docker passes through
    os.umask(mask)
    turn = os.open(TURN, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(turn, fcntl.LOCK_EX)
        if not _listens(host):
            _start(host)
    finally:
        os.close(turn)


def _ask_systemd() -> None:
    """Where systemd keeps havred, one beside it would keep the service from starting."""
    done = subprocess.run(
        ["systemctl", "start", "havred.socket"], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise HavreError(
            f"havred did not start: {done.stderr.strip()}",
            hint="systemctl status havred.socket havred.service",
        )


def _listens(host: str) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        return probe.connect_ex(host.removeprefix("unix://")) == 0


def _start(host: str) -> None:
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
        os.umask(0o022)
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
