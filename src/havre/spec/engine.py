"""Engine API request bodies (moby api/swagger.yaml, v1.24 to v1.51), decoded once at the door with msgspec.

Every field is `T | None = None`: Go clients send nulls, and docker-py sends almost nothing. JSON keys keep Docker's case
only through `rename`; inside Havre everything is snake_case. Unknown keys are ignored, as Go does.
`omit_defaults` keeps records small: a field that was not sent is not stored.
"""

from typing import Any

import msgspec

_SPECIAL = {
    "idmap": "IDMap",
    "io_maximum_iops": "IOMaximumIOps",
    "io_maximum_bandwidth": "IOMaximumBandwidth",
    "uts_mode": "UTSMode",
    "container_id_file": "ContainerIDFile",
    "device_ids": "DeviceIDs",
    "ip_address": "IPAddress",
    "ip_prefix_len": "IPPrefixLen",
    "ipv4_address": "IPv4Address",
    "ipv6_address": "IPv6Address",
    "link_local_ips": "LinkLocalIPs",
    "ipam_config": "IPAMConfig",
    "network_id": "NetworkID",
    "endpoint_id": "EndpointID",
    "size_bytes": "SizeBytes",
    "blkio_device_read_iops": "BlkioDeviceReadIOps",
    "blkio_device_write_iops": "BlkioDeviceWriteIOps",
}


def docker_name(field: str) -> str:
    """Return Docker's JSON key of a field: cpu_quota -> CpuQuota."""
    return _SPECIAL.get(field) or "".join(part.capitalize() for part in field.split("_"))


class Body(msgspec.Struct, rename=docker_name, omit_defaults=True, kw_only=True):
    """Base of all bodies."""


class HealthConfig(Body):
    """HEALTHCHECK; durations in nanoseconds."""

    test: list[str] | None = None
    interval: int | None = None
    timeout: int | None = None
    retries: int | None = None
    start_period: int | None = None
    start_interval: int | None = None


class ContainerConfig(Body):
    """What is the same on every host: the image's config merged with the caller's."""

    hostname: str | None = None
    domainname: str | None = None
    user: str | None = None
    attach_stdin: bool | None = None
    attach_stdout: bool | None = None
    attach_stderr: bool | None = None
    exposed_ports: dict[str, Any] | None = None
    tty: bool | None = None
    open_stdin: bool | None = None
    stdin_once: bool | None = None
    env: list[str] | None = None
    cmd: list[str] | str | None = None
    healthcheck: HealthConfig | None = None
    args_escaped: bool | None = None
    image: str | None = None
    volumes: dict[str, Any] | None = None
    working_dir: str | None = None
    entrypoint: list[str] | str | None = None
    network_disabled: bool | None = None
    mac_address: str | None = None  # only up to API 1.43
    on_build: list[str] | None = None
    labels: dict[str, str] | None = None
    stop_signal: str | None = None
    stop_timeout: int | None = None
    shell: list[str] | None = None


class LogConfig(Body):
    type: str | None = None
    config: dict[str, str] | None = None


class RestartPolicy(Body):
    name: str | None = None
    maximum_retry_count: int | None = None


class PortBinding(Body):
    host_ip: str | None = None
    host_port: str | None = None


class DeviceMapping(Body):
    path_on_host: str | None = None
    path_in_container: str | None = None
    cgroup_permissions: str | None = None


class DeviceRequest(Body):
    driver: str | None = None
    count: int | None = None
    device_ids: list[str] | None = None
    capabilities: list[list[str]] | None = None
    options: dict[str, str] | None = None


class Ulimit(Body):
    name: str | None = None
    soft: int | None = None
    hard: int | None = None


class ThrottleDevice(Body):
    path: str | None = None
    rate: int | None = None


class WeightDevice(Body):
    path: str | None = None
    weight: int | None = None


class BindOptions(Body):
    propagation: str | None = None
    non_recursive: bool | None = None
    create_mountpoint: bool | None = None
    read_only_non_recursive: bool | None = None
    read_only_force_recursive: bool | None = None
    idmap: bool | None = None  # of Havre only: through the container's id maps, or not


class TmpfsOptions(Body):
    size_bytes: int | None = None
    mode: int | None = None
    options: list[list[str]] | None = None


class DriverConfig(Body):
    name: str | None = None
    options: dict[str, str] | None = None


class VolumeOptions(Body):
    no_copy: bool | None = None
    labels: dict[str, str] | None = None
    driver_config: DriverConfig | None = None
    subpath: str | None = None


class Mount(Body):
    """One --mount."""

    target: str | None = None
    source: str | None = None
    type: str | None = None
    read_only: bool | None = None
    consistency: str | None = None
    bind_options: BindOptions | None = None
    volume_options: VolumeOptions | None = None
    image_options: dict[str, Any] | None = None
    tmpfs_options: TmpfsOptions | None = None


class Resources(Body):
    """Limits; `update` sends exactly these plus the restart policy."""

    cpu_shares: int | None = None
    memory: int | None = None
    cgroup_parent: str | None = None
    blkio_weight: int | None = None
    blkio_weight_device: list[WeightDevice] | None = None
    blkio_device_read_bps: list[ThrottleDevice] | None = None
    blkio_device_write_bps: list[ThrottleDevice] | None = None
    blkio_device_read_iops: list[ThrottleDevice] | None = None
    blkio_device_write_iops: list[ThrottleDevice] | None = None
    cpu_period: int | None = None
    cpu_quota: int | None = None
    cpu_realtime_period: int | None = None
    cpu_realtime_runtime: int | None = None
    cpuset_cpus: str | None = None
    cpuset_mems: str | None = None
    devices: list[DeviceMapping] | None = None
    device_cgroup_rules: list[str] | None = None
    device_requests: list[DeviceRequest] | None = None
    kernel_memory: int | None = None  # gone from the kernel since 5.4; accepted up to API 1.41
    memory_reservation: int | None = None
    memory_swap: int | None = None
    memory_swappiness: int | None = None
    nano_cpus: int | None = None
    oom_kill_disable: bool | None = None
    init: bool | None = None
    pids_limit: int | None = None
    ulimits: list[Ulimit] | None = None
    cpu_count: int | None = None  # Windows only, as the next three
    cpu_percent: int | None = None
    io_maximum_iops: int | None = None
    io_maximum_bandwidth: int | None = None


class HostConfig(Resources):
    """What depends on this host."""

    binds: list[str] | None = None
    container_id_file: str | None = None
    log_config: LogConfig | None = None
    network_mode: str | None = None
    port_bindings: dict[str, list[PortBinding] | None] | None = None
    restart_policy: RestartPolicy | None = None
    auto_remove: bool | None = None
    volume_driver: str | None = None
    volumes_from: list[str] | None = None
    mounts: list[Mount] | None = None
    console_size: list[int] | None = None
    annotations: dict[str, str] | None = None
    cap_add: list[str] | None = None
    cap_drop: list[str] | None = None
    cgroupns_mode: str | None = None
    dns: list[str] | None = None
    dns_options: list[str] | None = None
    dns_search: list[str] | None = None
    extra_hosts: list[str] | None = None
    group_add: list[str] | None = None
    ipc_mode: str | None = None
    cgroup: str | None = None
    links: list[str] | None = None
    oom_score_adj: int | None = None
    pid_mode: str | None = None
    privileged: bool | None = None
    publish_all_ports: bool | None = None
    readonly_rootfs: bool | None = None
    security_opt: list[str] | None = None
    storage_opt: dict[str, str] | None = None
    tmpfs: dict[str, str] | None = None
    uts_mode: str | None = None
    userns_mode: str | None = None
    shm_size: int | None = None
    sysctls: dict[str, str] | None = None
    runtime: str | None = None
    isolation: str | None = None
    masked_paths: list[str] | None = None
    readonly_paths: list[str] | None = None


class EndpointIpam(Body):
    ipv4_address: str | None = None
    ipv6_address: str | None = None
    link_local_ips: list[str] | None = None


class EndpointSettings(Body):
    ipam_config: EndpointIpam | None = None
    links: list[str] | None = None
    mac_address: str | None = None
    aliases: list[str] | None = None
    driver_opts: dict[str, str] | None = None
    gw_priority: int | None = None
    network_id: str | None = None
    endpoint_id: str | None = None


class NetworkingConfig(Body):
    endpoints_config: dict[str, EndpointSettings | None] | None = None


class ContainerCreate(ContainerConfig):
    """POST /containers/create: the config with two objects beside its keys."""

    host_config: HostConfig | None = None
    networking_config: NetworkingConfig | None = None


class ContainerUpdate(Resources):
    """POST /containers/{id}/update."""

    restart_policy: RestartPolicy | None = None


class ExecCreate(Body):
    """POST /containers/{id}/exec."""

    attach_stdin: bool | None = None
    attach_stdout: bool | None = None
    attach_stderr: bool | None = None
    detach_keys: str | None = None
    tty: bool | None = None
    console_size: list[int] | None = None
    env: list[str] | None = None
    cmd: list[str] | None = None
    privileged: bool | None = None
    user: str | None = None
    working_dir: str | None = None


class ExecStart(Body):
    """POST /exec/{id}/start."""

    detach: bool | None = None
    tty: bool | None = None
    console_size: list[int] | None = None


class NetworkCreate(Body):
    """POST /networks/create."""

    name: str | None = None
    driver: str | None = None
    scope: str | None = None
    internal: bool | None = None
    attachable: bool | None = None
    ingress: bool | None = None
    enable_ipv4: bool | None = msgspec.field(default=None, name="EnableIPv4")
    enable_ipv6: bool | None = msgspec.field(default=None, name="EnableIPv6")
    ipam: dict[str, Any] | None = msgspec.field(default=None, name="IPAM")
    options: dict[str, str] | None = None
    labels: dict[str, str] | None = None


class NetworkConnect(Body):
    """POST /networks/{id}/connect and /disconnect."""

    container: str | None = None
    force: bool | None = None
    endpoint_config: EndpointSettings | None = None


class VolumeCreate(Body):
    """POST /volumes/create."""

    name: str | None = None
    driver: str | None = None
    driver_opts: dict[str, str] | None = None
    labels: dict[str, str] | None = None


class AuthConfig(msgspec.Struct, rename="lower", kw_only=True):
    """X-Registry-Auth and POST /auth: lower-case keys, unlike every other body."""

    username: str | None = None
    password: str | None = None
    auth: str | None = None
    email: str | None = None
    serveraddress: str | None = None
    identitytoken: str | None = None
    registrytoken: str | None = None
