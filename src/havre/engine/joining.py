"""`container:X` modes: the namespaces of another container that a new one shares. Names become ids at create."""

from collections.abc import Mapping

from havre.engine import userns
from havre.engine.container import Container, ContainerRecord
from havre.engine.rooms import Rooms
from havre.errors import Conflict, InvalidParameter, NotFound
from havre.spec.engine import HostConfig

PREFIX = "container:"
_FIELDS = (
    ("network", "net", "network_mode"),
    ("pid", "pid", "pid_mode"),
    ("ipc", "ipc", "ipc_mode"),
    ("user", "user", "userns_mode"),
)


def name_donors(rooms: Rooms, host: HostConfig) -> None:
    """Write the id of each donor into its mode, so that a rename changes nothing. Raises InvalidParameter: clients pull when they see a 404."""
    for _, _, field in _FIELDS:
        mode: str = getattr(host, field) or ""
        if mode.startswith(PREFIX):
            try:
                donor = rooms.containers.find(mode.removeprefix(PREFIX))
            except NotFound as error:
                raise InvalidParameter(error.message) from None
            setattr(host, field, PREFIX + donor.id)


def paths(rooms: Rooms, record: ContainerRecord) -> dict[str, str]:
    """Return namespace type -> path for every namespace that is joined. Raises Conflict when a donor does not run.

    A namespace is shared together with the user namespace that owns it; one of the host's own stands nowhere here.
    """
    found = {}
    for kind, name, other in _donors(rooms, record.host_config):
        _check(rooms, kind, other)
        userns.check_joined(record, kind, other.record)
        if kind != "user":
            found[kind] = f"/proc/{other.state.pid}/ns/{name}"
        if record.id_maps is not None:
            found["user"] = f"/proc/{other.state.pid}/ns/user"
    return found


def network_donor(host: HostConfig) -> str:
    """Return the id of the container whose network (and hosts, hostname, resolv.conf) is shared; "" for none."""
    mode = host.network_mode or ""
    return mode.removeprefix(PREFIX) if mode.startswith(PREFIX) else ""


def shm_of(joined: Mapping[str, str]) -> str:
    """Return where the donor of an IPC namespace has its /dev/shm; "" when there is none."""
    return joined["ipc"].removesuffix("/ns/ipc") + "/root/dev/shm" if "ipc" in joined else ""


def _donors(rooms: Rooms, host: HostConfig) -> list[tuple[str, str, Container]]:
    found = []
    for kind, name, field in _FIELDS:
        mode: str = getattr(host, field) or ""
        if mode.startswith(PREFIX):
            found.append((kind, name, rooms.containers.find(mode.removeprefix(PREFIX))))
    return found


def _check(rooms: Rooms, kind: str, other: Container) -> None:
    if kind == "network" and not other.running:
        raise Conflict(f"cannot join network of a non running container: {other.id}")
    where = f"can't join {kind.upper()} of container {other.id}: "
    if other.state.status == "restarting":
        raise Conflict(f"{where}container {other.id} is restarting, wait until the container is running")
    if not other.running:
        raise Conflict(f"{where}container {other.id} is not running")
    if kind == "ipc" and (other.record.host_config.ipc_mode or rooms.settings.ipc_mode) != "shareable":
        raise InvalidParameter(
            f"{where}non-shareable IPC (hint: use IpcMode:shareable for the donor container)"
        )
