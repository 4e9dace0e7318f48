"""Everything the engine may use, handed to each verb: no globals, no registry, no factory."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from havre.engine.claims import Claims
from havre.engine.containers import Containers
from havre.engine.events import Events
from havre.engine.execs import Execs
from havre.engine.ranges import Ranges
from havre.engine.settings import Settings
from havre.image.images import Images
from havre.network.networks import Networks
from havre.registry.client import Client
from havre.runtime.cgroup.support import Support
from havre.runtime.link import Runtime
from havre.store import Records
from havre.volume.volumes import Volumes


@dataclass(frozen=True, slots=True)
class Host:
    """What this host can do, asked once at start."""

    cgroup_version: int  # 2 only when every controller is v2
    kernel: str
    operating_system: str
    architecture: str
    cpus: int
    memory_bytes: int
    hostname: str
    seccomp: bool
    warnings: tuple[str, ...]
    apparmor: bool = False
    support: Support = field(default_factory=Support)


@dataclass(slots=True)
class LogUse:
    """What the last look at the logs' sizes found (see logbudget.py)."""

    over: bool = False  # larger than log-budget


@dataclass(frozen=True, slots=True)
class Rooms:
    """One daemon's parts. Only the settings are ever replaced, as a whole: by a reload."""

    settings: Settings
    host: Host
    records: Records
    images: Images
    networks: Networks
    volumes: Volumes
    claims: Claims
    runtime: Runtime
    registry: Client
    containers: Containers
    execs: Execs
    events: Events
    ranges: Ranges
    default_seccomp: Mapping[str, object] | None  # a profile from --seccomp-profile; None: the built-in one
    log_use: LogUse = field(default_factory=LogUse)

    def replace_settings(self, settings: Settings) -> None:
        """What is asked for from now on; nothing that runs is changed."""
        object.__setattr__(self, "settings", settings)
