"""TLS on ssl.MemoryBIO. asyncio's own cannot half-close: a CLI's close_notify would end the connection and lose the output."""

import asyncio
import ssl
from typing import Any

from havre.errors import InvalidParameter
from havre.http.connection import HIGH_WATER_BYTES, Connection

HANDSHAKE_TIMEOUT_S = 15


def server_context(cert: str, key: str, ca: str = "") -> ssl.SSLContext:
    """Return a server's context; with `ca` clients must show a certificate it signed. Raises InvalidParameter naming the file."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(cert, key)
    except (OSError, ssl.SSLError) as error:
        raise InvalidParameter(
            f"cannot use certificate {cert!r} and key {key!r}: {error}", hint="--tlscert, --tlskey"
        ) from None
    if ca:
        try:
            context.load_verify_locations(ca)
        except (OSError, ssl.SSLError) as error:
            raise InvalidParameter(f"cannot use CA file {ca!r}: {error}", hint="--tlscacert") from None
        context.verify_mode = ssl.CERT_REQUIRED
    return context


class TlsConnection(asyncio.Protocol):
    """Between a tcp transport and a Connection: itself a protocol below and a transport above."""

    def __init__(self, above: Connection, context: ssl.SSLContext) -> None:
        self._above = above
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        self._transport: Any = None
        self._ready = False
        self._closing = False
        self._input_ended = False
        self._timer: asyncio.TimerHandle | None = None

    # as a protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self._timer = asyncio.get_running_loop().call_later(HANDSHAKE_TIMEOUT_S, transport.abort)  # type: ignore[attr-defined]

    def data_received(self, data: bytes) -> None:
        self._incoming.write(data)
        self._work()

    def eof_received(self) -> bool:
        """An end without close_notify is an end as well: Go's clients often just close."""
        self._incoming.write_eof()
        self._end_input()
        return self._ready  # in the middle of a handshake there is nobody to answer

    def connection_lost(self, error: Exception | None) -> None:
        self._stop_timer()
        if self._ready:
            self._above.connection_lost(error)

    def pause_writing(self) -> None:
        self._above.pause_writing()

    def resume_writing(self) -> None:
        self._above.resume_writing()

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _work(self) -> None:
        try:
            if not self._ready:
                self._tls.do_handshake()
                self._ready = True
                self._stop_timer()
                self._above.connection_made(self)  # type: ignore[arg-type]
            while data := self._tls.read(HIGH_WATER_BYTES):
                self._above.data_received(data)
            self._end_input()
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLZeroReturnError:
            self._end_input()
        except ssl.SSLError:
            self._flush()
            self._transport.close()
            return
        self._flush()

    def _end_input(self) -> None:
        """The client's close_notify: it will send no more, and still reads."""
        if self._ready and not self._input_ended:
            self._input_ended = True
            self._above.eof_received()

    def _flush(self) -> None:
        if data := self._outgoing.read():
            self._transport.write(data)

    # as a transport

    def write(self, data: bytes) -> None:
        view = memoryview(data)
        try:
            while view:
                view = view[self._tls.write(view) :]
        except ssl.SSLError:
            self.abort()  # the client broke the protocol, or both sides are closed
            return
        self._flush()

    def write_eof(self) -> None:
        """Send close_notify; the tcp connection stays for what the client still sends."""
        try:
            self._tls.unwrap()
        except (ssl.SSLError, ValueError):
            pass  # it waits for the client's own close_notify, which comes or not
        self._flush()
        self._transport.write_eof()

    def can_write_eof(self) -> bool:
        return True

    def abort(self) -> None:
        self._closing = True
        self._transport.abort()

    def is_closing(self) -> bool:
        return bool(self._closing or self._transport.is_closing())

    def pause_reading(self) -> None:
        self._transport.pause_reading()

    def resume_reading(self) -> None:
        self._transport.resume_reading()

    def get_extra_info(self, name: str, default: object = None) -> object:
        return self._transport.get_extra_info(name, default)

    def close(self) -> None:
        if not self._closing:
            self._closing = True
            try:
                self._tls.unwrap()
            except (ssl.SSLError, ValueError):
                pass
            self._flush()
            self._transport.close()
