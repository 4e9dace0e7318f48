"""Devices: ask the host what lies behind a path, then decide rules and nodes. `ask` blocks; the rest is pure."""

import os
import stat
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from havre.errors import InvalidParameter
from havre.spec.engine import DeviceMapping, HostConfig, Resources

# What every container may use: runc's default rules (libcontainer/specconv) less the raw mknod of blocks Docker also allows.
_ALLOWED = (
    ("c", None, None, "m"),
    ("b", None, None, "m"),
    ("c", 1, 3, "rwm"),  # null
    ("c", 1, 5, "rwm"),  # zero
    ("c", 1, 7, "rwm"),  # full
    ("c", 1, 8, "rwm"),  # random
    ("c", 1, 9, "rwm"),  # urandom
    ("c", 5, 0, "rwm"),  # tty
    ("c", 5, 1, "rwm"),  # console
    ("c", 5, 2, "rwm"),  # ptmx
    ("c", 136, None, "rwm"),  # pts
)


@dataclass(frozen=True, slots=True)
class Device:
    """A device node of the host and how the container sees it."""

    source: str
    path: str
    kind: str  # "c" or "b"
    major: int
    minor: int
    mode: int
    uid: int
    gid: int
    access: str


@dataclass(frozen=True, slots=True)
class Devices:
    """All answers of the host for one container."""

    nodes: tuple[Device, ...] = ()
    numbers: Mapping[str, tuple[int, int]] | None = None  # of the block devices named in blkio limits

    def with_nodes(self, more: Sequence[Device]) -> "Devices":
        """Return these with other nodes in front of those of the same path."""
        paths = {one.path for one in more}
        return Devices((*(one for one in self.nodes if one.path not in paths), *more), self.numbers)


def ask(host: HostConfig) -> Devices:
    """Stat every device a HostConfig names. Raises InvalidParameter for what is missing or no device."""
    nodes: list[Device] = []
    for mapping in host.devices or []:
        nodes += _mapped(mapping)
    if host.privileged:
        nodes += [
            node
            for node in _directory("/dev", "/dev", "rwm")
            if node.path not in {known.path for known in nodes}
        ]
    return Devices(tuple(nodes), block_numbers(host))


def _mapped(mapping: DeviceMapping) -> list[Device]:
    source = mapping.path_on_host or ""
    target = mapping.path_in_container or source
    access = mapping.cgroup_permissions or "rwm"
    if not access or not set(access) <= set("rwm"):
        raise InvalidParameter(f"invalid device mode: {access}", context=f"device {source}")
    if not source.startswith("/") or not target.startswith("/"):
        raise InvalidParameter(f"{source!r} is not an absolute path", context="--device")
    if os.path.isdir(source):
        return _directory(source, target, access)
    node = stat_node(source, target, access)
    if node is None:
        raise InvalidParameter(
            f'error gathering device information while adding custom device "{source}": not a device node'
        )
    return [node]


def _directory(source: str, target: str, access: str) -> list[Device]:
    """All device nodes below a directory, without ptys, shm and consoles, which each container has of its own."""
    found: list[Device] = []
    for base, folders, names in os.walk(source):
        folders[:] = [name for name in folders if name not in ("pts", "shm", "fd", "mqueue")]
        inside = os.path.normpath(target + "/" + os.path.relpath(base, source))
        for name in sorted(names):
            if name not in ("console", "ptmx") and (
                node := stat_node(f"{base}/{name}", f"{inside}/{name}", access)
            ):
                found.append(node)
    return found


def stat_node(source: str, target: str, access: str) -> Device | None:
    """Return the device node at `source`, None for anything else. Raises InvalidParameter when nothing is there."""
    try:
        status = os.stat(source)
    except OSError as error:
        if error.errno in (2, 20):
            text = f'error gathering device information while adding custom device "{source}": no such file or directory'
            raise InvalidParameter(text) from None
        raise
    if not (stat.S_ISCHR(status.st_mode) or stat.S_ISBLK(status.st_mode)):
        return None
    kind = "c" if stat.S_ISCHR(status.st_mode) else "b"
    major, minor = os.major(status.st_rdev), os.minor(status.st_rdev)
    mode = stat.S_IMODE(status.st_mode)
    return Device(source, target, kind, major, minor, mode, status.st_uid, status.st_gid, access)


def block_numbers(limits_of: Resources) -> dict[str, tuple[int, int]]:
    """Return (major, minor) of every device that a block I/O limit names. Raises InvalidParameter; blocking."""
    limits = ("read_bps", "write_bps", "read_iops", "write_iops")
    fields = ["blkio_weight_device", *(f"blkio_device_{limit}" for limit in limits)]
    paths = {device.path or "" for field in fields for device in getattr(limits_of, field) or []}
    numbers: dict[str, tuple[int, int]] = {}
    for path in paths:
        node = stat_node(path, path, "rwm")
        if node is None:
            raise InvalidParameter(f"{path} is not a block device", context="blkio limit")
        numbers[path] = (node.major, node.minor)
    return numbers


def oci_nodes(devices: Devices) -> list[dict[str, Any]]:
    """Return OCI `linux.devices`."""
    return [
        {
            "path": node.path,
            "type": node.kind,
            "major": node.major,
            "minor": node.minor,
            "fileMode": node.mode,
            "uid": node.uid,
            "gid": node.gid,
        }
        for node in devices.nodes
    ]


def oci_rules(host: HostConfig, devices: Devices) -> list[dict[str, Any]]:
    """Return OCI `linux.resources.devices`: deny all, then what is allowed."""
    if host.privileged:
        return [{"allow": True, "access": "rwm"}]
    rules: list[dict[str, Any]] = [{"allow": False, "access": "rwm"}]
    rules += [_rule(*entry) for entry in _ALLOWED]
    rules += [_rule(node.kind, node.major, node.minor, node.access) for node in devices.nodes]
    rules += [parse_rule(text) for text in host.device_cgroup_rules or []]
    return rules


def _rule(kind: str, major: int | None, minor: int | None, access: str) -> dict[str, Any]:
    rule: dict[str, Any] = {"allow": True, "type": kind, "access": access}
    if major is not None:
        rule["major"] = major
    if minor is not None:
        rule["minor"] = minor
    return rule


def parse_rule(text: str) -> dict[str, Any]:
    """Return the rule of `--device-cgroup-rule "c 42:* rmw"`."""
    try:
        kind, numbers, access = text.split()
        major, minor = (None if part == "*" else int(part) for part in numbers.split(":"))
    except ValueError:
        kind, access, major, minor = "", "", None, None
    if kind not in ("a", "b", "c") or not access or not set(access) <= set("rwm"):
        raise InvalidParameter(f"invalid device cgroup rule format: '{text}'")
    return _rule(kind, major, minor, access)
