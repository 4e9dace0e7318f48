"""One process's stdio in the monitor: read it, log it, fan it out to the attached clients, feed its stdin. Lean.

A client's socket carries Docker's frames (8-byte header: stream, 0, 0, 0, length) without a tty, raw bytes with one. Each client has
a bounded buffer. A sole client that stops reading holds the process back (as a pipe would, nothing is lost); beside others, a client
that takes nothing for STUCK_S is cut off, so that it never blocks them.
"""

import fcntl
import os
import socket
import struct
import time

from havre.runtime.loop import GONE, IN, OUT

CHUNK_BYTES = 65536
BUFFER_BYTES = 1 << 20
STUCK_S = 2.0
LAST_READS = 1024  # a full pipe is at most 16 of them (pipe-max-size); a stray that writes on must not keep the monitor
STDOUT, STDERR = 1, 2
LOG_PIECE_BYTES = 16384  # a longer line is logged in pieces (logs/lines.py): what is begun is shorter
TIOCGPTPEER, TIOCSWINSZ = 0x5441, 0x5414  # asm-generic/ioctls.h
SLAVE_FLAGS = os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC
_NAMES = {STDOUT: b"stdout", STDERR: b"stderr"}
TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Protocol

    from havre.runtime.loop import Loop

    class Output(Protocol):
        """What is told everything that a process says."""

        @property
        def full(self) -> bool: ...  # takes no more for now: hold the process back
        def write(self, stream: bytes, data: bytes, nanos: int) -> None: ...
        def close(self) -> None: ...

    class LogWriter(Output, Protocol):
        """What the monitor needs of a log: see logs/jsonfile.py, logs/queue.py."""

        @property
        def settled(self) -> bool: ...  # after close: the daemon may read it
        @property
        def flushed(self) -> bool: ...  # after close: nothing waits any more
        def join(self, loop: Loop, changed: Callable[[], None]) -> None: ...


class Client:
    """One attached socket: what it wants to see, what it has not taken yet."""

    __slots__ = ("buffered", "chunks", "ended", "outputs", "sock", "stdin", "stuck_since")

    def __init__(self, sock: socket.socket, stdin: bool, outputs: int) -> None:
        self.sock = sock
        self.stdin = stdin
        self.outputs = outputs
        self.ended = False  # nothing more comes from it; output still goes out
        self.chunks: list[bytes] = []
        self.buffered = 0
        self.stuck_since = 0.0


class Streams:
    """stdin, stdout and stderr of one process, or its pty master."""

    def __init__(self, loop: "Loop", *, tty: bool, keep_stdin: bool, log: "Output | None") -> None:
        self._loop = loop
        self._tty = tty
        self._keep_stdin = keep_stdin  # open_stdin without stdin_once: a client that leaves does not end it
        self.log = log
        self._logged_nanos = time.time_ns()  # what is in the log from a life before is older
        self._begun = {STDOUT: b"", STDERR: b""}  # what was said behind the last newline: not in the log yet
        self._sources: dict[int, int] = {}
        self._stdin = -1
        self._slave = -1  # held, so that the master lives on when the process closes its terminal for a while
        self._typed: list[
            bytes
        ] = []  # stdin that the process has not taken yet: at most a chunk for each client
        self._stdin_ends = False
        self._stdin_closed = False  # what is typed from now on goes nowhere
        self.held = False  # a full buffer holds the process back
        self.clients: list[Client] = []

    # the process's side

    def open_pipes(self, stdin: int, stdout: int, stderr: int) -> None:
        """Take the monitor's ends; stdin -1 when there is none."""
        self._sources = {stdout: STDOUT, stderr: STDERR}
        self._stdin = stdin
        self._stdin_closed = stdin < 0
        if stdin >= 0:
            os.set_blocking(stdin, False)
        self._opened()

    def open_master(self, master: int) -> None:
        """Take a pty master: stdin and stdout are one."""
        self._sources = {master: STDOUT}
        self._stdin = master
        self._slave = fcntl.ioctl(master, TIOCGPTPEER, SLAVE_FLAGS)
        self._opened()

    def _opened(self) -> None:
        for fd in self._sources:
            os.set_blocking(fd, False)
        self._watch_sources()
        if self._stdin_closed:
            self._typed.clear()
            self._watch_stdin()
        self._feed()

    def resize(self, rows: int, cols: int) -> None:
        """Set the terminal's size; the kernel sends SIGWINCH. Raises OSError."""
        if self._tty and self._stdin >= 0:
            fcntl.ioctl(self._stdin, TIOCSWINSZ, struct.pack("=HHHH", rows, cols, 0, 0))

    def _watch_sources(self) -> None:
        for fd in self._sources:
            events = 0 if self.held else IN
            if fd == self._stdin and self._typed:
                events |= OUT
            self._loop.watch(fd, events, lambda seen, fd=fd: self._on_source(fd, seen))  # type: ignore[misc]

    def _on_source(self, fd: int, events: int) -> None:
        if events & OUT:
            self._feed()
        if events & (IN | GONE) and fd in self._sources:
            self._read(fd)

    def _read(self, fd: int) -> bool:
        """Read once; False when nothing is there or the end has come."""
        try:
            data = os.read(fd, CHUNK_BYTES)
        except BlockingIOError:
            return False
        except OSError:  # EIO: nobody has the pty's other side open
            if self._slave >= 0 and self._reopen_slave(fd):
                return False
            data = b""
        if data:
            self._deliver(self._sources[fd], data)
            return True
        self._end_source(fd)
        return False

    def _reopen_slave(self, master: int) -> bool:
        """After a vhangup(2) in the container (getty does it) the slave that is held is dead: hold another."""
        os.close(self._slave)
        self._slave = -1
        try:
            self._slave = fcntl.ioctl(master, TIOCGPTPEER, SLAVE_FLAGS)
        except OSError:
            return False
        return True

    def _end_source(self, fd: int) -> None:
        self._loop.forget(fd)
        del self._sources[fd]
        if fd == self._stdin:
            self._stdin, self._stdin_closed = -1, True
        os.close(fd)

    def finish(self) -> None:
        """The process has ended: read what is left without waiting, and close. What strays still write is lost."""
        if self._slave >= 0:
            os.close(self._slave)
            self._slave = -1
        for fd in list(self._sources):
            reads = 0
            while fd in self._sources and reads < LAST_READS and self._read(fd):
                reads += 1
            if fd in self._sources:
                self._end_source(fd)
        self._close_stdin()
        self._stdin_closed = True
        self._typed.clear()

    # output

    def _deliver(self, stream: int, data: bytes) -> None:
        if self.log is not None:
            self._write_log(self.log, stream, data)
            if self.log.full:
                self.hold_back()
        if self.clients:
            framed = data if self._tty else bytes((stream, 0, 0, 0)) + len(data).to_bytes(4, "big") + data
            for client in list(self.clients):
                if client.outputs & stream:
                    self._send(client, framed)
            self.hold_back()

    def _write_log(self, log: "Output", stream: int, data: bytes) -> None:
        """No two reads share a time, so that a time says what was logged before an attach and what came after it."""
        self._logged_nanos = max(time.time_ns(), self._logged_nanos + 1)
        log.write(_NAMES[stream], data, self._logged_nanos)
        end = data.rfind(b"\n") + 1
        begun = data[end:] if end else self._begun[stream] + data
        self._begun[stream] = begun[len(begun) // LOG_PIECE_BYTES * LOG_PIECE_BYTES :]

    def _send(self, client: Client, data: bytes) -> None:
        if not client.chunks:
            try:
                sent = client.sock.send(data, socket.MSG_NOSIGNAL)
            except BlockingIOError:
                sent = 0
            except OSError:
                self.drop(client)
                return
            if sent == len(data):
                return
            data = data[sent:]
            client.stuck_since = time.monotonic()
        client.chunks.append(data)
        client.buffered += len(data)
        self._watch_client(client)

    def _write_on(self, client: Client) -> None:
        while client.chunks:
            chunk = client.chunks[0]
            try:
                sent = client.sock.send(chunk, socket.MSG_NOSIGNAL)
            except BlockingIOError:
                break
            except OSError:
                self.drop(client)
                return
            client.buffered -= sent
            client.stuck_since = time.monotonic()
            if sent < len(chunk):
                client.chunks[0] = chunk[sent:]
                break
            del client.chunks[0]
        self._watch_client(client)
        self.hold_back()

    @property
    def flushed(self) -> bool:
        """Whether every client has everything."""
        return not any(client.buffered for client in self.clients)

    def hold_back(self) -> None:
        """Stop or go on reading the process, as the fullest buffer says: a client's, or that of a log which is sent."""
        full = (self.log is not None and self.log.full) or any(
            client.buffered >= BUFFER_BYTES for client in self.clients
        )
        if full != self.held:
            self.held = full
            self._watch_sources()

    def cut_stuck(self, patience_s: float = STUCK_S, *, alone: bool = False) -> None:
        """Drop clients that have taken nothing for `patience_s` and hold others back; with `alone` also the only one."""
        if len(self.clients) < 2 and not alone:
            return
        now = time.monotonic()
        for client in list(self.clients):
            full = client.buffered >= BUFFER_BYTES or (alone and client.buffered)
            if full and now - client.stuck_since > patience_s:
                self.drop(client)

    # clients and their input

    def attach(
        self, sock: socket.socket, stdin: bool, stdout: bool, stderr: bool
    ) -> tuple[int, bytes, bytes]:
        """Add a client; with a tty stdout carries everything.

        Return what was said before: the time of the last rows in the log, and what stdout and stderr have begun behind them.
        """
        sock.setblocking(False)
        outputs = STDOUT * (stdout or (self._tty and stderr)) | STDERR * stderr
        client = Client(sock, stdin, outputs)
        self.clients.append(client)
        self._watch_client(client)
        return self._logged_nanos, self._begun[STDOUT], self._begun[STDERR]

    def _watch_client(self, client: Client) -> None:
        events = OUT if client.chunks else 0
        if not client.ended and not (client.stdin and self._typed):
            events |= IN
        self._loop.watch(client.sock.fileno(), events, lambda seen: self._on_client(client, seen))

    def _on_client(self, client: Client, events: int) -> None:
        if events & OUT:
            self._write_on(client)
        if events & (IN | GONE) and client in self.clients:
            self._read_client(client, gone=bool(events & GONE))

    def _read_client(self, client: Client, *, gone: bool) -> None:
        try:
            data = client.sock.recv(CHUNK_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if data:
            if client.stdin and not self._stdin_closed:
                self._typed.append(data)
                self._feed()
        elif gone:
            self.drop(client)
        else:
            client.ended = True
            self._watch_client(client)
            self._client_ended(client)

    def _client_ended(self, client: Client) -> None:
        """Its half-close is the end of stdin, once and for all; a terminal has no such end."""
        if client.stdin and not self._tty and not self._keep_stdin:
            self._stdin_ends = True
            self._feed()

    def drop(self, client: Client) -> None:
        """Forget a client and close its socket."""
        if client in self.clients:
            self.clients.remove(client)
            self._loop.forget(client.sock.fileno())
            client.sock.close()
            if not client.ended:
                self._client_ended(client)
            self.hold_back()

    def close_clients(self) -> None:
        """End of output for everyone."""
        for client in list(self.clients):
            self.clients.remove(client)
            self._loop.forget(client.sock.fileno())
            client.sock.close()

    def _feed(self) -> None:
        """Write stdin as far as the process takes it; the clients are not read meanwhile."""
        if self._stdin < 0:
            return
        waited = bool(self._typed)
        while self._typed:
            chunk = self._typed[0]
            try:
                written = os.write(self._stdin, chunk)
            except BlockingIOError:
                break
            except OSError:
                self._close_stdin()  # nobody reads it any more
                break
            if written < len(chunk):
                self._typed[0] = chunk[written:]
            else:
                del self._typed[0]
        if self._stdin_ends and not self._typed:
            self._close_stdin()
        if waited:
            self._watch_stdin()

    def _watch_stdin(self) -> None:
        """Wait until the process takes more; read the clients again when it has everything."""
        if self._tty:
            self._watch_sources()
        elif self._stdin >= 0 and self._typed:
            self._loop.watch(self._stdin, OUT, lambda events: self._feed())
        elif self._stdin >= 0:
            self._loop.forget(self._stdin)
        for client in self.clients:
            if client.stdin:
                self._watch_client(client)

    def _close_stdin(self) -> None:
        if self._stdin >= 0 and not self._tty:
            self._loop.forget(self._stdin)
            os.close(self._stdin)
            self._stdin, self._stdin_closed = -1, True
            self._typed.clear()
