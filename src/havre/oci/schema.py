"""The runtime-spec's config.json as types, checked once at the door (config.md, config-linux.md of runtime-spec 1.2).

Fields that are not listed are not acted upon; listed ones have the right type afterwards, or the error names the place.
"""

from typing import Any

import msgspec


class Base(msgspec.Struct, rename="camel", omit_defaults=True, kw_only=True):
    """Unknown keys pass, as the specification asks (config.md, Extensibility)."""


class Root(Base):
    path: str
    readonly: bool | None = None


class Box(Base):
    height: int
    width: int


class User(Base):
    uid: int = msgspec.field(default=0)
    gid: int = msgspec.field(default=0)
    umask: int | None = None
    additional_gids: list[int] | None = None
    username: str | None = None


class Rlimit(Base):
    type: str
    soft: int = 0
    hard: int = 0


class Capabilities(Base):
    bounding: list[str] | None = None
    effective: list[str] | None = None
    permitted: list[str] | None = None
    inheritable: list[str] | None = None
    ambient: list[str] | None = None


class Scheduler(Base):
    policy: str
    nice: int | None = None
    priority: int | None = None
    flags: list[str] | None = None
    runtime: int | None = None
    deadline: int | None = None
    period: int | None = None


class IOPriority(Base):
    class_: str = msgspec.field(name="class")
    priority: int = 0


class Process(Base):
    cwd: str
    args: list[str] | None = None
    env: list[str] | None = None
    terminal: bool | None = None
    console_size: Box | None = None
    user: User | None = None
    rlimits: list[Rlimit] | None = None
    capabilities: Capabilities | None = None
    no_new_privileges: bool | None = None
    oom_score_adj: int | None = None
    apparmor_profile: str | None = None
    selinux_label: str | None = None
    scheduler: Scheduler | None = None
    io_priority: IOPriority | None = None
    exec_cpu_affinity: dict[str, str] | None = msgspec.field(name="execCPUAffinity", default=None)


class IdMapping(Base):
    container_id: int = msgspec.field(name="containerID")
    host_id: int = msgspec.field(name="hostID")
    size: int


class Mount(Base):
    destination: str
    type: str | None = None
    source: str | None = None
    options: list[str] | None = None
    uid_mappings: list[IdMapping] | None = None
    gid_mappings: list[IdMapping] | None = None


class Hook(Base):
    path: str
    args: list[str] | None = None
    env: list[str] | None = None
    timeout: int | None = None


class Hooks(Base):
    prestart: list[Hook] | None = None
    create_runtime: list[Hook] | None = None
    create_container: list[Hook] | None = None
    start_container: list[Hook] | None = None
    poststart: list[Hook] | None = None
    poststop: list[Hook] | None = None


class Namespace(Base):
    type: str
    path: str | None = None


class Device(Base):
    type: str
    path: str
    major: int | None = None
    minor: int | None = None
    file_mode: int | None = None
    uid: int | None = None
    gid: int | None = None


class DeviceRule(Base):
    allow: bool
    type: str | None = None
    major: int | None = None
    minor: int | None = None
    access: str | None = None


class Resources(Base):
    devices: list[DeviceRule] | None = None
    memory: dict[str, int | bool | None] | None = None
    cpu: dict[str, int | str | None] | None = None
    pids: dict[str, int | None] | None = None
    block_io: dict[str, Any] | None = msgspec.field(name="blockIO", default=None)
    hugepage_limits: list[dict[str, Any]] | None = None
    network: dict[str, Any] | None = None
    rdma: dict[str, Any] | None = None
    unified: dict[str, str] | None = None


class Offset(Base):
    secs: int = 0
    nanosecs: int = 0


class Linux(Base):
    namespaces: list[Namespace] | None = None
    devices: list[Device] | None = None
    uid_mappings: list[IdMapping] | None = None
    gid_mappings: list[IdMapping] | None = None
    sysctl: dict[str, str] | None = None
    cgroups_path: str | None = None
    resources: Resources | None = None
    rootfs_propagation: str | None = None
    seccomp: dict[str, Any] | None = None
    masked_paths: list[str] | None = None
    readonly_paths: list[str] | None = None
    mount_label: str | None = None
    intel_rdt: dict[str, Any] | None = None
    personality: dict[str, Any] | None = None
    time_offsets: dict[str, Offset] | None = None
    net_devices: dict[str, Any] | None = None


class Config(Base):
    oci_version: str
    root: Root
    process: Process | None = None
    hostname: str | None = None
    domainname: str | None = None
    mounts: list[Mount] | None = None
    hooks: Hooks | None = None
    annotations: dict[str, str] | None = None
    linux: Linux | None = None
