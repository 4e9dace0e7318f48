"""Parse a request's head (RFC 9112), strictly: what two parsers could read differently is refused. Pure."""

from dataclasses import dataclass
from urllib.parse import unquote

from havre.errors import InvalidParameter

MAX_HEAD_BYTES = 64 * 1024
_TOKEN = frozenset(b"!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")


@dataclass(frozen=True, slots=True)
class Head:
    """A request line and its headers; names in lower case."""

    method: str
    path: str  # still percent-encoded
    query: str
    minor: int  # HTTP/1.minor
    headers: dict[str, list[str]]

    def header(self, name: str, default: str = "") -> str:
        """The first value of a header."""
        values = self.headers.get(name)
        return values[0] if values else default

    @property
    def content_length(self) -> int | None:
        text = self.header("content-length")
        return int(text) if text else None

    @property
    def chunked(self) -> bool:
        return "transfer-encoding" in self.headers

    @property
    def keep_alive(self) -> bool:
        words = self.header("connection").lower()
        return "keep-alive" in words if self.minor == 0 else "close" not in words


def parse_head(data: bytes) -> Head:
    """Return the head of `data` (without the empty line). Raises InvalidParameter."""
    first, *lines = data.split(b"\r\n")
    words = first.split(b" ")
    if len(words) != 3 or words[2] not in (b"HTTP/1.1", b"HTTP/1.0") or not _is_token(words[0]):
        raise InvalidParameter("malformed request line")
    target = words[1].decode("utf-8", "replace")
    if target.startswith(("http://", "https://")):
        target = "/" + target.split("/", 3)[3] if target.count("/") >= 3 else "/"
    if not target.startswith("/"):
        raise InvalidParameter("malformed request target")
    path, _, query = target.partition("?")
    headers: dict[str, list[str]] = {}
    for line in lines:
        name, colon, value = line.partition(b":")
        if not colon or not _is_token(name) or b"\n" in value or b"\r" in value or b"\0" in value:
            raise InvalidParameter("malformed header line")
        headers.setdefault(name.decode("ascii").lower(), []).append(value.strip(b" \t").decode("latin-1"))
    head = Head(words[0].decode("ascii"), path, query, int(words[2][-1:]), headers)
    _check_framing(head)
    return head


def _is_token(name: bytes) -> bool:
    return bool(name) and _TOKEN.issuperset(name)


def _check_framing(head: Head) -> None:
    """Two ways to frame one body are how requests are smuggled."""
    lengths, encodings = head.headers.get("content-length", []), head.headers.get("transfer-encoding", [])
    if (
        len(lengths) > 1
        or (lengths and not (lengths[0].isascii() and lengths[0].isdigit()))
        or (lengths and encodings)
    ):
        raise InvalidParameter("ambiguous Content-Length or Transfer-Encoding")
    if encodings and (len(encodings) > 1 or encodings[0].lower() != "chunked" or head.minor == 0):
        raise InvalidParameter("unsupported Transfer-Encoding")
    if len(head.headers.get("host", [])) > 1 or (head.minor == 1 and not head.headers.get("host")):
        raise InvalidParameter("missing or repeated Host header")


def parse_query(query: str) -> dict[str, list[str]]:
    """Return a query string's values by name; bytes that are no UTF-8 are replaced."""
    found: dict[str, list[str]] = {}
    for part in query.split("&"):
        if part:
            name, _, value = part.partition("=")
            found.setdefault(_plain(name), []).append(_plain(value))
    return found


def _plain(text: str) -> str:
    return unquote(text.replace("+", " "), errors="replace")
