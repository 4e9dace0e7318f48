"""The one nftables table of an instance: what is in it, and each change of it as one transaction.

    prerouting -300  guard     no packet from a bridge may pretend to be, or reach, the host's 127.0.0.0/8
    prerouting -100  arrive    packets to the host's own addresses -> publish; never 127.0.0.0/8 from outside
    output     -100  depart    the host's own packets to its own addresses, 127.0.0.0/8 too -> publish
                     publish   dnat by map: port4 and port6 by address, any4 and any6 for every address
    forward       0  forward   established: go on; by input -> exit_<bridge>: internal networks let nothing out;
                               by output -> enter_<bridge>: only published ports and the same bridge
    postrouting 100  translate by source network -> nat_<bridge>: masquerade what leaves it, and what comes back redirected

Nothing outside the table is read or changed; its policy is accept, so it only ever drops packets of its own bridges.
Publishing is one map element, adding a network one chain and three elements: the cost does not grow with what is there.
"""

import socket
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from ipaddress import ip_address, ip_network

from havre.linux import nft
from havre.linux.nft import R0, Chain, Change, Element, Set
from havre.spec.endpoint import PublishedPort

_IPV4, _IPV6 = bytes([nft.NFPROTO_IPV4]), bytes([nft.NFPROTO_IPV6])
_LOOPBACK_BYTE = b"\x7f"
_SADDR4, _DADDR4, _SADDR6, _DADDR6 = (12, 4), (16, 4), (8, 16), (24, 16)  # offset and length in the IP header
_DESTINATION_PORT = (2, 2)
_ADDRESS4, _ADDRESS6 = (nft.TYPE_IPV4,), (nft.TYPE_IPV6,)
_PORT = (nft.TYPE_PROTO, nft.TYPE_PORT)
_EVERY = ("0.0.0.0", "::")

_SETS = (
    Set("bridges", (nft.TYPE_IFNAME,)),
    Set("port4", _ADDRESS4 + _PORT, (*_ADDRESS4, nft.TYPE_PORT)),
    Set("any4", _PORT, (*_ADDRESS4, nft.TYPE_PORT)),
    Set("port6", _ADDRESS6 + _PORT, (*_ADDRESS6, nft.TYPE_PORT)),
    Set("any6", _PORT, (*_ADDRESS6, nft.TYPE_PORT)),
    Set("exits", (nft.TYPE_IFNAME,), "verdict"),
    Set("entries", (nft.TYPE_IFNAME,), "verdict"),
    Set("source4", _ADDRESS4, "verdict", interval=True),
    Set("source6", _ADDRESS6, "verdict", interval=True),
)
_CHAINS = (
    Chain("publish"),
    Chain("guard", "prerouting", nft.PRIORITY_RAW),
    Chain("arrive", "prerouting", nft.PRIORITY_DSTNAT, "nat"),
    Chain("depart", "output", nft.PRIORITY_DSTNAT, "nat"),
    Chain("forward", "forward", nft.PRIORITY_FILTER),
    Chain("translate", "postrouting", nft.PRIORITY_SRCNAT, "nat"),
)


@dataclass(frozen=True, slots=True)
class Zone:
    """What the table must know of one network."""

    bridge: str
    subnets: tuple[str, ...]
    masquerade: bool = True
    icc: bool = True
    internal: bool = False


@dataclass(frozen=True, slots=True)
class Redirect:
    """A published port and where it leads."""

    port: PublishedPort
    address: str  # the container's, of the same family as port.host_ip


def table_name(instance: str) -> str:
    return f"havre_{instance}"


def whole(table: str, zones: Iterable[Zone], redirects: Iterable[Redirect]) -> Change:
    """Return the transaction that replaces the table by one with exactly this in it."""
    change = Change(table)
    change.replace_table()
    for each in _SETS:
        change.add_set(each)
    for chain in _CHAINS:
        change.add_chain(chain)
    _add_guard(change)
    _add_publish(change)
    _add_forward(change)
    _add_translate(change)
    for zone in zones:
        add_zone(change, zone)
    publish(change, redirects)
    return change


def _add_guard(change: Change) -> None:
    for offset, _ in (_SADDR4, _DADDR4):
        change.add_rule(
            "guard",
            nft.meta(nft.META_IIFNAME),
            nft.lookup("bridges"),
            *_family(_IPV4),
            nft.payload(nft.NETWORK_HEADER, offset, 1),
            nft.compare(nft.EQ, _LOOPBACK_BYTE),
            nft.verdict(nft.NF_DROP),
        )


def _add_publish(change: Change) -> None:
    to_loopback = (
        *_family(_IPV4),
        nft.payload(nft.NETWORK_HEADER, _DADDR4[0], 1),
        nft.compare(nft.EQ, _LOOPBACK_BYTE),
    )
    change.add_rule("arrive", *to_loopback, nft.verdict(nft.NFT_RETURN))
    local = (nft.fib_daddr_type(), nft.compare(nft.EQ, nft.RTN_LOCAL.to_bytes(4, sys.byteorder)))
    for chain in ("arrive", "depart"):
        change.add_rule(chain, *local, nft.verdict(nft.NFT_JUMP, "publish"))
    for family, (offset, length), by_address, by_port in (
        (_IPV4, _DADDR4, "port4", "any4"),
        (_IPV6, _DADDR6, "port6", "any6"),
    ):
        words = length // 4  # registers of four bytes
        redirect = nft.dnat(family[0], R0, R0 + words)
        address = nft.payload(nft.NETWORK_HEADER, offset, length, R0)
        change.add_rule(
            "publish",
            *_family(family),
            address,
            *_port(R0 + words),
            nft.lookup(by_address, into=R0),
            redirect,
        )
        change.add_rule("publish", *_family(family), *_port(R0), nft.lookup(by_port, into=R0), redirect)


def _add_forward(change: Change) -> None:
    change.add_rule(
        "forward", *nft.ct_has(nft.CT_STATE, nft.CT_ESTABLISHED_RELATED), nft.verdict(nft.NF_ACCEPT)
    )
    for key, name in ((nft.META_IIFNAME, "exits"), (nft.META_OIFNAME, "entries")):
        change.add_rule("forward", nft.meta(key), nft.lookup(name, into=nft.VERDICT_REGISTER))


def _add_translate(change: Change) -> None:
    for family, (offset, length), name in ((_IPV4, _SADDR4, "source4"), (_IPV6, _SADDR6, "source6")):
        source = nft.payload(nft.NETWORK_HEADER, offset, length)
        change.add_rule("translate", *_family(family), source, nft.lookup(name, into=nft.VERDICT_REGISTER))
    change.add_rule(  # from 127.0.0.1 of the host to a published port: the container must answer to the bridge
        "translate",
        nft.meta(nft.META_OIFNAME),
        nft.lookup("bridges"),
        *_family(_IPV4),
        nft.payload(nft.NETWORK_HEADER, _SADDR4[0], 1),
        nft.compare(nft.EQ, _LOOPBACK_BYTE),
        nft.masquerade(),
    )


def add_zone(change: Change, zone: Zone) -> None:
    """Add a network: its chains, then the elements that lead to them."""
    for chain in _zone_chains(zone):
        change.add_chain(Chain(chain))
    _fill_enter(change, zone)
    _fill_nat(change, zone)
    if zone.internal:
        own = nft.interface_name(zone.bridge)
        others = (nft.meta(nft.META_OIFNAME), nft.compare(nft.NEQ, own))
        change.add_rule(f"exit_{zone.bridge}", *others, nft.verdict(nft.NF_DROP))
    for name, elements in _zone_elements(zone):
        change.add_elements(name, elements)


def _fill_enter(change: Change, zone: Zone) -> None:
    chain = f"enter_{zone.bridge}"
    if not zone.internal:
        change.add_rule(chain, *nft.ct_has(nft.CT_STATUS, nft.CT_STATUS_DNAT), nft.verdict(nft.NF_ACCEPT))
    if (
        zone.icc
    ):  # bridged packets come here when br_netfilter is on; icc=false is the bridge ports' isolation
        same = (nft.meta(nft.META_IIFNAME), nft.compare(nft.EQ, nft.interface_name(zone.bridge)))
        change.add_rule(chain, *same, nft.verdict(nft.NF_ACCEPT))
    change.add_rule(chain, nft.verdict(nft.NF_DROP))


def _fill_nat(change: Change, zone: Zone) -> None:
    chain = f"nat_{zone.bridge}"
    same = (nft.meta(nft.META_OIFNAME), nft.compare(nft.EQ, nft.interface_name(zone.bridge)))
    change.add_rule(chain, *same, *nft.ct_has(nft.CT_STATUS, nft.CT_STATUS_DNAT), nft.masquerade())
    change.add_rule(chain, *same, nft.verdict(nft.NF_ACCEPT))
    if zone.masquerade:
        change.add_rule(chain, nft.masquerade())


def remove_zone(change: Change, zone: Zone) -> None:
    """Remove a network: its elements, then its chains."""
    for name, elements in _zone_elements(zone):
        change.delete_elements(name, elements)
    for chain in _zone_chains(zone):
        change.flush_chain(chain)
        change.delete_chain(chain)


def _zone_chains(zone: Zone) -> list[str]:
    return [f"enter_{zone.bridge}", f"nat_{zone.bridge}"] + [f"exit_{zone.bridge}"] * zone.internal


def _zone_elements(zone: Zone) -> list[tuple[str, list[Element]]]:
    key = nft.interface_name(zone.bridge)
    found = [("bridges", [Element(key)]), ("entries", [Element(key, (nft.NFT_JUMP, f"enter_{zone.bridge}"))])]
    if zone.internal:
        found.append(("exits", [Element(key, (nft.NFT_JUMP, f"exit_{zone.bridge}"))]))
    for subnet in zone.subnets:
        network = ip_network(subnet)
        end = int(network.broadcast_address) + 1
        elements = [Element(network.network_address.packed, (nft.NFT_JUMP, f"nat_{zone.bridge}"))]
        if end < 1 << network.max_prefixlen:
            elements.append(Element(end.to_bytes(network.max_prefixlen // 8, "big"), end=True))
        found.append(("source4" if network.version == 4 else "source6", elements))
    return found


def publish(change: Change, redirects: Iterable[Redirect]) -> None:
    """Add map elements; a port that leads elsewhere already fails the transaction (EEXIST)."""
    for name, elements in _port_elements(redirects).items():
        change.add_elements(name, elements)


def unpublish(change: Change, redirects: Iterable[Redirect]) -> None:
    for name, elements in _port_elements(redirects).items():
        change.delete_elements(name, elements)


def _port_elements(redirects: Iterable[Redirect]) -> dict[str, list[Element]]:
    found: dict[str, list[Element]] = {}
    for redirect in redirects:
        port = redirect.port
        family = "6" if ":" in port.host_ip else "4"
        value = ip_address(redirect.address).packed + nft.port_value(port.container_port)
        key = nft.port_key(nft.PROTOCOLS[port.proto], port.host_port)
        if port.host_ip in _EVERY:
            found.setdefault(f"any{family}", []).append(Element(key, value))
        else:
            found.setdefault(f"port{family}", []).append(Element(_packed(port.host_ip) + key, value))
    return found


def _packed(address: str) -> bytes:
    return socket.inet_pton(socket.AF_INET6 if ":" in address else socket.AF_INET, address)


def _family(value: bytes) -> Sequence[bytes]:
    return nft.meta(nft.META_NFPROTO), nft.compare(nft.EQ, value)


def _port(register: int) -> Sequence[bytes]:
    """Load l4proto . destination port into two registers."""
    return (
        nft.meta(nft.META_L4PROTO, register),
        nft.payload(nft.TRANSPORT_HEADER, *_DESTINATION_PORT, register + 1),
    )
