"""Requests and answers. Lean."""

from havre.client import minijson
from havre.client.connection import TlsFiles, connect
from havre.errors import HavreError, NotFound, Unavailable

READ_BYTES = 65536
TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any

    from havre.client.connection import Socket

_SAFE = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.-~/:@")


class ApiError(HavreError):
    """The daemon refused."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


def quote(text: str) -> str:
    """Percent-encode a path part or a query value (slashes and colons stay, as Docker's image names need)."""
    return "".join(
        char if char in _SAFE else "".join(f"%{byte:02X}" for byte in char.encode()) for char in text
    )


def query(values: "Mapping[str, object]") -> str:
    """Return "?a=1&b=x" of values; None and "" are left out, lists are repeated, booleans are 1 and 0."""
    parts = []
    for key, value in values.items():
        for one in value if isinstance(value, list) else [value]:
            if one is None or one == "":
                continue
            text = ("1" if one else "0") if isinstance(one, bool) else str(one)
            parts.append(f"{key}={quote(text).replace('+', '%2B').replace('&', '%26')}")
    return "?" + "&".join(parts) if parts else ""


class Response:
    """An answer; the body is read as it is asked for."""

    def __init__(self, sock: "Socket", status: int, headers: dict[str, str], rest: bytes) -> None:
        self.sock = sock
        self.status = status
        self.headers = headers
        self._rest = rest
        self._left = int(headers["content-length"]) if "content-length" in headers else -1
        self._chunked = headers.get("transfer-encoding") == "chunked"

    def pieces(self) -> "Iterator[bytes]":
        """Yield the body as it comes."""
        if self._chunked:
            yield from self._chunks()
            return
        while self._left:
            data = self._take(READ_BYTES if self._left < 0 else min(READ_BYTES, self._left))
            if not data:
                if self._left > 0:
                    raise Unavailable("the daemon closed the connection in the middle of an answer")
                return
            if self._left > 0:
                self._left -= len(data)
            yield data

    def _chunks(self) -> "Iterator[bytes]":
        while True:
            size = int(self._line().partition(b";")[0] or b"0", 16)
            if not size:
                self._line()
                self._chunked, self._left = False, 0
                return
            while size:
                data = self._take(min(size, READ_BYTES))
                if not data:
                    raise Unavailable("the daemon closed the connection in the middle of an answer")
                size -= len(data)
                yield data
            self._line()

    def _line(self) -> bytes:
        while b"\r\n" not in self._rest:
            data = self.sock.recv(READ_BYTES)
            if not data:
                raise Unavailable("the daemon closed the connection in the middle of an answer")
            self._rest += data
        line, _, self._rest = self._rest.partition(b"\r\n")
        return line

    def _take(self, most: int) -> bytes:
        if self._rest:
            data, self._rest = self._rest[:most], self._rest[most:]
            return data
        return self.sock.recv(most)

    def read(self) -> bytes:
        return b"".join(self.pieces())

    def json(self) -> "Any":
        data = self.read()
        return minijson.loads(data) if data.strip() else None

    def objects(self) -> "Iterator[Any]":
        """Yield the JSON objects of a stream."""
        import codecs

        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        text = ""
        for piece in self.pieces():
            found, text = minijson.objects(text + decoder.decode(piece))
            yield from found

    def rest(self) -> bytes:
        """What came behind the head of a hijacked connection."""
        data, self._rest = self._rest, b""
        return data


class Client:
    """One daemon. A connection is kept while answers are read to their end."""

    def __init__(
        self,
        host: str,
        tls: "TlsFiles | None" = None,
        version: str = "",
        headers: "dict[str, str] | None" = None,
    ) -> None:
        self.host = host
        self._tls = tls
        self._prefix = f"/v{version}" if version else ""
        self._headers = headers or {}

    def request(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        headers: "dict[str, str] | None" = None,
        stream: "Iterator[bytes] | None" = None,
        ok: "tuple[int, ...]" = (),
    ) -> Response:
        """Send one request on a new connection. Raises ApiError (or its kin) for a status of 400 and more."""
        return answer(self.send(method, path, body, headers=headers, stream=stream), ok)

    def send(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        headers: "dict[str, str] | None" = None,
        stream: "Iterator[bytes] | None" = None,
    ) -> "Socket":
        """Send one request on a new connection; `answer` waits for what comes back."""
        data = minijson.dumps(body, ascii_only=True).encode() if body is not None else b""
        wanted = {"Host": "docker", "User-Agent": "havre", **self._headers, **(headers or {})}
        if body is not None:
            wanted["Content-Type"] = "application/json"
        if stream is not None:
            wanted["Transfer-Encoding"] = "chunked"
        elif method in ("POST", "PUT") or data:
            wanted["Content-Length"] = str(len(data))
        lines = [
            f"{method} {self._prefix}{path} HTTP/1.1",
            *(f"{key}: {value}" for key, value in wanted.items()),
        ]
        sock = connect(self.host, self._tls)
        try:
            sock.sendall("\r\n".join(lines).encode("latin-1", "replace") + b"\r\n\r\n" + data)
            if stream is not None:
                _send_chunks(sock, stream)
        except BrokenPipeError:
            pass  # the daemon has answered before it read everything
        return sock

    def connect(self) -> "Socket":
        """Return a connection of its own to the daemon."""
        return connect(self.host, self._tls)

    def get(self, path: str) -> "Any":
        """GET and decode."""
        return self.request("GET", path).json()

    def hijack(self, path: str, body: object = None) -> Response:
        """POST and take the connection over: read what is left with rest(), then use sock."""
        return self.request("POST", path, body, headers={"Upgrade": "tcp", "Connection": "Upgrade"})


def answer(sock: "Socket", ok: "tuple[int, ...]" = ()) -> Response:
    """Wait for the head of an answer. Raises ApiError (or its kin) for a status of 400 and more."""
    response = _read_head(sock)
    if response.status >= 400 and response.status not in ok:
        raise _refused(response)
    return response


def _send_chunks(sock: "Socket", stream: "Iterator[bytes]") -> None:
    for data in stream:
        if data:
            sock.sendall(b"%x\r\n%s\r\n" % (len(data), data))
    sock.sendall(b"0\r\n\r\n")


def _read_head(sock: "Socket") -> Response:
    data = b""
    while b"\r\n\r\n" not in data:
        try:
            piece = sock.recv(READ_BYTES)
        except ConnectionResetError:
            piece = b""
        if not piece:
            raise Unavailable(
                "the daemon closed the connection without an answer", hint="is that an Engine API?"
            )
        data += piece
        if len(data) > 1 << 20:
            raise Unavailable("this is no Engine API: the answer's head never ends")
    head, _, rest = data.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    words = first.split(" ", 2)
    if len(words) < 2 or not words[0].startswith("HTTP/1.") or not words[1].isdigit():
        raise Unavailable("this is no Engine API: the answer is no HTTP")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    status = int(words[1])
    if status in (204, 304):
        headers["content-length"] = "0"
    return Response(sock, status, headers, rest)


def _refused(response: Response) -> HavreError:
    data = response.read()
    try:
        found = minijson.loads(data)
        message = str(found["message"]) if isinstance(found, dict) and "message" in found else ""
    except HavreError:
        message = ""
    text = (
        message or data[:300].decode("utf-8", "replace").strip() or f"the daemon answered {response.status}"
    )
    error = NotFound(text) if response.status == 404 else ApiError(response.status, text)
    error.by_daemon = True
    return error
