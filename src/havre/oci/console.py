"""Terminals: handing a pty master to a console socket, and relaying one to our own terminal. termios(3), unix(7) SCM_RIGHTS."""

import contextlib
import fcntl
import os
import select
import signal
import socket
import struct
import termios
import tty
from collections.abc import Callable, Iterator

from havre.errors import HavreError

CHUNK_BYTES = 65536


def send(master: int, path: str) -> None:
    """Send the master over a unix socket, as runc does. Raises HavreError when nobody listens there."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        directory = os.open(os.path.dirname(os.path.abspath(path)), os.O_PATH | os.O_DIRECTORY)
        try:
            sock.connect(
                f"/proc/self/fd/{directory}/{os.path.basename(path)}"
            )  # a path may be longer than 108 bytes
        except OSError as error:
            raise HavreError(f"connect to console socket {path}: {(error.strerror or '').lower()}") from None
        finally:
            os.close(directory)
        socket.send_fds(sock, [b"/dev/ptmx"], [master])


def resize(master: int, rows: int, columns: int) -> None:
    """Set the window size (tty_ioctl(4))."""
    fcntl.ioctl(master, termios.TIOCSWINSZ, struct.pack("HHHH", rows & 0xFFFF, columns & 0xFFFF, 0, 0))


@contextlib.contextmanager
def raw_terminal() -> Iterator[None]:
    """Our terminal passes everything on untouched, and is restored whatever happens; nothing without a terminal."""
    if not os.isatty(0):
        yield
        return
    before = termios.tcgetattr(0)
    tty.setraw(0)
    try:
        yield
    finally:
        termios.tcsetattr(0, termios.TCSADRAIN, before)


def relay(master: int, ended: int) -> None:
    """Copy between our stdin/stdout and the master until the process behind `ended` (a pidfd) is gone and all is read."""
    _copy_size(master)
    signal.signal(signal.SIGWINCH, lambda *_: _copy_size(master))
    with raw_terminal():
        poll = select.poll()
        for fd in (0, master, ended):
            poll.register(fd, select.POLLIN)
        while not any(_serve(fd, master, ended, poll) for fd, _ in poll.poll()):
            pass
    os.close(master)


def _serve(fd: int, master: int, ended: int, poll: "select.poll") -> bool:
    """Move one chunk; return whether it is over."""
    if fd == ended:
        os.set_blocking(master, False)
        while _move(master, 1):
            pass
        return True
    if fd == 0:
        if not _move(0, master):
            poll.unregister(0)
        return False
    if not _move(master, 1):
        poll.unregister(master)  # every slave is closed (EIO); the pidfd tells the end
    return False


def _move(source: int, target: int) -> bool:
    try:
        data = os.read(source, CHUNK_BYTES)
    except OSError:
        return False
    view = memoryview(data)
    while view:
        view = view[os.write(target, view) :]
    return bool(data)


def own_size() -> tuple[int, int] | None:
    """(rows, columns) of our terminal, None without one."""
    if not os.isatty(0):
        return None
    rows, columns, _, _ = struct.unpack("HHHH", fcntl.ioctl(0, termios.TIOCGWINSZ, b"\0" * 8))
    return rows, columns


def _copy_size(master: int) -> None:
    if size := own_size():
        resize(master, *size)


class SignalForwarder:
    """Passes every signal we get on to the container, but for those that speak of us; keeps what comes before there is one."""

    _OWN = frozenset(
        (
            signal.SIGKILL,
            signal.SIGSTOP,
            signal.SIGCHLD,
            signal.SIGWINCH,
            signal.SIGPIPE,
            signal.SIGURG,
            signal.SIGSEGV,
        )
    )

    def __init__(self) -> None:
        self._early: list[int] = []
        self._deliver: Callable[[int], None] = self._early.append
        for number in signal.valid_signals() - self._OWN:
            with contextlib.suppress(OSError, ValueError):
                signal.signal(number, lambda caught, _: self._deliver(caught))

    def deliver(self, deliver: Callable[[int], None]) -> None:
        """From now on call `deliver` with each signal, first with the early ones."""
        self._deliver = deliver
        for number in self._early:
            deliver(number)
        self._early.clear()
