"""From a container and the answers of the host to a RunPlan. Pure: no I/O, no clock; it can be printed and compared."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from havre import clock
from havre.engine import cdi, devices, limits, merge, security, userns
from havre.engine.container import ContainerRecord, MountPoint
from havre.engine.joining import network_donor, shm_of
from havre.engine.settings import Settings
from havre.logs import plan as log_plans
from havre.logs.subject import Subject
from havre.runtime import caps
from havre.spec import idmaps
from havre.spec.endpoint import Endpoint
from havre.spec.engine import HostConfig
from havre.spec.runplan import LogPlan, Overlay, RunPlan

OCI_VERSION = "1.2.0"
_NOSUID_NOEXEC_NODEV = ["nosuid", "noexec", "nodev"]


@dataclass(frozen=True, slots=True)
class Asked:
    """What the host and the other rooms answered before the plan is made."""

    overlay: Overlay
    endpoints: tuple[Endpoint, ...]
    devices: devices.Devices
    cgroup_version: int
    default_seccomp: Mapping[str, object] | None
    joined: Mapping[str, str]  # namespace type -> path, for `container:X` modes
    tty_size: tuple[int, int]
    apparmor: bool = False
    edits: cdi.Edits = field(default_factory=cdi.Edits)


def make(record: ContainerRecord, settings: Settings, asked: Asked) -> RunPlan:
    """Return everything the runtime needs to start this container."""
    config, host = record.config, record.host_config
    runtime = settings.runtimes.get(host.runtime or settings.default_runtime)
    return RunPlan(
        id=record.id,
        config=_oci_config(record, settings, asked),
        overlay=asked.overlay,
        veths=[endpoint.veth for endpoint in asked.endpoints],
        user=config.user or "",
        group_add=[*(host.group_add or []), *map(str, asked.edits.groups)],
        init=settings.init if host.init is None else host.init,
        join_netns=asked.joined.get("network", ""),
        open_stdin=bool(config.open_stdin),
        stdin_once=bool(config.stdin_once),
        tty_size=asked.tty_size,
        log=log_plan(record, settings),
        run_dir=str(settings.run_dir(record.id)),
        runtime=runtime.path if runtime else "",
        runtime_args=list(runtime.args) if runtime else [],
    )


def log_plan(record: ContainerRecord, settings: Settings) -> LogPlan:
    """Return where a container's output is logged. Raises InvalidParameter for options that no driver could follow."""
    return log_plans.make(*_log_words(record, settings))


def log_file(record: ContainerRecord, settings: Settings) -> LogPlan:
    """The part of it that the daemon reads; what a driver would need to send is not looked at."""
    return log_plans.file_plan(*_log_words(record, settings))


def _log_words(record: ContainerRecord, settings: Settings) -> tuple[str, dict[str, str], Subject, Path]:
    subject = Subject(
        id=record.id,
        name=record.name,
        entrypoint=record.path,
        args=tuple(record.args),
        image_id=record.image_id,
        image_name=record.image,
        created=clock.rfc3339(record.created_nanos),
        env=tuple(record.config.env or ()),
        labels=record.config.labels or {},
    )
    return *log_config(record.host_config, settings), subject, settings.container_dir(record.id)


def log_config(host: HostConfig, settings: Settings) -> tuple[str, dict[str, str]]:
    """The driver and its options: the daemon's where the container says nothing. The daemon's options go with its driver only;
    those that keep a copy of what is sent (cache-*) go with every one."""
    given = host.log_config
    driver = (given.type if given else None) or settings.log_driver
    defaults = {
        name: value
        for name, value in settings.log_opts.items()
        if driver == settings.log_driver or name.startswith("cache-")
    }
    return driver, {**(defaults if driver != "none" else {}), **((given.config if given else None) or {})}


def _oci_config(record: ContainerRecord, settings: Settings, asked: Asked) -> dict[str, Any]:
    config, host = record.config, record.host_config
    words = security.read(host, no_new_privileges=settings.no_new_privileges)
    names = caps.resolve(host.cap_add or [], host.cap_drop or [], bool(host.privileged))
    oci: dict[str, Any] = {
        "ociVersion": OCI_VERSION,
        "process": _process(record, settings, asked, words, names),
        "root": {"path": "rootfs", "readonly": bool(host.readonly_rootfs)},
        "mounts": _mounts(record, settings, words, asked),
        "annotations": dict(host.annotations or {}),
        "linux": _linux(record, settings, asked, words, names),
    }
    if host.uts_mode != "host":
        oci["hostname"] = config.hostname or ""
        if config.domainname:
            oci["domainname"] = config.domainname
    cdi.apply(asked.edits, oci)
    return oci


def _process(
    record: ContainerRecord, settings: Settings, asked: Asked, words: security.Security, names: list[str]
) -> dict[str, Any]:
    config, host = record.config, record.host_config
    process: dict[str, Any] = {
        "terminal": bool(config.tty),
        "user": security.oci_user(host),
        "args": [record.path, *record.args],
        "env": merge.full_env(config, bool(config.tty)),
        "cwd": config.working_dir or "/",
        "capabilities": caps.oci_capabilities(names),
        "noNewPrivileges": words.no_new_privileges,
        "rlimits": rlimits(record, settings),
        "oomScoreAdj": host.oom_score_adj or 0,
    }
    if words.apparmor and asked.apparmor:
        process["apparmorProfile"] = words.apparmor
    if config.tty and host.console_size and any(host.console_size):
        process["consoleSize"] = {"height": host.console_size[0], "width": host.console_size[1]}
    return process


def rlimits(record: ContainerRecord, settings: Settings) -> list[dict[str, Any]]:
    wanted = dict(settings.default_ulimits)
    for limit in record.host_config.ulimits or []:
        wanted[limit.name or ""] = (limit.soft or 0, limit.hard or 0)
    return [
        {"type": f"RLIMIT_{name.upper()}", "soft": soft, "hard": hard}
        for name, (soft, hard) in wanted.items()
    ]


def _linux(
    record: ContainerRecord, settings: Settings, asked: Asked, words: security.Security, names: list[str]
) -> dict[str, Any]:
    host = record.host_config
    hide = words.system_paths and not host.privileged
    resources = limits.oci_resources(host, asked.devices.numbers or {})
    resources["devices"] = devices.oci_rules(host, asked.devices)
    linux: dict[str, Any] = {
        "namespaces": _namespaces(record, settings, asked),
        "cgroupsPath": f"{host.cgroup_parent or settings.cgroup_parent}/{record.id}",
        "resources": resources,
        "devices": devices.oci_nodes(asked.devices),
        "maskedPaths": _paths(host.masked_paths, security.MASKED) if hide else [],
        "readonlyPaths": _paths(host.readonly_paths, security.READ_ONLY) if hide else [],
        "sysctl": _sysctl(record),
        "rootfsPropagation": _root_propagation(record.mounts),
    }
    if record.id_maps is not None:
        linux["uidMappings"], linux["gidMappings"] = (
            idmaps.oci(maps) for maps in (record.id_maps.uids, record.id_maps.gids)
        )
    if (profile := security.oci_seccomp(words, host, names, asked.default_seccomp)) is not None:
        linux["seccomp"] = profile
    return linux


def _paths(given: list[str] | None, default: Sequence[str]) -> list[str]:
    return list(default if given is None else given)


def _root_propagation(mounts: Sequence[MountPoint]) -> str:
    """The root must be at least as open as its most open bind, or events cannot reach that bind."""
    kinds = {point.propagation.removeprefix("r") for point in mounts}
    return "rshared" if "shared" in kinds else "rslave" if "slave" in kinds else "rprivate"


def _sysctl(record: ContainerRecord) -> dict[str, str]:
    """Docker lets every user bind low ports and ping, unless the container shares another's network."""
    mode = record.host_config.network_mode or ""
    own = mode != "host" and not mode.startswith("container:")
    last = 2147483647 if record.id_maps is None else userns.last_group(record.id_maps)
    base = (
        {"net.ipv4.ip_unprivileged_port_start": "0", "net.ipv4.ping_group_range": f"0 {last}"} if own else {}
    )
    return {**base, **(record.host_config.sysctls or {})}


def _namespaces(record: ContainerRecord, settings: Settings, asked: Asked) -> list[dict[str, str]]:
    host = record.host_config
    private_cgroup = (
        host.cgroupns_mode or settings.cgroupns_mode or _cgroupns(host.privileged, asked)
    ) == "private"
    own = {
        "mount": True,
        "pid": host.pid_mode != "host",
        "network": host.network_mode != "host",
        "ipc": (host.ipc_mode or settings.ipc_mode) != "host",
        "uts": host.uts_mode != "host",
        "cgroup": private_cgroup,
        "user": record.id_maps is not None,
    }
    found = [{"type": kind} for kind, wanted in own.items() if wanted and kind not in asked.joined]
    return found + [{"type": kind, "path": path} for kind, path in asked.joined.items()]


def _cgroupns(privileged: bool | None, asked: Asked) -> str:
    """Docker: private on cgroup v2, host on v1 and for privileged containers there."""
    return "private" if asked.cgroup_version == 2 else "host"


def _mounts(
    record: ContainerRecord, settings: Settings, words: security.Security, asked: Asked
) -> list[dict[str, Any]]:
    host = record.host_config
    open_ = "rw" if host.privileged else "ro"
    cgroup = "rw" if host.privileged or words.writable_cgroups else "ro"
    ipc = host.ipc_mode or settings.ipc_mode
    tty_group = ["gid=5"] if userns.has_group(record.id_maps, 5) else []
    mounts = [
        _mount("/proc", "proc", "proc", _NOSUID_NOEXEC_NODEV),
        _mount("/dev", "tmpfs", "tmpfs", ["nosuid", "strictatime", "mode=755", "size=65536k"]),
        _mount(
            "/dev/pts",
            "devpts",
            "devpts",
            ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", *tty_group],
        ),
        _mount("/sys", "sysfs", "sysfs", [*_NOSUID_NOEXEC_NODEV, open_]),
        _mount("/sys/fs/cgroup", "cgroup", "cgroup", [cgroup, *_NOSUID_NOEXEC_NODEV]),
        *_ipc_mounts(ipc, host.shm_size or settings.shm_size_bytes, shm_of(asked.joined)),
        *_file_mounts(record, settings),
    ]
    wanted = [_asked_mount(point, userns.is_idmapped(point, record)) for point in record.mounts]
    taken = {mount["destination"] for mount in wanted}
    return [mount for mount in mounts if mount["destination"] not in taken] + wanted


def _ipc_mounts(ipc: str, shm_bytes: int, donors_shm: str) -> list[dict[str, Any]]:
    mqueue = _mount("/dev/mqueue", "mqueue", "mqueue", _NOSUID_NOEXEC_NODEV)
    if ipc == "host":  # an mqueue shows the queues of the namespace it is mounted in, so it needs no source
        return [mqueue, _mount("/dev/shm", "bind", "/dev/shm", ["rbind", "rprivate"])]
    if ipc == "none":
        return [mqueue]
    if donors_shm:
        return [mqueue, _mount("/dev/shm", "bind", donors_shm, ["rbind", "rprivate"])]
    return [
        mqueue,
        _mount("/dev/shm", "tmpfs", "shm", [*_NOSUID_NOEXEC_NODEV, "mode=1777", f"size={shm_bytes}"]),
    ]


def _file_mounts(record: ContainerRecord, settings: Settings) -> list[dict[str, Any]]:
    """The three files Docker writes for each container; they stay writable inside, as there."""
    if record.host_config.network_mode == "none" and record.config.network_disabled:
        return []
    folder = settings.container_dir(network_donor(record.host_config) or record.id)
    mapped = ["idmap"] if record.id_maps else []
    options = ["bind", "rprivate", *mapped, *(["ro"] if record.host_config.readonly_rootfs else [])]
    return [
        _mount(f"/etc/{name}", "bind", str(folder / name), options)
        for name in ("resolv.conf", "hostname", "hosts")
    ]


def _asked_mount(point: MountPoint, mapped: bool) -> dict[str, Any]:
    if point.type == "tmpfs":
        words = [f"{key}={value}" if value else key for key, value in point.options.items()]
        return _mount(point.destination, "tmpfs", "tmpfs", _tmpfs_options(words, point.rw))
    kind = "rbind" if point.recursive and point.type != "volume" else "bind"
    mapping = [("ridmap" if point.recursive else "idmap")] if mapped else []
    access = [] if point.rw else ["ro" if point.options.get("rro") == "0" or not point.recursive else "rro"]
    return _mount(
        point.destination, "bind", point.source, [kind, point.propagation or "rprivate", *access, *mapping]
    )


def _tmpfs_options(words: list[str], rw: bool) -> list[str]:
    """Docker's base options, each undone by its opposite when asked for."""
    base = [word for word in (*_NOSUID_NOEXEC_NODEV,) if word.removeprefix("no") not in words]
    access = [] if rw or "ro" in words else ["ro"]
    return base + [word for word in words if word not in base] + access


def _mount(destination: str, kind: str, source: str, options: Sequence[str]) -> dict[str, Any]:
    return {"destination": destination, "type": kind, "source": source, "options": list(options)}
