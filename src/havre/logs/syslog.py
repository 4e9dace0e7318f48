"""Driver syslog: RFC 3164, RFC 5424 with seconds or microseconds, or the local form without a host; over udp, tcp, tls and unix sockets.

As in dockerd the tag is both the app name and the message id of RFC 5424, a line ends with a newline in every transport, and RFC 5425's
length stands in front of a message only over TLS. Attributes that were asked for (labels, env) are structured data of RFC 5424; the
other forms have no place for them.
"""

import os
import time

from havre.logs.link import ConnectFailed, Feed, Link

LOG_ERR, LOG_INFO = 3, 6  # RFC 5424 6.2.1
LOCAL_PATHS = ("/dev/log", "/var/run/syslog", "/var/run/log")
ENTERPRISE = b"havre@32473"  # RFC 5612: the number for what has none of its own
_MONTHS = b"Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec".split()
TYPE_CHECKING = False
if TYPE_CHECKING:
    from havre.logs.sender import Message
    from havre.spec.runplan import LogPlan


class Syslog:
    """Formats and sends; see `sender` for what is asked of it."""

    def __init__(self, plan: "LogPlan", feed: Feed) -> None:
        remote = plan["remote"]
        self._feed = feed
        self._address = remote["address"]
        self._link = Link(self._address, feed, remote["tls"]) if self._address[0] else None
        self._form = remote["form"]
        self._facility = remote["facility"]
        self._tag = remote["tag"].encode("utf-8", "replace")
        self._host = os.uname().nodename.encode() or b"localhost"
        self._pid = b"%d" % os.getpid()
        self._lengths = self._form.startswith("rfc5424") and self._address[0] == "tcp+tls"
        self._data = _structured(remote["attributes"])
        self._second = self._nanos = -1
        self._stamp = b""

    def connect(self) -> None:
        if self._link is not None:
            self._link.connect()
            return
        for scheme in ("unixgram", "unix"):
            for path in LOCAL_PATHS:
                self._link = Link((scheme, path, 0), self._feed)
                try:
                    self._link.connect()
                    return
                except ConnectFailed:
                    pass
        raise ConnectFailed("Unix syslog delivery error")

    def log(self, messages: "list[Message]") -> int:
        assert self._link is not None
        return self._link.send([self._encode(source, text, nanos) for source, text, nanos, _ in messages])

    def _encode(self, source: bytes, text: bytes, nanos: int) -> bytes:
        priority = b"<%d>" % (self._facility | (LOG_ERR if source == b"stderr" else LOG_INFO))
        if self._form.startswith("rfc5424"):
            head = b"1 %b %b %b %b %b %b " % (
                self._time5424(nanos), self._host, self._tag, self._pid, self._tag, self._data,
            )  # fmt: skip
        else:
            host = self._host + b" " if self._form == "rfc3164" else b""
            head = b"%b %b%b[%b]: " % (self._time3164(nanos), host, self._tag, self._pid)
        message = priority + head + text + b"\n"
        return b"%d %b" % (len(message), message) if self._lengths else message

    def _time3164(self, nanos: int) -> bytes:
        """Local time, the day of the month filled with a space: Go's time.Stamp."""
        if nanos // 1_000_000_000 != self._second:
            self._second = nanos // 1_000_000_000
            now = time.localtime(self._second)
            clock = (now.tm_mday, now.tm_hour, now.tm_min, now.tm_sec)
            self._stamp = _MONTHS[now.tm_mon - 1] + b" %2d %02d:%02d:%02d" % clock
        return self._stamp

    def _time5424(self, nanos: int) -> bytes:
        if nanos == self._nanos:  # as all lines of one read
            return self._stamp
        self._nanos = nanos
        second, rest = divmod(nanos, 1_000_000_000)
        now = time.localtime(second)
        offset = now.tm_gmtoff // 60
        zone = (
            f"{'-' if offset < 0 else '+'}{abs(offset) // 60:02d}:{abs(offset) % 60:02d}" if offset else "Z"
        )
        micros = f".{rest // 1000:06d}".rstrip("0").rstrip(".") if self._form == "rfc5424micro" else ""
        self._stamp = (time.strftime("%Y-%m-%dT%H:%M:%S", now) + micros + zone).encode()
        return self._stamp


def _structured(attributes: dict[str, str]) -> bytes:
    """RFC 5424 6.3: names without what would end them, values with their three special characters escaped."""
    pairs = [
        b'%b="%b"' % (_name(name), _value(value))
        for name, value in sorted(attributes.items())
        if name != "tag"
    ]
    return b"[" + b" ".join([ENTERPRISE, *pairs]) + b"]" if pairs else b"-"


def _name(text: str) -> bytes:
    return "".join(c if "!" <= c <= "~" and c not in '=]"' else "_" for c in text)[:32].encode() or b"_"


def _value(text: str) -> bytes:
    data = text.encode("utf-8", "replace").replace(b"\n", b" ")
    return data.replace(b"\\", b"\\\\").replace(b'"', b'\\"').replace(b"]", b"\\]")
