"""Networks for the API: list, inspect, create, remove, prune."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from havre.clock import rfc3339
from havre.engine import labels
from havre.engine.rooms import Rooms
from havre.errors import HavreError, InvalidParameter, NotImplementedHere
from havre.network.create import NetworkRequest
from havre.spec.endpoint import Network
from havre.spec.engine import NetworkCreate
from havre.tasks import in_net_thread

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
        "label": lambda value: labels.has(network.labels, value),
        "dangling": lambda value: (value.lower() in ("1", "true")) == _dangling(rooms, network),
    }
    return all(any(tests[key](value) for value in values) for key, values in filters.items() if values)


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
    pool: dict[str, Any] = {"Subnet": network.subnet, "Gateway": network.gateway}
    if network.ip_range:
        pool["IPRange"] = network.ip_range
    if network.aux_addresses:
        pool["AuxiliaryAddresses"] = dict(network.aux_addresses)
    return {
        "Name": network.name,
        "Id": network.id,
        "Created": rfc3339(network.created_nanos),
        "Scope": "local",
        "Driver": network.driver,
        "EnableIPv4": True,
        "EnableIPv6": network.enable_ipv6,
        "IPAM": {"Driver": "default", "Options": None, "Config": [pool] if network.subnet else []},
        "Internal": network.internal,
        "Attachable": network.attachable,
        "Ingress": False,
        "ConfigFrom": {"Network": ""},
        "ConfigOnly": False,
        "Containers": {},
        "Options": network.options,
        "Labels": network.labels,
    }


async def create(rooms: Rooms, body: NetworkCreate) -> dict[str, str]:
    """POST /networks/create. Raises InvalidParameter, Conflict, Forbidden, NotFound, NotImplementedHere."""
    if body.enable_ipv6 or body.enable_ipv4 is False:
        raise NotImplementedHere("IPv6 networks are not there yet", hint="leave --ipv6 out")
    if body.ingress or body.scope not in (None, "", "local"):
        raise NotImplementedHere(f"networks of scope {body.scope or 'swarm'} are not there yet")
    pool = _pool(body.ipam or {})
    request = NetworkRequest(
        name=body.name or "",
        driver=body.driver or "bridge",
        subnet=_text(pool, "Subnet"),
        gateway=_text(pool, "Gateway"),
        ip_range=_text(pool, "IPRange"),
        aux_addresses={str(key): str(value) for key, value in (pool.get("AuxiliaryAddresses") or {}).items()},
        internal=bool(body.internal),
        attachable=bool(body.attachable),
        options=body.options or {},
        labels=body.labels or {},
    )
    network = await in_net_thread(rooms.networks.create, request)
    _tell(rooms, network, "create")
    return {"Id": network.id, "Warning": ""}


def _pool(ipam: dict[str, Any]) -> dict[str, Any]:
    if ipam.get("Driver") not in (None, "", "default"):
        raise NotImplementedHere(
            f"IPAM driver {ipam['Driver']!r} is not there yet", hint="leave --ipam-driver out"
        )
    pools = ipam.get("Config") or []
    if not isinstance(pools, list) or not all(isinstance(one, dict) for one in pools):
        raise InvalidParameter("IPAM.Config is a list of pools")
    if len(pools) > 1:
        raise NotImplementedHere("several subnets on one network are not there yet", hint="one --subnet")
    return pools[0] if pools else {}


def _text(pool: dict[str, Any], key: str) -> str:
    value = pool.get(key) or ""
    if not isinstance(value, str):
        raise InvalidParameter(f"IPAM {key} must be a text")
    return value


async def remove(rooms: Rooms, ref: str) -> None:
    """DELETE /networks/{id}. Raises NotFound, Forbidden."""
    network = await in_net_thread(rooms.networks.remove, ref)
    _tell(rooms, network, "destroy")


async def prune(rooms: Rooms, filters: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
    """POST /networks/prune: remove networks of the user's that no container is on."""
    for key in filters:
        if key != "label":
            raise InvalidParameter(f"invalid filter '{key}'", hint="label")
    wanted = {name for one in rooms.containers for name in one.record.endpoints}
    removed = []
    for network in rooms.networks.list():
        used = network.name in _BUILTIN or network.name in wanted or network.id in wanted
        if used or not all(labels.has(network.labels, value) for value in filters.get("label", ())):
            continue
        try:
            await remove(rooms, network.id)
        except HavreError:
            continue  # somebody joined it in the meantime
        removed.append(network.name)
    rooms.events.publish("network", "prune", "", {"reclaimed": "0"})
    return {"NetworksDeleted": removed}


def _tell(rooms: Rooms, network: Network, action: str) -> None:
    rooms.events.publish("network", action, network.id, {"name": network.name, "type": network.driver})
