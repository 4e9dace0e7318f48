"""What the network namespace holds: interfaces, addresses, routes (dumps of rtnetlink). For the daemon."""

import _socket
import errno
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from havre.errors import KernelError
from havre.linux import nlsocket as nl
from havre.linux.netlink import (
    ADDR,
    IFA_ADDRESS,
    IFA_LOCAL,
    IFF_UP,
    IFLA_ADDRESS,
    IFLA_EXT_MASK,
    IFLA_IFALIAS,
    IFLA_IFNAME,
    IFLA_INFO_KIND,
    IFLA_LINKINFO,
    IFLA_MASTER,
    IFLA_MTU,
    LINK,
    ROUTE,
    RTA_DST,
    RTA_GATEWAY,
    RTA_OIF,
    RTA_TABLE,
    RTEXT_FILTER_SKIP_STATS,
    RTM_GETADDR,
    RTM_GETLINK,
    RTM_GETROUTE,
    RTN_UNICAST,
    del_link,
    get_link,
)
from havre.linux.nlsocket import Netlink, attrs, u32


@dataclass(frozen=True, slots=True)
class Link:
    index: int
    name: str
    kind: str  # "bridge", "veth", "" for hardware
    mac: str
    mtu: int
    up: bool
    master: int  # index of the bridge, 0
    alias: str


@dataclass(frozen=True, slots=True)
class Address:
    index: int
    address: str
    prefix: int


@dataclass(frozen=True, slots=True)
class Route:
    destination: str  # "0.0.0.0" with prefix 0 is the default route
    prefix: int
    gateway: str
    index: int
    table: int


def link_by_name(netlink: Netlink, name: str) -> Link:
    """Return one interface. Raises KernelError(ENODEV)."""
    return _link(get_link(netlink, name))


def links(netlink: Netlink) -> list[Link]:
    """Return every interface of the namespace."""
    asked = LINK.pack(0, 0, 0, 0, 0) + u32(IFLA_EXT_MASK, RTEXT_FILTER_SKIP_STATS)
    return [_link(body) for body in netlink.dump(RTM_GETLINK, asked, "getlink all")]


def _link(body: bytes) -> Link:
    _, _, index, flags, _ = LINK.unpack_from(body)
    found = attrs(body, LINK.size)
    info = attrs(found.get(IFLA_LINKINFO, b""))
    return Link(
        index=index,
        name=nl.string(found.get(IFLA_IFNAME, b"")),
        kind=nl.string(info.get(IFLA_INFO_KIND, b"")),
        mac=":".join(f"{byte:02x}" for byte in found.get(IFLA_ADDRESS, b"")),
        mtu=_number(found.get(IFLA_MTU)),
        up=bool(flags & IFF_UP),
        master=_number(found.get(IFLA_MASTER)),
        alias=nl.string(found.get(IFLA_IFALIAS, b"")),
    )


def addresses(netlink: Netlink) -> list[Address]:
    """Return every IPv4 and IPv6 address of the namespace."""
    found = []
    for body in netlink.dump(RTM_GETADDR, ADDR.pack(0, 0, 0, 0, 0), "getaddr all"):
        family, prefix, _, _, index = ADDR.unpack_from(body)
        given = attrs(body, ADDR.size)
        raw = given.get(IFA_LOCAL) or given.get(IFA_ADDRESS)
        if raw and family in (_socket.AF_INET, _socket.AF_INET6):
            found.append(Address(index, _socket.inet_ntop(family, raw), prefix))
    return found


def routes(netlink: Netlink, family: int = _socket.AF_INET) -> list[Route]:
    """Return the unicast routes of every table but the kernel's own."""
    asked = ROUTE.pack(family, 0, 0, 0, 0, 0, 0, 0, 0)
    found = []
    for body in netlink.dump(RTM_GETROUTE, asked, "getroute all"):
        kind, prefix, _, _, small_table, _, _, sort, _ = ROUTE.unpack_from(body)
        given = attrs(body, ROUTE.size)
        if kind != family or sort != RTN_UNICAST:
            continue
        size = 4 if family == _socket.AF_INET else 16
        destination = _socket.inet_ntop(family, given.get(RTA_DST, bytes(size)))
        gateway = _socket.inet_ntop(family, given[RTA_GATEWAY]) if RTA_GATEWAY in given else ""
        table = _number(given.get(RTA_TABLE)) or small_table
        found.append(Route(destination, prefix, gateway, _number(given.get(RTA_OIF)), table))
    return found


def delete_links(netlink: Netlink, found: Sequence[Link]) -> None:
    """Remove interfaces (20-30 ms each); one that is already gone is fine."""
    for link in found:
        try:
            netlink.request(del_link(link.index, link.name))
        except KernelError as error:
            if error.errno != errno.ENODEV:
                raise


def _number(value: bytes | None) -> int:
    return int.from_bytes(value or b"", sys.byteorder)
