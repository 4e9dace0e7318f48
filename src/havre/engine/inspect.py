"""GET /containers/{id}/json."""

from typing import Any

import msgspec

from havre import clock
from havre.engine import security
from havre.engine.container import Container, ContainerRecord, MountPoint
from havre.engine.endpoints import find, live
from havre.engine.plan import log_file
from havre.engine.ports import port_map
from havre.engine.rooms import Rooms
from havre.engine.status import state_dict
from havre.errors import NotFound
from havre.spec.endpoint import Endpoint
from havre.spec.engine import ContainerConfig, EndpointSettings, HostConfig
from havre.spec.idmaps import IdMaps
from havre.volume.volumes import DRIVER as VOLUME_DRIVER

DRIVER = "overlay2"  # the name clients know for overlayfs snapshots


def inspect(rooms: Rooms, ref: str, *, size: bool = False) -> dict[str, Any]:
    """Return every field stock clients read. `size` walks the container's layer: blocking."""
    container = rooms.containers.find(ref)
    record = container.record
    endpoints = live(rooms, container)
    folder = rooms.settings.container_dir(record.id)
    found: dict[str, Any] = {
        "Id": record.id,
        "Created": clock.rfc3339(record.created_nanos),
        "Path": record.path,
        "Args": record.args,
        "State": state_dict(record.state),
        "Image": record.image_id,
        "ResolvConfPath": str(folder / "resolv.conf"),
        "HostnamePath": str(folder / "hostname"),
        "HostsPath": str(folder / "hosts"),
        "LogPath": _log_path(record, rooms),
        "Name": f"/{record.name}",
        "RestartCount": record.state.restart_count,
        "Driver": DRIVER,
        "Platform": record.platform,
        "MountLabel": "",
        "ProcessLabel": "",
        "AppArmorProfile": "",
        "ExecIDs": _exec_ids(rooms, container),
        "HostConfig": host_config(record, rooms),
        "GraphDriver": _graph_driver(rooms, record.id),
        "Mounts": [mount_dict(point) for point in record.mounts if point.type != "tmpfs"],
        "Config": container_config(record.config),
        "NetworkSettings": _network_settings(rooms, record, endpoints),
    }
    if size:
        found["SizeRw"] = rooms.images.snapshots.usage(record.id)
        found["SizeRootFs"] = found["SizeRw"] + image_size(rooms, record)
    return found


def _exec_ids(rooms: Rooms, container: Container) -> list[str] | None:
    """Those that run or are still to be started."""
    execs = [rooms.execs.find(exec_id) for exec_id in container.execs]
    return [one.id for one in execs if one.running or not one.started] or None


def image_size(rooms: Rooms, record: ContainerRecord) -> int:
    """Bytes of the image's layers; 0 when the image has been removed by force since."""
    try:
        return rooms.images.resolve(record.image_id).size_bytes
    except NotFound:
        return 0


def container_config(config: ContainerConfig) -> dict[str, Any]:
    """Return Config with the fields Docker always sends."""
    always: dict[str, Any] = {
        "Hostname": "",
        "Domainname": "",
        "User": "",
        "AttachStdin": False,
        "AttachStdout": False,
        "AttachStderr": False,
        "Tty": False,
        "OpenStdin": False,
        "StdinOnce": False,
        "Env": None,
        "Cmd": None,
        "Image": "",
        "Volumes": None,
        "WorkingDir": "",
        "Entrypoint": None,
        "OnBuild": None,
        "Labels": {},
    }
    return {**always, **_given(config)}


def _log_path(record: ContainerRecord, rooms: Rooms) -> str:
    """Other programs read it, so only a file in Docker's json format is named."""
    plan = log_file(record, rooms.settings)
    return plan["path"] if plan["format"] == "json" else ""


def host_config(record: ContainerRecord, rooms: Rooms) -> dict[str, Any]:
    """Return HostConfig with Docker's defaults for what was not given."""
    host = record.host_config
    given = _given(host)
    log = given.pop("LogConfig", None) or {}
    defaults = {name: _ZERO.get(kind) for name, kind in _HOST_FIELDS}
    memory, swap = host.memory or 0, host.memory_swap or 0
    return {
        **defaults,
        **given,
        "MemorySwap": memory * 2 if memory > 0 and not swap else swap,  # Docker's default: as much again
        "MemorySwappiness": None if host.memory_swappiness == -1 else host.memory_swappiness,
        "PidsLimit": host.pids_limit if (host.pids_limit or 0) > 0 else None,
        **_hidden_paths(host),
        "LogConfig": {
            "Type": log.get("Type") or rooms.settings.log_driver,
            "Config": log.get("Config") or {},
        },
        "RestartPolicy": {"Name": "no", "MaximumRetryCount": 0, **given.get("RestartPolicy", {})},
        "NetworkMode": host.network_mode or "bridge",
        "IpcMode": host.ipc_mode or rooms.settings.ipc_mode,
        "CgroupnsMode": host.cgroupns_mode or ("private" if rooms.host.cgroup_version == 2 else "host"),
        "Runtime": host.runtime or rooms.settings.default_runtime,
        "ShmSize": host.shm_size or rooms.settings.shm_size_bytes,
        "ConsoleSize": host.console_size or [0, 0],
        "PortBindings": given.get("PortBindings") or {},
        **(_id_mappings(record.id_maps) if record.id_maps else {}),
    }


def _id_mappings(maps: IdMaps) -> dict[str, Any]:
    """What a user namespace maps, in Podman's words; Docker has no field for it and its clients pass over this one."""
    uids, gids = (
        [f"{each.inside}:{each.outside}:{each.size}" for each in part] for part in (maps.uids, maps.gids)
    )
    return {"IDMappings": {"UidMap": uids, "GidMap": gids}}


def _hidden_paths(host: HostConfig) -> dict[str, Any]:
    """What is masked and read-only in /proc and /sys: the defaults are shown, a privileged container has none."""
    if host.privileged:
        return {"MaskedPaths": None, "ReadonlyPaths": None}
    masked, read_only = host.masked_paths, host.readonly_paths
    return {
        "MaskedPaths": list(security.MASKED) if masked is None else masked,
        "ReadonlyPaths": list(security.READ_ONLY) if read_only is None else read_only,
    }


def _given(body: msgspec.Struct) -> dict[str, Any]:
    """What was sent, in Docker's keys, without nulls."""
    found = msgspec.to_builtins(body)
    return {key: value for key, value in found.items() if value is not None}


_ZERO: dict[str, Any] = {"str": "", "int": 0, "bool": False}
_KEPT_NULL = frozenset(
    {"PidsLimit", "OomKillDisable", "MemorySwappiness", "Init"}
)  # null means "not set" in Docker too
_LEFT_OUT = frozenset({"KernelMemory", "Init", "StorageOpt", "Sysctls", "Tmpfs", "Mounts", "Annotations"})


def _host_fields() -> list[tuple[str, str]]:
    """(key, scalar type) of every HostConfig field Docker always sends; lists and maps are null."""
    found = []
    for field in msgspec.structs.fields(HostConfig):
        if field.encode_name not in _LEFT_OUT:
            scalar = next(
                (kind for kind in ("str", "int", "bool") if kind in str(field.type).split("[")[0]), ""
            )
            found.append((field.encode_name, "" if field.encode_name in _KEPT_NULL else scalar))
    return found


_HOST_FIELDS = _host_fields()


def mount_dict(point: MountPoint) -> dict[str, Any]:
    """Return one entry of Mounts."""
    named = {"Name": point.name, "Driver": VOLUME_DRIVER} if point.type == "volume" else {}
    return {
        "Type": point.type,
        **named,
        "Source": point.source,
        "Destination": point.destination,
        "Mode": point.mode,
        "RW": point.rw,
        "Propagation": point.propagation,
    }


def _graph_driver(rooms: Rooms, container_id: str) -> dict[str, Any]:
    """Data is null for a container whose removal has begun, as its layer is the first to go."""
    try:
        overlay = rooms.images.snapshots.get(container_id)
    except NotFound:
        return {"Name": DRIVER, "Data": None}
    data = {"LowerDir": ":".join(overlay["lower"]), "UpperDir": overlay["upper"], "WorkDir": overlay["work"]}
    return {"Name": DRIVER, "Data": {"ID": container_id, **data, "MergedDir": ""}}


def _network_settings(
    rooms: Rooms, record: ContainerRecord, endpoints: dict[str, Endpoint]
) -> dict[str, Any]:
    bridge = endpoints.get("bridge")
    ports = tuple(port for endpoint in endpoints.values() for port in endpoint.ports)
    running = record.state.pid > 0
    return {
        "Bridge": "",
        "SandboxID": record.id if running else "",
        "SandboxKey": f"/proc/{record.state.pid}/ns/net" if running else "",
        "Ports": port_map(ports, record.config) if running else {},
        "HairpinMode": False,
        "LinkLocalIPv6Address": "",
        "LinkLocalIPv6PrefixLen": 0,
        "SecondaryIPAddresses": None,
        "SecondaryIPv6Addresses": None,
        **_addresses(bridge),
        "Networks": network_dicts(rooms, record, endpoints),
    }


def _addresses(endpoint: Endpoint | None) -> dict[str, Any]:
    """The address fields: at the top for API < 1.52 (the default bridge only), and in each network."""
    return {
        "EndpointID": endpoint.endpoint_id if endpoint else "",
        "Gateway": endpoint.gateway if endpoint else "",
        "GlobalIPv6Address": endpoint.ip6 if endpoint else "",
        "GlobalIPv6PrefixLen": endpoint.prefix6 if endpoint else 0,
        "IPAddress": endpoint.ip if endpoint else "",
        "IPPrefixLen": endpoint.prefix if endpoint else 0,
        "IPv6Gateway": endpoint.gateway6 if endpoint else "",
        "MacAddress": endpoint.mac if endpoint else "",
    }


def network_dicts(rooms: Rooms, record: ContainerRecord, endpoints: dict[str, Endpoint]) -> dict[str, Any]:
    """Return Networks, by name; `none` and `host` are shown too, as Docker does."""
    wanted = record.endpoints or {record.host_config.network_mode or "": EndpointSettings()}
    found = {}
    for name, asked in wanted.items():
        if name.startswith("container:"):
            continue
        endpoint = endpoints.get(name)
        ipam = msgspec.to_builtins(asked.ipam_config) if asked.ipam_config else None
        found[name] = {
            "IPAMConfig": ipam,
            "Links": asked.links,
            "Aliases": asked.aliases,
            "DriverOpts": asked.driver_opts,
            "GwPriority": asked.gw_priority or 0,
            "NetworkID": endpoint.network_id if endpoint else _network_id(rooms, record, name),
            **_addresses(endpoint),
            "DNSNames": None,
        }
    return found


def _network_id(rooms: Rooms, record: ContainerRecord, name: str) -> str:
    """Once it has run, a container that is down still names its networks."""
    if not record.state.started_nanos:
        return ""
    network = find(rooms, name)
    return network.id if network else ""
