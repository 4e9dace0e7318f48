"""A terminal and a hijacked connection: raw mode, window size, detach keys, signals. Lean until used."""

import _signal as signal  # type: ignore[import-not-found] # the C module: `signal` itself would bring enum
import os
import select
import sys
from _socket import MSG_DONTWAIT

from havre.errors import HavreError, InvalidParameter

CTRL = {f"ctrl-{chr(code)}": bytes([code - 96]) for code in range(97, 123)} | {
    "ctrl-@": b"\0",
    "ctrl-[": b"\x1b",
    "ctrl-\\": b"\x1c",
    "ctrl-]": b"\x1d",
    "ctrl-^": b"\x1e",
    "ctrl-_": b"\x1f",
}
DETACH_KEYS = "ctrl-p,ctrl-q"
PIECE_BYTES = 65536
ENDING = (signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)  # what ends a program that does not pass them on
NOT_PROXIED = {signal.SIGCHLD, signal.SIGPIPE, signal.SIGURG, signal.SIGWINCH, signal.SIGKILL, signal.SIGSTOP}
TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from havre.client.http import Response


class NoTerminal(HavreError):
    """-it without a terminal."""

    exit_code = 1

    def __init__(self) -> None:
        super().__init__("the input device is not a TTY", hint="leave -t out")


class Detached(Exception):
    """The detach keys were typed."""


def parse_keys(text: str) -> bytes:
    """Return the bytes of "ctrl-p,ctrl-q" or "a,b". Raises InvalidParameter."""
    found = b""
    for word in text.split(","):
        if word.lower() in CTRL:
            found += CTRL[word.lower()]
        elif len(word) == 1 and word.isascii():
            found += word.encode()
        else:
            raise InvalidParameter(f"invalid detach keys: {text!r}", hint="ctrl-p,ctrl-q")
    return found


def window_size() -> "tuple[int, int]":
    """Rows and columns of the terminal; (0, 0) without one."""
    try:
        size = os.get_terminal_size(1)
    except OSError:
        return 0, 0
    return size.lines, size.columns


class Raw:
    """The terminal in raw mode while the block lasts; restored in every case."""

    def __init__(self, wanted: bool) -> None:
        self._wanted = wanted and os.isatty(0)
        self._saved: list[object] | None = None

    def __enter__(self) -> "Raw":
        if self._wanted:
            import termios
            import tty

            self._saved = termios.tcgetattr(0)
            for number in ENDING:
                if signal.getsignal(number) == signal.SIG_DFL:
                    signal.signal(number, _end)  # an exception, so that the terminal is given back
            tty.setraw(0)
        return self

    def __exit__(self, *_: object) -> None:
        if self._saved is not None:
            import termios

            termios.tcsetattr(0, termios.TCSADRAIN, self._saved)  # type: ignore[arg-type]
            self._saved = None


def _end(number: int, _frame: object) -> None:
    raise SystemExit(128 + number)


def proxy_signals(send: "Callable[[str], None]") -> None:
    """Pass every signal on to the container, by number."""
    for number in signal.valid_signals():
        if number in NOT_PROXIED or number >= signal.SIGRTMIN:
            continue
        try:
            signal.signal(number, lambda caught, _frame: send(str(caught)))
        except (OSError, ValueError):
            continue


def on_resize(send: "Callable[[int, int], None]") -> None:
    """Call `send(rows, columns)` now and whenever the window changes."""

    def changed(*_: object) -> None:
        rows, columns = window_size()
        if rows and columns:
            send(rows, columns)

    signal.signal(signal.SIGWINCH, changed)
    changed()


def pump(response: "Response", *, tty: bool, stdin: bool, keys: bytes) -> None:
    """Carry bytes until the output ends. Raises Detached.

    Input that ends is a half-close; without `stdin` that is said at once. Output without a tty is Docker's frames. Nothing is sent
    that the daemon does not take now: a container that answers before it has read all of its input would hold up both sides for ever.
    """
    sock = response.sock
    output = _raw if tty else Frames().feed
    if rest := response.rest():
        output(rest)
    unsent = _Unsent(sock, Keys(keys if tty else b""), open_=stdin)
    poll = select.poll()
    while True:
        poll.register(sock.fileno(), select.POLLIN | (select.POLLOUT if unsent.waiting else 0))
        if unsent.hungry:
            poll.register(0, select.POLLIN | select.POLLHUP)
        for fd, event in [(-1, 0)] if _pending(sock) else poll.poll():
            if fd == 0:
                unsent.read()
                poll.unregister(0)
                continue
            if event & select.POLLOUT:
                unsent.push()
            if event & ~select.POLLOUT or fd < 0:
                data = _receive(sock)
                if data == b"":
                    return
                output(data or b"")


class _Unsent:
    """What has been typed and not been sent yet: one piece, and after it, once, the half-close."""

    def __init__(self, sock: "Any", typed: "Keys", *, open_: bool) -> None:
        self._sock, self._typed, self._open = sock, typed, open_
        self._data = b""
        if not open_:
            _half_close(sock)

    @property
    def hungry(self) -> bool:
        """Whether more may be read."""
        return self._open and not self._data

    @property
    def waiting(self) -> bool:
        return bool(self._data or getattr(self._sock, "unsent", b""))

    def read(self) -> None:
        data = os.read(0, PIECE_BYTES)
        if data:
            self._data = self._typed.filter(data)
            self.push()
        else:
            self._open = False
            _half_close(self._sock)

    def push(self) -> None:
        """Send what goes."""
        try:
            if (send_now := getattr(self._sock, "send_now", None)) is not None:
                self._data = self._data[send_now(self._data) :] if self._data else b""
            while self._data and send_now is None:
                self._data = self._data[self._sock.send(self._data, MSG_DONTWAIT) :]
        except BlockingIOError:
            return
        except (BrokenPipeError, ConnectionResetError):
            self._data, self._open = b"", False  # it takes no more input; its output may still come


def _pending(sock: "Any") -> int:
    return int(getattr(sock, "pending", int)())


def _receive(sock: "Any") -> bytes | None:
    """What is there; b"" at the end, None when it was nothing for us."""
    if (recv_now := getattr(sock, "recv_now", None)) is not None:
        found: bytes | None = recv_now()
        return found
    try:
        return bytes(sock.recv(262144))
    except ConnectionResetError:
        return b""


def _half_close(sock: object) -> None:
    try:
        sock.shutdown(1)  # type: ignore[attr-defined]
    except OSError:
        pass  # it has closed both ways already


def _raw(data: bytes) -> None:
    _write(1, data)


def _write(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


class Frames:
    """Docker's multiplexed stream: 8-byte header, data; written to stdout and stderr as it comes."""

    def __init__(self) -> None:
        self._buffer = b""

    def feed(self, data: bytes) -> None:
        """Take more bytes of the stream."""
        self._buffer += data
        place = 0
        while len(self._buffer) - place >= 8:
            size = int.from_bytes(self._buffer[place + 4 : place + 8], "big")
            if len(self._buffer) - place < 8 + size:
                break
            _write(2 if self._buffer[place] == 2 else 1, self._buffer[place + 8 : place + 8 + size])
            place += 8 + size
        self._buffer = self._buffer[place:]


class Keys:
    """Watches typed bytes for the detach sequence; a beginning of it is held back until it is complete or broken."""

    def __init__(self, keys: bytes) -> None:
        self._keys = keys
        self._held = b""

    def filter(self, data: bytes) -> bytes:
        """Return what is to be sent. Raises Detached when the sequence is complete."""
        if not self._keys:
            return data
        out = b""
        for byte in data:
            one = bytes([byte])
            if self._keys.startswith(self._held + one):
                self._held += one
                if self._held == self._keys:
                    raise Detached
            else:
                out += self._held
                self._held = b""
                if self._keys.startswith(one):
                    self._held = one
                else:
                    out += one
        return out


def say(text: str) -> None:
    """A line on stderr that also looks right in raw mode."""
    sys.stderr.write(text + "\r\n")
