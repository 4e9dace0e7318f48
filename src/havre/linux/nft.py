"""nftables over nfnetlink (linux/netfilter/nf_tables.h): one table's changes as one transaction, and dumps of it.

A `Change` collects messages and is committed in one datagram: the kernel takes all of it or nothing. With a generation it is
refused when anybody changed any table since that number was read. Expressions are built by small pure functions over 32 bit
registers; register numbers start at R0. Keys of several fields lie side by side, each padded to four bytes.
"""

import errno
import socket
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from struct import pack

from havre.errors import KernelError
from havre.linux import nlsocket as nl
from havre.linux.nlsocket import (
    NLM_F_ACK,
    NLM_F_APPEND,
    NLM_F_CREATE,
    Netlink,
    attr,
    attrs,
    be32,
    each_attr,
    nest,
    text,
)

NFPROTO_INET = 1
NFPROTO_IPV4, NFPROTO_IPV6 = 2, 10
_SUBSYSTEM = 10 << 8  # NFNL_SUBSYS_NFTABLES
_EVENT_GROUP = 7  # NFNLGRP_NFTABLES
_BATCH_BEGIN, _BATCH_END, _NFNL_BATCH_GENID = 16, 17, 1
NEWTABLE, GETTABLE, DELTABLE, NEWCHAIN, GETCHAIN, DELCHAIN, NEWRULE, GETRULE, DELRULE = range(9)
NEWSET, GETSET, DELSET, NEWSETELEM, GETSETELEM, DELSETELEM, NEWGEN, GETGEN = range(9, 17)

R0 = 8  # NFT_REG32_00
VERDICT_REGISTER = 0
NF_DROP, NF_ACCEPT = 0, 1
NFT_JUMP, NFT_RETURN = -3, -5
HOOKS = {"prerouting": 0, "input": 1, "forward": 2, "output": 3, "postrouting": 4}
PRIORITY_RAW, PRIORITY_DSTNAT, PRIORITY_FILTER, PRIORITY_SRCNAT = -300, -100, 0, 100  # netfilter_ipv4.h
# linux/netfilter/nf_tables.h: enum nft_meta_keys, nft_ct_keys, nft_payload_bases, nft_cmp_ops
META_IIFNAME, META_OIFNAME, META_NFPROTO, META_L4PROTO = 6, 7, 15, 16
CT_STATE, CT_STATUS = 0, 2
CT_ESTABLISHED_RELATED, CT_STATUS_DNAT = 0x6, 0x20
NETWORK_HEADER, TRANSPORT_HEADER = 1, 2
EQ, NEQ = 0, 1
_SET_INTERVAL, _SET_MAP, _SET_CONCAT = 0x4, 0x8, 0x80
_ELEM_INTERVAL_END = 1
_VERDICT_TYPE = 0xFFFFFF00
# data types as the nft tool numbers them (nftables/include/datatype.h); only for what it prints
TYPE_IPV4, TYPE_IPV6, TYPE_PROTO, TYPE_PORT, TYPE_IFNAME = 7, 8, 12, 13, 41
_SIZES = {TYPE_IPV4: 4, TYPE_IPV6: 16, TYPE_PROTO: 4, TYPE_PORT: 4, TYPE_IFNAME: 16}
_FIB_ADDRTYPE, _FIB_DADDR = 3, 2
RTN_LOCAL = 2
_NAT_DNAT, _NAT_FLAGS = 1, 0x3  # NF_NAT_RANGE_MAP_IPS | PROTO_SPECIFIED
_HOST_ORDER = b"\0\4" + pack(
    "=I", 1
)  # user data of libnftnl, so that nft prints names: key byte order = host
_ELEMENTS_PER_MESSAGE = 400  # a message's list of elements is one attribute of at most 64 kB


@dataclass(frozen=True, slots=True)
class Chain:
    """A base chain when `hook` is set."""

    name: str
    hook: str = ""
    priority: int = 0
    kind: str = "filter"


@dataclass(frozen=True, slots=True)
class Set:
    """A set or map. `key` and `value` are tuples of data types; a value of None makes a set, "verdict" a verdict map."""

    name: str
    key: tuple[int, ...]
    value: tuple[int, ...] | str | None = None
    interval: bool = False


@dataclass(frozen=True, slots=True)
class Element:
    """A key, with a value in maps: bytes, or a verdict as (code, chain). `end` closes an interval (exclusive)."""

    key: bytes
    value: bytes | tuple[int, str] | None = None
    end: bool = False


def meta(key: int, register: int = R0) -> bytes:
    return _expression("meta", be32(1, register), be32(2, key))


def payload(base: int, offset: int, length: int, register: int = R0) -> bytes:
    return _expression("payload", be32(1, register), be32(2, base), be32(3, offset), be32(4, length))


def compare(operator: int, value: bytes, register: int = R0) -> bytes:
    return _expression("cmp", be32(1, register), be32(2, operator), nest(3, attr(1, value)))


def fib_daddr_type(register: int = R0) -> bytes:
    """The kind of the destination: RTN_LOCAL when it is one of the host's own."""
    return _expression("fib", be32(1, register), be32(2, _FIB_ADDRTYPE), be32(3, _FIB_DADDR))


def ct_has(key: int, mask: int) -> tuple[bytes, ...]:
    """Go on when any bit of `mask` is set in a conntrack field."""
    bits = pack("=I", mask)
    return (
        _expression("ct", be32(1, R0), be32(2, key)),
        _expression(
            "bitwise",
            be32(1, R0),
            be32(2, R0),
            be32(3, 4),
            nest(4, attr(1, bits)),
            nest(5, attr(1, bytes(4))),
        ),
        compare(NEQ, bytes(4)),
    )


def lookup(name: str, *, into: int | None = None, register: int = R0, invert: bool = False) -> bytes:
    """Go on when the key is in the set (not in it with `invert`); `into` takes a map's value, register 0 its verdict."""
    parts = [text(1, name), be32(2, register)]
    if into is not None:
        parts.append(be32(3, into))
    if invert:
        parts.append(be32(5, 1))
    return _expression("lookup", *parts)


def verdict(code: int, chain: str = "") -> bytes:
    return _expression("immediate", be32(1, VERDICT_REGISTER), nest(2, _verdict(code, chain)))


def counter() -> bytes:
    return _expression("counter")


def masquerade() -> bytes:
    return _expression("masq")


def dnat(family: int, address: int, port: int) -> bytes:
    """Send the packet to the address and port found in two registers."""
    parts = (
        be32(1, _NAT_DNAT),
        be32(2, family),
        be32(3, address),
        be32(4, address),
        be32(5, port),
        be32(6, port),
    )
    return _expression("nat", *parts, be32(7, _NAT_FLAGS))


def interface_name(name: str) -> bytes:
    """A name as a 16 byte key."""
    return name.encode().ljust(16, b"\0")


def port_key(proto: int, port: int) -> bytes:
    """The fields l4proto . port of a key, four bytes each."""
    return bytes([proto, 0, 0, 0]) + port_value(port)


def port_value(port: int) -> bytes:
    return port.to_bytes(2, "big") + b"\0\0"


def _expression(name: str, *parts: bytes) -> bytes:
    return nest(1, text(1, name), nest(2, *parts))


def _verdict(code: int, chain: str) -> bytes:
    parts = [attr(1, pack(">i", code))]
    if chain:
        parts.append(text(2, chain))
    return nest(2, *parts)


class Change:
    """The changes of one transaction on one table, in order."""

    def __init__(self, table: str, family: int = NFPROTO_INET) -> None:
        self.table = table
        self._family = family
        self._messages: list[tuple[int, int, bytes, str]] = []

    def __len__(self) -> int:
        return len(self._messages)

    def _add(self, kind: int, flags: int, body: bytes, words: str) -> None:
        header = bytes([self._family, 0, 0, 0])
        self._messages.append((_SUBSYSTEM | kind, flags, header + body, words))

    def add_table(self) -> None:
        """Make the table; one that is there stays as it is."""
        self._add(NEWTABLE, NLM_F_CREATE, text(1, self.table), f"newtable {self.table}")

    def delete_table(self) -> None:
        self._add(DELTABLE, 0, text(1, self.table), f"deltable {self.table}")

    def replace_table(self) -> None:
        """Start from an empty table, whether it was there or not."""
        self.add_table()
        self.delete_table()
        self.add_table()

    def add_chain(self, chain: Chain) -> None:
        body = text(1, self.table) + text(3, chain.name)
        if chain.hook:
            body += nest(4, be32(1, HOOKS[chain.hook]), attr(2, pack(">i", chain.priority)))
            body += be32(5, NF_ACCEPT) + text(7, chain.kind)
        self._add(NEWCHAIN, NLM_F_CREATE, body, f"newchain {chain.name}")

    def flush_chain(self, name: str) -> None:
        self._add(DELRULE, 0, text(1, self.table) + text(2, name), f"flush {name}")

    def delete_chain(self, name: str) -> None:
        self._add(DELCHAIN, 0, text(1, self.table) + text(3, name), f"delchain {name}")

    def add_rule(self, chain: str, *expressions: bytes) -> None:
        body = text(1, self.table) + text(2, chain) + nest(4, *expressions)
        self._add(NEWRULE, NLM_F_CREATE | NLM_F_APPEND, body, f"newrule {chain}")

    def add_set(self, made: Set) -> None:
        flags = _SET_INTERVAL * made.interval
        body = text(1, self.table) + text(2, made.name) + be32(4, _type(made.key)) + be32(5, _size(made.key))
        if made.value is not None:
            flags |= _SET_MAP
            if isinstance(made.value, str):
                body += be32(6, _VERDICT_TYPE)
            else:
                body += be32(6, _type(made.value)) + be32(7, _size(made.value))
        if made.key == (TYPE_IFNAME,):
            body += attr(13, _HOST_ORDER)
        body += be32(3, flags) + be32(10, len(self._messages) + 1)
        self._add(NEWSET, NLM_F_CREATE, body, f"newset {made.name}")

    def add_elements(self, name: str, elements: Iterable[Element]) -> None:
        """Put elements into a set; an equal one may be there, one with another value may not (EEXIST)."""
        for chunk in _chunks(list(elements)):
            self._add(NEWSETELEM, NLM_F_CREATE, self._elements(name, chunk), f"newelement {name}")

    def delete_elements(self, name: str, elements: Iterable[Element]) -> None:
        """Take elements out; one that is not there fails the whole transaction (ENOENT)."""
        for chunk in _chunks(list(elements)):
            self._add(DELSETELEM, 0, self._elements(name, chunk), f"delelement {name}")

    def _elements(self, name: str, elements: Sequence[Element]) -> bytes:
        listed = nest(3, *(_element(each) for each in elements))
        return text(1, self.table) + text(2, name) + listed

    def commit(self, netlink: Netlink, generation: int | None = None) -> None:
        """Do all of it or nothing. Raises KernelError for the first message refused, ERESTART when `generation` is over."""
        if not self._messages:
            return
        limit = b"" if generation is None else be32(_NFNL_BATCH_GENID, generation)
        begin = netlink.pack(_BATCH_BEGIN, 0, b"\0\0\0\x0a" + limit)
        first = netlink.sequence
        last = len(self._messages) - 1
        packed = [
            netlink.pack(kind, flags | (NLM_F_ACK if number == last else 0), body)
            for number, (kind, flags, body, _) in enumerate(self._messages)
        ]
        netlink.send(begin + b"".join(packed) + netlink.pack(_BATCH_END, 0, b"\0\0\0\x0a"))
        self._wait(netlink, first)

    def _wait(self, netlink: Netlink, first: int) -> None:
        """The last message is always answered; the batch's own header only when the whole was refused unread."""
        failed: KernelError | None = None
        while True:
            for kind, flags, sequence, body in netlink.receive():
                if kind != nl.NLMSG_ERROR or sequence < first:
                    continue
                number, hint = nl.acknowledged(flags, body)
                index = sequence - first - 1
                if number and failed is None:
                    words = self._messages[index][3] if index >= 0 else f"batch {self.table}"
                    failed = nl.refused(words, number, hint, "nft")
                if index == len(self._messages) - 1 or index < 0:
                    if failed:
                        raise failed
                    return


def _chunks(elements: list[Element]) -> Iterator[list[Element]]:
    for start in range(0, len(elements), _ELEMENTS_PER_MESSAGE):
        yield elements[start : start + _ELEMENTS_PER_MESSAGE]


def _element(element: Element) -> bytes:
    parts = [nest(1, attr(1, element.key))]
    if isinstance(element.value, bytes):
        parts.append(nest(2, attr(1, element.value)))
    elif element.value is not None:
        parts.append(nest(2, _verdict(*element.value)))
    if element.end:
        parts.append(be32(3, _ELEM_INTERVAL_END))
    return nest(1, *parts)


def _type(fields: tuple[int, ...]) -> int:
    """nft's number of a concatenation: six bits per field."""
    number = 0
    for field in fields:
        number = number << 6 | field
    return number


def _size(fields: tuple[int, ...]) -> int:
    if len(fields) == 1:
        return 2 if fields[0] == TYPE_PORT else 1 if fields[0] == TYPE_PROTO else _SIZES[fields[0]]
    return sum(_SIZES[field] for field in fields)


def generation(netlink: Netlink) -> int:
    """Return the number of the ruleset's present state."""
    body = netlink.get(_SUBSYSTEM | GETGEN, bytes(4), "getgen nft")
    return int.from_bytes(attrs(body, 4)[1], "big")


def tables(netlink: Netlink) -> list[tuple[int, str]]:
    """Return (family, name) of every table in the namespace."""
    found = netlink.dump(_SUBSYSTEM | GETTABLE, bytes(4), "gettable nft")
    return [(body[0], nl.string(attrs(body, 4)[1])) for body in found]


def subscribe(netlink: Netlink) -> None:
    """Receive an event for every change of any table in the namespace."""
    netlink.join_group(_EVENT_GROUP)


def read_events(netlink: Netlink) -> list[tuple[int, int, str]]:
    """Wait for the next events: (what, port of the socket that did it, table). NEWGEN ends a transaction, without a table.

    Raises KernelError(ENOBUFS) when some were lost.
    """
    return [
        (kind & 0xFF, port, nl.string(attrs(body, 4).get(1, b"")) if kind & 0xFF != NEWGEN else "")
        for kind, _, _, port, body in netlink.receive_all()
        if kind & 0xFF00 == _SUBSYSTEM
    ]


@dataclass(frozen=True, slots=True)
class BaseChain:
    """A chain of any table that hangs on a hook."""

    family: int
    table: str
    name: str
    hook: int
    priority: int
    policy: int  # NF_ACCEPT or NF_DROP


def base_chains(netlink: Netlink) -> list[BaseChain]:
    """Return the base chains of every table: whose policy may drop our packets."""
    found = []
    for body in netlink.dump(_SUBSYSTEM | GETCHAIN, bytes(4), "getchain nft"):
        given = attrs(body, 4)
        if 4 not in given:
            continue
        hook = attrs(given[4])
        number = int.from_bytes(hook[1], "big")
        priority = int.from_bytes(hook[2], "big", signed=True)
        policy = int.from_bytes(given.get(5, b"\1"), "big")
        found.append(BaseChain(body[0], nl.string(given[1]), nl.string(given[3]), number, priority, policy))
    return found


def elements(netlink: Netlink, table: str, name: str, family: int = NFPROTO_INET) -> dict[bytes, bytes]:
    """Return a map's elements, or a set's with empty values. Empty when the table or the set is not there.

    Right after thousands were added the kernel may be rehashing, and a dump can miss some of them.
    """
    asked = bytes([family, 0, 0, 0]) + text(1, table) + text(2, name)
    found: dict[bytes, bytes] = {}
    try:
        dumped = netlink.dump(_SUBSYSTEM | GETSETELEM, asked, f"getelement {name}")
    except KernelError as error:
        if error.errno == errno.ENOENT:
            return {}
        raise
    for body in dumped:
        for _, element in each_attr(attrs(body, 4).get(3, b"")):
            given = attrs(element)
            key = attrs(given[1]).get(1, b"")
            found[key] = attrs(given.get(2, b"")).get(1, b"")
    return found


PROTOCOLS = {"tcp": socket.IPPROTO_TCP, "udp": socket.IPPROTO_UDP, "sctp": 132}
