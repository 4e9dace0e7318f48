"""The networks of a container as clients see them: events of joining and leaving, ids."""

from havre.engine.container import Container, ContainerRecord
from havre.engine.rooms import Rooms
from havre.errors import HavreError
from havre.spec.endpoint import Endpoint, Network

_WITHOUT_ENDPOINT = ("none", "host")  # networks of Docker's that hold no addresses


def names(record: ContainerRecord) -> list[str]:
    """Return the networks a container is on; none and host count too."""
    if record.endpoints:
        return list(record.endpoints)
    mode = record.host_config.network_mode or ""
    return [mode] if mode in _WITHOUT_ENDPOINT else []


def find(rooms: Rooms, name: str) -> Network | None:
    """Return a network, None when it has been removed."""
    try:
        return rooms.networks.get(name)
    except HavreError:
        return None


def tell(rooms: Rooms, container: Container, action: str) -> None:
    """Publish `connect` or `disconnect` for every network of a container, as proxies that follow events expect."""
    for name in names(container.record):
        if (network := find(rooms, name)) is not None:
            attributes = {"container": container.id, "name": network.name, "type": network.driver}
            rooms.events.publish("network", action, network.id, attributes)


def live(rooms: Rooms, container: Container) -> dict[str, Endpoint]:
    """The live endpoints of a running container by network name; empty for one that is down."""
    if not container.running:
        return {}
    found = {}
    for name in container.record.endpoints:
        if (endpoint := rooms.networks.endpoints(name).get(container.id)) is not None:
            found[endpoint.network] = endpoint
    return found
