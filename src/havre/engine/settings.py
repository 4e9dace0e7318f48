"""What the daemon was told, decided once at start: the values the engine needs of daemon.json and the flags."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from havre.spec.idmaps import IdMaps, Span

STOP_TIMEOUT_S = 10  # docker stop --time default
SHM_SIZE_BYTES = 64 << 20  # Docker's --shm-size default
EVENTS_KEPT = 256  # what `events --since` can look back on, as in Docker
CDI_SPEC_DIRS = ("/etc/cdi", "/var/run/cdi")  # CDI SPEC.md; later ones win
BUILTIN_RUNTIME = "havre"
NETWORK_DEFAULT = "bridge"  # what "default" and no --network mean


@dataclass(frozen=True, slots=True)
class RuntimeChoice:
    """Another OCI runtime, `--add-runtime name=path`."""

    path: str
    args: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Settings:
    """One daemon's settings. Paths are absolute and real."""

    data_root: Path
    exec_root: Path
    instance: str  # 8 hex digits of the data root: part of every name on the host
    cgroup_parent: str  # "/havre-<instance>" unless --cgroup-parent
    runtimes: Mapping[str, RuntimeChoice] = field(default_factory=dict)
    default_runtime: str = BUILTIN_RUNTIME
    log_driver: str = "json-file"
    log_opts: Mapping[str, str] = field(default_factory=dict)
    log_budget_bytes: int = 0  # all logs together, beyond it there is a warning; 0: none
    default_ulimits: Mapping[str, tuple[int, int]] = field(default_factory=dict)  # name -> (soft, hard)
    shm_size_bytes: int = SHM_SIZE_BYTES
    init: bool = False
    ipc_mode: str = "private"
    cgroupns_mode: str = ""  # "" decides by the host: private on v2, host on v1, as Docker does
    no_new_privileges: bool = False
    seccomp_profile: str = ""  # path of a JSON profile, "unconfined", or "" for the built-in one
    dns: tuple[str, ...] = ()
    dns_options: tuple[str, ...] = ()
    dns_search: tuple[str, ...] = ()
    host_gateway_ip: str = ""  # what --add-host NAME:host-gateway leads to; "": the network's gateway
    labels: tuple[str, ...] = ()
    insecure_registries: tuple[str, ...] = ()
    registry_mirrors: tuple[str, ...] = ()
    cdi_spec_dirs: tuple[str, ...] = CDI_SPEC_DIRS
    shutdown_timeout_s: int = 15
    debug: bool = False
    userns_remap: str = ""  # "user:group" whose subordinate ids every container has, unless it says otherwise
    remap: IdMaps | None = None  # the same as maps
    userns_pool: tuple[Span, ...] = ()  # host ids for containers with a range of their own
    userns_first: int = 0  # where this daemon begins to look in it

    def container_dir(self, container_id: str) -> Path:
        """Where a container's hosts, resolv.conf, hostname and log live."""
        return self.data_root / "containers" / container_id

    def run_dir(self, container_id: str) -> Path:
        """Where a running container's monitor socket and exit record live."""
        return self.exec_root / "containers" / container_id
