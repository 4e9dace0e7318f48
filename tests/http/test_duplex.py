import asyncio
import contextlib
import socket
import threading

import pytest

from havre.http.server import Request

UPGRADE = b"POST /attach HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n"


class Container:
    """The other end of a hijack: a socketpair, as the monitor has it."""

    def __init__(self) -> None:
        self.sock, self._ours = socket.socketpair()
        self.sock.settimeout(20)
        self._ours.setblocking(False)
        self.ended = threading.Event()

    async def __call__(self, request: Request) -> None:
        duplex = await request.hijack("application/vnd.docker.raw-stream")
        await duplex.pump(self._ours)
        self.ended.set()

    def read(self) -> bytes:
        found = b""
        while data := self.sock.recv(65536):
            found += data
        return found


def read_head(sock: socket.socket) -> bytes:
    found = b""
    while not found.endswith(b"\r\n\r\n"):
        found += sock.recv(1)
    return found


def test_upgraded_heads_are_dockers(serve) -> None:
    with serve(Container()).connect() as sock:
        sock.sendall(UPGRADE + b"\r\n")
        head = read_head(sock)
    assert head.startswith(b"HTTP/1.1 101 UPGRADED\r\n")
    for line in (b"Content-Type: application/vnd.docker.raw-stream", b"Connection: Upgrade", b"Upgrade: tcp"):
        assert line + b"\r\n" in head


def test_clients_that_do_not_upgrade_get_raw_bytes(serve) -> None:
    container = Container()
    with serve(container).connect() as sock:
        sock.sendall(b"POST /attach HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n")
        head = read_head(sock)
        assert head.startswith(b"HTTP/1.1 200 OK\r\n")
        assert b"Transfer-Encoding" not in head
        assert b"Content-Length" not in head
        container.sock.sendall(b"out")
        container.sock.close()
        assert sock.recv(10) == b"out"
        assert sock.recv(10) == b""


def test_bytes_behind_the_head_and_a_half_close_before_the_answer_are_kept(serve) -> None:
    container = Container()
    with serve(container).connect() as sock:
        sock.sendall(UPGRADE + b"\r\nearly input")
        sock.shutdown(socket.SHUT_WR)
        assert container.read() == b"early input"
        container.sock.sendall(b"late output")
        container.sock.close()
        read_head(sock)
        assert sock.recv(100) == b"late output"
        assert sock.recv(100) == b""
    assert container.ended.wait(10)


def test_json_body_is_no_input(serve) -> None:
    container = Container()
    with serve(container).connect() as sock:
        sock.sendall(UPGRADE + b"Content-Length: 2\r\n\r\n{}input")
        assert container.sock.recv(100) == b"input"


@pytest.mark.parametrize("size", [1, 3_000_000])
def test_input_of_a_client_that_left_is_delivered(serve, size: int) -> None:
    """docker-py writes to the socket of attach and closes it."""
    container = Container()
    data = bytes(range(256)) * (size // 256) + b"."

    def write() -> None:
        with one.connect() as sock:
            sock.sendall(UPGRADE + b"\r\n")
            read_head(sock)
            sock.sendall(data)

    one = serve(container)
    writer = threading.Thread(target=write)
    writer.start()
    if not one.port:  # on tcp unread output makes the client's close a reset, and the kernel drops everything
        container.sock.sendall(b"output nobody reads")
    assert container.read() == data
    writer.join(10)
    container.sock.close()  # tcp cannot tell that the client has left
    assert container.ended.wait(10)


def test_a_client_that_leaves_after_its_half_close_is_noticed(serving) -> None:
    container = Container()
    serving.unix(container)
    with serving.connect() as sock:
        sock.sendall(UPGRADE + b"\r\n")
        read_head(sock)
        sock.shutdown(socket.SHUT_WR)
        assert container.read() == b""
        assert not container.ended.wait(0.05)
    assert container.ended.wait(10)


def test_output_is_not_lost_while_the_client_still_sends(serve) -> None:
    """A close with unread input would be a reset."""
    container = Container()
    with serve(container).connect() as sock:
        sock.sendall(UPGRADE + b"\r\n")
        read_head(sock)
        sock.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            while True:
                sock.send(bytes(65536))
        sock.settimeout(20)
        container.sock.sendall(b"x" * 100_000)
        container.sock.shutdown(socket.SHUT_RDWR)
        found = b""
        while data := sock.recv(65536):
            found += data
    assert found == b"x" * 100_000


def test_large_transfers_arrive_whole_both_ways(serve) -> None:
    container = Container()
    data = bytes(range(256)) * 40_000
    with serve(container).connect() as sock:
        sock.sendall(UPGRADE + b"\r\n")
        read_head(sock)

        def echo() -> None:
            while piece := container.sock.recv(65536):
                container.sock.sendall(piece)
            container.sock.close()

        def send() -> None:
            sock.sendall(data)
            sock.shutdown(socket.SHUT_WR)

        threads = [threading.Thread(target=work) for work in (echo, send)]
        for one in threads:
            one.start()
        found = bytearray()
        while piece := sock.recv(65536):
            found += piece
        for one in threads:
            one.join(10)
    assert bytes(found) == data


def test_first_output_waits_until_the_head_was_read(serving) -> None:
    """docker-py loses what arrives together with the head."""
    container = Container()
    container.sock.sendall(b"fast")
    container.sock.shutdown(socket.SHUT_WR)
    serving.unix(container)
    with serving.connect() as sock:
        sock.sendall(UPGRADE + b"\r\n")
        first = sock.recv(65536)
        assert first.endswith(b"\r\n\r\n")
        assert sock.recv(100) == b"fast"


def test_first_output_comes_though_the_head_is_never_read(serving) -> None:
    container = Container()
    container.sock.sendall(b"fast")
    serving.unix(container)
    with serving.connect() as sock:
        sock.sendall(UPGRADE + b"\r\n")
        found = b""
        while not found.endswith(b"fast"):
            data = sock.recv(65536, socket.MSG_PEEK)
            found = data if data.endswith(b"fast") else b""


def test_bodies_too_large_to_skip_refuse_the_hijack(serve) -> None:
    outcome: list[object] = []

    async def handler(request: Request) -> None:
        try:
            await request.hijack("text/plain")
        except Exception as error:
            outcome.append(error)
            request.close_after = True
            await request.json(413, {"message": str(error)})

    one = serve(handler)
    with one.connect() as sock:
        sock.sendall(UPGRADE + b"Content-Length: 100000000\r\n\r\n" + bytes(9 << 20))
        assert sock.recv(100).startswith(b"HTTP/1.1 413")


def test_closing_the_server_ends_hijacks(serving) -> None:
    container = Container()
    serving.unix(container)
    with serving.connect() as sock:
        sock.sendall(UPGRADE + b"\r\n")
        read_head(sock)
        serving.run(asyncio.wait_for(serving.listening.pop().close(), 5))
        assert container.read() == b""
