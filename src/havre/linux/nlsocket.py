"""Netlink's outer shape: attributes, requests, acknowledgements, dumps (linux/netlink.h). Lean: the monitor uses it.

Several messages travel in one datagram, each answered on its own; an error carries the kernel's own sentence
(extended ack), which becomes the hint of the KernelError.
"""

from __future__ import annotations

import _socket
import errno
import os
from _struct import Struct, pack, unpack_from

from havre.errors import KernelError
from havre.linux.syscalls import CLONE_NEWNET, setns

TYPE_CHECKING = False  # typing itself costs the monitor 3 ms and 1 MB
if TYPE_CHECKING:
    from collections.abc import Iterator

NETLINK_ROUTE, NETLINK_SOCK_DIAG, NETLINK_NETFILTER = 0, 4, 12
NLM_F_REQUEST, NLM_F_MULTI, NLM_F_ACK, NLM_F_DUMP_INTR, NLM_F_DUMP = 0x1, 0x2, 0x4, 0x10, 0x300
NLM_F_REPLACE, NLM_F_EXCL, NLM_F_CREATE, NLM_F_APPEND = 0x100, 0x200, 0x400, 0x800
NLM_F_ACK_TLVS = 0x200
NLMSG_ERROR, NLMSG_DONE = 2, 3
NLMSGERR_ATTR_MSG = 1
NLA_F_NESTED, NLA_TYPE_MASK = 0x8000, 0x3FFF
_AF_NETLINK, _SOL_NETLINK = 16, 270
_NETLINK_ADD_MEMBERSHIP, _NETLINK_CAP_ACK, _NETLINK_EXT_ACK = 1, 10, 11
_SO_SNDBUFFORCE, _SO_RCVBUFFORCE = 32, 33
_HEADER = Struct("=IHHII")  # length, type, flags, sequence, port
_ATTR = Struct("=HH")
_RECV_BYTES = 1 << 17
_SMALL_SEND_BYTES = (
    100_000  # below the default send buffer (net.core.wmem_default 212992 counts overhead too)
)
_DUMP_TRIES = 10

Message = tuple[int, int, bytes, str]  # type, flags, payload, and what it does in words: "newlink veth1"


def attr(kind: int, value: bytes) -> bytes:
    """Return one attribute. Refuses what does not fit its 16 bit length (CVE-2021-43784 was a wrap here)."""
    length = 4 + len(value)
    if length > 0xFFFF:
        raise ValueError(f"netlink attribute {kind} is too long: {length} bytes")
    return _ATTR.pack(length, kind) + value + b"\0" * (-length % 4)


def text(kind: int, value: str) -> bytes:
    """A NUL-terminated string attribute."""
    return attr(kind, value.encode() + b"\0")


def u32(kind: int, value: int) -> bytes:
    """A host-order number, as rtnetlink has them."""
    return attr(kind, pack("=I", value))


def be32(kind: int, value: int) -> bytes:
    """A network-order number, as nfnetlink has them."""
    return attr(kind, pack(">I", value))


def nest(kind: int, *parts: bytes) -> bytes:
    return attr(kind | NLA_F_NESTED, b"".join(parts))


def each_attr(data: bytes, offset: int = 0) -> Iterator[tuple[int, bytes]]:
    """Yield (type, value) of each attribute; stops at a malformed one."""
    while offset + 4 <= len(data):
        length, kind = _ATTR.unpack_from(data, offset)
        if length < 4 or offset + length > len(data):
            return
        yield kind & NLA_TYPE_MASK, data[offset + 4 : offset + length]
        offset += (length + 3) & ~3


def attrs(data: bytes, offset: int = 0) -> dict[int, bytes]:
    return dict(each_attr(data, offset))


def string(value: bytes) -> str:
    """The text of a string attribute."""
    return value.rstrip(b"\0").decode(errors="replace")


class Netlink:
    """One netlink socket, in the caller's network namespace or in the one of `netns_fd`. Not thread safe."""

    def __init__(self, protocol: int, netns_fd: int = -1) -> None:
        self._sequence = 0
        if netns_fd < 0:
            self._socket = _open(protocol)
        else:
            with inside(netns_fd):
                self._socket = _open(protocol)

    def close(self) -> None:
        self._socket.close()

    def __enter__(self) -> Netlink:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def fileno(self) -> int:
        return self._socket.fileno()

    def port(self) -> int:
        """The number by which the kernel names this socket in the events it causes."""
        number: int = self._socket.getsockname()[0]
        return number

    def join_group(self, group: int) -> None:
        """Receive the events of a multicast group."""
        self._socket.setsockopt(_SOL_NETLINK, _NETLINK_ADD_MEMBERSHIP, group)

    def request(self, *messages: Message) -> None:
        """Send the messages together and wait for each one's ack. Raises KernelError for the first that failed.

        The kernel goes on after a message that failed, so a later one must not do harm on its own.
        """
        first = self._sequence + 1
        self.send(
            b"".join(self.pack(kind, flags | NLM_F_ACK, payload) for kind, flags, payload, _ in messages)
        )
        failed: dict[int, tuple[int, str]] = {}
        waiting = set(range(first, first + len(messages)))
        while waiting:
            for kind, flags, sequence, payload in self.receive():
                if kind == NLMSG_ERROR and sequence in waiting:
                    waiting.discard(sequence)
                    number, hint = acknowledged(flags, payload)
                    if number:
                        failed[sequence] = (number, hint)
        if failed:
            sequence = min(failed)
            raise refused(messages[sequence - first][3], *failed[sequence])

    def dump(self, kind: int, payload: bytes, words: str) -> list[bytes]:
        """Return the payload of every message of a dump; asked again when the kernel says it changed meanwhile."""
        for _ in range(_DUMP_TRIES):
            found, torn = self._dump_once(kind, payload, words)
            if not torn:
                break
        return found

    def get(self, kind: int, payload: bytes, words: str) -> bytes:
        """Ask for one object."""
        self.send(self.pack(kind, 0, payload))
        while True:
            for answer, flags, sequence, body in self.receive():
                if sequence != self._sequence:
                    continue
                if answer == NLMSG_ERROR:
                    raise refused(words, *acknowledged(flags, body))
                return body

    def _dump_once(self, kind: int, payload: bytes, words: str) -> tuple[list[bytes], bool]:
        self.send(self.pack(kind, NLM_F_DUMP, payload))
        found: list[bytes] = []
        torn = False
        while True:
            for answer, flags, sequence, body in self.receive():
                if sequence != self._sequence:
                    continue
                torn = torn or bool(flags & NLM_F_DUMP_INTR)
                if answer in (NLMSG_DONE, NLMSG_ERROR):
                    number = -unpack_from("=i", body)[0] if len(body) >= 4 else 0
                    if number:
                        raise refused(words, number, "")
                    return found, torn
                found.append(body)

    def pack(self, kind: int, flags: int, payload: bytes) -> bytes:
        """Return one message with the next sequence number."""
        self._sequence += 1
        padding = b"\0" * (-len(payload) % 4)
        length = _HEADER.size + len(payload)
        return _HEADER.pack(length, kind, flags | NLM_F_REQUEST, self._sequence, 0) + payload + padding

    @property
    def sequence(self) -> int:
        """The number of the message packed last."""
        return self._sequence

    def send(self, data: bytes) -> None:
        if len(data) > _SMALL_SEND_BYTES:
            self._socket.setsockopt(_socket.SOL_SOCKET, _SO_SNDBUFFORCE, 4 * len(data))
        try:
            self._socket.sendto(data, (0, 0))
        except OSError as error:
            raise KernelError("sendto", "netlink", error.errno or errno.EIO) from None

    def receive(self) -> list[tuple[int, int, int, bytes]]:
        """Return (type, flags, sequence, payload) of each message of the next datagram."""
        return [(kind, flags, sequence, body) for kind, flags, sequence, _, body in self.receive_all()]

    def receive_all(self) -> list[tuple[int, int, int, int, bytes]]:
        """Return (type, flags, sequence, port, payload) of each message of the next datagram."""
        try:
            data = self._socket.recv(_RECV_BYTES)
        except OSError as error:
            raise KernelError("recv", "netlink", error.errno or errno.EIO) from None
        found, offset = [], 0
        while offset + _HEADER.size <= len(data):
            length, kind, flags, sequence, port = _HEADER.unpack_from(data, offset)
            if length < _HEADER.size:
                break
            found.append((kind, flags, sequence, port, data[offset + _HEADER.size : offset + length]))
            offset += (length + 3) & ~3
        return found


def _open(protocol: int) -> _socket.socket:
    made = _socket.socket(_AF_NETLINK, _socket.SOCK_RAW | _socket.SOCK_CLOEXEC, protocol)
    made.setsockopt(_SOL_NETLINK, _NETLINK_EXT_ACK, 1)
    made.setsockopt(_SOL_NETLINK, _NETLINK_CAP_ACK, 1)
    made.setsockopt(_socket.SOL_SOCKET, _SO_RCVBUFFORCE, 1 << 20)
    made.bind((0, 0))
    return made


def acknowledged(flags: int, payload: bytes) -> tuple[int, str]:
    """Return (errno, sentence) of an NLMSG_ERROR; with CAP_ACK only the header of the request follows the number."""
    number = -unpack_from("=i", payload)[0]
    if number and flags & NLM_F_ACK_TLVS:
        return number, string(attrs(payload, 4 + _HEADER.size).get(NLMSGERR_ATTR_MSG, b""))
    return number, ""


def refused(words: str, number: int, hint: str, speaker: str = "netlink") -> KernelError:
    """The error of a request described as "newlink veth1"."""
    call, _, target = words.partition(" ")
    return KernelError(f"{speaker} {call}", target, number, hint=hint)


class inside:
    """The calling thread is in the network namespace of `fd` within the block, and back in its own after it."""

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def __enter__(self) -> None:
        # thread-self, not self: only the calling thread moves
        self._home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        try:
            setns(self._fd, CLONE_NEWNET, "container network namespace")
        except BaseException:
            os.close(self._home)
            raise

    def __exit__(self, *_: object) -> None:
        try:
            setns(self._home, CLONE_NEWNET, "own network namespace")
        finally:
            os.close(self._home)
