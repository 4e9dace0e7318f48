"""The networks every instance has: bridge, host and none. Decides the bridge's name and addresses."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from ipaddress import IPv4Interface, IPv4Network

from havre import clock
from havre.errors import Conflict, InvalidParameter
from havre.ids import new_id
from havre.network import bridge as bridges
from havre.network.bridge import Host
from havre.network.ipam import Used, choose_subnet, overlapping
from havre.spec.endpoint import Network

BRIDGE = "docker0"
MTU_OPTION = "com.docker.network.driver.mtu"
NAME_OPTION = "com.docker.network.bridge.name"
ICC_OPTION = "com.docker.network.bridge.enable_icc"
MASQUERADE_OPTION = "com.docker.network.bridge.enable_ip_masquerade"
HOST_IP_OPTION = "com.docker.network.bridge.host_binding_ipv4"
PREFIX_OPTION = "com.docker.network.container_iface_prefix"
DEFAULT_OPTION = "com.docker.network.bridge.default_bridge"


def plain_network(name: str, driver: str) -> Network:
    """Return a new record of `host` or `none`."""
    return Network(new_id(), name, driver, clock.now_nanos(), subnet="", gateway="", bridge="")


def default_bridge(
    recorded: Network | None,
    host: Host,
    *,
    instance: str,
    wanted: str,
    bip: str,
    pools: Sequence[tuple[IPv4Network, int]],
    taken: Sequence[Used] = (),
    options: Mapping[str, str] | None = None,
    fixed_cidr: str = "",
    reserved: Collection[str] = (),
) -> Network:
    """Return the record of the default bridge: as it was while its name and addresses are its own, else the next free.

    `taken` are the subnets of this instance's other networks, whose bridges may not be there yet. `reserved` names are not
    taken for a new bridge, even if they are free. Raises InvalidParameter.
    """
    network = recorded or _fresh(
        wanted if wanted not in reserved else bridges.free_name(wanted, host.links, reserved), host
    )
    link = host.links.get(network.bridge)
    if is_foreign(host, wanted, instance, network.id):
        return _adopted(network, host, wanted)
    if link is not None and not bridges.is_ours(link, instance, network.id):
        network = replace(network, bridge=bridges.free_name(wanted, host.links, reserved))
    if bip:
        subnet, gateway = _bip(bip, [*host.used_besides([network.bridge], routes=False), *taken])
    else:
        subnet, gateway = _addresses(network, [*host.used_besides([network.bridge]), *taken], pools)
    chosen = {**network.options, MTU_OPTION: str(host.mtu), **(options or {}), NAME_OPTION: network.bridge}
    ip_range = str(parse_range(fixed_cidr, subnet)) if fixed_cidr else ""
    return replace(network, subnet=subnet, gateway=gateway, options=chosen, ip_range=ip_range)


def parse_range(fixed_cidr: str, subnet: str) -> IPv4Network:
    """Return --fixed-cidr: the part of the default bridge's subnet that addresses are taken from. Raises InvalidParameter."""
    try:
        asked = IPv4Network(fixed_cidr)
    except ValueError as error:
        raise InvalidParameter(
            f"invalid --fixed-cidr {fixed_cidr}: {error}", hint="--fixed-cidr 172.17.8.0/24"
        ) from None
    if not asked.subnet_of(IPv4Network(subnet)):
        raise InvalidParameter(f"invalid --fixed-cidr {fixed_cidr}: it is not within {subnet}", hint="--bip")
    return asked


def is_foreign(host: Host, wanted: str, instance: str, network_id: str) -> bool:
    """Say whether --bridge names an interface that the user made: it is used as it is, and never changed or removed."""
    link = host.links.get(wanted)
    return wanted != BRIDGE and link is not None and not bridges.is_ours(link, instance, network_id)


def _adopted(network: Network, host: Host, name: str) -> Network:
    if host.links[name].kind != "bridge":
        raise Conflict(f"interface {name} is not a bridge", hint="--bridge with the name of a bridge")
    found = bridges.address_of(host, name)
    if found is None:
        raise InvalidParameter(
            f"bridge {name} has no IPv4 address", hint=f"ip address add 10.1.0.1/24 dev {name}"
        )
    options = {**network.options, NAME_OPTION: name, MTU_OPTION: str(host.links[name].mtu)}
    return replace(network, bridge=name, subnet=found[0], gateway=found[1], options=options)


def _fresh(name: str, host: Host) -> Network:
    options = {
        DEFAULT_OPTION: "true",
        ICC_OPTION: "true",
        MASQUERADE_OPTION: "true",
        HOST_IP_OPTION: "0.0.0.0",
        NAME_OPTION: name,
        MTU_OPTION: str(host.mtu),
    }
    return Network(
        new_id(), "bridge", "bridge", clock.now_nanos(), subnet="", gateway="", bridge=name, options=options
    )


def _addresses(
    network: Network, used: Sequence[Used], pools: Sequence[tuple[IPv4Network, int]]
) -> tuple[str, str]:
    if network.subnet and not overlapping(IPv4Network(network.subnet), used):
        return network.subnet, network.gateway
    subnet = choose_subnet(pools, used)
    return str(subnet), str(subnet[1])


def _bip(bip: str, used: Sequence[Used]) -> tuple[str, str]:
    asked = parse_bip(bip)
    if holder := overlapping(asked.network, used):
        raise Conflict(f"cannot use --bip {bip}: {holder[1]}")
    return str(asked.network), str(asked.ip)


def parse_bip(bip: str) -> IPv4Interface:
    """Return --bip's address with its network. Raises InvalidParameter."""
    try:
        asked = IPv4Interface(bip)
    except ValueError as error:
        raise InvalidParameter(f"invalid --bip {bip}: {error}", hint="--bip 172.17.0.1/16") from None
    network = asked.network
    if asked.ip in (network.network_address, network.broadcast_address) or network.prefixlen > 30:
        raise InvalidParameter(
            f"invalid --bip {bip}: it must be an address within its network", hint="--bip 172.17.0.1/16"
        )
    return asked
