"""A user-defined network: checks what is asked and decides the rest. Pure, given what the host has."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network

from havre import clock
from havre.errors import Conflict, Forbidden, InvalidParameter, NotFound, NotImplementedHere
from havre.ids import new_id
from havre.linux.netlink import IFNAMSIZ
from havre.network.bridge import Host
from havre.network.defaults import (
    HOST_IP_OPTION,
    ICC_OPTION,
    MASQUERADE_OPTION,
    MTU_OPTION,
    NAME_OPTION,
    PREFIX_OPTION,
)
from havre.network.ipam import Used, choose_subnet, overlapping, parse_subnet
from havre.spec.endpoint import Network

PREDEFINED = ("bridge", "host", "none", "default")
GATEWAY_MODE_OPTION = "com.docker.network.bridge.gateway_mode_ipv4"
_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]*")
_INTERFACE = re.compile(r"[a-zA-Z0-9_.-]+")  # nothing that is special in /proc paths or the nft tool
_TRUTH = {
    "1": "true",
    "t": "true",
    "true": "true",
    "0": "false",
    "f": "false",
    "false": "false",
}  # Go's ParseBool
_LATER = ("macvlan", "ipvlan", "overlay")
LONGEST_PREFIX = 12  # leaves room for a number of three digits
SMALLEST_MTU, LARGEST_MTU = 68, 65535  # RFC 791; the kernel's limit for a bridge


@dataclass(frozen=True, slots=True)
class NetworkRequest:
    """What `network create` asks for."""

    name: str
    driver: str = "bridge"
    subnet: str = ""
    gateway: str = ""
    ip_range: str = ""
    aux_addresses: Mapping[str, str] = field(default_factory=dict)
    internal: bool = False
    attachable: bool = False
    options: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)


def make_network(
    request: NetworkRequest,
    host: Host,
    present: Sequence[Network],
    pools: Sequence[tuple[IPv4Network, int]],
) -> Network:
    """Return the record of a new bridge network. Raises InvalidParameter, Conflict, Forbidden, NotImplementedHere."""
    _check_name(request.name, present)
    _check_driver(request.driver)
    network_id = new_id()
    bridge = _bridge_name(request, network_id, host, present)
    subnet = _subnet(request, host, present, pools)
    gateway = (
        str(_inside(request.gateway, subnet, "gateway")) if request.gateway else _first_free(subnet, request)
    )
    return Network(
        id=network_id,
        name=request.name,
        driver="bridge",
        created_nanos=clock.now_nanos(),
        subnet=str(subnet),
        gateway=gateway,
        bridge=bridge,
        internal=request.internal,
        options=_options(request, host),
        labels=dict(request.labels),
        ip_range=_ip_range(request.ip_range, subnet),
        aux_addresses=_aux(request.aux_addresses, subnet, gateway),
        attachable=request.attachable,
    )


def _check_name(name: str, present: Sequence[Network]) -> None:
    if not _NAME.fullmatch(name):
        raise InvalidParameter(
            f"invalid network name '{name}'",
            hint="letters, digits, '_', '.' and '-', beginning with a letter or digit",
        )
    if name in PREDEFINED:
        raise Forbidden(f"operation is not permitted on predefined {name} network")
    if any(network.name == name for network in present):
        raise Conflict(f"network with name {name} already exists")


def _check_driver(driver: str) -> None:
    if driver in ("host", "null"):
        raise Forbidden(f'only one instance of "{driver}" network is allowed')
    if driver in _LATER:
        raise NotImplementedHere(f"network driver {driver} is not there yet", hint="--driver bridge")
    if driver != "bridge":
        raise NotFound(f'could not find plugin "{driver}": network driver not found', hint="--driver bridge")


def _bridge_name(request: NetworkRequest, network_id: str, host: Host, present: Sequence[Network]) -> str:
    name = request.options.get(NAME_OPTION) or f"br-{network_id[:12]}"
    if not _INTERFACE.fullmatch(name) or len(name) >= IFNAMSIZ or name in (".", ".."):
        raise InvalidParameter(
            f"invalid bridge name '{name}'", hint=f"at most {IFNAMSIZ - 1} letters, digits, '-', '_'"
        )
    if name in host.links or any(network.bridge == name for network in present):
        raise Conflict(f"an interface with the name {name} exists already")
    return name


def _subnet(
    request: NetworkRequest, host: Host, present: Sequence[Network], pools: Sequence[tuple[IPv4Network, int]]
) -> IPv4Network:
    """The asked subnet, which may lie within a wider route, or the next free one of the pools."""
    own = [each for each in present if each.subnet]
    bridges = [each.bridge for each in own]
    networks: list[Used] = [
        (IPv4Network(each.subnet), f"{each.subnet} belongs to network {each.name}") for each in own
    ]
    if not request.subnet:
        if request.gateway or request.ip_range or request.aux_addresses:
            raise InvalidParameter(
                "a gateway, an ip range or auxiliary addresses need a subnet", hint="--subnet"
            )
        return choose_subnet(pools, [*networks, *host.used_besides(bridges)])
    subnet = parse_subnet(request.subnet)
    if subnet.prefixlen > 30:
        raise InvalidParameter(
            f"subnet {subnet} is too small for a gateway and a container", hint="a prefix of at most 30"
        )
    holder = overlapping(subnet, [*networks, *host.used_besides(bridges, routes=False)])
    if holder:
        raise Conflict(
            f"invalid pool request: pool overlaps with other one on this address space: {holder[1]}"
        )
    return subnet


def _inside(text: str, subnet: IPv4Network, what: str) -> IPv4Address:
    try:
        address = IPv4Address(text)
    except ValueError:
        raise InvalidParameter(f"invalid {what} address '{text}'") from None
    if address not in subnet or address in (subnet.network_address, subnet.broadcast_address):
        raise InvalidParameter(f"{what} {text} is not an address within subnet {subnet}")
    return address


def _first_free(subnet: IPv4Network, request: NetworkRequest) -> str:
    """The first address that is not kept for something else."""
    kept = set(request.aux_addresses.values())
    return next(text for text in map(str, subnet.hosts()) if text not in kept)


def _ip_range(text: str, subnet: IPv4Network) -> str:
    if not text:
        return ""
    inner = parse_subnet(text)
    if not inner.subnet_of(subnet):
        raise InvalidParameter(f"ip range {text} is not within subnet {subnet}")
    return str(inner)


def _aux(asked: Mapping[str, str], subnet: IPv4Network, gateway: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, text in asked.items():
        address = str(_inside(text, subnet, f"auxiliary address {name}"))
        if address == gateway or address in found.values():
            raise Conflict(f"auxiliary address {name}={text} is in use already")
        found[name] = address
    return found


def _options(request: NetworkRequest, host: Host) -> dict[str, str]:
    """The options as they were asked, checked; the mtu is always there, because the host's path may be narrower than 1500."""
    found = dict(request.options)
    found.setdefault(MTU_OPTION, str(host.mtu))
    mtu = found[MTU_OPTION]
    if not mtu.isascii() or not mtu.isdigit() or not SMALLEST_MTU <= int(mtu) <= LARGEST_MTU:
        raise InvalidParameter(f"invalid mtu '{mtu}'", hint=f"a number from {SMALLEST_MTU} to {LARGEST_MTU}")
    for key in (ICC_OPTION, MASQUERADE_OPTION):
        if key in found:
            if found[key].lower() not in _TRUTH:
                raise InvalidParameter(f"invalid value '{found[key]}' for {key}", hint="true or false")
            found[key] = _TRUTH[found[key].lower()]
    if found.get(HOST_IP_OPTION):
        try:
            IPv4Address(found[HOST_IP_OPTION])
        except ValueError:
            raise InvalidParameter(
                f"invalid address '{found[HOST_IP_OPTION]}' for {HOST_IP_OPTION}"
            ) from None
    prefix = found.get(PREFIX_OPTION, "eth")
    if not _INTERFACE.fullmatch(prefix) or len(prefix) > LONGEST_PREFIX or prefix == "lo":
        raise InvalidParameter(
            f"invalid interface prefix '{prefix}'", hint=f"at most {LONGEST_PREFIX} letters"
        )
    if found.get(GATEWAY_MODE_OPTION, "nat") != "nat":
        raise NotImplementedHere(f"gateway mode {found[GATEWAY_MODE_OPTION]} is not there yet", hint="nat")
    return found
