import asyncio
import os
import socket
import stat
import threading

import pytest

from havre.errors import Conflict, InvalidParameter
from havre.http import server as http
from havre.http.server import Request

GET = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"


async def hello(request: Request) -> None:
    await request.reply(200, b"hello")


def test_socket_is_private_and_goes_with_the_server(serving) -> None:
    serving.unix(hello)
    status = os.stat(serving.path)
    assert stat.S_ISSOCK(status.st_mode)
    assert stat.S_IMODE(status.st_mode) == 0o660
    serving.run(serving.listening.pop().close())
    assert not os.path.exists(serving.path)


def test_socket_of_a_successor_stays(serving) -> None:
    serving.unix(hello)
    os.unlink(serving.path)
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(serving.path)
        serving.run(serving.listening.pop().close())
        assert os.path.exists(serving.path)


def test_stale_socket_is_replaced(serving) -> None:
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(serving.path)
    serving.unix(hello)
    assert serving.ask(GET).endswith(b"hello")


def test_live_socket_is_refused(serving) -> None:
    serving.unix(hello)
    with pytest.raises(Conflict, match="another daemon listens"):
        serving.run(http.listen_unix(serving.path, hello))
    assert serving.ask(GET).endswith(b"hello")


@pytest.mark.parametrize(
    "make", [lambda path: open(path, "w").close(), lambda path: os.symlink("/dev/null", path)]
)
def test_what_is_no_socket_is_left_alone(serving, make) -> None:
    make(serving.path)
    with pytest.raises(InvalidParameter, match="no socket"):
        serving.run(http.listen_unix(serving.path, hello))
    assert os.path.lexists(serving.path)


def test_taken_port_is_refused(serving) -> None:
    serving.tcp(hello)
    with pytest.raises(Conflict, match="cannot listen on tcp://"):
        serving.run(http.listen_tcp("127.0.0.1", serving.port, hello))


def test_inherited_sockets_are_served(serving, monkeypatch) -> None:
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(serving.path)
        sock.listen()
        fd = os.dup(sock.fileno())
    monkeypatch.setattr(http, "FIRST_SYSTEMD_FD", fd)
    monkeypatch.setenv("LISTEN_FDS", "1")
    monkeypatch.setenv("LISTEN_PID", str(os.getpid()))
    serving.listening.append(serving.run(http.listen_fds(hello)))
    assert serving.ask(GET).endswith(b"hello")
    assert not os.get_inheritable(fd)


def test_inherited_sockets_of_another_process_are_not_taken(serving, monkeypatch) -> None:
    monkeypatch.setenv("LISTEN_FDS", "1")
    monkeypatch.setenv("LISTEN_PID", "1")
    with pytest.raises(InvalidParameter, match="socket activation"):
        serving.run(http.listen_fds(hello))


def test_closing_finishes_work_and_cuts_streams(serving) -> None:
    begun = [threading.Event(), threading.Event()]
    done: list[str] = []

    async def handler(request: Request) -> None:
        if request.path == "/stream":
            await request.stream(200, "text/plain")
            begun[0].set()
            await asyncio.sleep(60)
        begun[1].set()
        await asyncio.sleep(0.1)
        done.append("worked")
        await request.reply(200, b"done")

    serving.unix(handler)
    with serving.connect() as stream, serving.connect() as work, serving.connect() as idle:
        stream.sendall(b"GET /stream HTTP/1.1\r\nHost: x\r\n\r\n")
        work.sendall(GET)
        assert begun[0].wait(10)
        assert begun[1].wait(10)
        serving.run(asyncio.wait_for(serving.listening.pop().close(), 5))
        assert work.recv(1000).endswith(b"done")
        assert idle.recv(10) == b""
        assert stream.recv(1000).startswith(b"HTTP/1.1 200")
        assert stream.recv(10) == b""
    assert done == ["worked"]


def test_handler_that_fails_ends_only_its_connection(serving, capsys) -> None:
    async def broken(request: Request) -> None:
        if request.path == "/broken":
            raise RuntimeError("a bug")
        await hello(request)

    serving.unix(broken)
    assert serving.ask(b"GET /broken HTTP/1.1\r\nHost: x\r\n\r\n") == b""
    assert serving.ask(GET).endswith(b"hello")


@pytest.mark.parametrize(
    ("header", "status"),
    [
        (b"Host: evil.example:1", b"403"),
        (b"Host: localhost:1", b"200"),
        (b"Host: 127.0.0.1\r\nOrigin: http://evil.example", b"403"),
    ],
)
def test_web_pages_are_refused_on_tcp(serving, header: bytes, status: bytes) -> None:
    serving.tcp(hello)
    answer = serving.ask(b"GET / HTTP/1.1\r\n" + header + b"\r\nConnection: close\r\n\r\n")
    assert answer.split(b" ", 2)[1] == status


def test_unix_sockets_take_any_name(serving) -> None:
    serving.unix(hello)
    answer = serving.ask(
        b"GET / HTTP/1.1\r\nHost: api.moby.localhost\r\nOrigin: http://ui.example\r\nConnection: close\r\n\r\n"
    )
    assert answer.endswith(b"hello")
