"""A container: the record that is stored, and the live part that belongs to this daemon only."""

import asyncio
from dataclasses import dataclass, field
from typing import Any, Literal

import msgspec

from havre.engine import unknown
from havre.engine.feed import Feed
from havre.errors import Conflict
from havre.runtime.link import Attached, Monitor
from havre.spec.engine import ContainerConfig, EndpointSettings, HostConfig
from havre.spec.idmaps import IdMaps

Status = Literal["created", "running", "paused", "restarting", "removing", "exited", "dead"]


class State(msgspec.Struct, omit_defaults=True):
    """What changes while a container lives."""

    status: Status = "created"
    pid: int = 0
    exit_code: int = 0
    error: str = ""
    oom_killed: bool = False
    started_nanos: int = 0
    finished_nanos: int = 0
    stopped_by_user: bool = False  # `unless-stopped` and on-failure look at it
    restart_count: int = 0
    health: "Health | None" = None


class HealthResult(msgspec.Struct, omit_defaults=True):
    """One health probe."""

    start_nanos: int
    end_nanos: int
    exit_code: int  # -1: it could not be run, or took too long
    output: str = ""


class Health(msgspec.Struct, omit_defaults=True):
    """What the probes have found; a container without a health check has none."""

    status: Literal["starting", "healthy", "unhealthy"] = "starting"
    failing_streak: int = 0
    log: list[HealthResult] = []


class MountPoint(msgspec.Struct, omit_defaults=True):
    """One resolved mount, as `docker inspect` shows it."""

    type: str  # bind, tmpfs, volume
    source: str
    destination: str
    mode: str = ""
    rw: bool = True
    propagation: str = ""
    options: dict[str, str] = {}
    recursive: bool = True
    create_source: bool = False
    name: str = ""  # the next five are a volume's; "": anonymous, until it is claimed
    copy: bool = True  # what the image has there goes into an empty one
    driver: str = ""
    driver_opts: dict[str, str] = {}
    labels: dict[str, str] = {}


class ContainerRecord(msgspec.Struct, omit_defaults=True):
    """All of a container that survives the daemon. Kind "container" in the store."""

    id: str
    name: str  # without the leading slash
    created_nanos: int
    image: str  # what the caller wrote
    image_id: str
    manifest_digest: str
    chain_id: str
    platform: str
    config: ContainerConfig
    host_config: HostConfig
    path: str
    args: list[str]
    endpoints: dict[str, EndpointSettings] = {}  # what the caller asked for, by network name
    mounts: list[MountPoint] = []
    state: State = msgspec.field(default_factory=State)
    image_env: list[str] = []
    id_maps: IdMaps | None = None  # its user namespace; the ranges it holds stand nowhere else


@dataclass(slots=True, eq=False)
class Container:
    """A record and what only this daemon knows about it."""

    record: ContainerRecord
    unknown: dict[str, Any] = field(
        default_factory=dict
    )  # fields of the stored record that only a newer Havre knows
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)  # held by every verb that changes state
    monitor: Monitor | None = None
    attaching: list[Attached] = field(default_factory=list)  # clients that came before start
    on_exit: list[asyncio.Future[int]] = field(default_factory=list)
    on_remove: list[asyncio.Future[int]] = field(default_factory=list)
    feed: Feed | None = None  # while somebody looks at its stats
    execs: list[str] = field(default_factory=list)
    ended: asyncio.Event = field(
        default_factory=asyncio.Event
    )  # set while nothing runs; log followers stop on it
    restart_now: asyncio.Event = field(default_factory=asyncio.Event)  # cuts a restart pause short
    restart_pause_s: float = 0.0
    restart_asked: bool = (
        False  # by a health check: the next end is followed by a start, whatever the policy says
    )
    health_task: asyncio.Task[None] | None = None  # probes it while it runs
    probe_id: str = ""  # the exec probe that runs just now
    pauses: int = 0  # how often it was paused: a probe that began before a pause tells nothing after it

    @property
    def id(self) -> str:
        return self.record.id

    @property
    def state(self) -> State:
        return self.record.state

    @property
    def running(self) -> bool:
        """Whether its processes exist (a paused container runs)."""
        return self.record.state.status in ("running", "paused")

    @property
    def up(self) -> bool:
        """What Docker calls running: also between two starts of its restart policy."""
        return self.running or self.record.state.status == "restarting"

    def forget_failures(self) -> None:
        """Somebody starts it by hand, or a daemon at its own start: back-off and count begin anew."""
        self.state.stopped_by_user, self.state.restart_count, self.restart_pause_s = False, 0, 0.0

    def attributes(self) -> dict[str, str]:
        """Actor attributes of its events: image, name and the labels."""
        return {**(self.record.config.labels or {}), "image": self.record.image, "name": self.record.name}


def check_runs(container: Container) -> None:
    """Raise Conflict in Docker's words unless its processes exist."""
    if container.state.status == "restarting":
        raise Conflict(f"container {container.id} is restarting, wait until the container is running")
    if not container.running:
        raise Conflict(f"container {container.id} is not running")


def decode(doc: bytes) -> ContainerRecord:
    """Return the stored record. Raises msgspec.ValidationError when it is not one."""
    return msgspec.json.decode(doc, type=ContainerRecord)


def encode(container: Container) -> bytes:
    """Return what is stored: the record, and what a newer Havre had put there."""
    if not container.unknown:
        return msgspec.json.encode(container.record)
    return msgspec.json.encode(unknown.merge(msgspec.to_builtins(container.record), container.unknown))
