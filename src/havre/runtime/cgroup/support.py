"""Which limits this host's kernel knows, asked once by the files of its control groups. What it lacks is discarded with a warning."""

import glob
import os
from dataclasses import dataclass

from havre.runtime.cgroup.layout import Layout

BLOCK_DEVICES = "/sys/block"


@dataclass(frozen=True, slots=True)
class Support:
    """One flag for each thing Docker asks of the kernel (moby pkg/sysinfo)."""

    memory: bool = True
    swap: bool = True
    reservation: bool = True
    swappiness: bool = True
    kernel_memory: bool = False  # gone from Linux 5.4 on, and no part of v2
    oom_kill_disable: bool = True
    cpu_shares: bool = True
    cpu_cfs: bool = True
    cpu_realtime: bool = True
    cpuset: bool = True
    pids: bool = True
    blkio_weight: bool = True
    blkio_throttle: bool = True
    cpus: str = ""  # the list of online CPUs, "0-3"; "" when it is not known
    mems: str = ""


def ask(layout: Layout) -> Support:
    """Look at the hierarchies of this host."""
    return _ask_v2(layout) if layout.unified else _ask_v1(layout)


def _ask_v1(layout: Layout) -> Support:
    def has(controller: str, name: str) -> bool:
        return os.path.exists(f"{layout.v1.get(controller, '/nonexistent')}/{name}")

    in_v2 = layout.v2_controllers
    return Support(
        memory=has("memory", "memory.limit_in_bytes") or "memory" in in_v2,
        swap=has("memory", "memory.memsw.limit_in_bytes") or "memory" in in_v2,
        reservation=has("memory", "memory.soft_limit_in_bytes") or "memory" in in_v2,
        swappiness=has("memory", "memory.swappiness"),
        oom_kill_disable=has("memory", "memory.oom_control"),
        cpu_shares=has("cpu", "cpu.shares") or "cpu" in in_v2,
        cpu_cfs=has("cpu", "cgroup.procs") or "cpu" in in_v2,
        cpu_realtime=has("cpu", "cpu.rt_runtime_us"),
        cpuset=has("cpuset", "cpuset.cpus") or "cpuset" in in_v2,
        pids=has("pids", "cgroup.procs") or "pids" in in_v2,
        blkio_weight=("blkio" in layout.v1 or "io" in in_v2) and _weighs(),
        blkio_throttle=has("blkio", "blkio.throttle.read_bps_device") or "io" in in_v2,
        cpus=_read("/sys/devices/system/cpu/online"),
        mems=_read("/sys/devices/system/node/online"),
    )


def _ask_v2(layout: Layout) -> Support:
    has = layout.v2_controllers
    return Support(
        memory="memory" in has,
        swap="memory" in has and bool(glob.glob(f"{layout.v2}/*/memory.swap.max")),
        reservation="memory" in has,
        swappiness=False,
        oom_kill_disable=False,
        cpu_shares="cpu" in has,
        cpu_cfs="cpu" in has,
        cpu_realtime=False,
        cpuset="cpuset" in has,
        pids="pids" in has,
        blkio_weight="io" in has,
        blkio_throttle="io" in has,
        cpus=_read("/sys/devices/system/cpu/online"),
        mems=_read("/sys/devices/system/node/online"),
    )


def _weighs() -> bool:
    """On v1 only the bfq scheduler knows weights, and only on a disk that is driven by it."""
    return any("[bfq]" in _read(path) for path in glob.glob(f"{BLOCK_DEVICES}/*/queue/scheduler"))


def _read(path: str) -> str:
    try:
        with open(path, encoding="ascii") as file:
            return file.read().strip()
    except OSError:
        return ""
