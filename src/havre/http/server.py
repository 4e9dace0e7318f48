"""Listen, read requests one after the other on each connection, call the handler."""

import asyncio
import contextlib
import grp
import os
import socket
import ssl
import stat
from collections.abc import Awaitable, Callable, Mapping

from havre import log
from havre.errors import Conflict, HavreError, InvalidParameter
from havre.http.connection import Connection, Gone
from havre.http.duplex import Duplex
from havre.http.head import MAX_HEAD_BYTES, Head, parse_head
from havre.http.leaving import Watch
from havre.http.origin import check_origin
from havre.http.request import Request, header_lines
from havre.http.stream import Stream
from havre.http.tls import TlsConnection

Handler = Callable[[Request], Awaitable[None]]
HEAD_TIMEOUT_S = 30  # a head that has begun must be complete by then (slowloris)
LINGER_S = 2
FINISH_S = 10  # what handlers at work get when the daemon stops
PROBE_S = 2
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

    def __init__(self, handler: Handler, common: Mapping[str, str], *, public: bool = False) -> None:
        self._handler = handler
        self._public = public  # a service of the web: any name may lead here, and any page
        self._common = header_lines(common)
        self._servers: list[asyncio.Server] = []
        self._tasks: dict[asyncio.Task[None], Connection] = {}
        self._handling: dict[Connection, Request] = {}
        self._closing = False
        self._watch = Watch()
        self._bound: list[tuple[str, os.stat_result]] = []

    async def add(self, sock: socket.socket, tls: ssl.SSLContext | None) -> None:
        """Serve on a bound socket."""
        loop = asyncio.get_running_loop()
        plain_tcp = tls is None and sock.family != socket.AF_UNIX

        def opened(connection: Connection) -> None:
            work = self._serve(connection, plain_tcp=plain_tcp)
            task = loop.create_task(work, name="http connection")
            self._tasks[task] = connection
            task.add_done_callback(self._forget)

        def make() -> asyncio.Protocol:
            connection = Connection(opened, self._watch)
            return TlsConnection(connection, tls) if tls else connection

        self._servers.append(await loop.create_server(make, sock=sock, backlog=BACKLOG))

    def own(self, path: str) -> None:
        """Take the socket's file away at the end, if it is still this one."""
        self._bound.append((path, os.lstat(path)))

    def _forget(self, task: asyncio.Task[None]) -> None:
        del self._tasks[task]

    async def _serve(self, connection: Connection, *, plain_tcp: bool) -> None:
        try:
            while await self._serve_one(connection, plain_tcp=plain_tcp) and not self._closing:
                pass
            if not self._closing:
                await _linger(connection)
        except (Gone, ConnectionError, asyncio.CancelledError):
            pass
        except Exception as error:  # noqa: BLE001 - a door: one connection must not end the daemon
            log.error("connection failed", error=repr(error))
        finally:
            connection.close()

    async def _serve_one(self, connection: Connection, *, plain_tcp: bool) -> bool:
        """Serve one request; False when the connection is done."""
        if not await connection.wait_input():
            return False
        try:
            head = await _read_head(connection)
        except HeadTooLong:
            await _refuse(connection, "431 Request Header Fields Too Large", "")
            return False
        except InvalidParameter as error:
            await _refuse(connection, "400 Bad Request", f": {error}")
            return False
        if head is None:
            return False
        request = Request(connection, head, self._common)
        try:
            if not connection.local and not self._public:
                check_origin(head, plain=plain_tcp)
        except HavreError as error:
            request.close_after = True
            await request.json(error.status, {"message": str(error)})
            return False
        await self._handle(connection, request)
        if not request.close_after:
            await request.drain()
        return not request.close_after

    async def _handle(self, connection: Connection, request: Request) -> None:
        """Run the handler. Once it streams an answer it ends with its client.

        Before that it is always finished: a client that leaves at the wrong moment must not leave half a container behind.
        """
        task = asyncio.current_task()
        cut = False

        def left() -> None:
            nonlocal cut
            if request.streaming and task is not None and not cut:
                cut = True
                task.cancel()

        connection.on_leave = left
        self._handling[connection] = request
        try:
            await self._handler(request)
        except asyncio.CancelledError:
            if cut:
                raise Gone from None
            raise
        finally:
            del self._handling[connection]
            connection.on_leave = None

    def _may_cut(self, connection: Connection) -> bool:
        """Whether the connection waits for its client rather than for work that must be finished."""
        request = self._handling.get(connection)
        return request is None or request.streaming or connection.hijacked or not request.body_done

    async def close(self) -> None:
        """Stop listening, cut streams and idle connections, give the handlers at work FINISH_S to answer."""
        self._closing = True
        for server in self._servers:
            server.close()
        for path, status in self._bound:
            _unlink_same(path, status)
        for task, connection in list(self._tasks.items()):
            if self._may_cut(connection):
                task.cancel()
        if self._tasks:
            await asyncio.wait(list(self._tasks), timeout=FINISH_S)
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._watch.close()


class HeadTooLong(Exception):
    """A head that is larger than MAX_HEAD_BYTES."""


async def _read_head(connection: Connection) -> Head | None:
    """Return the next request's head, None at the end of input. Raises HeadTooLong and InvalidParameter."""
    try:
        data = connection.take_until(b"\r\n\r\n", MAX_HEAD_BYTES)
        if data is None:
            async with asyncio.timeout(HEAD_TIMEOUT_S):
                data = await connection.read_until(b"\r\n\r\n", MAX_HEAD_BYTES)
    except ValueError:
        raise HeadTooLong from None
    except TimeoutError:
        raise InvalidParameter(f"the request head did not come within {HEAD_TIMEOUT_S} seconds") from None
    return None if data is None else parse_head(data.lstrip(b"\r\n"))


async def _refuse(connection: Connection, status: str, text: str) -> None:
    body = f"{status}{text}".encode()
    head = f"HTTP/1.1 {status}\r\nContent-Type: text/plain; charset=utf-8\r\nConnection: close\r\nContent-Length: {len(body)}"
    await connection.write(head.encode() + b"\r\n\r\n" + body)


async def _linger(connection: Connection) -> None:
    """End our output and read what still comes: closing with unread input is a reset, which takes the answer's end away."""
    if connection.ended or connection.gone:
        return
    connection.end_output()
    try:
        async with asyncio.timeout(LINGER_S):
            await connection.discard_input()
    except TimeoutError:
        pass


def _unlink_same(path: str, status: os.stat_result) -> None:
    try:
        found = os.lstat(path)
        if (found.st_dev, found.st_ino) == (status.st_dev, status.st_ino):
            os.unlink(path)
    except FileNotFoundError:
        pass


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
    listening.own(path)
    return listening


def _clear_socket(path: str) -> None:
    try:
        status = os.lstat(path)
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(status.st_mode):
        raise InvalidParameter(f"{path} is there and is no socket", hint="another -H unix:///path")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(PROBE_S)
        try:
            probe.connect(path)
        except (ConnectionRefusedError, FileNotFoundError):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)
            return
        except OSError:
            pass  # somebody listens there and is busy
    raise Conflict(f"another daemon listens on {path}", hint=f"docker -H unix://{path} version")


async def listen_tcp(
    address: str,
    port: int,
    handler: Handler,
    *,
    tls: ssl.SSLContext | None = None,
    common: Mapping[str, str] | None = None,
    public: bool = False,
) -> Listening:
    """Listen on tcp, with TLS when a context is given. Raises Conflict when the port is taken.

    `public` is for what is no Engine API: there is no check against web pages then (http/origin.py).
    """
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
    listening = Listening(handler, common or {}, public=public)
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
        os.set_inheritable(fd, False)
        sock = socket.socket(fileno=fd)
        sock.setblocking(False)
        await listening.add(sock, None)
    return listening
