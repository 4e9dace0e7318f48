"""rtnetlink: links, addresses, routes, and a container's veth (linux/rtnetlink.h, if_link.h). Lean: the monitor uses it.

A veth costs one RTM_NEWLINK that makes both ends, names the peer's namespace and joins the bridge. Nothing here deletes
a veth of a running container's end: the kernel takes 20-30 ms for it, and does it by itself when the namespace goes.
"""

from __future__ import annotations

import _socket
import errno
import os
from _struct import Struct

from havre.errors import KernelError
from havre.linux import nlsocket as nl
from havre.linux.nlsocket import (
    NLM_F_CREATE,
    NLM_F_EXCL,
    Message,
    Netlink,
    attr,
    inside,
    nest,
    text,
    u32,
)

TYPE_CHECKING = False  # typing itself costs the monitor 3 ms and 1 MB
if TYPE_CHECKING:
    from havre.linux.nlsocket import Message
    from havre.spec.runplan import VethPlan

RTM_NEWLINK, RTM_DELLINK, RTM_GETLINK, RTM_SETLINK = 16, 17, 18, 19
RTM_NEWADDR, RTM_DELADDR, RTM_GETADDR = 20, 21, 22
RTM_NEWROUTE, RTM_DELROUTE, RTM_GETROUTE = 24, 25, 26
IFLA_ADDRESS, IFLA_IFNAME, IFLA_MTU, IFLALINK, IFLA_MASTER = 1, 3, 4, 5, 10
IFLA_LINKINFO, IFLA_IFALIAS, IFLA_NET_NS_FD, IFLA_EXT_MASK = 18, 20, 28, 29
IFLA_INFO_KIND, IFLA_INFO_DATA, IFLA_INFO_SLAVE_KIND, IFLA_INFO_SLAVE_DATA = 1, 2, 4, 5
VETH_INFO_PEER = 1
IFLA_BRPORT_MODE, IFLA_BRPORT_ISOLATED = 4, 33
IFA_ADDRESS, IFA_LOCAL, IFA_BROADCAST, IFA_FLAGS = 1, 2, 4, 8
IFA_F_NODAD = 0x02
RTA_DST, RTA_OIF, RTA_GATEWAY, RTA_PREFSRC, RTA_TABLE = 1, 4, 5, 7, 15
RT_TABLE_MAIN, RTPROT_BOOT, RTN_UNICAST, RT_SCOPE_UNIVERSE, RT_SCOPELINK = 254, 3, 1, 0, 253
RTEXT_FILTER_SKIP_STATS = 8
IFF_UP, IFF_LOOPBACK = 0x1, 0x8
LOOPBACK_INDEX = 1  # the kernel gives it to lo in every network namespace
IFNAMSIZ = 16  # linux/if.h, with the final NUL

LINK = Struct("=BxHiII")  # ifinfomsg: family, type, index, flags, change
ADDR = Struct("=BBBBI")  # ifaddrmsg: family, prefix, flags, scope, index
ROUTE = Struct("=BBBBBBBBI")  # rtmsg: family, dst_len, src_len, tos, table, protocol, scope, type, flags


def apply_veth(plan: VethPlan, netns_fd: int) -> None:
    """Make a container's veth: the host end in the calling thread's namespace, the other end inside `netns_fd`.

    Inside: loopback up, the interface with its name, mac, mtu, addresses and default routes, up. Raises KernelError;
    what was made by then is left to the namespace's end.
    """
    with Netlink(nl.NETLINK_ROUTE) as host:
        bridge = index_of(host, plan["bridge"])
        host.request(_new_veth(plan, bridge, netns_fd), _port_flags(plan))
    with inside(netns_fd):
        _quiet_ipv6(plan)
        inner = Netlink(nl.NETLINK_ROUTE)
    with inner:
        _configure(inner, plan)


def attach_port(host: Netlink, plan: VethPlan) -> None:
    """Put a veth that is there on its bridge again, with its port's flags."""
    master = u32(IFLA_MASTER, index_of(host, plan["bridge"]))
    body = LINK.pack(0, 0, 0, IFF_UP, IFF_UP) + text(IFLA_IFNAME, plan["host_name"]) + master
    host.request((RTM_NEWLINK, 0, body, f"setmaster {plan['host_name']}"), _port_flags(plan))


def loopback_up(netns_fd: int = -1) -> None:
    """Bring lo up in the namespace of `netns_fd`, or in the caller's."""
    with Netlink(nl.NETLINK_ROUTE, netns_fd) as inner:
        inner.request(_up(LOOPBACK_INDEX, "lo"))


def _new_veth(plan: VethPlan, bridge: int, netns_fd: int) -> Message:
    mtu = u32(IFLA_MTU, plan["mtu"])
    name, mac = text(IFLA_IFNAME, plan["container_name"]), attr(IFLA_ADDRESS, mac_bytes(plan["mac"]))
    peer = attr(VETH_INFO_PEER, LINK.pack(0, 0, 0, 0, 0) + name + mac + mtu + u32(IFLA_NET_NS_FD, netns_fd))
    body = LINK.pack(0, 0, 0, IFF_UP, IFF_UP) + text(IFLA_IFNAME, plan["host_name"]) + mtu
    body += u32(IFLA_MASTER, bridge)
    body += nest(IFLA_LINKINFO, text(IFLA_INFO_KIND, "veth"), nest(IFLA_INFO_DATA, peer))
    return RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, body, f"newlink {plan['host_name']}"


def _port_flags(plan: VethPlan) -> Message:
    """Hairpin and isolation of the bridge port, found by its name."""
    flags = attr(IFLA_BRPORT_MODE, bytes([plan["hairpin"]])) + attr(
        IFLA_BRPORT_ISOLATED, bytes([plan["isolated"]])
    )
    info = nest(IFLA_LINKINFO, text(IFLA_INFO_SLAVE_KIND, "bridge"), nest(IFLA_INFO_SLAVE_DATA, flags))
    body = LINK.pack(0, 0, 0, 0, 0) + text(IFLA_IFNAME, plan["host_name"]) + info
    return RTM_NEWLINK, 0, body, f"setport {plan['host_name']}"


def _quiet_ipv6(plan: VethPlan) -> None:
    """No address from a router advertisement anybody on the bridge may send; no IPv6 at all when none was given.

    Duplicate detection is off because a hairpin port sends the question back to the asker.
    """
    folder = f"/proc/sys/net/ipv6/conf/{plan['container_name']}"
    if any(":" in address for address in plan["addresses"]):
        write_sysctl(f"{folder}/accept_ra", "0", optional=True)
        write_sysctl(f"{folder}/accept_dad", "0", optional=True)
    else:
        write_sysctl(f"{folder}/disable_ipv6", "1", optional=True)


def write_sysctl(path: str, value: str, *, optional: bool = False) -> None:
    """Write a file of /proc/sys/net: it is the one of the calling thread's namespace. Absent is fine when `optional`."""
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    except OSError as error:
        if optional and error.errno == errno.ENOENT:
            return  # a kernel without IPv6
        raise KernelError("open", path, error.errno or errno.EIO) from None
    try:
        os.write(fd, value.encode())
    except OSError as error:
        raise KernelError("write", path, error.errno or errno.EIO) from None
    finally:
        os.close(fd)


def _configure(inner: Netlink, plan: VethPlan) -> None:
    name = plan["container_name"]
    index = index_of(inner, name)
    messages = [_up(LOOPBACK_INDEX, "lo"), _up(index, name)]
    messages += [new_address(index, address, name) for address in plan["addresses"]]
    messages += [new_route("", gateway, index, name) for gateway in plan["gateways"]]
    inner.request(*messages)


def _up(index: int, name: str) -> Message:
    return RTM_NEWLINK, 0, LINK.pack(0, 0, index, IFF_UP, IFF_UP), f"up {name}"


def new_address(index: int, cidr: str, name: str) -> Message:
    """The request that gives an interface "172.17.0.2/16"; IPv6 without duplicate detection, which a hairpin port breaks."""
    address, _, prefix = cidr.partition("/")
    family, raw = packed(address)
    body = ADDR.pack(family, int(prefix), 0, 0, index) + attr(IFA_LOCAL, raw) + attr(IFA_ADDRESS, raw)
    if family == _socket.AF_INET:
        host = (1 << (32 - int(prefix))) - 1
        broadcast = int.from_bytes(raw, "big") | host
        body += attr(IFA_BROADCAST, broadcast.to_bytes(4, "big")) if host > 1 else b""
    else:
        body += u32(IFA_FLAGS, IFA_F_NODAD)
    return RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL, body, f"newaddr {cidr} on {name}"


def del_address(index: int, cidr: str, name: str) -> Message:
    address, _, prefix = cidr.partition("/")
    family, raw = packed(address)
    body = ADDR.pack(family, int(prefix), 0, 0, index) + attr(IFA_LOCAL, raw) + attr(IFA_ADDRESS, raw)
    return RTM_DELADDR, 0, body, f"deladdr {cidr} on {name}"


def new_route(destination: str, gateway: str, index: int, name: str) -> Message:
    """The request for a route to `destination` (a prefix, "" for everywhere) through `gateway` and an interface."""
    family, raw = packed(gateway)
    target, _, prefix = destination.partition("/")
    length = int(prefix) if destination else 0
    body = ROUTE.pack(family, length, 0, 0, RT_TABLE_MAIN, RTPROT_BOOT, RT_SCOPE_UNIVERSE, RTN_UNICAST, 0)
    body += attr(RTA_DST, packed(target)[1]) if destination else b""
    body += attr(RTA_GATEWAY, raw) + u32(RTA_OIF, index)
    return RTM_NEWROUTE, NLM_F_CREATE | NLM_F_EXCL, body, f"newroute via {gateway} on {name}"


def new_bridge(name: str, *, mac: str, mtu: int, alias: str) -> tuple[Message, ...]:
    """The requests that make a bridge that is up; mac is fixed, or the bridge would change it with its ports."""
    body = LINK.pack(0, 0, 0, IFF_UP, IFF_UP) + text(IFLA_IFNAME, name) + attr(IFLA_ADDRESS, mac_bytes(mac))
    body += u32(IFLA_MTU, mtu) + nest(IFLA_LINKINFO, text(IFLA_INFO_KIND, "bridge"))
    naming = LINK.pack(0, 0, 0, 0, 0) + text(IFLA_IFNAME, name) + attr(IFLA_IFALIAS, alias.encode())
    return (
        (RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, body, f"newlink {name}"),
        (RTM_SETLINK, 0, naming, f"setalias {name}"),
    )


def set_up(index: int, name: str, *, mtu: int = 0) -> Message:
    body = LINK.pack(0, 0, index, IFF_UP, IFF_UP) + (u32(IFLA_MTU, mtu) if mtu else b"")
    return RTM_NEWLINK, 0, body, f"up {name}"


def del_link(index: int, name: str) -> Message:
    return RTM_DELLINK, 0, LINK.pack(0, 0, index, 0, 0), f"dellink {name}"


def index_of(netlink: Netlink, name: str) -> int:
    """Return the index of an interface. Raises KernelError(ENODEV)."""
    index: int = LINK.unpack_from(get_link(netlink, name))[2]
    return index


def get_link(netlink: Netlink, name: str) -> bytes:
    """Return the kernel's description of one interface. Raises KernelError(ENODEV)."""
    if not 0 < len(name.encode()) < IFNAMSIZ:
        raise KernelError("netlink getlink", name, errno.ENODEV)
    asked = LINK.pack(0, 0, 0, 0, 0) + text(IFLA_IFNAME, name) + u32(IFLA_EXT_MASK, RTEXT_FILTER_SKIP_STATS)
    return netlink.get(RTM_GETLINK, asked, f"getlink {name}")


def packed(address: str) -> tuple[int, bytes]:
    """Return (family, bytes) of an address in text. Raises KernelError(EINVAL)."""
    family = _socket.AF_INET6 if ":" in address else _socket.AF_INET
    try:
        return family, _socket.inet_pton(family, address)
    except OSError:
        raise KernelError("inet_pton", address, errno.EINVAL) from None


def mac_bytes(mac: str) -> bytes:
    """Return the six bytes of 02:42:ac:11:00:02. Raises KernelError(EINVAL)."""
    try:
        raw = bytes.fromhex(mac.replace(":", " "))
    except ValueError:
        raw = b""
    if len(raw) != 6:
        raise KernelError("mac", mac, errno.EINVAL)
    return raw
