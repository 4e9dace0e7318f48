"""TLS with a half-close: ssl's own socket throws its session away at shutdown, and hides what it has decrypted from poll."""

import os
import socket
import ssl

from havre.errors import Unavailable

READ_BYTES = 65536
RECORD_BYTES = 16384  # the most one TLS record carries (RFC 8446, 5.1)
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from havre.client.connection import TlsFiles


class TlsSocket:
    """A connected stream over TLS, blocking, with a few calls that do not block for who waits with poll."""

    def __init__(self, sock: socket.socket, context: ssl.SSLContext, name: str) -> None:
        self._sock = sock
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname=name)
        self._clear = b""  # decrypted, not yet asked for
        self._ended = False
        self.unsent = b""  # encrypted, for a peer that does not take it now
        self._handshake()

    def _handshake(self) -> None:
        while True:
            try:
                self._tls.do_handshake()
                self._flush()
                return
            except ssl.SSLWantReadError:
                self._flush()
                self._feed(self._sock.recv(READ_BYTES))

    def _feed(self, data: bytes) -> None:
        if data:
            self._incoming.write(data)
        else:
            self._incoming.write_eof()

    def _flush(self) -> None:
        data, self.unsent = self.unsent + self._outgoing.read(), b""
        self._sock.sendall(data)

    def _decrypt(self) -> None:
        """Take everything out that has come whole. Raises Unavailable when the peer broke off, as for a missing certificate."""
        try:
            while data := self._tls.read(READ_BYTES):
                self._clear += data
            self._ended = True
        except ssl.SSLWantReadError:
            pass
        except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
            self._ended = True
        except ssl.SSLError as error:
            reason = (error.reason or str(error)).lower().replace("_", " ")
            raise Unavailable(f"TLS failed: {reason}", hint="check DOCKER_CERT_PATH") from None

    def recv(self, size: int) -> bytes:
        """Wait for data; b"" when the peer has ended its side."""
        while not self._clear and not self._ended:
            self._feed(self._sock.recv(READ_BYTES))
            self._decrypt()
        data, self._clear = self._clear[:size], self._clear[size:]
        return data

    def recv_now(self) -> bytes | None:
        """Everything that is there, b"" at the end, None when nothing is whole yet."""
        if not self._clear and not self._ended:
            try:
                self._feed(self._sock.recv(READ_BYTES, socket.MSG_DONTWAIT))
            except BlockingIOError:
                return None
            self._decrypt()
        data, self._clear = self._clear, b""
        return data if data or self._ended else None

    def pending(self) -> int:
        """Bytes that poll does not know of."""
        return len(self._clear)

    def sendall(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            view = view[self._tls.write(view[:RECORD_BYTES]) :]
            self._flush()

    def send_now(self, data: bytes) -> int:
        """Send what goes without waiting; returns how much of `data` has been taken over."""
        self._push()
        if self.unsent:
            return 0
        taken = self._tls.write(data[:RECORD_BYTES])
        self.unsent = self._outgoing.read()
        self._push()
        return taken

    def _push(self) -> None:
        try:
            while self.unsent:
                self.unsent = self.unsent[self._sock.send(self.unsent, socket.MSG_DONTWAIT) :]
        except BlockingIOError:
            return

    def shutdown(self, how: int) -> None:
        """Send close_notify: the other side sees the end of our data, and what it sends is read on."""
        self._flush()
        try:
            self._tls.unwrap()
        except (ssl.SSLError, ValueError):
            pass  # the peer's own close_notify has not come
        self._flush()

    def fileno(self) -> int:
        return self._sock.fileno()

    def close(self) -> None:
        self._sock.close()


def wrap(sock: "Any", name: str, files: "TlsFiles") -> TlsSocket:
    """Return TLS on a connected socket. Raises Unavailable naming the host and the file to look at."""
    context = ssl.create_default_context()
    context.verify_flags &= (
        ~ssl.VERIFY_X509_STRICT
    )  # Docker (Go) takes a CA without key usage; Python 3.13 would not
    try:
        if files.verify:
            if os.path.exists(files.ca):
                context.load_verify_locations(files.ca)
        else:
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        if os.path.exists(files.cert):
            context.load_cert_chain(files.cert, files.key)
        return TlsSocket(socket.socket(fileno=sock.detach()), context, name)
    except ssl.SSLCertVerificationError as error:
        raise Unavailable(
            f"{name}: bad certificate: {error.verify_message}", hint=f"its CA belongs into {files.ca}"
        ) from None
    except (OSError, ssl.SSLError) as error:
        raise Unavailable(f"{name}: TLS failed: {error}") from None
