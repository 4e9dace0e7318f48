"""Check the limits of create and update in Docker's words (moby daemon/daemon_unix.go). Pure.

What the kernel lacks is taken out of the limits and said in a warning; what makes no sense is refused.
"""

from collections.abc import Iterable
from typing import Any

from havre.errors import InvalidParameter
from havre.runtime.cgroup.support import Support
from havre.spec.engine import Resources

MIN_MEMORY_BYTES = 6 << 20  # Docker's floor
_LACKS = "Your kernel does not support {} or the cgroup is not mounted. {} discarded."
_NO_MEMORY = _LACKS.format("memory limit capabilities", "Limitation")
_NO_SWAP = "Your kernel does not support swap limit capabilities or the cgroup is not mounted. Memory limited without swap."
_NO_CFS = (
    "Your kernel does not support CPU CFS scheduler or the cgroup is not mounted. CPU period/quota discarded."
)
_THROTTLES = {
    "blkio_device_read_bps": _LACKS.format("BPS Block I/O read limit", "Block I/O BPS read limit"),
    "blkio_device_write_bps": _LACKS.format("BPS Block I/O write limit", "Block I/O BPS write limit"),
    "blkio_device_read_iops": _LACKS.format("IOPS Block read limit", "Block I/O IOPS read limit"),
    "blkio_device_write_iops": _LACKS.format("IOPS Block write limit", "Block I/O IOPS write limit"),
}
_NO_OOM_LIMIT = (
    "OOM killer is disabled for the container, but no memory limit is set, "
    "this can result in the system running out of resources."
)
MAX_CPUS = 8192  # the kernel's own bound, and Docker's: a set is never spelled out beyond it


def check_resources(
    limits: Resources, cpus: int, support: Support | None = None, *, update: bool = False
) -> list[str]:
    """Return Docker's warnings; what they say is discarded is set to None in `limits`. Raises InvalidParameter."""
    known = support or Support()
    warnings = [
        *_memory(limits, known, update=update),
        *_oom(limits, known),
        *_cpu(limits, known, cpus),
        *_cpuset(limits, known, cpus),
        *_block_io(limits, known),
    ]
    if limits.pids_limit and not known.pids:
        warnings += _discard(limits, "pids_limit", _LACKS.format("PIDs limit capabilities", "PIDs limit"))
    return warnings + _windows(limits)


def _discard(limits: Resources, field: str, warning: str) -> list[str]:
    setattr(limits, field, None)
    return [warning]


def _memory(limits: Resources, known: Support, *, update: bool) -> Iterable[str]:
    memory, swap = limits.memory or 0, limits.memory_swap or 0
    if memory < 0 or (limits.memory_reservation or 0) < 0:
        raise InvalidParameter("a memory limit cannot be negative")
    if 0 < memory < MIN_MEMORY_BYTES:
        raise InvalidParameter("Minimum memory limit allowed is 6MB")
    if swap < -1:
        raise InvalidParameter(f"Invalid value: {swap}, the memory and swap limit is a size or -1")
    if memory and not known.memory:
        limits.memory_swap = swap = 0
        memory = 0
        yield from _discard(limits, "memory", _NO_MEMORY)
    if memory and swap != -1 and not known.swap:
        limits.memory_swap = swap = -1
        yield _NO_SWAP
    if memory and 0 < swap < memory:
        raise InvalidParameter("Minimum memoryswap limit should be larger than memory limit, see usage")
    if not memory and swap > 0 and not update:
        raise InvalidParameter(
            "You should always set the Memory limit when using Memoryswap limit, see usage"
        )
    yield from _soft_memory(limits, known)


def _soft_memory(limits: Resources, known: Support) -> Iterable[str]:
    reservation = limits.memory_reservation or 0
    if limits.memory_swappiness == -1:
        limits.memory_swappiness = None  # an old client's way to say nothing
    if limits.memory_swappiness is not None and not known.swappiness:
        text = _LACKS.format("memory swappiness capabilities", "Memory swappiness")
        yield from _discard(limits, "memory_swappiness", text)
    if (swappiness := limits.memory_swappiness) is not None and not 0 <= swappiness <= 100:
        raise InvalidParameter(f"Invalid value: {swappiness}, valid memory swappiness range is 0-100")
    if reservation and not known.reservation:
        text = _LACKS.format("memory soft limit capabilities", "Limitation")
        yield from _discard(limits, "memory_reservation", text)
        reservation = 0
    if 0 < reservation < MIN_MEMORY_BYTES:
        raise InvalidParameter("Minimum memory reservation allowed is 6MB")
    if limits.memory and reservation > limits.memory:
        raise InvalidParameter(
            "Minimum memory limit can not be less than memory reservation limit, see usage"
        )
    if limits.kernel_memory:
        text = _LACKS.format("kernel memory limit capabilities", "Limitation")
        yield from _discard(limits, "kernel_memory", text)


def _oom(limits: Resources, known: Support) -> Iterable[str]:
    if limits.oom_kill_disable is not None and not known.oom_kill_disable:
        if limits.oom_kill_disable:
            yield "Your kernel does not support OomKillDisable. OomKillDisable discarded."
        limits.oom_kill_disable = None
    if limits.oom_kill_disable and not limits.memory:
        yield _NO_OOM_LIMIT


def _cpu(limits: Resources, known: Support, cpus: int) -> Iterable[str]:
    nano = limits.nano_cpus or 0
    for field, word in (("cpu_period", "CPU Period"), ("cpu_quota", "CPU Quota")):
        if nano > 0 and (getattr(limits, field) or 0) > 0:
            raise InvalidParameter(f"Conflicting options: Nano CPUs and {word} cannot both be set")
    if nano and not known.cpu_cfs:
        raise InvalidParameter(
            "NanoCPUs can not be set, as your kernel does not support CPU CFS scheduler or the cgroup is not mounted"
        )
    if nano < 0 or nano > cpus * 1_000_000_000:
        raise InvalidParameter(
            f"range of CPUs is from 0.01 to {cpus}.00, as there are only {cpus} CPUs available"
        )
    if (limits.cpu_shares or 0) < 0:
        raise InvalidParameter(f"invalid CPU shares ({limits.cpu_shares}): value must be a positive integer")
    if limits.cpu_shares and not known.cpu_shares:
        yield from _discard(limits, "cpu_shares", _LACKS.format("CPU shares", "Shares"))
    if (limits.cpu_period or limits.cpu_quota) and not known.cpu_cfs:
        limits.cpu_period = None
        yield from _discard(limits, "cpu_quota", _NO_CFS)
    _check_cfs(limits)
    _check_realtime(limits, known)


def _check_cfs(limits: Resources) -> None:
    if (period := limits.cpu_period or 0) and not 1000 <= period <= 1_000_000:
        raise InvalidParameter(
            "CPU cfs period can not be less than 1ms (i.e. 1000) or larger than 1s (i.e. 1000000)"
        )
    if 0 < (limits.cpu_quota or 0) < 1000:
        raise InvalidParameter("CPU cfs quota can not be less than 1ms (i.e. 1000)")


def _check_realtime(limits: Resources, known: Support) -> None:
    period, runtime = limits.cpu_realtime_period or 0, limits.cpu_realtime_runtime or 0
    if (period or runtime) and not known.cpu_realtime:
        raise InvalidParameter("kernel does not support CPU real-time scheduler")
    if period and runtime > period:
        raise InvalidParameter("cpu real-time runtime cannot be higher than cpu real-time period")


def _cpuset(limits: Resources, known: Support, cpus: int) -> Iterable[str]:
    if not (limits.cpuset_cpus or limits.cpuset_mems):
        return
    if not known.cpuset:
        limits.cpuset_mems = None
        yield from _discard(limits, "cpuset_cpus", _LACKS.format("cpuset", "Cpuset"))
        return
    if limits.cpuset_cpus:
        online = known.cpus or f"0-{cpus - 1}"
        if not parse_set(limits.cpuset_cpus, "cpus") <= parse_set(online, "cpus"):
            text = f"Requested CPUs are not available - requested {limits.cpuset_cpus}, available: {online}"
            raise InvalidParameter(text)
    if limits.cpuset_mems and not parse_set(limits.cpuset_mems, "mems") <= parse_set(
        known.mems or "0", "mems"
    ):
        raise InvalidParameter(
            "Requested memory nodes are not available - "
            f"requested {limits.cpuset_mems}, available: {known.mems or '0'}"
        )


def parse_set(text: str, kind: str) -> set[int]:
    """Return the numbers of "0-2,7". Raises InvalidParameter in Docker's words."""
    found: set[int] = set()
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        ends = [first, last] if dash else [first, first]
        if not all(end.isascii() and end.isdigit() and int(end) < MAX_CPUS for end in ends):
            raise InvalidParameter(f"Invalid value {text} for cpuset {kind}")
        low, high = (int(end) for end in ends)
        if low > high:
            raise InvalidParameter(f"Invalid value {text} for cpuset {kind}")
        found.update(range(low, high + 1))
    return found


def _block_io(limits: Resources, known: Support) -> Iterable[str]:
    if limits.blkio_weight and not known.blkio_weight:
        yield from _discard(limits, "blkio_weight", _LACKS.format("Block I/O weight", "Weight"))
    weights = [limits.blkio_weight or 0, *(each.weight or 0 for each in limits.blkio_weight_device or [])]
    if any(weight and not 10 <= weight <= 1000 for weight in weights):
        raise InvalidParameter("Range of blkio weight is from 10 to 1000")
    if limits.blkio_weight_device and not known.blkio_weight:
        text = _LACKS.format("Block I/O weight_device", "Weight-device")
        yield from _discard(limits, "blkio_weight_device", text)
    for field, text in _THROTTLES.items():
        asked: list[Any] = getattr(limits, field) or []
        if any((each.rate or 0) < 0 for each in asked):
            raise InvalidParameter("the rate of a device limit cannot be negative")
        if asked and not known.blkio_throttle:
            yield from _discard(limits, field, text)


def _windows(limits: Resources) -> list[str]:
    if limits.io_maximum_bandwidth or limits.io_maximum_iops:
        raise InvalidParameter(
            "invalid QoS settings: linux does not support Maximum IO Bandwidth or Maximum IO IOps"
        )
    if limits.cpu_count:
        raise InvalidParameter("CPU count is for Windows hosts", hint="--cpus")
    if limits.cpu_percent:
        return _discard(limits, "cpu_percent", "linux does not support CPU percent. Percent discarded.")
    return []
