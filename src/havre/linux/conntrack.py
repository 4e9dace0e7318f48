"""Flows the kernel remembers (linux/netfilter/nfnetlink_conntrack.h).

A UDP client that never pauses keeps its flow's old translation for ever: after a port was published, or leads elsewhere,
the flows to it must be forgotten.
"""

import errno
import socket
from collections.abc import Collection

from havre.errors import KernelError
from havre.linux.nlsocket import Netlink, attr, attrs, nest

_SUBSYSTEM = 1 << 8  # NFNL_SUBSYS_CTNETLINK
_GET, _DELETE = _SUBSYSTEM | 1, _SUBSYSTEM | 2
_TUPLE_ORIGINAL, _ID = 1, 12
_TUPLE_PROTO, _PROTO_NUM, _PROTO_DESTINATION = 2, 1, 3


def forget_flows(netlink: Netlink, protocol: int, ports: Collection[int]) -> int:
    """Delete the flows of a protocol whose first packet went to one of these ports; return how many."""
    deleted = 0
    for family in (socket.AF_INET, socket.AF_INET6):
        header = bytes([family, 0, 0, 0])
        for body in netlink.dump(_GET, header, "conntrack get"):
            given = attrs(body, 4)
            proto = attrs(attrs(given.get(_TUPLE_ORIGINAL, b"")).get(_TUPLE_PROTO, b""))
            if proto.get(_PROTO_NUM) != bytes([protocol]):
                continue
            if int.from_bytes(proto.get(_PROTO_DESTINATION, b""), "big") in ports:
                deleted += _delete(
                    netlink, header + nest(_TUPLE_ORIGINAL, given[_TUPLE_ORIGINAL]) + attr(_ID, given[_ID])
                )
    return deleted


def _delete(netlink: Netlink, body: bytes) -> int:
    try:
        netlink.request((_DELETE, 0, body, "conntrack delete"))
    except KernelError as error:
        if error.errno != errno.ENOENT:  # it ended by itself
            raise
        return 0
    return 1
