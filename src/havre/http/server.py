"""Listen, read requests one after the other on each connection, call the handler."""

import asyncio
import grp
import os
import socket
import ssl
import stat
from collections.abc import Awaitable, Callable, Mapping

from havre import log
from havre.errors import Conflict, HavreError, InvalidParameter
from havre.http.connection import Connection, Gone
from havre.http.head import MAX_HEAD_BYTES, parse_head
from havre.http.request import Duplex, Request, Stream
from havre.http.tls import TlsConnection

Handler = Callable[[Request], Awaitable[None]]
HEAD_TIMEOUT_S = 30  # a head that has begun must be complete by then (slowloris)
BACKLOG = 1024
FIRST_SYSTEMD_FD = 3

__all__ = [
    "Duplex",
    "Gone",
    "Handler",
    "Listening",
    "Request",
    "Stream",
    "listen_fds",
    "listen_tcp",
    "listen_unix",
]


class Listening:
    """Open doors; close() ends every connection behind them."""

    def __init__(self, handler: Handler, common: Mapping[str, str]) -> None:
        self._handler = handler
        self._common = common
        self._servers: list[asyncio.Server] = []
        self._tasks: set[asyncio.Task[None]] = set()

    async def add(self, sock: socket.socket, tls: ssl.SSLContext | None) -> None:
        """Serve on a bound socket."""
        loop = asyncio.get_running_loop()

        def make() -> asyncio.Protocol:
            connection = Connection(self._opened)
            return TlsConnection(connection, tls) if tls else connection

        self._servers.append(await loop.create_server(make, sock=sock, backlog=BACKLOG))

    def _opened(self, connection: Connection) -> None:
        task = asyncio.get_running_loop().create_task(self._serve(connection), name="http connection")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, connection: Connection) -> None:
        try:
            while await self._serve_one(connection):
                pass
        except (Gone, ConnectionError, asyncio.CancelledError):
            pass
        except Exception as error:  # noqa: BLE001 - a door: one connection must not end the daemon
            log.error("connection failed", error=repr(error))
        finally:
            connection.close()

    async def _serve_one(self, connection: Connection) -> bool:
        """Serve one request; False when the connection is done."""
        if not await connection.wait_input():
            return False
        try:
            data = await asyncio.wait_for(connection.read_until(b"\r\n\r\n", MAX_HEAD_BYTES), HEAD_TIMEOUT_S)
            if data is None:
                return False
            head = parse_head(data.lstrip(b"\r\n"))
        except (ValueError, InvalidParameter, TimeoutError) as error:
            text = str(error) if isinstance(error, HavreError) else "request head too long or too slow"
            body = f"400 Bad Request: {text}".encode()
            await connection.write(
                b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\nConnection: close\r\n"
                b"Content-Length: %d\r\n\r\n%s" % (len(body), body)
            )
            return False
        request = Request(connection, head, self._common)
        await self._handle(connection, request)
        if not request.close_after:
            await request.drain()
        return not request.close_after

    async def _handle(self, connection: Connection, request: Request) -> None:
        """Run the handler as a task that ends when its client leaves."""
        task = asyncio.ensure_future(self._handler(request))
        connection.on_gone = lambda: _cancel(task)
        if connection.gone:
            task.cancel()
        try:
            await task
        except asyncio.CancelledError:
            if not connection.gone:
                task.cancel()
            raise
        finally:
            connection.on_gone = None

    async def close(self) -> None:
        for server in self._servers:
            server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


def _cancel(task: "asyncio.Future[None]") -> None:
    task.cancel()


async def listen_unix(
    path: str, handler: Handler, *, group: str = "", common: Mapping[str, str] | None = None
) -> Listening:
    """Listen on a unix socket, mode 0660, owned by `group` where that exists.

    A stale socket is replaced. Raises Conflict when somebody answers on it, InvalidParameter when it is no socket.
    """
    _clear_socket(path)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    mask = os.umask(0o117)
    try:
        sock.bind(path)
    finally:
        os.umask(mask)
    try:
        os.chown(path, 0, grp.getgrnam(group).gr_gid)
    except (KeyError, PermissionError):
        pass
    sock.setblocking(False)
    listening = Listening(handler, common or {})
    await listening.add(sock, None)
    return listening


def _clear_socket(path: str) -> None:
    try:
        status = os.lstat(path)
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(status.st_mode):
        raise InvalidParameter(f"{path} is there and is no socket", hint="another -H unix:///path")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(path)
        except OSError:
            os.unlink(path)
            return
    raise Conflict(f"another daemon listens on {path}", hint=f"docker -H unix://{path} version")


async def listen_tcp(
    address: str,
    port: int,
    handler: Handler,
    *,
    tls: ssl.SSLContext | None = None,
    common: Mapping[str, str] | None = None,
) -> Listening:
    """Listen on tcp, with TLS when a context is given. Raises Conflict when the port is taken."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        sock.bind((address, port))
    except OSError as error:
        sock.close()
        raise Conflict(
            f"cannot listen on tcp://{address}:{port}: {(error.strerror or '').lower()}"
        ) from error
    sock.setblocking(False)
    listening = Listening(handler, common or {})
    await listening.add(sock, tls)
    return listening


async def listen_fds(handler: Handler, *, common: Mapping[str, str] | None = None) -> Listening:
    """Serve on the sockets systemd passes (sd_listen_fds(3)). Raises InvalidParameter without any."""
    count = int(os.environ.get("LISTEN_FDS") or 0) if os.environ.get("LISTEN_PID") == str(os.getpid()) else 0
    if not count:
        raise InvalidParameter(
            "no sockets found via socket activation", hint="-H fd:// only works under a systemd .socket unit"
        )
    listening = Listening(handler, common or {})
    for fd in range(FIRST_SYSTEMD_FD, FIRST_SYSTEMD_FD + count):
        sock = socket.socket(fileno=fd)
        sock.setblocking(False)
        await listening.add(sock, None)
    return listening
