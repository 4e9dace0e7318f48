"""Bridges in the kernel: what the host has, making one, completing one, removing one. Blocking."""

import errno
import os
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

from havre.errors import Conflict, KernelError
from havre.linux import interfaces, netlink
from havre.linux.interfaces import Link
from havre.linux.nlsocket import Netlink
from havre.network.ipam import Used
from havre.spec.endpoint import Network

SYSCTL = "/proc/sys/net"  # of the calling thread's network namespace
DEFAULT_MTU = 1500
SHORTEST_PREFIX = 8  # shorter routes (a VPN's 0.0.0.0/1) stand for everywhere, not for a network somebody has
MAX_NAME_TRIES = 1000


@dataclass(frozen=True, slots=True)
class Host:
    """The namespace as it is: interfaces, prefixes in use, and the mtu towards the outside."""

    links: dict[str, Link]
    used: tuple[tuple[str, IPv4Network, str], ...]  # interface, prefix, who holds it in words
    mtu: int

    def used_besides(self, bridges: Sequence[str]) -> list[Used]:
        """Return the prefixes in use that do not belong to these interfaces."""
        return [(prefix, words) for interface, prefix, words in self.used if interface not in bridges]


def survey(kernel: Netlink) -> Host:
    """Ask the kernel what is there."""
    links = {link.name: link for link in interfaces.links(kernel)}
    names = {link.index: link.name for link in links.values()}
    used = []
    for address in interfaces.addresses(kernel):
        if ":" not in address.address and not address.address.startswith("127."):
            prefix = IPv4Network(f"{address.address}/{address.prefix}", strict=False)
            name = names.get(address.index, "?")
            used.append((name, prefix, f"{prefix} is on interface {name}"))
    mtu = DEFAULT_MTU
    for route in interfaces.routes(kernel):
        name = names.get(route.index, "?")
        if route.prefix == 0 and name in links:
            mtu = min(mtu, links[name].mtu)
        elif route.prefix >= SHORTEST_PREFIX:
            prefix = IPv4Network(f"{route.destination}/{route.prefix}", strict=False)
            used.append((name, prefix, f"{prefix} is routed to {name}"))
    return Host(links, tuple(used), mtu)


def alias_of(instance: str, network_id: str) -> str:
    """The mark on a bridge that says whose it is."""
    return f"havre {instance} {network_id[:12]}"


def is_ours(link: Link | None, instance: str, network_id: str) -> bool:
    return link is not None and link.kind == "bridge" and link.alias == alias_of(instance, network_id)


def free_name(wanted: str, links: dict[str, Link]) -> str:
    """Return the wanted name, or with the next number that is free: docker0, docker1, ..."""
    stem = wanted.rstrip("0123456789")
    first = int(wanted[len(stem) :] or 0)
    for number in range(first, first + MAX_NAME_TRIES):
        name = wanted if number == first else f"{stem}{number}"
        if name not in links and len(name) < netlink.IFNAMSIZ:
            return name
    raise Conflict(f"no free name for a bridge like {wanted}")


def ensure(kernel: Netlink, network: Network, instance: str, mtu: int) -> None:
    """Make the network's bridge, or complete the one that is there. Raises Conflict when the name is somebody else's."""
    links = {link.name: link for link in interfaces.links(kernel)}
    link = links.get(network.bridge)
    if link is not None and not is_ours(link, instance, network.id):
        raise Conflict(
            f"interface {network.bridge} is there already and does not belong to network {network.name}",
            hint="--opt com.docker.network.bridge.name=another",
        )
    with ExitStack() as undo:
        if link is None:
            _make(kernel, network, instance, mtu)
            undo.callback(remove, kernel, network, instance)
        _address(kernel, network, mtu)
        _sysctls(network)
        undo.pop_all()


def _make(kernel: Netlink, network: Network, instance: str, mtu: int) -> None:
    mac = "02:42:" + ":".join(f"{byte:02x}" for byte in os.urandom(4))
    try:
        kernel.request(
            *netlink.new_bridge(network.bridge, mac=mac, mtu=mtu, alias=alias_of(instance, network.id))
        )
    except KernelError as error:
        if error.errno == errno.EEXIST:
            raise Conflict(f"interface {network.bridge} has just been made by another program") from error
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


def _sysctls(network: Network) -> None:
    """What the bridge needs: forwarding, 127.0.0.1-published ports, and no route from a container's advertisement."""
    folder = f"{SYSCTL}/ipv4/conf/{network.bridge}"
    if not network.internal:
        netlink.write_sysctl(f"{folder}/route_localnet", "1")
        if Path(f"{SYSCTL}/ipv4/ip_forward").read_text().strip() != "1":
            netlink.write_sysctl(f"{SYSCTL}/ipv4/ip_forward", "1")
    netlink.write_sysctl(f"{SYSCTL}/ipv6/conf/{network.bridge}/accept_ra", "0", optional=True)


def remove(kernel: Netlink, network: Network, instance: str) -> None:
    """Remove the bridge if it is there and ours."""
    found = [link for link in interfaces.links(kernel) if link.name == network.bridge]
    interfaces.delete_links(kernel, [link for link in found if is_ours(link, instance, network.id)])


def first_address(host: Host, name: str) -> tuple[IPv4Address, IPv4Network] | None:
    """Return the address and network of an interface that the user made."""
    with Netlink(0) as kernel:
        for address in interfaces.addresses(kernel):
            if address.index == host.links[name].index and ":" not in address.address:
                whole = IPv4Network(f"{address.address}/{address.prefix}", strict=False)
                return IPv4Address(address.address), whole
    return None
