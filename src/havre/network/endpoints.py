"""Endpoints as values: making one, storing one, and what follows from one for the firewall. Pure."""

from collections.abc import Sequence
from ipaddress import IPv4Network

import msgspec

from havre.ids import new_id
from havre.network.defaults import ICC_OPTION, MASQUERADE_OPTION, MTU_OPTION, PREFIX_OPTION
from havre.network.firewall import Redirect, Zone
from havre.network.ipam import mac_of
from havre.spec.endpoint import Endpoint, Network, PublishedPort
from havre.spec.runplan import VethPlan


class Stored(msgspec.Struct, frozen=True):
    """The record of an endpoint."""

    container_id: str
    created_nanos: int
    endpoint: Endpoint

    @property
    def key(self) -> str:
        """Its id among the records of kind "endpoint"."""
        return f"{self.container_id}/{self.endpoint.network_id}"


def make_endpoint(
    network: Network,
    *,
    instance: str,
    address: str,
    mac: str,
    ports: tuple[PublishedPort, ...],
    number: int,
    default_route: bool,
    isolated: bool,
    aliases: Sequence[str] = (),
) -> Endpoint:
    """Return the endpoint of a container that gets `address`; `number` gives its eth0, eth1, ..."""
    endpoint_id = new_id()
    prefix = IPv4Network(network.subnet).prefixlen
    gateway = "" if network.internal else network.gateway
    mac = mac or mac_of(address)
    veth = VethPlan(
        bridge=network.bridge,
        host_name=veth_prefix(instance) + endpoint_id[:7],
        container_name=f"{interface_prefix(network)}{number}",
        mac=mac,
        mtu=int(network.options.get(MTU_OPTION) or 1500),
        addresses=[f"{address}/{prefix}"],
        gateways=[gateway] if gateway and default_route else [],
        hairpin=True,  # with br_netfilter on, a container's packet to its own published port returns through its own port
        isolated=isolated,
    )
    return Endpoint(
        network=network.name,
        network_id=network.id,
        endpoint_id=endpoint_id,
        ip=address,
        prefix=prefix,
        gateway=gateway,
        ip6="",
        prefix6=0,
        gateway6="",
        mac=mac,
        dns=(),
        aliases=tuple(aliases),
        ports=ports,
        veth=veth,
    )


def veth_prefix(instance: str) -> str:
    """How the host ends of this instance's veths begin; `veth` is what network managers are told to leave alone."""
    return f"veth{instance[:4]}"


def interface_prefix(network: Network) -> str:
    """How the interfaces inside containers begin."""
    return network.options.get(PREFIX_OPTION) or "eth"


def icc(network: Network) -> bool:
    return network.options.get(ICC_OPTION, "true") != "false"


def zone_of(network: Network) -> Zone:
    """What the firewall must know of a bridge network."""
    return Zone(
        bridge=network.bridge,
        subnets=(network.subnet,),
        masquerade=not network.internal and network.options.get(MASQUERADE_OPTION, "true") != "false",
        icc=icc(network),
        internal=network.internal,
    )


def redirects_of(endpoint: Endpoint) -> list[Redirect]:
    """The published ports and where each leads."""
    return [Redirect(port, endpoint.ip6 if ":" in port.host_ip else endpoint.ip) for port in endpoint.ports]
