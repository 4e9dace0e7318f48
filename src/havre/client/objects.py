"""The JSON objects of an endless answer, taken as they arrive: for whoever follows several at once. Lean."""

from havre.client import minijson
from havre.client.http import READ_BYTES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from havre.client.http import Response


class Objects:
    """Wait until `fileno()` is readable, then `arrived()`."""

    def __init__(self, response: "Response") -> None:
        self._sock = response.sock
        self._chunked = response.headers.get("transfer-encoding") == "chunked"
        self._raw = response.rest()
        self._left = 0  # bytes of the chunk at hand
        self._body = b""
        self.ended = False

    def fileno(self) -> int:
        return self._sock.fileno()

    def close(self) -> None:
        self._sock.close()

    def arrived(self) -> "list[Any]":
        """Read what is there and return the objects that are whole; `ended` says that there will be no more."""
        pending = getattr(self._sock, "pending", int)  # of TLS, which reads more than it was asked for
        while True:
            try:
                data = self._sock.recv(READ_BYTES)
            except OSError:
                data = b""
            self._raw += data
            if not data:
                self.ended = True
            if not data or not pending():
                break
        return self.taken()

    def taken(self) -> "list[Any]":
        """The objects in what has been read already: what came right behind the head is there before anything arrives."""
        self._body += self._dechunk() if self._chunked else self._raw
        if not self._chunked:
            self._raw = b""
        end = self._body.rfind(b"\n") + 1
        found, _ = minijson.objects(self._body[:end].decode("utf-8", "replace"))
        self._body = self._body[end:]
        return found

    def _dechunk(self) -> bytes:
        out = b""
        while True:
            if self._left:
                piece = self._raw[: self._left]
                out += piece
                self._raw, self._left = self._raw[len(piece) :], self._left - len(piece)
                if self._left:
                    return out
            line, mark, rest = self._raw.removeprefix(b"\r\n").partition(b"\r\n")
            if not mark:
                return out
            self._left, self._raw = int(line.partition(b";")[0] or b"0", 16), rest
            if not self._left:
                self.ended = True
                return out
