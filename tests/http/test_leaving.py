"""What happens when a client leaves, ends its input or stops reading."""

import asyncio
import resource
import socket
import threading
import time

import pytest

from havre.http.server import Gone, Request

GET = b"GET /x HTTP/1.1\r\nHost: x\r\n\r\n"


class Watched:
    """A handler that says how it ended."""

    def __init__(self, work) -> None:
        self._work = work
        self.begun, self.ended = threading.Event(), threading.Event()
        self.outcome = ""

    async def __call__(self, request: Request) -> None:
        self.begun.set()
        try:
            await self._work(request)
            self.outcome = "finished"
        except (asyncio.CancelledError, Gone) as error:
            self.outcome = type(error).__name__
            raise
        finally:
            self.ended.set()


async def stream_forever(request: Request) -> None:
    await request.stream(200, "application/json")
    await asyncio.sleep(60)


def test_streams_end_when_their_client_leaves(serve) -> None:
    handler = Watched(stream_forever)
    with serve(handler).connect() as sock:
        sock.sendall(GET)
        assert sock.recv(1000).startswith(b"HTTP/1.1 200")
    assert handler.ended.wait(10)
    assert handler.outcome == "CancelledError"


def test_work_is_finished_though_its_client_has_left(serve) -> None:
    gone = threading.Event()

    async def work(request: Request) -> None:
        while not gone.is_set():
            await asyncio.sleep(0.001)
        await asyncio.sleep(0.01)

    handler = Watched(work)
    with serve(handler).connect() as sock:
        sock.sendall(GET)
        assert handler.begun.wait(10)
    gone.set()
    assert handler.ended.wait(10)
    assert handler.outcome == "finished"


def test_clients_that_only_ended_their_input_get_their_answer(serve) -> None:
    async def slow(request: Request) -> None:
        await asyncio.sleep(0.02)
        await request.reply(200, b"here")

    with serve(slow).connect() as sock:
        sock.sendall(GET)
        sock.shutdown(socket.SHUT_WR)
        found = b""
        while data := sock.recv(1000):
            found += data
    assert found.endswith(b"here")


def test_a_stream_outlives_the_end_of_input_on_a_unix_socket_and_ends_with_the_client(serving) -> None:
    handler = Watched(stream_forever)
    serving.unix(handler)
    with serving.connect() as sock:
        sock.sendall(GET)
        assert sock.recv(1000).startswith(b"HTTP/1.1 200")
        sock.shutdown(socket.SHUT_WR)
        assert not handler.ended.wait(0.1)
    assert handler.ended.wait(10)
    assert handler.outcome == "CancelledError"


@pytest.mark.parametrize("way", ["stream", "hijack"])
def test_stuck_readers_hold_little_memory(serve, way: str) -> None:
    sent = [0]

    async def flood(request: Request) -> None:
        out = await (request.stream(200, "text/plain") if way == "stream" else request.hijack("text/plain"))
        while True:
            await out.write(bytes(65536))
            sent[0] += 65536

    one = serve(flood)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    clients = [one.connect() for _ in range(100)]
    for sock in clients:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        sock.sendall(GET)
    last = -1
    while not sent[0] or last != sent[0]:
        last = sent[0]
        time.sleep(0.2)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    for sock in clients:
        sock.close()
    assert last
    assert grown < 80 * 1024  # KiB for all 100


def test_stuck_senders_hold_little_memory(serve) -> None:
    free = threading.Event()

    async def deaf(request: Request) -> None:
        while not free.is_set():
            await asyncio.sleep(0.01)

    one = serve(deaf)
    with one.connect() as sock:
        sock.sendall(b"POST /x HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000000\r\n\r\n")
        sock.settimeout(0.3)
        sent = 0
        with pytest.raises(TimeoutError):
            while True:
                sent += sock.send(bytes(65536))
        assert sent < 16 << 20
    free.set()
