"""User and time namespaces of an OCI config, as the lines the kernel wants. Pure. user_namespaces(7), time_namespaces(7)."""

from collections.abc import Mapping, Sequence
from typing import Any

from havre.errors import InvalidParameter

MAX_LINES = 340  # UID_GID_MAP_MAX_EXTENTS, kernel/user_namespace.c
MAX_ID = 0xFFFFFFFE
NAMES = ("uidMappings", "gidMappings")


def map_lines(name: str, mappings: Sequence[Mapping[str, Any]]) -> str:
    """Return linux.uidMappings or linux.gidMappings for /proc/PID/uid_map. Raises InvalidParameter."""
    if not mappings:
        raise InvalidParameter(f"a user namespace needs linux.{name}")
    if len(mappings) > MAX_LINES:
        raise InvalidParameter(f"linux.{name} has more than {MAX_LINES} entries")
    lines = []
    for entry in mappings:
        inside, outside, size = (int(entry.get(key) or 0) for key in ("containerID", "hostID", "size"))
        if size < 1 or min(inside, outside) < 0 or max(inside, outside) + size - 1 > MAX_ID:
            raise InvalidParameter(f"{inside}:{outside}:{size} is out of range", context=f"linux.{name}")
        lines.append(f"{inside} {outside} {size}\n")
    return "".join(lines)


def namespace_lines(linux: Mapping[str, Any], userns: str) -> tuple[str, str]:
    """Return the lines of a container's own uid_map and gid_map; "" twice when it has no user namespace, or joins one."""
    given = [linux.get(name) or [] for name in NAMES]
    if not userns and any(given):
        raise InvalidParameter(
            "id mappings without a user namespace", hint='linux.namespaces: {"type": "user"}'
        )
    if not any(given) and userns != "new":
        return "", ""
    uids, gids = (map_lines(name, lines) for name, lines in zip(NAMES, given, strict=True))
    return uids, gids


def mount_lines(
    mount: Mapping[str, Any], option: str, in_userns: bool, bind: bool
) -> tuple[bool, str, str] | None:
    """Return (with all below, uid lines, gid lines) of an idmapped mount, None for any other; no lines: the container's own maps."""
    given = [mount.get(name) or [] for name in NAMES]
    if not option and not any(given):
        return None
    where = f"mount {mount.get('destination')}"
    if not bind:
        raise InvalidParameter("only bind mounts can be idmapped", context=where)
    if any(given):
        uids, gids = (map_lines(name, lines) for name, lines in zip(NAMES, given, strict=True))
        return option == "ridmap", uids, gids
    if not in_userns:
        raise InvalidParameter(
            "an idmapped mount needs uidMappings and gidMappings, or a user namespace", context=where
        )
    return option == "ridmap", "", ""


def time_lines(offsets: Mapping[str, Mapping[str, Any]]) -> str:
    """Return linux.timeOffsets for /proc/self/timens_offsets. Raises InvalidParameter for an unknown clock."""
    lines = []
    for clock, offset in offsets.items():
        if clock not in ("monotonic", "boottime"):
            raise InvalidParameter(f"unknown clock {clock!r}", context="linux.timeOffsets")
        lines.append(f"{clock} {int(offset.get('secs') or 0)} {int(offset.get('nanosecs') or 0)}\n")
    return "".join(lines)
