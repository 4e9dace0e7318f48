"""Bridges in the kernel: what the host has, making one, completing one, removing one. Blocking."""

import errno
import os
from collections.abc import Collection, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from ipaddress import IPv4Network
from pathlib import Path

from havre.errors import Conflict, KernelError
from havre.linux import interfaces, netlink
from havre.linux.interfaces import Link
from havre.linux.nlsocket import NETLINK_ROUTE, Netlink
from havre.network.ipam import Used
from havre.spec.endpoint import Network

SYSCTL = "/proc/sys/net"  # of the calling thread's network namespace
DEFAULT_MTU = 1500
SHORTEST_PREFIX = 8  # shorter routes (a VPN's 0.0.0.0/1) stand for everywhere, not for a network somebody has
MAX_NAME_TRIES = 1000


class Rivalry(Conflict):
    """Another program took the name or the subnet between our looking and our taking: choose again."""


@dataclass(frozen=True, slots=True)
class Held:
    """A prefix that is in use."""

    interface: str
    prefix: IPv4Network
    routed: bool  # only a route leads there; else it is the network of one of the host's addresses

    @property
    def words(self) -> str:
        return f"{self.prefix} is {'routed to' if self.routed else 'on interface'} {self.interface}"


@dataclass(frozen=True, slots=True)
class Host:
    """The namespace as it is: interfaces, prefixes in use, and the mtu towards the outside."""

    links: dict[str, Link]
    held: tuple[Held, ...]
    mtu: int

    def used_besides(self, bridges: Sequence[str], *, routes: bool = True) -> list[Used]:
        """Return the prefixes in use that do not belong to these interfaces, with or without mere routes."""
        return [
            (each.prefix, each.words)
            for each in self.held
            if each.interface not in bridges and (routes or not each.routed)
        ]


def survey(kernel: Netlink) -> Host:
    """Ask the kernel what is there."""
    links = {link.name: link for link in interfaces.links(kernel)}
    names = {link.index: link.name for link in links.values()}
    used = []
    for address in interfaces.addresses(kernel):
        if ":" not in address.address and not address.address.startswith("127."):
            prefix = IPv4Network(f"{address.address}/{address.prefix}", strict=False)
            name = names.get(address.index, "?")
            used.append(Held(name, prefix, routed=False))
    mtu = DEFAULT_MTU
    for route in interfaces.routes(kernel):
        name = names.get(route.index, "?")
        if route.prefix == 0 and name in links:
            mtu = min(mtu, links[name].mtu)
        elif route.prefix >= SHORTEST_PREFIX:
            prefix = IPv4Network(f"{route.destination}/{route.prefix}", strict=False)
            used.append(Held(name, prefix, routed=True))
    return Host(links, tuple(used), mtu)


def alias_of(instance: str, network_id: str) -> str:
    """The mark on a bridge that says whose it is."""
    return f"havre {instance} {network_id[:12]}"


def is_ours(link: Link | None, instance: str, network_id: str) -> bool:
    return link is not None and link.kind == "bridge" and link.alias == alias_of(instance, network_id)


def free_name(wanted: str, links: dict[str, Link], reserved: Collection[str] = ()) -> str:
    """Return the wanted name, or with the next number that is free: docker0, docker1, ..."""
    stem = wanted.rstrip("0123456789")
    first = int(wanted[len(stem) :] or 0)
    for number in range(first, first + MAX_NAME_TRIES):
        name = wanted if number == first else f"{stem}{number}"
        if name not in links and name not in reserved and len(name) < netlink.IFNAMSIZ:
            return name
    raise Conflict(f"no free name for a bridge like {wanted}")


def ensure(
    kernel: Netlink,
    network: Network,
    instance: str,
    *,
    mtu: int,
    foreign: bool = False,
    forwards: bool = True,
) -> None:
    """Make the network's bridge, or complete the one that is there. Raises Rivalry when the name is somebody else's.

    A `foreign` bridge is the user's: only sysctls are set. Without `forwards` the host's ip_forward is left as it is.
    """
    if foreign:
        _sysctls(network, forwards=forwards)
        return
    links = {link.name: link for link in interfaces.links(kernel)}
    link = links.get(network.bridge)
    if link is not None and not is_ours(link, instance, network.id):
        raise Rivalry(
            f"interface {network.bridge} is there already and does not belong to network {network.name}",
            hint="--opt com.docker.network.bridge.name=another",
        )
    with ExitStack() as undo:
        if link is None:
            _make(kernel, network, instance, mtu)
            undo.callback(remove, kernel, network, instance)
        _address(kernel, network, mtu)
        if link is None:
            _yield_to_rival(kernel, network)
        _sysctls(network, forwards=forwards)
        undo.pop_all()


def _make(kernel: Netlink, network: Network, instance: str, mtu: int) -> None:
    mac = "02:42:" + ":".join(f"{byte:02x}" for byte in os.urandom(4))
    try:
        kernel.request(
            *netlink.new_bridge(network.bridge, mac=mac, mtu=mtu, alias=alias_of(instance, network.id))
        )
    except KernelError as error:
        if error.errno == errno.EEXIST:
            raise Rivalry(f"interface {network.bridge} has just been made by another program") from error
        raise


def _address(kernel: Netlink, network: Network, mtu: int) -> None:
    """Bring the bridge up with exactly the network's address (IPv6 link-local ones are left)."""
    index = netlink.index_of(kernel, network.bridge)
    kernel.request(netlink.set_up(index, network.bridge, mtu=mtu))
    wanted = f"{network.gateway}/{network.subnet.partition('/')[2]}" if network.gateway else ""
    present = [
        f"{address.address}/{address.prefix}"
        for address in interfaces.addresses(kernel)
        if address.index == index and ":" not in address.address
    ]
    for other in present:
        if other != wanted:
            kernel.request(netlink.del_address(index, other, network.bridge))
    if wanted and wanted not in present:
        kernel.request(netlink.new_address(index, wanted, network.bridge))


def _yield_to_rival(kernel: Netlink, network: Network) -> None:
    """Of two daemons that chose the same subnet at once, the one that sees the other chooses again.

    Each sets its address and then looks, so that at least the later one sees the other; both may.
    """
    own = netlink.index_of(kernel, network.bridge)
    subnet = IPv4Network(network.subnet)
    for address in interfaces.addresses(kernel):
        if ":" in address.address or address.index == own:
            continue
        if IPv4Network(f"{address.address}/{address.prefix}", strict=False).overlaps(subnet):
            raise Rivalry(f"subnet {subnet} has just been taken by another program")


def _sysctls(network: Network, *, forwards: bool) -> None:
    """What the bridge needs: forwarding, 127.0.0.1-published ports, and no route from a container's advertisement."""
    folder = f"{SYSCTL}/ipv4/conf/{network.bridge}"
    if not network.internal:
        netlink.write_sysctl(f"{folder}/route_localnet", "1")
        if forwards and Path(f"{SYSCTL}/ipv4/ip_forward").read_text().strip() != "1":
            netlink.write_sysctl(f"{SYSCTL}/ipv4/ip_forward", "1")
    netlink.write_sysctl(f"{SYSCTL}/ipv6/conf/{network.bridge}/accept_ra", "0", optional=True)


def remove(kernel: Netlink, network: Network, instance: str) -> None:
    """Remove the bridge if it is there and ours."""
    found = [link for link in interfaces.links(kernel) if link.name == network.bridge]
    interfaces.delete_links(kernel, [link for link in found if is_ours(link, instance, network.id)])


def filters_bridged() -> bool:
    """Say whether packets between ports of a bridge pass our forward chain (br_netfilter, on for IPv4 and IPv6).

    Then it enforces icc=false, and isolated ports must not: br_netfilter redirects a container's packet to its neighbour's
    published port from port to port, and an isolated port would drop it. Without br_netfilter isolated ports enforce it.
    """
    try:
        found = [
            Path(f"{SYSCTL}/bridge/bridge-nf-call-{name}").read_text() for name in ("iptables", "ip6tables")
        ]
    except OSError:
        return False
    return all(text.strip() == "1" for text in found)


def address_of(host: Host, name: str) -> tuple[str, str] | None:
    """Return (subnet, address) of an interface that somebody else made, for --bridge."""
    with Netlink(NETLINK_ROUTE) as kernel:
        for address in interfaces.addresses(kernel):
            if address.index == host.links[name].index and ":" not in address.address:
                return str(IPv4Network(f"{address.address}/{address.prefix}", strict=False)), address.address
    return None
