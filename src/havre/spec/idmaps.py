"""Which ids of the host a container's user namespace maps: plain values, stored with the container. Pure. user_namespaces(7)."""

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

Span = tuple[int, int]  # first id, how many
NOBODY = 65534  # /proc/sys/fs/overflowuid


class IdMap(msgspec.Struct, frozen=True, array_like=True):
    """Ids inside from `inside` on are the host's from `outside` on."""

    inside: int
    outside: int
    size: int


class IdMaps(msgspec.Struct, frozen=True):
    """One user namespace."""

    uids: tuple[IdMap, ...]
    gids: tuple[IdMap, ...]

    @property
    def root(self) -> tuple[int, int]:
        """Who root inside is on the host: (uid, gid)."""
        return to_host(self.uids, 0), to_host(self.gids, 0)

    def inside(self, uid: int, gid: int) -> tuple[int, int]:
        """The numbers inside of an owner on the host."""
        return to_inside(self.uids, uid), to_inside(self.gids, gid)

    def capability(self, value: bytes) -> bytes:
        """A security.capability as root inside sees its own: version 3, with a root id, becomes 2 (linux/capability.h)."""
        return value[:3] + b"\x02" + value[4:20] if len(value) == 24 and value[3] == 3 else value

    def owner(self, uid: int, gid: int) -> tuple[int, int]:
        """The host's numbers of an owner inside; root's for one that has none."""
        return tuple(  # type: ignore[return-value]
            to_host(maps, inside if is_mapped(maps, inside) else 0)
            for maps, inside in ((self.uids, uid), (self.gids, gid))
        )


def to_inside(maps: Sequence[IdMap], outside_id: int) -> int:
    """Return the number inside of one of the host's, nobody's when it has none."""
    for each in maps:
        if each.outside <= outside_id < each.outside + each.size:
            return each.inside + outside_id - each.outside
    return NOBODY


def one(start: int, size: int) -> IdMaps:
    """Return the maps of one range: ids 0 to size-1 inside are `start` and following outside."""
    return IdMaps((IdMap(0, start, size),), (IdMap(0, start, size),))


def chained(uids: Iterable[Span], gids: Iterable[Span]) -> IdMaps:
    """Return the maps of several ranges, one behind the other inside, as Docker makes them of /etc/subuid and /etc/subgid."""
    return IdMaps(_chain(uids), _chain(gids))


def _chain(spans: Iterable[Span]) -> tuple[IdMap, ...]:
    found, inside = [], 0
    for start, size in spans:
        found.append(IdMap(inside, start, size))
        inside += size
    return tuple(found)


def is_mapped(maps: Sequence[IdMap], inside: int) -> bool:
    """Whether an id inside has a number outside."""
    return any(each.inside <= inside < each.inside + each.size for each in maps)


def to_host(maps: Sequence[IdMap], inside: int) -> int:
    """Return the host's number of an id inside. Raises KeyError when it has none."""
    for each in maps:
        if each.inside <= inside < each.inside + each.size:
            return each.outside + inside - each.inside
    raise KeyError(inside)


def outside(maps: IdMaps) -> list[Span]:
    """Return every range of the host that these maps use, as uid or as gid."""
    return [(each.outside, each.size) for each in (*maps.uids, *maps.gids)]


def back(maps: IdMaps) -> tuple[str, str]:
    """Return uid_map and gid_map lines that lead from the host's numbers to those inside: for reading what a container wrote."""
    uids, gids = (
        "".join(f"{each.outside} {each.inside} {each.size}\n" for each in part)
        for part in (maps.uids, maps.gids)
    )
    return uids, gids


def oci(maps: Sequence[IdMap]) -> list[dict[str, Any]]:
    """Return linux.uidMappings or linux.gidMappings."""
    return [{"containerID": each.inside, "hostID": each.outside, "size": each.size} for each in maps]
