import asyncio

from havre.http.server import Request


def test_pieces_that_come_together_share_a_chunk_and_none_is_lost(serving) -> None:
    async def handler(request: Request) -> None:
        stream = await request.stream(200, "text/plain")
        for number in range(1000):
            await stream.add(b"%d\n" % number)
        await asyncio.sleep(0.02)
        await stream.add(b"late\n")
        await stream.write(b"now\n")
        await stream.add(b"end\n")
        await stream.end()

    serving.unix(handler)
    answer = serving.ask(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    numbers = b"".join(b"%d\n" % number for number in range(1000))
    expected = [numbers, b"late\n", b"now\n", b"end\n"]
    assert (
        answer.partition(b"\r\n\r\n")[2]
        == b"".join(b"%x\r\n%s\r\n" % (len(one), one) for one in expected) + b"0\r\n\r\n"
    )


def test_added_pieces_leave_without_another_write(serving) -> None:
    async def handler(request: Request) -> None:
        stream = await request.stream(200, "text/plain")
        await stream.add(b"hello")
        await asyncio.sleep(30)

    serving.unix(handler)
    with serving.connect() as sock:
        sock.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        found = b""
        while b"hello" not in found:
            found += sock.recv(1000)
