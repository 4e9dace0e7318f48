"""What an update makes of a container's limits. Pure. Facts: moby daemon/container/container_unix.go, UpdateContainer.

Docker updates some fields and drops the others without a word; here every limit that the kernel can change while processes run is
changed, and what cannot be is refused.
"""

from typing import Any

import msgspec

from havre.errors import Conflict, InvalidParameter
from havre.spec.engine import ContainerUpdate, HostConfig, Resources

_PLAIN = (
    *("blkio_weight", "cpu_shares", "nano_cpus", "cpu_period", "cpu_quota", "cpuset_cpus", "cpuset_mems"),
    *("memory", "memory_swap", "memory_reservation", "cpu_realtime_period", "cpu_realtime_runtime"),
)
_NULLABLE = ("pids_limit", "memory_swappiness", "oom_kill_disable")  # 0 and false say something here
_BY_DEVICE = (
    "blkio_weight_device",
    *(f"blkio_device_{way}_{unit}" for way in ("read", "write") for unit in ("bps", "iops")),
)
_FIXED = ("cgroup_parent", "devices", "device_cgroup_rules", "device_requests", "init", "ulimits")
_TOGETHER = (  # the kernel's files know them only together
    ("memory", "memory_swap"),
    ("cpu_period", "cpu_quota", "nano_cpus"),
)


def merge(host: HostConfig, asked: ContainerUpdate) -> HostConfig:
    """Return the container's new HostConfig. Raises Conflict in Docker's words, InvalidParameter for what is fixed at create."""
    _check_conflicts(host, asked)
    _check_fixed(host, asked)
    found = msgspec.structs.replace(host)
    for field in _PLAIN:
        if value := getattr(asked, field):
            setattr(found, field, value)
    for field in _NULLABLE:
        if (value := getattr(asked, field)) is not None:
            setattr(found, field, value)
    if found.pids_limit is not None and found.pids_limit <= 0:
        found.pids_limit = None if host.pids_limit is None and asked.pids_limit is None else -1
    for field in _BY_DEVICE:
        setattr(found, field, _by_path(getattr(host, field), getattr(asked, field)))
    if asked.restart_policy is not None and asked.restart_policy.name:
        found.restart_policy = asked.restart_policy
    return found


def adapt(host: HostConfig) -> None:
    """Docker's default: as much swap as memory."""
    if host.memory and host.memory > 0 and not host.memory_swap:
        host.memory_swap = host.memory * 2


def changed(after: HostConfig, asked: ContainerUpdate) -> Resources:
    """Return only the limits that have to be written now: those that were asked for, with those that stand in the same file."""
    found = Resources()
    fields = {field for field in _PLAIN if getattr(asked, field)}
    fields |= {field for field in (*_NULLABLE, *_BY_DEVICE) if getattr(asked, field) is not None}
    for group in _TOGETHER:
        if fields & set(group):
            fields |= set(group)
    for field in fields:
        value = getattr(asked, field) if field in _BY_DEVICE else getattr(after, field)
        setattr(found, field, value)
    return found


def _check_conflicts(host: HostConfig, asked: ContainerUpdate) -> None:
    for new, old, words in (
        ("nano_cpus", "cpu_period", "Nano CPUs cannot be updated as CPU Period has already been set"),
        ("nano_cpus", "cpu_quota", "Nano CPUs cannot be updated as CPU Quota has already been set"),
        ("cpu_period", "nano_cpus", "CPU Period cannot be updated as NanoCPUs has already been set"),
        ("cpu_quota", "nano_cpus", "CPU Quota cannot be updated as NanoCPUs has already been set"),
    ):
        if (getattr(asked, new) or 0) > 0 and (getattr(host, old) or 0) > 0:
            raise Conflict(f"Conflicting options: {words}")
    swap = host.memory_swap or 0
    if (asked.memory or 0) > swap != -1 and not asked.memory_swap:
        raise Conflict(
            "Memory limit should be smaller than already set memoryswap limit, update the memoryswap at the same time"
        )
    policy = asked.restart_policy.name if asked.restart_policy else None
    if host.auto_remove and policy not in (None, "", "no"):
        raise Conflict("Restart policy cannot be updated because AutoRemove is enabled for the container")


def _check_fixed(host: HostConfig, asked: ContainerUpdate) -> None:
    for field in _FIXED:
        if (value := getattr(asked, field)) and value != getattr(host, field):
            name = type(asked).__struct_encode_fields__[type(asked).__struct_fields__.index(field)]
            raise InvalidParameter(f"{name} cannot be updated: it is fixed when a container is created")


def _by_path(before: list[Any] | None, asked: list[Any] | None) -> list[Any] | None:
    """A rate of 0 takes a device's limit away."""
    if not asked:
        return before
    found = {one.path: one for one in [*(before or []), *asked]}
    return [one for one in found.values() if getattr(one, "rate", None) or getattr(one, "weight", None)]
