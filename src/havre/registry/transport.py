"""A small HTTP/1.1 client on asyncio streams: keep-alive per host, TLS by host, proxies from the environment."""

import asyncio
import os
import ssl
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import proxy_bypass_environment

import httptools

from havre.errors import HavreError, Unavailable

CONNECT_S = 15.0
READ_S = 60.0  # between two pieces of an answer (slowloris)
MAX_HEAD_BYTES = 128 * 1024
KEPT = 4  # idle connections per host
CERTS = "/etc/docker/certs.d"


@dataclass(frozen=True, slots=True)
class Origin:
    """Where requests go."""

    scheme: str
    host: str
    port: int

    def __str__(self) -> str:
        usual = {"http": 80, "https": 443}[self.scheme]
        return self.host if self.port == usual else f"{self.host}:{self.port}"


def origin_of(url: str) -> Origin:
    """Return scheme, host and port of a URL. Raises Unavailable for what is no http(s) URL."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise Unavailable(f"not an http or https address: {url[:200]!r}")
    return Origin(parts.scheme, parts.hostname, parts.port or {"http": 80, "https": 443}[parts.scheme])


@dataclass(slots=True)
class Response:
    """An answer whose body is still to be read; read it to the end or close it."""

    status: int
    headers: dict[str, str]
    _link: "Link"
    _done: bool = False

    async def chunks(self) -> AsyncIterator[bytes]:
        """Yield the body. Raises Unavailable when it is cut off."""
        while (data := await self._link.next_piece()) is not None:
            yield data
        self._done = True
        self._link.release()

    async def read(self, limit: int) -> bytes:
        """Return the whole body. Raises Unavailable past `limit` bytes."""
        found = bytearray()
        async for chunk in self.chunks():
            found += chunk
            if len(found) > limit:
                self.close()
                raise Unavailable(f"the answer of {self._link.origin} is larger than {limit} bytes")
        return bytes(found)

    def close(self) -> None:
        """Give up the rest."""
        if not self._done:
            self._done = True
            self._link.discard()


@dataclass(slots=True)
class Link:
    """One connection and its parser."""

    origin: Origin
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    pool: "Pool"
    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    pieces: list[bytes] = field(default_factory=list)
    headed: bool = False
    complete: bool = False
    keep: bool = False
    parser: httptools.HttpResponseParser | None = None
    head_bytes: int = 0

    # httptools callbacks

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        assert self.parser is not None
        self.status = self.parser.get_status_code()
        self.keep = self.parser.should_keep_alive()
        self.headed = self.status >= 200

    def on_body(self, data: bytes) -> None:
        self.pieces.append(data)

    def on_message_complete(self) -> None:
        self.complete = self.headed

    async def start(self, head: bytes, body: bytes | AsyncIterator[bytes] | None, *, bodiless: bool) -> None:
        self.status, self.headers, self.pieces, self.headed, self.complete, self.head_bytes = (
            0,
            {},
            [],
            False,
            False,
            0,
        )
        self.parser = httptools.HttpResponseParser(self)
        self.writer.write(head)
        if isinstance(body, bytes):
            self.writer.write(body)
        elif body is not None:
            async for chunk in body:
                self.writer.write(chunk)
                await self.writer.drain()
        await self.writer.drain()
        while not self.headed:
            await self._feed()
        if bodiless or self.status in (204, 304):
            self.complete = True

    async def _feed(self) -> None:
        assert self.parser is not None
        data = await asyncio.wait_for(self.reader.read(262144), READ_S)
        if not data:
            if (
                self.headed
                and "content-length" not in self.headers
                and "transfer-encoding" not in self.headers
            ):
                self.complete = True
                return
            raise ConnectionError("the connection was closed")
        if not self.headed:
            self.head_bytes += len(data)
            if self.head_bytes > MAX_HEAD_BYTES + 262144:
                raise ConnectionError("the head of the answer is too long")
        self.parser.feed_data(data)

    async def next_piece(self) -> bytes | None:
        try:
            while not self.pieces:
                if self.complete:
                    return None
                await self._feed()
        except (OSError, TimeoutError, httptools.HttpParserError, EOFError) as error:
            self.discard()
            raise Unavailable(
                f"{self.origin}: the answer was cut off: {str(error) or 'timed out'}"
            ) from error
        data = b"".join(self.pieces)
        self.pieces.clear()
        return data

    def release(self) -> None:
        """Back into the pool, if the other side keeps it open."""
        if self.keep and self.complete:
            self.pool.keep(self)
        else:
            self.discard()

    def discard(self) -> None:
        self.writer.close()


class Pool:
    """Connections by origin."""

    def __init__(
        self, insecure_hosts: frozenset[str] = frozenset(), certs: tuple[str, ...] = (CERTS,)
    ) -> None:
        self._idle: dict[Origin, list[Link]] = {}
        self._insecure = insecure_hosts
        self._certs = certs
        self._contexts: dict[str, ssl.SSLContext] = {}

    async def request(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        body: bytes | AsyncIterator[bytes] | None = None,
    ) -> Response:
        """Send one request, without following redirects. Raises Unavailable in words that name the host and the cause."""
        origin = origin_of(url)
        parts = urlsplit(url)
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        lines = [
            f"{method} {target} HTTP/1.1",
            f"Host: {origin}",
            *(f"{key}: {value}" for key, value in headers.items()),
        ]
        if isinstance(body, bytes):
            lines.append(f"Content-Length: {len(body)}")
        elif body is None and method in ("POST", "PUT", "PATCH"):
            lines.append("Content-Length: 0")
        if any("\r" in line or "\n" in line for line in lines):
            raise Unavailable(f"{origin}: a line break in a request header")
        head = ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")
        link = await self._send(origin, head, body, method)
        return Response(link.status, link.headers, link, _done=False)

    async def _send(
        self, origin: Origin, head: bytes, body: bytes | AsyncIterator[bytes] | None, method: str
    ) -> Link:
        """An idle connection may have been closed by the other side: then a fresh one is tried, once."""
        idle = self._idle.get(origin)
        while idle:
            link = idle.pop()
            try:
                await link.start(head, body, bodiless=method == "HEAD")
                return link
            except (OSError, TimeoutError, httptools.HttpParserError):
                link.discard()
                if body is not None and not isinstance(body, bytes):
                    raise Unavailable(f"{origin}: the connection was closed while sending") from None
        link = await self._open(origin)
        try:
            await link.start(head, body, bodiless=method == "HEAD")
        except (OSError, TimeoutError, httptools.HttpParserError) as error:
            link.discard()
            raise Unavailable(
                f"{origin} does not answer as a registry: {str(error) or 'timed out'}"
            ) from error
        return link

    async def _open(self, origin: Origin) -> Link:
        try:
            reader, writer = await asyncio.wait_for(self._connect(origin), CONNECT_S)
        except ssl.SSLCertVerificationError as error:
            place = f"{self._certs[0]}/{origin}/ca.crt"
            raise Unavailable(
                f"{origin}: bad certificate: {error.verify_message}", hint=f"put its CA into {place}"
            ) from error
        except ssl.SSLError as error:
            raise _Tls(
                f"{origin}: no TLS there: {error.reason}", hint=f"insecure-registries: {origin}"
            ) from error
        except TimeoutError as error:
            raise Unavailable(f"{origin}: no answer within {CONNECT_S:.0f} s") from error
        except OSError as error:
            raise Unavailable(f"cannot reach {origin}: {(error.strerror or str(error)).lower()}") from error
        return Link(origin, reader, writer, self)

    async def _connect(self, origin: Origin) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        proxy = _proxy_for(origin)
        context = self._context(origin) if origin.scheme == "https" else None
        if not proxy:
            return await asyncio.open_connection(origin.host, origin.port, ssl=context, limit=1 << 20)
        reader, writer = await asyncio.open_connection(proxy.host, proxy.port, limit=1 << 20)
        if context is None:
            return reader, writer
        writer.write(
            f"CONNECT {origin.host}:{origin.port} HTTP/1.1\r\nHost: {origin.host}:{origin.port}\r\n\r\n".encode()
        )
        answer = await reader.readuntil(b"\r\n\r\n")
        if b" 200" not in answer.split(b"\r\n")[0]:
            raise ConnectionError(f"the proxy refused: {answer[:60]!r}")
        await writer.start_tls(context, server_hostname=origin.host)
        return reader, writer

    def _context(self, origin: Origin) -> ssl.SSLContext:
        name = str(origin)
        if name not in self._contexts:
            self._contexts[name] = self._make_context(name, origin)
        return self._contexts[name]

    def _make_context(self, name: str, origin: Origin) -> ssl.SSLContext:
        """The system's CAs and those of certs.d/<host[:port]>; client certificates likewise."""
        context = ssl.create_default_context()
        if name in self._insecure or origin.host in self._insecure:
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        for base in self._certs:
            folder = Path(base, name)
            for ca in sorted(folder.glob("*.crt")) if folder.is_dir() else ():
                context.load_verify_locations(ca)
            for cert in sorted(folder.glob("*.cert")) if folder.is_dir() else ():
                context.load_cert_chain(cert, cert.with_suffix(".key"))
        return context

    def keep(self, link: Link) -> None:
        idle = self._idle.setdefault(link.origin, [])
        if len(idle) < KEPT:
            idle.append(link)
        else:
            link.discard()

    def close(self) -> None:
        for links in self._idle.values():
            for link in links:
                link.discard()
        self._idle.clear()


class _Tls(Unavailable):
    """The other side speaks no TLS."""


def speaks_no_tls(error: HavreError) -> bool:
    """Whether a connection failed because TLS was spoken to a plain port."""
    return isinstance(error, _Tls)


def _proxy_for(origin: Origin) -> Origin | None:
    name = f"{origin.scheme}_proxy"
    url = os.environ.get(name) or os.environ.get(name.upper())
    if not url or origin.host in ("localhost", "127.0.0.1", "::1"):
        return None
    skipped = os.environ.get("no_proxy") or os.environ.get("NO_PROXY") or ""
    if proxy_bypass_environment(origin.host, {"no": skipped}):
        return None
    return origin_of(url if "://" in url else f"http://{url}")
