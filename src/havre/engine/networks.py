"""GET /networks and /networks/{id}."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from havre.clock import rfc3339
from havre.engine.rooms import Rooms
from havre.errors import InvalidParameter
from havre.spec.endpoint import Network

_FILTERS = frozenset({"dangling", "driver", "id", "label", "name", "scope", "type"})
_BUILTIN = frozenset({"bridge", "host", "none"})


def listed(rooms: Rooms, filters: Mapping[str, Sequence[str]]) -> list[dict[str, Any]]:
    """Return every network that passes the filters; without their containers, as Docker's list."""
    for key in filters:
        if key not in _FILTERS:
            raise InvalidParameter(f"invalid filter '{key}'", hint=" ".join(sorted(_FILTERS)))
    return [_describe(network) for network in rooms.networks.list() if _passes(rooms, network, filters)]


def _passes(rooms: Rooms, network: Network, filters: Mapping[str, Sequence[str]]) -> bool:
    tests: dict[str, Callable[[str], bool]] = {
        "driver": lambda value: network.driver == value,
        "id": lambda value: network.id.startswith(value),
        "name": lambda value: value in network.name,
        "scope": lambda value: value == "local",
        "type": lambda value: (value == "builtin") == (network.name in _BUILTIN),
        "label": lambda value: _label(network, value),
        "dangling": lambda value: (value.lower() in ("1", "true")) == _dangling(rooms, network),
    }
    return all(any(tests[key](value) for value in values) for key, values in filters.items() if values)


def _label(network: Network, value: str) -> bool:
    name, equals, wanted = value.partition("=")
    return name in network.labels and (not equals or network.labels[name] == wanted)


def _dangling(rooms: Rooms, network: Network) -> bool:
    return network.name not in _BUILTIN and not rooms.networks.endpoints(network.name)


def inspect(rooms: Rooms, ref: str) -> dict[str, Any]:
    """Return one network with the containers on it. Raises NotFound."""
    network = rooms.networks.get(ref)
    containers = {}
    for container_id, endpoint in rooms.networks.endpoints(network.name).items():
        containers[container_id] = {
            "Name": rooms.containers.find(container_id).record.name,
            "EndpointID": endpoint.endpoint_id,
            "MacAddress": endpoint.mac,
            "IPv4Address": f"{endpoint.ip}/{endpoint.prefix}" if endpoint.ip else "",
            "IPv6Address": f"{endpoint.ip6}/{endpoint.prefix6}" if endpoint.ip6 else "",
        }
    return {**_describe(network), "Containers": containers}


def _describe(network: Network) -> dict[str, Any]:
    pools = [{"Subnet": network.subnet, "Gateway": network.gateway}] if network.subnet else []
    return {
        "Name": network.name,
        "Id": network.id,
        "Created": rfc3339(network.created_nanos),
        "Scope": "local",
        "Driver": network.driver,
        "EnableIPv4": True,
        "EnableIPv6": network.enable_ipv6,
        "IPAM": {"Driver": "default", "Options": None, "Config": pools},
        "Internal": network.internal,
        "Attachable": False,
        "Ingress": False,
        "ConfigFrom": {"Network": ""},
        "ConfigOnly": False,
        "Containers": {},
        "Options": network.options,
        "Labels": network.labels,
    }
