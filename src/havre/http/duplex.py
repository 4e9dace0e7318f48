"""A hijacked connection: raw bytes both ways, each with backpressure and an end of its own."""

import asyncio
import fcntl
import socket
import struct
from typing import Protocol

from havre.http.connection import Connection, Gone

SIOCOUTQ = 0x5411  # linux/sockios.h
HEAD_READ_S = 0.1
HEAD_POLL_S = 0.0002
TCP_HEAD_READ_S = (
    0.01  # docker-py over tcp: 7 of 400 fast execs lost their output without it, 1 of 400 with it
)
INPUT_GRACE_S = 10  # a client wrote its input and left: how long a container may take to read it
STEP_BYTES = 65536
OUTPUT_STEP_BYTES = 262144


class Keys(Protocol):
    """Watches a client's input for what ends it: see spec/detach.py."""

    def feed(self, data: bytes) -> tuple[bytes, bool]: ...


class Duplex:
    """What hijack() gives. `hasty` is a client that loses output which arrives together with the head."""

    def __init__(self, connection: Connection, *, hasty: bool = False) -> None:
        self.connection = connection
        self._hasty = hasty
        self._head_read = False
        self._detached = False

    async def wait_head_read(self) -> None:
        """Hold the first output until the client has taken the head out of the socket, at most HEAD_READ_S.

        docker-py reads the head through a buffered reader and loses what arrives with it (docs/design.md).
        A unix socket can tell: SIOCOUTQ counts what the peer has not read yet. On tcp a short pause is the best there is.
        """
        if self._head_read:
            return
        self._head_read = True
        if self.connection.local:
            await self._wait_peer_read()
        elif self._hasty:
            await asyncio.sleep(TCP_HEAD_READ_S)

    async def _wait_peer_read(self) -> None:
        sock = self.connection.socket
        loop = asyncio.get_running_loop()
        until = loop.time() + HEAD_READ_S
        while sock is not None and loop.time() < until and not self.connection.gone:
            if not struct.unpack("i", fcntl.ioctl(sock.fileno(), SIOCOUTQ, b"\0\0\0\0"))[0]:
                return
            await asyncio.sleep(HEAD_POLL_S)

    async def write(self, data: bytes) -> None:
        """Send output. Raises Gone."""
        await self.wait_head_read()
        await self.connection.write(data)

    async def pump(self, sock: socket.socket, keys: Keys | None = None) -> bool:
        """Carry bytes between the client and `sock` until the output ends or the client has left; closes `sock`.

        A client that has left may have written input which is still to be read: that is delivered, output is dropped.
        Returns whether the client has typed `keys`.
        """
        upward = asyncio.get_running_loop().create_task(self._to_socket(sock, keys), name="hijack input")
        try:
            await self._from_socket(sock)
        except OSError:
            pass  # the container's end was closed with input in it
        finally:
            self.connection.on_leave = None
            upward.cancel()
            await asyncio.gather(upward, return_exceptions=True)
            sock.close()
        if not self.connection.gone:
            self.connection.end_output()
        return self._detached

    async def _to_socket(self, sock: socket.socket, keys: Keys | None) -> None:
        """Client to socket. The client's half-close becomes ours, its leaving shuts the socket down."""
        loop = asyncio.get_running_loop()
        ended = False

        def left() -> None:
            if ended:
                shut(sock, socket.SHUT_RDWR)
            else:
                loop.call_later(INPUT_GRACE_S, shut, sock, socket.SHUT_RDWR)

        self.connection.on_leave = left
        if self.connection.gone:
            left()
        try:
            while not self._detached and (data := await self.connection.read_some(STEP_BYTES)):
                if keys is not None:
                    data, self._detached = keys.feed(data)
                await loop.sock_sendall(sock, data)
        except OSError:
            await (
                self.connection.discard_input()
            )  # the container has closed its input; what it still says goes on
        ended = True
        shut(sock, socket.SHUT_RDWR if self.connection.gone or self._detached else socket.SHUT_WR)

    async def _from_socket(self, sock: socket.socket) -> None:
        """Socket to client; once the client has left, to nowhere."""
        loop = asyncio.get_running_loop()
        deaf = False
        while data := await loop.sock_recv(sock, OUTPUT_STEP_BYTES):
            if not deaf:
                try:
                    await self.write(data)
                except Gone:
                    deaf = True


def shut(sock: socket.socket, how: int) -> None:
    """Shut a socket down; harmless when it is closed."""
    try:
        sock.shutdown(how)
    except OSError:
        pass
