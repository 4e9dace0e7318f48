"""One process's stdio in the monitor: read it, log it, fan it out to the attached clients, feed its stdin. Lean.

A client's socket carries Docker's frames (8-byte header: stream, 0, 0, 0, length) without a tty, raw bytes with one. Each client has
a bounded buffer. A sole client that stops reading holds the process back (as a pipe would, nothing is lost); beside others, a client
that has been stuck for STUCK_S is cut off, so that it never blocks them.
"""

import os
import select
import socket
import time

CHUNK_BYTES = 65536
BUFFER_BYTES = 1 << 20
STUCK_S = 10.0
STDOUT, STDERR = 1, 2
_NAMES = {STDOUT: b"stdout", STDERR: b"stderr"}
TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Protocol

    class LogWriter(Protocol):
        """What the monitor needs of a log: see logs/jsonfile.py."""

        def write(self, stream: bytes, data: bytes, nanos: int) -> None: ...
        def close(self) -> None: ...

    Watch = Callable[
        [int, int, "Callable[[int], None] | None"], None
    ]  # fd, epoll events, handler (None: stop watching)


class Client:
    """One attached socket."""

    __slots__ = ("buffered", "chunks", "outputs", "sock", "stdin", "stuck_since")

    def __init__(self, sock: socket.socket, stdin: bool, stdout: bool, stderr: bool) -> None:
        self.sock = sock
        self.stdin = stdin
        self.outputs = (STDOUT if stdout else 0) | (STDERR if stderr else 0)
        self.chunks: list[bytes] = []
        self.buffered = 0
        self.stuck_since = 0.0


class Streams:
    """stdin, stdout and stderr of one process, or its pty master."""

    def __init__(self, watch: "Watch", *, tty: bool, keep_stdin: bool, log: "LogWriter | None") -> None:
        self._watch = watch
        self._tty = tty
        self._keep_stdin = keep_stdin  # open_stdin without stdin_once: a client that leaves does not end it
        self._log = log
        self._sources: dict[int, int] = {}
        self._stdin = -1
        self._typed: list[bytes] = []  # stdin that the process has not taken yet
        self._stdin_ends = False
        self._held = False
        self.clients: list[Client] = []

    def open_pipes(self, stdin: int, stdout: int, stderr: int) -> None:
        """Take the monitor's ends; stdin -1 when there is none."""
        self._sources = {stdout: STDOUT, stderr: STDERR}
        self._take_stdin(stdin)
        self._read_sources()

    def open_master(self, master: int) -> None:
        """Take a pty master: stdin and stdout are one."""
        os.set_blocking(master, False)
        self._sources = {master: STDOUT}
        self._stdin = master
        self._read_sources()
        self._feed(0)

    def _take_stdin(self, fd: int) -> None:
        self._stdin = fd
        if fd >= 0:
            os.set_blocking(fd, False)
            self._feed(0)

    def _read_sources(self) -> None:
        for fd in self._sources:
            os.set_blocking(fd, False)
            self._watch(fd, select.EPOLLIN, lambda events, fd=fd: self._readable(fd))  # type: ignore[misc]

    @property
    def open(self) -> bool:
        """Whether output may still come."""
        return bool(self._sources)

    @property
    def flushed(self) -> bool:
        """Whether every client has everything."""
        return not any(client.buffered for client in self.clients)

    def resize(self, rows: int, cols: int) -> None:
        """Set the terminal's size; the kernel sends SIGWINCH."""
        import fcntl
        import struct

        if self._tty and self._stdin >= 0:
            fcntl.ioctl(self._stdin, 0x5414, struct.pack("=HHHH", rows, cols, 0, 0))  # TIOCSWINSZ

    # output

    def _readable(self, fd: int) -> None:
        try:
            data = os.read(fd, CHUNK_BYTES)
        except BlockingIOError:
            return
        except OSError:  # EIO: the last process has closed its side of the pty
            data = b""
        if data:
            self._deliver(self._sources[fd], data)
        else:
            self._end_source(fd)

    def _end_source(self, fd: int) -> None:
        self._watch(fd, 0, None)
        del self._sources[fd]
        if fd == self._stdin:
            self._stdin = -1
        os.close(fd)

    def drain(self) -> None:
        """Read what is left without waiting, after the process has ended."""
        for fd in list(self._sources):
            while fd in self._sources:
                try:
                    data = os.read(fd, CHUNK_BYTES)
                except BlockingIOError:
                    break
                except OSError:
                    data = b""
                if not data:
                    self._end_source(fd)
                    break
                self._deliver(self._sources[fd], data)

    def end_output(self) -> None:
        """Close what a stray holder of the pipes keeps open."""
        for fd in list(self._sources):
            self._end_source(fd)

    def _deliver(self, stream: int, data: bytes) -> None:
        if self._log is not None:
            self._log.write(_NAMES[stream], data, time.time_ns())
        framed = data if self._tty else bytes((stream, 0, 0, 0)) + len(data).to_bytes(4, "big") + data
        for client in list(self.clients):
            if client.outputs & stream:
                self._send(client, framed)
        self._hold_back()

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

    def _writable(self, client: Client) -> None:
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
        self._hold_back()

    def _hold_back(self) -> None:
        """Stop or go on reading the process, as the fullest buffer says."""
        full = any(client.buffered >= BUFFER_BYTES for client in self.clients)
        if full != self._held:
            self._held = full
            for fd in self._sources:
                self._watch(fd, 0 if full else select.EPOLLIN, (lambda events, fd=fd: self._readable(fd)))  # type: ignore[misc]

    def cut_stuck(self) -> None:
        """Drop clients that hold others back."""
        if not self._held or len(self.clients) < 2:
            return
        now = time.monotonic()
        for client in list(self.clients):
            if client.buffered >= BUFFER_BYTES and now - client.stuck_since > STUCK_S:
                self.drop(client)
        self._hold_back()

    @property
    def held(self) -> bool:
        """Whether a full buffer holds the process back."""
        return self._held

    # clients and input

    def attach(self, sock: socket.socket, stdin: bool, stdout: bool, stderr: bool) -> None:
        """Add a client; with a tty stdout carries everything."""
        sock.setblocking(False)
        client = Client(sock, stdin, stdout or (self._tty and stderr), stderr)
        self.clients.append(client)
        self._watch_client(client)

    def _watch_client(self, client: Client) -> None:
        events = select.EPOLLRDHUP if client.stdin is None else 0
        if client.stdin is not None and not (client.stdin and self._typed):
            events |= select.EPOLLIN
        if client.chunks:
            events |= select.EPOLLOUT
        self._watch(client.sock.fileno(), events, lambda seen: self._on_client(client, seen))

    def _on_client(self, client: Client, events: int) -> None:
        if events & select.EPOLLOUT:
            self._writable(client)
        if client not in self.clients:
            return
        if events & (select.EPOLLIN | select.EPOLLHUP | select.EPOLLERR):
            self._from_client(client, gone=bool(events & (select.EPOLLHUP | select.EPOLLERR)))

    def _from_client(self, client: Client, *, gone: bool) -> None:
        try:
            data = client.sock.recv(CHUNK_BYTES) if client.stdin is not None else b""
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if data:
            if client.stdin:
                self._type(data)
            return
        if client.stdin:
            self._client_stdin_ended()
        client.stdin = None  # type: ignore[assignment] # nothing more comes; output still goes out
        if gone:
            self.drop(client)
        else:
            self._watch_client(client)

    def _client_stdin_ended(self) -> None:
        if not self._tty and not self._keep_stdin:
            self._stdin_ends = True
            self._feed(0)

    def drop(self, client: Client) -> None:
        """Forget a client and close its socket."""
        if client in self.clients:
            self.clients.remove(client)
            self._watch(client.sock.fileno(), 0, None)
            if client.stdin:
                self._client_stdin_ended()
            client.sock.close()
            self._hold_back()

    def close_clients(self) -> None:
        """End of output for everyone."""
        for client in list(self.clients):
            self.clients.remove(client)
            self._watch(client.sock.fileno(), 0, None)
            client.sock.close()

    def _type(self, data: bytes) -> None:
        self._typed.append(data)
        self._feed(0)

    def _feed(self, _events: int) -> None:
        """Write stdin as far as the process takes it; the clients are not read meanwhile."""
        if self._stdin < 0:
            return
        blocked = False
        while self._typed and not blocked:
            chunk = self._typed[0]
            try:
                written = os.write(self._stdin, chunk)
            except BlockingIOError:
                blocked = True
            except OSError:
                self._typed.clear()  # nobody reads it any more
                self._close_stdin()
                break
            else:
                self._typed[0] = chunk[written:]
                if not self._typed[0]:
                    del self._typed[0]
        self._await_stdin(blocked)
        if self._stdin_ends and not self._typed:
            self._close_stdin()

    def _await_stdin(self, blocked: bool) -> None:
        if self._stdin < 0:
            return
        if self._tty:
            read = 0 if self._held else select.EPOLLIN
            master = self._stdin
            self._watch(
                master,
                read | (select.EPOLLOUT if blocked else 0),
                lambda events: self._on_master(master, events),
            )
        else:
            self._watch(self._stdin, select.EPOLLOUT if blocked else 0, self._feed if blocked else None)
        for client in self.clients:
            if client.stdin:
                self._watch_client(client)

    def _on_master(self, master: int, events: int) -> None:
        if events & select.EPOLLOUT:
            self._feed(events)
        if events & ~select.EPOLLOUT and master in self._sources:
            self._readable(master)

    def _close_stdin(self) -> None:
        if self._stdin >= 0 and not self._tty:
            self._watch(self._stdin, 0, None)
            os.close(self._stdin)
            self._stdin = -1
