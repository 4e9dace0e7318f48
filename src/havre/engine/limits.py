"""Docker's resource fields as an OCI `linux.resources` object. Pure; device numbers were asked before (devices.py)."""

from collections.abc import Mapping
from typing import Any

from havre.spec.engine import Resources, ThrottleDevice

CPU_PERIOD_US = 100_000  # what --cpus is measured against, as in Docker
Numbers = Mapping[str, tuple[int, int]]  # device path -> major, minor


def oci_resources(limits: Resources, numbers: Numbers) -> dict[str, Any]:
    """Return memory, cpu, pids and blockIO; only what was asked for is in it."""
    parts = {
        "memory": _memory(limits),
        "cpu": _cpu(limits),
        "pids": {"limit": limits.pids_limit} if limits.pids_limit else {},
        "blockIO": _block_io(limits, numbers),
    }
    return {key: value for key, value in parts.items() if value}


def _memory(limits: Resources) -> dict[str, Any]:
    memory, swap = limits.memory or 0, limits.memory_swap or 0
    if memory and not swap:
        swap = memory * 2  # Docker's default: as much swap as memory
    wanted = {
        "limit": memory,
        "reservation": limits.memory_reservation or 0,
        "swap": swap,
        "disableOOMKiller": limits.oom_kill_disable or False,
    }
    found = {key: value for key, value in wanted.items() if value}
    if limits.memory_swappiness is not None and limits.memory_swappiness >= 0:
        found["swappiness"] = limits.memory_swappiness
    return found


def _cpu(limits: Resources) -> dict[str, Any]:
    quota, period = limits.cpu_quota or 0, limits.cpu_period or 0
    if limits.nano_cpus:
        period = CPU_PERIOD_US
        quota = limits.nano_cpus * CPU_PERIOD_US // 1_000_000_000
    wanted = {
        "shares": limits.cpu_shares,
        "quota": quota,
        "period": period,
        "cpus": limits.cpuset_cpus,
        "mems": limits.cpuset_mems,
        "realtimePeriod": limits.cpu_realtime_period,
        "realtimeRuntime": limits.cpu_realtime_runtime,
    }
    return {key: value for key, value in wanted.items() if value}


def _block_io(limits: Resources, numbers: Numbers) -> dict[str, Any]:
    wanted: dict[str, Any] = {
        "weight": limits.blkio_weight,
        "weightDevice": [
            {**_number(device.path, numbers), "weight": device.weight}
            for device in limits.blkio_weight_device or []
        ],
        "throttleReadBpsDevice": _throttle(limits.blkio_device_read_bps, numbers),
        "throttleWriteBpsDevice": _throttle(limits.blkio_device_write_bps, numbers),
        "throttleReadIOPSDevice": _throttle(limits.blkio_device_read_iops, numbers),
        "throttleWriteIOPSDevice": _throttle(limits.blkio_device_write_iops, numbers),
    }
    return {key: value for key, value in wanted.items() if value}


def _throttle(devices: list[ThrottleDevice] | None, numbers: Numbers) -> list[dict[str, Any]]:
    return [{**_number(device.path, numbers), "rate": device.rate or 0} for device in devices or []]


def _number(path: str | None, numbers: Numbers) -> dict[str, int]:
    major, minor = numbers[path or ""]
    return {"major": major, "minor": minor}
