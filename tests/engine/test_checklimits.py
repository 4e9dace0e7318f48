"""Limits of create and update: what the kernel lacks is discarded and said, what makes no sense refused in Docker's words."""

import msgspec
import pytest

from havre.engine.checklimits import check_resources, parse_set
from havre.errors import InvalidParameter
from havre.runtime.cgroup.support import Support
from havre.spec.engine import Resources, ThrottleDevice, WeightDevice

NOTHING = Support(**{field: False for field in Support.__dataclass_fields__ if field not in ("cpus", "mems")})
SLOW = [ThrottleDevice(path="/dev/x", rate=1)]
DISCARDED = {
    "memory": (64 << 20, "memory limit capabilities"),
    "memory_reservation": (64 << 20, "memory soft limit capabilities"),
    "memory_swappiness": (50, "memory swappiness capabilities"),
    "kernel_memory": (64 << 20, "kernel memory limit capabilities"),
    "oom_kill_disable": (True, "OomKillDisable"),
    "cpu_shares": (512, "CPU shares"),
    "cpu_period": (50_000, "CPU CFS scheduler"),
    "cpu_quota": (50_000, "CPU CFS scheduler"),
    "cpuset_cpus": ("0", "cpuset"),
    "cpuset_mems": ("0", "cpuset"),
    "pids_limit": (10, "PIDs limit capabilities"),
    "blkio_weight": (300, "Block I/O weight"),
    "blkio_weight_device": ([WeightDevice(path="/dev/x", weight=300)], "Block I/O weight_device"),
    "blkio_device_read_bps": (SLOW, "BPS Block I/O read limit"),
    "blkio_device_write_bps": (SLOW, "BPS Block I/O write limit"),
    "blkio_device_read_iops": (SLOW, "IOPS Block read limit"),
    "blkio_device_write_iops": (SLOW, "IOPS Block write limit"),
}


@pytest.mark.parametrize("field", sorted(DISCARDED))
def test_what_the_kernel_lacks_is_discarded_with_one_warning(field: str) -> None:
    value, words = DISCARDED[field]
    limits = Resources(**{field: value})
    warnings = check_resources(limits, 2, NOTHING)
    assert len(warnings) == 1 and words in warnings[0] and "iscarded" in warnings[0]
    assert getattr(limits, field) is None


@pytest.mark.parametrize("field", sorted(set(DISCARDED) - {"kernel_memory"}))
def test_what_the_kernel_has_is_kept(field: str) -> None:
    limits = Resources(memory=64 << 20, **({field: DISCARDED[field][0]} if field != "memory" else {}))
    before = msgspec.to_builtins(limits)
    assert check_resources(limits, 2, Support(cpus="0-1", mems="0")) == []
    assert msgspec.to_builtins(limits) == before


@pytest.mark.parametrize(
    ("limits", "words"),
    [
        (Resources(memory_reservation=1024), "Minimum memory reservation allowed is 6MB"),
        (Resources(memory_swap=-2), "a size or -1"),
        (Resources(cpu_shares=-1), "value must be a positive integer"),
        (Resources(cpu_realtime_period=1000, cpu_realtime_runtime=2000), "cannot be higher than"),
        (Resources(cpuset_mems="1"), "Requested memory nodes are not available - requested 1, available: 0"),
        (Resources(cpuset_cpus="2-1"), "Invalid value 2-1 for cpuset cpus"),
        (Resources(cpuset_cpus="0-99999999999"), "Invalid value"),
        (Resources(blkio_weight_device=[WeightDevice(path="/dev/x", weight=5)]), "from 10 to 1000"),
        (Resources(blkio_device_read_bps=[ThrottleDevice(path="/dev/x", rate=-1)]), "cannot be negative"),
        (Resources(cpu_count=1), "for Windows hosts"),
        (Resources(io_maximum_iops=1), "does not support Maximum IO"),
        (Resources(io_maximum_bandwidth=1), "does not support Maximum IO"),
    ],
)
def test_nonsense_is_refused(limits: Resources, words: str) -> None:
    with pytest.raises(InvalidParameter, match=words):
        check_resources(limits, 2, Support(cpus="0-1", mems="0"))


def test_realtime_without_the_kernels_groups_is_an_error_as_in_docker() -> None:
    with pytest.raises(InvalidParameter, match="kernel does not support CPU real-time scheduler"):
        check_resources(Resources(cpu_realtime_runtime=1000), 2, NOTHING)


def test_an_update_may_change_swap_alone() -> None:
    assert check_resources(Resources(memory_swap=1 << 30), 2, update=True) == []


def test_percent_of_windows_is_discarded() -> None:
    limits = Resources(cpu_percent=50)
    assert check_resources(limits, 2) == ["linux does not support CPU percent. Percent discarded."]
    assert limits.cpu_percent is None


def test_parse_set_reads_ranges() -> None:
    assert parse_set("0-2,7", "cpus") == {0, 1, 2, 7}
