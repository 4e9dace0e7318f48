"""What a container uses, read from its groups in the shape of Docker's stats. Blocking; a file that is not there counts as nothing.

v1 and v2 are told apart for each controller, as everywhere; the keys are those dockerd sends for each (its daemon_unix.go), since
clients look at them to tell which kernel interface they see.
"""

import os
from dataclasses import dataclass
from typing import Any

from havre.runtime.cgroup.layout import Layout

TICK_NANOS = 1_000_000_000 // os.sysconf("SC_CLK_TCK")
NO_LIMIT = (1 << 64) - 1  # what Docker shows for pids.max "max" on v2
_V1_OWN = (
    "cache rss rss_huge mapped_file dirty writeback pgpgin pgpgout pgfault pgmajfault inactive_anon active_anon "
    "inactive_file active_file unevictable"
).split()
V1_MEMORY = [
    *_V1_OWN,
    *(f"total_{key}" for key in _V1_OWN),
    "hierarchical_memory_limit",
    "hierarchical_memsw_limit",
]
V2_MEMORY = (
    "anon file kernel_stack slab sock shmem file_mapped file_dirty file_writeback anon_thp inactive_anon active_anon "
    "inactive_file active_file unevictable slab_reclaimable slab_unreclaimable pgfault pgmajfault workingset_refault "
    "workingset_activate workingset_nodereclaim pgrefill pgscan pgsteal pgactivate pgdeactivate pglazyfree pglazyfreed "
    "thp_fault_alloc thp_collapse_alloc"
).split()
BLKIO_FIELDS = (
    "io_service_bytes_recursive",
    "io_serviced_recursive",
    "io_queue_recursive",
    "io_service_time_recursive",
    "io_wait_time_recursive",
    "io_merged_recursive",
    "io_time_recursive",
    "sectors_recursive",
)
Stats = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Places:
    """A container's directory for each controller; "" where the host has none. `v1` names those that are v1."""

    cpu: str
    cpuacct: str
    memory: str
    blkio: str
    pids: str
    v1: frozenset[str]


def places(layout: Layout, path: str) -> Places:
    """Where the container with this cgroupsPath is accounted."""

    def at(v1: str, v2: str) -> str:
        if v1 in layout.v1:
            return layout.v1[v1] + path
        return layout.v2 + path if v2 in layout.v2_controllers else ""

    found = {name: at(name, v2) for name, v2 in _CONTROLLERS}
    return Places(**found, v1=frozenset(name for name in found if name in layout.v1))


_CONTROLLERS = (("cpu", "cpu"), ("cpuacct", "cpu"), ("memory", "memory"), ("blkio", "io"), ("pids", "pids"))


def empty() -> Stats:
    """The stats of a container that does not run."""
    return {
        "pids_stats": {},
        "blkio_stats": dict.fromkeys(BLKIO_FIELDS),
        "num_procs": 0,  # Windows
        "storage_stats": {},  # Windows
        "cpu_stats": no_cpu(),
        "memory_stats": {},
    }


def no_cpu() -> Stats:
    """cpu_stats before anything was measured."""
    return {
        "cpu_usage": {"total_usage": 0, "usage_in_kernelmode": 0, "usage_in_usermode": 0},
        "throttling_data": {"periods": 0, "throttled_periods": 0, "throttled_time": 0},
    }


def read(where: Places, memory_bytes: int) -> Stats:
    """Return one sample; `memory_bytes` is the machine's, shown as the limit of those that have none."""
    found = empty()
    found["cpu_stats"] = _cpu(where)
    found["memory_stats"] = _memory(where, memory_bytes)
    found["blkio_stats"] = _blkio(where)
    found["pids_stats"] = _pids(where)
    return found


def system_cpu(proc_stat: str) -> int:
    """Nanoseconds all processors have spent, busy or not, from /proc/stat: user to softirq, as Docker counts."""
    words = proc_stat.partition("\n")[0].split()
    return sum(int(word) for word in words[1:8]) * TICK_NANOS


def networks(net_dev: str) -> dict[str, dict[str, int]]:
    """The counters of every interface but loopback, from /proc/<pid>/net/dev."""
    found = {}
    for line in net_dev.splitlines()[2:]:
        name, _, rest = line.partition(":")
        n = [int(word) for word in rest.split()]
        if name.strip() != "lo" and len(n) >= 12:
            received = dict(zip(("rx_bytes", "rx_packets", "rx_errors", "rx_dropped"), n, strict=False))
            sent = dict(zip(("tx_bytes", "tx_packets", "tx_errors", "tx_dropped"), n[8:], strict=False))
            found[name.strip()] = {**received, **sent}
    return found


def _cpu(where: Places) -> Stats:
    found = no_cpu()
    v1 = "cpu" in where.v1
    throttled = _pairs(where.cpu, "cpu.stat")
    found["throttling_data"] = {
        "periods": throttled.get("nr_periods", 0),
        "throttled_periods": throttled.get("nr_throttled", 0),
        "throttled_time": throttled.get("throttled_time", 0)
        if v1
        else throttled.get("throttled_usec", 0) * 1000,
    }
    if "cpuacct" in where.v1:
        mode = _pairs(where.cpuacct, "cpuacct.stat")
        found["cpu_usage"] = {
            "total_usage": _number(where.cpuacct, "cpuacct.usage"),
            "percpu_usage": [int(word) for word in _text(where.cpuacct, "cpuacct.usage_percpu").split()],
            "usage_in_kernelmode": mode.get("system", 0) * TICK_NANOS,
            "usage_in_usermode": mode.get("user", 0) * TICK_NANOS,
        }
    else:
        used = _pairs(where.cpuacct, "cpu.stat")
        found["cpu_usage"] = {
            "total_usage": used.get("usage_usec", 0) * 1000,
            "usage_in_kernelmode": used.get("system_usec", 0) * 1000,
            "usage_in_usermode": used.get("user_usec", 0) * 1000,
        }
    return found


def _memory(where: Places, memory_bytes: int) -> Stats:
    raw = _pairs(where.memory, "memory.stat")
    if "memory" in where.v1:
        found: Stats = {
            "usage": _number(where.memory, "memory.usage_in_bytes"),
            "max_usage": _number(where.memory, "memory.max_usage_in_bytes"),
            "stats": {key: raw.get(key, 0) for key in V1_MEMORY},
            "failcnt": _number(where.memory, "memory.failcnt"),
            "limit": _number(where.memory, "memory.limit_in_bytes"),
        }
    else:
        found = {
            "usage": _number(where.memory, "memory.current"),
            "stats": {key: raw.get(key, 0) for key in V2_MEMORY},
            "failcnt": _pairs(where.memory, "memory.events").get("oom", 0),
            "limit": _number(where.memory, "memory.max", memory_bytes),
        }
    found["limit"] = min(found["limit"], memory_bytes)
    if not found["failcnt"]:
        del found["failcnt"]
    return found


def _pids(where: Places) -> Stats:
    v1 = "pids" in where.v1
    limit = _number(where.pids, "pids.max", 0 if v1 else NO_LIMIT)
    return {"current": _number(where.pids, "pids.current"), **({"limit": limit} if limit else {})}


def _blkio(where: Places) -> Stats:
    found: Stats = dict.fromkeys(BLKIO_FIELDS)
    if "blkio" in where.v1:
        found = {name: [] for name in BLKIO_FIELDS}
        for field, file in (("io_service_bytes", "io_service_bytes"), ("io_serviced", "io_serviced")):
            text = _text(where.blkio, f"blkio.throttle.{file}_recursive")
            found[f"{field}_recursive"] = _v1_entries(text)
    elif where.blkio:
        found["io_service_bytes_recursive"] = _v2_entries(_text(where.blkio, "io.stat")) or None
    return found


def _v1_entries(text: str) -> list[Stats]:
    """Lines "8:0 Read 4096"; the last one is a sum."""
    rows = (line.split() for line in text.splitlines())
    return [_entry(row[0], row[1], int(row[2])) for row in rows if len(row) == 3]


def _v2_entries(text: str) -> list[Stats]:
    """Lines "8:0 rbytes=4096 wbytes=0 ..."."""
    found = []
    for line in text.splitlines():
        device, *words = line.split()
        values = dict(word.partition("=")[::2] for word in words)
        found += [
            _entry(device, op, int(values.get(key) or 0))
            for op, key in (("read", "rbytes"), ("write", "wbytes"))
        ]
    return found


def _entry(device: str, op: str, value: int) -> Stats:
    major, _, minor = device.partition(":")
    return {"major": int(major), "minor": int(minor), "op": op, "value": value}


def _pairs(folder: str, name: str) -> dict[str, int]:
    rows = (line.split() for line in _text(folder, name).splitlines())
    return {row[0]: int(row[1]) for row in rows if len(row) == 2}


def _number(folder: str, name: str, otherwise: int = 0) -> int:
    """The file's number; `otherwise` for "max" and for a file that is not there."""
    text = _text(folder, name).strip()
    return int(text) if text.isdigit() else otherwise


def _text(folder: str, name: str) -> str:
    if not folder:
        return ""
    try:
        fd = os.open(f"{folder}/{name}", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return ""  # this kernel has no such file, or the container has just ended
    try:
        return os.read(fd, 65536).decode("ascii", "replace")
    except OSError:
        return ""
    finally:
        os.close(fd)
