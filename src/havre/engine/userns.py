"""--userns: read the word, decide the id maps, and which mounts are shown through them. Pure.

    ""            the daemon's: none, or the range of --userns-remap
    host          none
    private       the daemon's range; without --userns-remap a range of its own
    auto          a range of its own            auto:size=65536
    keep-id       a range of its own, in which one user of the host keeps a number      keep-id:uid=1000,gid=1000,size=65536
    container:X   that of another container

Docker knows the first two. keep-id needs to know who asks: `havre run` adds host-uid= and host-gid=.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from havre.engine.container import ContainerRecord, MountPoint
from havre.engine.ranges import Free
from havre.errors import Conflict, InvalidParameter
from havre.spec.engine import HostConfig
from havre.spec.idmaps import IdMap, IdMaps, is_mapped, one

DEFAULT_SIZE = 65536
MAX_ID = 0xFFFFFFFE
_OPTIONS: Mapping[str, frozenset[str]] = {
    "auto": frozenset({"size"}),
    "keep-id": frozenset({"size", "uid", "gid", "host-uid", "host-gid"}),
}
_CONFLICTS = {  # Docker's words, daemon/daemon_unix.go
    "privileged": "privileged mode is incompatible with user namespaces.  You must run the container in the host namespace when running privileged mode",
    "network": "cannot share the host's network namespace when user namespaces are enabled",
    "pid": "cannot share the host PID namespace when user namespaces are enabled",
    "ipc": "cannot share the host's IPC namespace when user namespaces are enabled",  # dockerd fails at start: mqueue, EPERM
}


@dataclass(frozen=True, slots=True)
class Mode:
    """A --userns word, read."""

    kind: str  # "", host, private, auto, keep-id, container
    other: str = ""  # whose, for container
    options: Mapping[str, int] | None = None

    def number(self, name: str, default: int) -> int:
        return (self.options or {}).get(name, default)


def parse(text: str) -> Mode:
    """Return the mode. Raises InvalidParameter naming what is wrong."""
    kind, colon, rest = text.partition(":")
    if kind == "container" and rest:
        return Mode(kind, rest)
    if kind not in ("", "host", "private", "auto", "keep-id") or (colon and kind not in _OPTIONS):
        raise InvalidParameter(
            f"invalid user namespace mode: {text}", hint="host, private, auto, keep-id or container:NAME"
        )
    return Mode(kind, options=_options(kind, rest, text))


def _options(kind: str, rest: str, text: str) -> dict[str, int]:
    found = {}
    for word in filter(None, rest.split(",")):
        name, _, value = word.partition("=")
        if name not in _OPTIONS[kind]:
            known = ", ".join(sorted(_OPTIONS[kind]))
            raise InvalidParameter(
                f"unknown option {name!r} in --userns {text}", hint=f"{kind} knows {known}"
            )
        if not (value.isascii() and value.isdigit()) or not (name == "size") <= int(value) <= MAX_ID:
            raise InvalidParameter(
                f"{word!r} in --userns {text} is not a number from {int(name == 'size')} to {MAX_ID}"
            )
        found[name] = int(value)
    return found


def check(host: HostConfig, remapped: bool) -> None:
    """Refuse what a user namespace cannot be combined with, in Docker's words. Raises InvalidParameter."""
    mode = parse(host.userns_mode or "")
    if mode.kind == "host" or (mode.kind == "" and not remapped):
        return
    wrong = {
        "privileged": bool(host.privileged),
        "network": host.network_mode == "host",
        "pid": host.pid_mode == "host",
        "ipc": host.ipc_mode == "host",
    }
    for name, is_wrong in wrong.items():
        if is_wrong:
            raise InvalidParameter(_CONFLICTS[name], hint="--userns host")
    if host.runtime and host.runtime != "havre":
        raise InvalidParameter(
            f"a user namespace needs Havre's own runtime, not {host.runtime}",
            hint="--userns host, or leave --runtime out",
        )


def decide(
    mode: Mode, remap: IdMaps | None, free: Free, other: Callable[[str], IdMaps | None]
) -> IdMaps | None:
    """Return the maps of a new container, None for the host's namespace. Raises Conflict when no range is free."""
    if mode.kind == "host" or (mode.kind == "" and remap is None):
        return None
    if mode.kind == "container":
        return other(mode.other)
    if mode.kind in ("", "private") and remap is not None:
        return remap
    size = mode.number("size", DEFAULT_SIZE)
    if mode.kind == "keep-id":
        return _keep(mode, free.take(size), size)
    return one(free.take(size), size)


def _keep(mode: Mode, start: int, size: int) -> IdMaps:
    """A range with one host user and group put in under the wished numbers."""
    uid, gid = (mode.number(f"host-{name}", -1) for name in ("uid", "gid"))
    if uid < 1 or gid < 1:
        raise InvalidParameter(
            "keep-id keeps the ids of a user who is not root, and it is not known whose",
            hint=f"--userns keep-id:host-uid=1000,host-gid=1000 (havre run adds them for who types it){' or auto' if uid == 0 else ''}",
        )
    return IdMaps(
        *(_put(start, size, mode.number(name, kept), kept) for name, kept in (("uid", uid), ("gid", gid)))
    )


def _put(start: int, size: int, inside: int, kept: int) -> tuple[IdMap, ...]:
    """All of the range but `inside`, which is `kept` on the host."""
    if inside >= size:
        return IdMap(0, start, size), IdMap(inside, kept, 1)
    parts = (
        IdMap(0, start, inside),
        IdMap(inside, kept, 1),
        IdMap(inside + 1, start + inside + 1, size - inside - 1),
    )
    return tuple(part for part in parts if part.size)


def default_user(host: HostConfig) -> str:
    """Who a container runs as when neither the image nor the caller says: with keep-id the user that was kept."""
    mode = parse(host.userns_mode or "")
    if mode.kind != "keep-id":
        return ""
    return (
        f"{mode.number('uid', mode.number('host-uid', 0))}:{mode.number('gid', mode.number('host-gid', 0))}"
    )


def is_idmapped(point: MountPoint, record: ContainerRecord) -> bool:
    """Whether a bind or volume is shown through the container's id maps.

    `idmap` and `noidmap` decide. Otherwise a volume is; a bind is where only this makes it usable, and not where the daemon-wide
    --userns-remap promises (as Docker's does) that root inside cannot write root's files, nor where keep-id keeps its owner.
    """
    if record.id_maps is None:
        return False
    if (asked := point.options.get("idmap")) is not None:
        return asked == "1"
    return point.type == "volume" or parse(record.host_config.userns_mode or "").kind in (
        "private",
        "auto",
        "container",
    )


def source_owner(point: MountPoint, record: ContainerRecord) -> tuple[int, int]:
    """Who a directory belongs to that is made for a -v: root inside."""
    return (0, 0) if record.id_maps is None or is_idmapped(point, record) else record.id_maps.root


def check_joined(record: ContainerRecord, kind: str, other: ContainerRecord) -> None:
    """A namespace can only be shared together with the user namespace that owns it. Raises Conflict."""
    if record.id_maps is not None and record.id_maps != other.id_maps:
        raise Conflict(
            f"cannot join {kind} of container {other.name}: it has another user namespace",
            hint=f"--userns container:{other.name}" if other.id_maps else "--userns host",
        )


def last_group(maps: IdMaps) -> int:
    """The highest gid of the lowest stretch of ids inside: what net.ipv4.ping_group_range can name."""
    end = 0
    for each in sorted(maps.gids, key=lambda one_map: one_map.inside):
        if each.inside == end:
            end += each.size
    return end - 1


def has_group(maps: IdMaps | None, gid: int) -> bool:
    """Whether a gid means something inside."""
    return maps is None or is_mapped(maps.gids, gid)
