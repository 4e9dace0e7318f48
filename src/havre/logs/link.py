"""A connection of a log driver to where it sends: made, waited for, lost and made again. Blocking; runs in the log's own process.

`feed` is the socket on which the monitor hands over what the container says. Whoever waits here looks at it too: when the monitor has
closed it the container is gone, and what cannot be sent within GRACE_S is given up.
"""

import os
import select
import socket
import time

CONNECT_S = 10.0
GRACE_S = 10.0  # after the container's end; dockerd waits as long for a logger to close
BACKOFF_S, MAX_BACKOFF_S = 0.1, 5.0
POLLRDHUP = 0x2000  # bits/poll.h
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class Ended(Exception):
    """The container has ended, and its time of grace is over."""


class ConnectFailed(Exception):
    """Nobody is there, in Go's words: stock clients and people know them."""


class Feed:
    """The monitor's end of the log: what comes from it, and whether it is still there."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self._give_up_at = 0.0

    def wait(self, fd: int, events: int, timeout_s: float) -> int:
        """Wait until `fd` (-1: nothing) is ready; 0 when the time is over. Raises Ended."""
        until = time.monotonic() + timeout_s
        while True:
            now = time.monotonic()
            if self._give_up_at and now >= self._give_up_at:
                raise Ended
            limit = min(until, self._give_up_at) if self._give_up_at else until
            poll = select.poll()
            if fd >= 0:
                poll.register(fd, events)
            if not self._give_up_at:
                poll.register(self.sock.fileno(), POLLRDHUP)
            for found, seen in poll.poll(max(0.0, limit - now) * 1000):
                if found == fd:
                    return seen
                self._give_up_at = time.monotonic() + GRACE_S
            if time.monotonic() >= until:
                return 0


class Link:
    """One connection. `address` is (scheme, host or path, port): tcp, tcp+tls, tls, udp, unix, unixgram."""

    def __init__(
        self, address: "tuple[str, str, int]", feed: Feed, tls: "dict[str, str] | None" = None
    ) -> None:
        self._scheme, self._host, self._port = address
        self._feed = feed
        self._tls = tls
        self._sock: socket.socket | None = None
        self.backoff_s, self.growth, self.max_backoff_s = BACKOFF_S, 2.0, MAX_BACKOFF_S
        self.retries = -1  # attempts before a message is given up; -1: as long as it takes
        self.write_timeout_s = 0.0  # a connection that takes nothing for so long is a broken one; 0: it may

    @property
    def datagrams(self) -> bool:
        return self._scheme in ("udp", "unixgram")

    # connecting

    def connect(self) -> None:
        """Connect once. Raises ConnectFailed."""
        self.close()
        if self._scheme.startswith("unix"):
            kind = socket.SOCK_DGRAM if self._scheme == "unixgram" else socket.SOCK_STREAM
            self._sock = self._reach(socket.AF_UNIX, kind, self._host, self._host)
        else:
            self._sock = self._reach_host()
            if self._scheme in ("tcp+tls", "tls"):
                self._sock = self._encrypt(self._sock)
        self._sock.setblocking(False)

    def _reach_host(self) -> socket.socket:
        kind = socket.SOCK_DGRAM if self._scheme == "udp" else socket.SOCK_STREAM
        net = "udp" if self._scheme == "udp" else "tcp"
        try:
            # As bytes: a str would load the idna codec and its tables, 1 MB of memory.
            found = socket.getaddrinfo(_ascii(self._host) or b"localhost", self._port, type=kind)
        except (OSError, UnicodeError):
            raise ConnectFailed(f"dial {net}: lookup {self._host}: no such host") from None
        failure = ConnectFailed(f"dial {net}: lookup {self._host}: no such host")
        for family, _, _, _, address in found:
            where = f"[{address[0]!s}]" if family == socket.AF_INET6 else str(address[0])
            try:
                return self._reach(family, kind, address, f"{where}:{self._port}")
            except ConnectFailed as error:
                failure = error
        raise failure

    def _reach(self, family: int, kind: int, address: "Any", where: str) -> socket.socket:
        net = "tcp" if self._scheme in ("tcp+tls", "tls") else self._scheme
        sock = socket.socket(family, kind | socket.SOCK_CLOEXEC)
        sock.settimeout(CONNECT_S)
        try:
            sock.connect(address)
            if family != socket.AF_UNIX and kind == socket.SOCK_STREAM:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        except TimeoutError:
            sock.close()
            raise ConnectFailed(f"dial {net} {where}: i/o timeout") from None
        except OSError as error:
            sock.close()
            why = os.strerror(error.errno).lower() if error.errno else str(error)
            raise ConnectFailed(f"dial {net} {where}: connect: {why}") from None
        return sock

    def _encrypt(self, sock: socket.socket) -> socket.socket:
        import ssl

        given = self._tls or {}
        try:
            context = ssl.create_default_context(cafile=given.get("ca-cert") or None)
            context.verify_flags &= (
                ~ssl.VERIFY_X509_STRICT
            )  # Docker (Go) takes a CA without key usage; Python 3.13 would not
            if given.get("skip-verify"):
                context.check_hostname = False
                context.verify_mode = ssl.CERT_NONE
            if given.get("cert"):
                context.load_cert_chain(given["cert"], given["key"])
            return context.wrap_socket(sock, server_hostname=self._host)
        except ssl.SSLCertVerificationError as error:
            sock.close()
            raise ConnectFailed(
                f"tls: failed to verify certificate: x509: {error.verify_message or error.reason}"
            ) from None
        except OSError as error:
            sock.close()
            raise ConnectFailed(f"tls: {str(error).lower()}") from None

    def reconnect(self) -> bool:
        """Connect again with growing pauses; False when `retries` attempts were in vain. Raises Ended."""
        pause, attempts = self.backoff_s, 0
        while True:
            try:
                self.connect()
                return True
            except ConnectFailed:
                attempts += 1
                if 0 <= self.retries < attempts:
                    return False
            self._feed.wait(-1, 0, pause)
            pause = min(pause * self.growth, max(self.max_backoff_s, self.backoff_s))

    def close(self) -> None:
        if self._sock is not None:
            self._sock.close()
            self._sock = None

    # sending

    def send(self, messages: list[bytes]) -> int:
        """Send in order; return how many were given up. One that was cut off by a lost connection is sent again. Raises Ended."""
        place = lost = 0
        while place < len(messages):
            if (self._sock is None or self._gone()) and not self.reconnect():
                place, lost = place + 1, lost + 1
                continue
            done = [0]
            try:
                self._push_datagrams(messages[place:], done) if self.datagrams else self._push(
                    messages[place:], done
                )
            except OSError:
                self.close()
                if self._scheme == "udp":  # what cannot be delivered there is lost by its nature
                    done[0] += 1
            place += done[0]
        return lost

    def _gone(self) -> bool:
        """Whether the other side has closed: what was sent now would be lost without a word."""
        assert self._sock is not None
        if self.datagrams:
            return False
        poll = select.poll()
        poll.register(self._sock.fileno(), POLLRDHUP)
        return bool(poll.poll(0))

    def _push(self, messages: list[bytes], done: list[int]) -> None:
        """Send over a stream; `done` counts what the kernel has taken whole. Raises OSError."""
        ends, total = [], 0
        for message in messages:
            total += len(message)
            ends.append(total)
        view, sent = memoryview(b"".join(messages)), 0
        while sent < total:
            sent += self._send_some(view[sent:])
            while done[0] < len(ends) and ends[done[0]] <= sent:
                done[0] += 1

    def _push_datagrams(self, messages: list[bytes], done: list[int]) -> None:
        for message in messages:
            try:
                self._send_some(message)
            except (
                ConnectionRefusedError
            ):  # what an earlier one met, when it is udp: this one was not sent at all
                if self._scheme != "udp":
                    raise
                self._send_again(message)
            done[0] += 1

    def _send_again(self, message: bytes) -> None:
        try:
            self._send_some(message)
        except ConnectionRefusedError:
            pass  # lost, as datagrams are

    def _send_some(self, data: "bytes | memoryview") -> int:
        """Send once, waiting for room. Raises OSError."""
        assert self._sock is not None
        while True:
            events = select.POLLOUT
            try:
                return self._sock.send(data)
            except BlockingIOError:
                pass
            except OSError as error:
                if type(error).__name__ == "SSLWantReadError":
                    events = select.POLLIN
                elif type(error).__name__ != "SSLWantWriteError":
                    raise
            ready = self._feed.wait(self._sock.fileno(), events, self.write_timeout_s or 3600)
            if not ready and self.write_timeout_s:
                raise OSError("i/o timeout")

    def receive(self, timeout_s: float) -> bytes:
        """What the other side answers; b"" when it has closed or nothing comes in time. Raises OSError, Ended."""
        assert self._sock is not None
        until = time.monotonic() + timeout_s
        while (left := until - time.monotonic()) > 0:
            try:
                return self._sock.recv(65536)
            except BlockingIOError:
                pass
            except OSError as error:
                if type(error).__name__ not in ("SSLWantReadError", "SSLWantWriteError"):
                    raise
            self._feed.wait(self._sock.fileno(), select.POLLIN, left)
        return b""

    def send_with_fd(self, fd: int) -> None:
        """An empty datagram that carries a descriptor. Raises OSError."""
        assert self._sock is not None
        socket.send_fds(self._sock, [b""], [fd])


def _ascii(host: str) -> bytes:
    return host.encode() if host.isascii() else host.encode("idna")
