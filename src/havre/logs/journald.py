"""Driver journald: the native protocol, a datagram for each message; one too large for it goes as a sealed memfd.

https://systemd.io/JOURNAL_NATIVE_PROTOCOL. The fields are dockerd's: CONTAINER_*, SYSLOG_IDENTIFIER, SYSLOG_TIMESTAMP, the pieces of
long lines as CONTAINER_PARTIAL_*, and a number for each message, so that a reader can put those of one start in order.
"""

import fcntl
import os
import stat
import time

from havre.logs.link import ConnectFailed, Feed, Link

SOCKET = "/run/systemd/journal/socket"
EMSGSIZE, ENOBUFS = 90, 105
SEALS = 0xF  # F_SEAL_SEAL | SHRINK | GROW | WRITE, linux/fcntl.h
PRIORITY = {b"stdout": b"6", b"stderr": b"3"}
TYPE_CHECKING = False
if TYPE_CHECKING:
    from havre.logs.lines import Partial
    from havre.logs.sender import Message
    from havre.spec.runplan import LogPlan


class Journald:
    def __init__(self, plan: "LogPlan", feed: Feed) -> None:
        self._link = _Journal(("unixgram", SOCKET, 0), feed)
        fields = {name: value.encode("utf-8", "replace") for name, value in plan["remote"]["fields"].items()}
        fields["CONTAINER_LOG_EPOCH"] = os.urandom(32).hex().encode()
        self._always = b"".join(field(name.encode(), value) for name, value in fields.items())
        self._ordinal = 0
        self._nanos, self._stamp = -1, b""

    def connect(self) -> None:
        try:
            there = stat.S_ISSOCK(os.stat(SOCKET).st_mode)
        except OSError:
            there = False
        if not there:
            raise ConnectFailed("journald is not enabled on this host")
        self._link.connect()

    def log(self, messages: "list[Message]") -> int:
        return self._link.send([self._encode(*message) for message in messages])

    def _encode(self, source: bytes, text: bytes, nanos: int, partial: "Partial | None") -> bytes:
        self._ordinal += 1
        parts = [
            field(b"MESSAGE", text),
            field(b"PRIORITY", PRIORITY[source]),
            self._always,
            self._time(nanos),
            field(b"CONTAINER_LOG_ORDINAL", b"%d" % self._ordinal),
        ]
        if partial is not None:
            parts += [
                field(b"CONTAINER_PARTIAL_ID", partial.id),
                field(b"CONTAINER_PARTIAL_ORDINAL", b"%d" % partial.ordinal),
                field(b"CONTAINER_PARTIAL_LAST", b"true" if partial.last else b"false"),
            ]
            if not partial.last:
                parts.append(field(b"CONTAINER_PARTIAL_MESSAGE", b"true"))
        return b"".join(parts)

    def _time(self, nanos: int) -> bytes:
        if nanos != self._nanos:  # all lines of one read share it
            self._nanos = nanos
            second, rest = divmod(nanos, 1_000_000_000)
            text = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second)) + f".{rest:09d}".rstrip("0")
            self._stamp = field(b"SYSLOG_TIMESTAMP", text.rstrip(".").encode() + b"Z")
        return self._stamp


class _Journal(Link):
    """A link whose large messages take the other way."""

    def _send_some(self, data: "bytes | memoryview") -> int:
        try:
            return super()._send_some(data)
        except OSError as error:
            if error.errno not in (EMSGSIZE, ENOBUFS):
                raise
        fd = os.memfd_create("journal-entry", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        try:
            os.write(fd, data)
            fcntl.fcntl(fd, fcntl.F_ADD_SEALS, SEALS)
            self.send_with_fd(fd)
        finally:
            os.close(fd)
        return len(data)


def field(name: bytes, value: bytes) -> bytes:
    """NAME=value, or with its length when the value has a newline or is no text."""
    if b"\n" in value or (value.translate(None, b"\t") and min(value.replace(b"\t", b" ")) < 0x20):
        return name + b"\n" + len(value).to_bytes(8, "little") + value + b"\n"
    return name + b"=" + value + b"\n"
