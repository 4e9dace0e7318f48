"""The files every container gets: /etc/hostname, /etc/hosts, /etc/resolv.conf. Blocking."""

from collections.abc import Sequence
from pathlib import Path

from havre.engine.container import ContainerRecord
from havre.engine.rooms import Rooms
from havre.errors import InvalidParameter
from havre.network import files
from havre.spec.endpoint import Endpoint

HOST_RESOLV_CONF = "/etc/resolv.conf"
HOST_GATEWAY = "host-gateway"  # --add-host host.docker.internal:host-gateway


def write_files(rooms: Rooms, record: ContainerRecord, endpoints: Sequence[Endpoint]) -> None:
    """Write the three files into the container's own directory, each by rename."""
    folder = rooms.settings.container_dir(record.id)
    _put(folder / "hostname", f"{record.config.hostname}\n")
    _put(folder / "hosts", _hosts(rooms, record, endpoints))
    _put(folder / "resolv.conf", _resolv_conf(rooms, record, endpoints))


def _hosts(rooms: Rooms, record: ContainerRecord, endpoints: Sequence[Endpoint]) -> str:
    if record.host_config.network_mode == "host":
        return _read("/etc/hosts") + "".join(
            f"{address}\t{name}\n" for name, address in _extra(record, rooms.settings.host_gateway_ip)
        )
    mode = record.host_config.network_mode or ""
    if mode.startswith("container:"):
        other = rooms.containers.find(mode.partition(":")[2])
        return _read(str(rooms.settings.container_dir(other.id) / "hosts"))
    gateway = next((endpoint.gateway for endpoint in endpoints if endpoint.gateway), "")
    return files.hosts(
        hostname=record.config.hostname or "",
        domainname=record.config.domainname or "",
        addresses=[address for endpoint in endpoints for address in (endpoint.ip, endpoint.ip6) if address],
        extra=_extra(record, rooms.settings.host_gateway_ip or gateway),
    )


def _extra(record: ContainerRecord, gateway: str) -> list[tuple[str, str]]:
    """--add-host pairs as (name, address)."""
    found = []
    for text in record.host_config.extra_hosts or []:
        name, _, address = text.partition(":")
        if not name or not address:
            raise InvalidParameter(f"bad format for add-host: {text!r}", hint="--add-host name:address")
        if address == HOST_GATEWAY:
            if not gateway:
                raise InvalidParameter(
                    "unable to derive the IP value for host-gateway: the container has no bridge network"
                )
            address = gateway
        found.append((name, address.strip("[]")))
    return found


def _resolv_conf(rooms: Rooms, record: ContainerRecord, endpoints: Sequence[Endpoint]) -> str:
    settings, host = rooms.settings, record.host_config
    asked = list(host.dns or settings.dns)
    search = list(host.dns_search or settings.dns_search)
    options = list(host.dns_options or settings.dns_options)
    if host.network_mode == "host" and not (asked or search or options):
        return _read(HOST_RESOLV_CONF)
    offered = [server for endpoint in endpoints for server in endpoint.dns]
    return files.resolv_conf(_read(HOST_RESOLV_CONF), dns=asked or offered, search=search, options=options)


def _read(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return ""


def _put(path: Path, text: str) -> None:
    """Write in place when it is there: a running container has the very file bind-mounted."""
    path.write_text(text, encoding="utf-8")
    path.chmod(0o644)
