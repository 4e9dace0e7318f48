"""Connections by origin: kept alive, opened with TLS and through proxies, every failure said in words that name the host."""

import asyncio
import os
import socket
import ssl
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass

from havre.errors import Unavailable
from havre.registry.link import Body, Broken, Link
from havre.registry.origin import Origin, origin_of, target_of
from havre.registry.proxy import Proxy, proxy_for
from havre.registry.trust import Trust
from havre.tasks import in_disk_thread

CONNECT_S = 15.0
HANDSHAKE_S = 10.0
READ_S = 300.0  # for a whole small answer
KEPT, KEPT_S = 4, 60.0  # idle connections per host, and for how long
MAX_TARGET_BYTES = 16 * 1024


class NoTls(Unavailable):
    """The other side does not speak TLS there."""


class NoAnswer(Unavailable):
    """It listens, but does not answer in HTTP."""


@dataclass(slots=True)
class Response:
    """An answer whose body is still to be read: read it to its end or close it."""

    status: int
    headers: dict[str, list[str]]
    url: str
    _link: Link
    _pool: "Pool"
    _done: bool = False

    def header(self, name: str) -> str:
        """The first value of a header, "" without one."""
        return self.headers.get(name, [""])[0]

    async def chunks(self) -> AsyncIterator[bytes]:
        """Yield the body. Raises Unavailable when it is cut off; not read to the end, the connection is given up."""
        try:
            while (data := await self._link.piece()) is not None:
                yield data
            self._done = True
            self._pool.keep(self._link)
        except Broken as error:
            raise Unavailable(f"{self._link.origin}: the answer was cut off: {error}") from error
        finally:
            self.close()

    async def read(self, limit: int) -> bytes:
        """Return the whole body. Raises Unavailable past `limit` bytes, or when it takes too long."""
        found = bytearray()
        try:
            async with asyncio.timeout(READ_S):
                async for chunk in self.chunks():
                    found += chunk
                    if len(found) > limit:
                        raise Unavailable(f"the answer of {self._link.origin} is larger than {limit} bytes")
        except TimeoutError:
            raise Unavailable(f"{self._link.origin}: the answer took more than {READ_S:.0f} s") from None
        finally:
            self.close()
        return bytes(found)

    def close(self) -> None:
        """Give up the rest."""
        if not self._done:
            self._done = True
            self._link.close()


class Pool:
    """All connections of one client."""

    def __init__(self, trust: Trust) -> None:
        self._trust = trust
        self._idle: dict[Origin, list[Link]] = {}

    async def request(
        self, method: str, url: str, headers: Mapping[str, str], body: Body = None, length: int = 0
    ) -> Response:
        """Send one request; redirects are the caller's. `length` is that of a body made by a factory. Raises Unavailable."""
        origin = origin_of(url)
        proxy = proxy_for(origin)
        head = _head(method, url, origin, proxy if origin.scheme == "http" else None, headers, body, length)
        link = await self._send(origin, proxy, head, body, method)
        return Response(link.status, link.headers, url, link, self)

    async def _send(self, origin: Origin, proxy: Proxy | None, head: bytes, body: Body, method: str) -> Link:
        """The other side may have closed a kept connection just now: then a fresh one is tried."""
        idle = self._idle.get(origin, [])
        while idle:
            link = idle.pop()
            if not link.usable:
                continue
            try:
                await link.exchange(head, body, bodiless=method == "HEAD")
                return link
            except Broken as error:
                if error.answered:
                    raise Unavailable(f"{origin}: {error}") from error
            except BaseException:
                link.close()
                raise
        link = await self._open(origin, proxy)
        try:
            await link.exchange(head, body, bodiless=method == "HEAD")
        except Broken as error:
            raise _no_answer(origin, error, self._trust) from error
        except BaseException:
            link.close()
            raise
        return link

    def keep(self, link: Link) -> None:
        """Take a connection back, if it can serve once more."""
        idle = self._idle.setdefault(link.origin, [])
        if not (link.keep and link.usable) or len(idle) >= KEPT:
            link.close()
            return
        idle.append(link)
        asyncio.get_running_loop().call_later(KEPT_S, self._expire, link)

    def _expire(self, link: Link) -> None:
        idle = self._idle.get(link.origin, [])
        if link in idle:
            idle.remove(link)
            link.close()

    def close(self) -> None:
        """Close what is idle."""
        for links in self._idle.values():
            for link in links:
                link.close()
        self._idle.clear()

    # opening

    async def _open(self, origin: Origin, proxy: Proxy | None) -> Link:
        context = None
        insecure = False
        if origin.scheme == "https":
            insecure = await self._trust.is_insecure(origin)
            context = await in_disk_thread(self._trust.context, origin, insecure=insecure)
        link = Link(origin)
        try:
            if proxy is None:
                await _connect(link, origin, context)
            else:
                await self._through(link, origin, proxy, context)
        except ssl.SSLCertVerificationError as error:
            raise Unavailable(
                f"{origin}: bad certificate: {error.verify_message or error.reason}",
                hint=f"put the certificate of its CA into {self._trust.ca_place(origin)}",
            ) from error
        except (ssl.SSLError, ConnectionResetError, ConnectionAbortedError) as error:
            link.close()
            if context is None:
                raise Unavailable(f"cannot connect to {origin}: the connection was reset") from error
            words = getattr(error, "reason", "") or "the connection was closed"
            raise NoTls(
                f"{origin}: cannot speak TLS with it: {words.lower().replace('_', ' ')}",
                hint=f'if it speaks plain http, "insecure-registries": ["{origin.host}:{origin.port}"]',
            ) from error
        except BaseException:
            link.close()
            raise
        return link

    async def _through(
        self, link: Link, origin: Origin, proxy: Proxy, context: ssl.SSLContext | None
    ) -> None:
        """Plain requests go to the proxy as they are; for TLS a tunnel is asked for first."""
        outer = None
        if proxy.origin.scheme == "https":
            outer = await in_disk_thread(self._trust.context, proxy.origin, insecure=False)
        await _connect(link, proxy.origin, outer)
        if context is None:
            return
        where = f"[{origin.host}]:{origin.port}" if ":" in origin.host else f"{origin.host}:{origin.port}"
        lines = [f"CONNECT {where} HTTP/1.1", f"Host: {where}"]
        if proxy.authorization:
            lines.append(f"Proxy-Authorization: {proxy.authorization}")
        try:
            await link.exchange(("\r\n".join(lines) + "\r\n\r\n").encode(), None, bodiless=True)
        except Broken as error:
            raise Unavailable(f"the proxy {proxy.origin} does not answer: {error}") from error
        if link.status != 200:
            raise Unavailable(f"the proxy {proxy.origin} refused a way to {where}: {link.status}")
        async with asyncio.timeout(CONNECT_S):
            link.transport = await asyncio.get_running_loop().start_tls(
                link.transport, link, context, server_hostname=origin.host
            )


async def _connect(link: Link, origin: Origin, context: ssl.SSLContext | None) -> None:
    """Try every address of a host. Raises Unavailable; ssl and reset errors are the caller's."""
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(CONNECT_S):
            found = await loop.getaddrinfo(origin.host, origin.port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        raise Unavailable(f"cannot find {origin.host}: no such host", hint="check the name") from None
    except TimeoutError:
        raise Unavailable(f"cannot find {origin.host}: the name server does not answer") from None
    reason = "no address"
    for one in found:
        try:
            async with asyncio.timeout(CONNECT_S):
                await loop.create_connection(
                    lambda: link,
                    str(one[4][0]),
                    origin.port,
                    ssl=context,
                    server_hostname=origin.host if context else None,
                    ssl_handshake_timeout=HANDSHAKE_S if context else None,
                )
            return
        except (ssl.SSLError, ConnectionResetError, ConnectionAbortedError):
            raise
        except TimeoutError:
            reason = f"no answer within {CONNECT_S:.0f} s"
        except OSError as error:
            reason = (os.strerror(error.errno) if error.errno else str(error)).lower()
    raise Unavailable(f"cannot connect to {origin}: {reason}")


def _head(
    method: str,
    url: str,
    origin: Origin,
    proxy: Proxy | None,
    headers: Mapping[str, str],
    body: Body,
    length: int,
) -> bytes:
    """Return a request's head. Raises Unavailable for what would break its lines."""
    target = target_of(url)
    if len(target) > MAX_TARGET_BYTES:
        raise Unavailable(f"{origin}: the address is too long")
    lines = [f"{method} {origin.url if proxy else ''}{target} HTTP/1.1", f"Host: {origin}"]
    lines += [f"{key}: {value}" for key, value in headers.items()]
    if proxy and proxy.authorization:
        lines.append(f"Proxy-Authorization: {proxy.authorization}")
    if body is not None or method in ("POST", "PUT", "PATCH"):
        lines.append(f"Content-Length: {len(body) if isinstance(body, bytes) else length}")
    if any(not char.isprintable() for line in lines for char in line):
        raise Unavailable(f"{origin}: an unprintable character in a request header")
    try:
        return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")
    except UnicodeEncodeError:
        raise Unavailable(f"{origin}: a request header is not Latin-1") from None


def _no_answer(origin: Origin, error: Broken, trust: Trust) -> Unavailable:
    """A TLS 1.3 server asks for a client's certificate only after the handshake: the refusal comes as an alert."""
    if isinstance(error.__cause__, ssl.SSLError):
        place = trust.ca_place(origin).removesuffix("ca.crt") + "client.cert and client.key"
        return NoAnswer(f"{origin} ended the connection: {error}", hint=f"a client certificate in {place}")
    return NoAnswer(f"{origin} does not answer as a registry: {error}")
