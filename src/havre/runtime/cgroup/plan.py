"""From an OCI cgroupsPath and linux.resources to directories and writes. Pure.

Sources: Documentation/admin-guide/cgroup-v1 and cgroup-v2.rst of the kernel, runtime-spec config-linux.md.
"""

import itertools
from typing import Any, TypedDict

from havre.errors import InvalidParameter
from havre.runtime.cgroup import devices
from havre.runtime.cgroup.layout import Layout

PERIOD_US = 100_000
V2_CONTROLLERS = ("cpu", "cpuset", "io", "memory", "pids", "hugetlb")


class CgroupPlan(TypedDict):
    """What `files` needs; can be marshalled, and written as JSON."""

    parents: list[str]  # directories made if missing and left behind, outermost first
    directories: list[str]  # the container's own, removed with it
    subtree: list[tuple[str, str]]  # v2: (cgroup.subtree_control file, "+cpu +memory")
    copied: list[tuple[str, str]]  # v1 cpuset: (file of the parent, same of the child), copied while empty
    writes: list[tuple[str, str, bool]]  # (file, value, whether a missing file is an error and not a warning)
    instead: dict[str, tuple[str, str]]  # file -> (file, value) to write when the first is missing
    devices: str  # v2: the device program in hex digits for directories[-1]; "" allows everything
    freezer: str  # file to write the freezer state to; "" without one
    oom: str  # file that counts OOM kills; "" without one
    warnings: list[str]


def make_plan(layout: Layout, path: str, resources: dict[str, Any]) -> CgroupPlan:
    """Return the plan of one container. Raises InvalidParameter for a path that climbs out, and for bad rules."""
    place = clean(path)
    plan = CgroupPlan(
        parents=[],
        directories=[],
        subtree=[],
        copied=[],
        writes=[],
        instead={},
        devices="",
        freezer="",
        oom="",
        warnings=[],
    )
    for mount in dict.fromkeys(layout.v1.values()):
        _add_directories(plan, mount, place)
    _add_writes(plan, layout, place, resources)
    if layout.v2 and _needs_v2(plan, layout):
        _add_directories(plan, layout.v2, place)
        wanted = " ".join(f"+{name}" for name in V2_CONTROLLERS if _in_v2(layout, name))
        above = _ancestors(layout.v2, place) if wanted else []
        plan["subtree"] = [(f"{parent}/cgroup.subtree_control", wanted) for parent in above]
    if cpuset := layout.v1.get("cpuset"):
        plan["copied"] = _cpuset_copies(cpuset, place)
    _add_places(plan, layout, place)
    _add_devices(plan, layout, place, resources.get("devices") or [])
    return plan


def _in_v2(layout: Layout, controller: str) -> bool:
    return controller in layout.v2_controllers and controller not in layout.v1


def _needs_v2(plan: CgroupPlan, layout: Layout) -> bool:
    """On a hybrid host the v2 tree is used only for what no v1 hierarchy has and the container asks for."""
    asked = any(file.startswith(layout.v2 + "/") for file, _, _ in plan["writes"])
    return layout.unified or "freezer" not in layout.v1 or asked


def clean(path: str) -> str:
    """Return "/a/b" of a cgroupsPath; systemd's "slice:prefix:name" becomes /slice/prefix-name.scope."""
    if path.count(":") == 2 and "/" not in path:
        parent, prefix, name = path.split(":")
        scope = name if name.endswith(".slice") else f"{prefix}-{name}.scope" if prefix else f"{name}.scope"
        path = f"{_slices(parent or 'system.slice')}/{scope}"
    parts = [part for part in path.split("/") if part and part != "."]
    if ".." in parts or not parts or "\0" in path:
        raise InvalidParameter(f"invalid cgroup path: {path!r}")
    return "/" + "/".join(parts)


def _slices(name: str) -> str:
    """Return "/a.slice/a-b.slice" of "a-b.slice": systemd nests slices by their dashes (systemd.slice(5))."""
    stem = name.removesuffix(".slice")
    if stem == name or not all(stem.split("-")):
        if name == "-.slice":
            return ""
        raise InvalidParameter(f"invalid slice name: {name!r}", hint="machine.slice")
    words = stem.split("-")
    return "".join(f"/{'-'.join(words[:depth])}.slice" for depth in range(1, len(words) + 1))


def _ancestors(mount: str, path: str) -> list[str]:
    """The mount point and every directory above the container's own."""
    parts = path.strip("/").split("/")
    return [mount + "".join(f"/{part}" for part in parts[:depth]) for depth in range(len(parts))]


def _add_directories(plan: CgroupPlan, mount: str, path: str) -> None:
    plan["parents"] += _ancestors(mount, path)[1:]
    plan["directories"].append(mount + path)


def _cpuset_copies(mount: str, path: str) -> list[tuple[str, str]]:
    chain = [*_ancestors(mount, path), mount + path]
    names = ("cpuset.cpus", "cpuset.mems")
    return [
        (f"{above}/{name}", f"{below}/{name}") for above, below in itertools.pairwise(chain) for name in names
    ]


def freezer_file(layout: Layout, path: str) -> str:
    """Return the file that freezes a container's group, "" without a freezer. Raises InvalidParameter as make_plan does."""
    if "freezer" in layout.v1:
        return f"{layout.v1['freezer']}{clean(path)}/freezer.state"
    return f"{layout.v2}{clean(path)}/cgroup.freeze" if layout.v2 else ""


def _add_places(plan: CgroupPlan, layout: Layout, path: str) -> None:
    plan["freezer"] = freezer_file(layout, path)
    if "memory" in layout.v1:
        plan["oom"] = f"{layout.v1['memory']}{path}/memory.oom_control"
    elif layout.unified and "memory" in layout.v2_controllers:
        plan["oom"] = f"{layout.v2}{path}/memory.events"


def _add_devices(plan: CgroupPlan, layout: Layout, path: str, rules: list[dict[str, Any]]) -> None:
    """v1: before anything is attached, or a mknod of the first process is too early. v2: a program."""
    if base := layout.v1.get("devices"):
        plan["writes"] += [(f"{base}{path}/{file}", line, True) for file, line in devices.v1_writes(rules)]
    elif layout.unified:
        plan["devices"] = devices.v2_program(rules).hex()


def _add_writes(plan: CgroupPlan, layout: Layout, path: str, resources: dict[str, Any]) -> None:
    for controller, v1, v2, wanted in (
        ("memory", _memory_v1, _memory_v2, resources.get("memory") or {}),
        ("cpu", _cpu_v1, _cpu_v2, resources.get("cpu") or {}),
        ("cpuset", _cpuset, _cpuset, resources.get("cpu") or {}),
        ("pids", _pids, _pids, resources.get("pids") or {}),
        ("blkio", _blkio_v1, _io_v2, resources.get("blockIO") or {}),
        ("hugetlb", _hugetlb_v1, _hugetlb_v2, {"limits": resources.get("hugepageLimits") or []}),
    ):
        if controller in layout.v1:
            base, lines = layout.v1[controller] + path, v1(wanted)
        elif _in_v2(layout, "io" if controller == "blkio" else controller):
            base, lines = layout.v2 + path, v2(wanted)
        else:
            if v1(wanted):
                plan["warnings"].append(
                    f"this kernel has no {controller} controller: its limits are discarded"
                )
            continue
        plan["writes"] += [(f"{base}/{file}", value, False) for file, value in lines]
    if layout.unified:
        base = layout.v2 + path
        weight = (resources.get("blockIO") or {}).get("weight")
        if weight:  # without the bfq scheduler: the general weight, 10..1000 mapped to 1..10000
            plan["instead"][f"{base}/io.bfq.weight"] = (
                f"{base}/io.weight",
                f"default {1 + (weight - 10) * 9999 // 990}",
            )
        unified = resources.get("unified") or {}
        plan["writes"] += [(f"{base}/{_file_name(key)}", str(value), True) for key, value in unified.items()]
    elif resources.get("unified"):
        plan["warnings"].append("linux.resources.unified needs a host with cgroup v2 only: it is discarded")


def _file_name(key: str) -> str:
    if "/" in key or not key:
        raise InvalidParameter(f"invalid cgroup file name: {key!r}")
    return key


Lines = list[tuple[str, str]]


def _memory_v1(memory: dict[str, Any]) -> Lines:
    lines = _numbers(
        memory,
        ("limit", "memory.limit_in_bytes"),
        ("swap", "memory.memsw.limit_in_bytes"),
        ("reservation", "memory.soft_limit_in_bytes"),
        ("kernelTCP", "memory.kmem.tcp.limit_in_bytes"),
    )
    if memory.get("swappiness") is not None:
        lines.append(("memory.swappiness", str(memory["swappiness"])))
    if (disabled := memory.get("disableOOMKiller")) is not None:
        lines.append(("memory.oom_control", "1" if disabled else "0"))
    return lines


def _memory_v2(memory: dict[str, Any]) -> Lines:
    lines: Lines = []
    limit, swap = memory.get("limit") or 0, memory.get("swap") or 0
    if limit:
        lines.append(("memory.max", _or_max(limit)))
    if swap > 0 and limit <= 0:
        raise InvalidParameter("a swap limit needs a memory limit", hint="--memory")
    if 0 < swap < limit:
        raise InvalidParameter(
            "the swap limit is smaller than the memory limit: it counts both", hint="--memory-swap"
        )
    if swap or limit < 0:  # v2 counts swap alone, OCI counts memory and swap together
        lines.append(("memory.swap.max", "max" if swap <= 0 else str(swap - limit)))
    if reservation := memory.get("reservation"):
        lines.append(("memory.low", _or_max(reservation)))
    return lines


def _or_max(number: int) -> str:
    return "max" if number < 0 else str(number)


def _numbers(wanted: dict[str, Any], *files: tuple[str, str]) -> Lines:
    """Return (file, number) for every key that is set; 0 is "not set" in OCI and in Docker."""
    return [(file, str(int(wanted[key]))) for key, file in files if wanted.get(key)]


def _cpu_v1(cpu: dict[str, Any]) -> Lines:
    return _numbers(
        cpu,
        ("shares", "cpu.shares"),
        ("period", "cpu.cfs_period_us"),
        ("quota", "cpu.cfs_quota_us"),
        ("burst", "cpu.cfs_burst_us"),
        ("realtimePeriod", "cpu.rt_period_us"),
        ("realtimeRuntime", "cpu.rt_runtime_us"),
        ("idle", "cpu.idle"),
    )


def _cpu_v2(cpu: dict[str, Any]) -> Lines:
    lines: Lines = []
    if shares := cpu.get("shares"):
        lines.append(("cpu.weight", str(weight_of_shares(shares))))
    if cpu.get("quota") or cpu.get("period"):
        quota = cpu.get("quota") or -1
        lines.append(("cpu.max", f"{quota if quota > 0 else 'max'} {cpu.get('period') or PERIOD_US}"))
    lines += _numbers(cpu, ("burst", "cpu.max.burst"), ("idle", "cpu.idle"))
    # v2 has no realtime groups; a missing file is said to be missing
    return lines + _numbers(
        cpu, ("realtimePeriod", "cpu.rt_period_us"), ("realtimeRuntime", "cpu.rt_runtime_us")
    )


def weight_of_shares(shares: int) -> int:
    """Map cpu.shares [2..262144] to cpu.weight [1..10000], as runc and crun did for years."""
    return 1 + (max(2, min(262144, shares)) - 2) * 9999 // 262142


def _cpuset(cpu: dict[str, Any]) -> Lines:
    return [(f"cpuset.{key}", str(cpu[key])) for key in ("cpus", "mems") if cpu.get(key)]


def _pids(pids: dict[str, Any]) -> Lines:
    limit = pids.get("limit") or 0
    return [("pids.max", str(limit) if limit > 0 else "max")] if limit else []


_THROTTLE = (
    ("throttleReadBpsDevice", "blkio.throttle.read_bps_device", "rbps"),
    ("throttleWriteBpsDevice", "blkio.throttle.write_bps_device", "wbps"),
    ("throttleReadIOPSDevice", "blkio.throttle.read_iops_device", "riops"),
    ("throttleWriteIOPSDevice", "blkio.throttle.write_iops_device", "wiops"),
)


def _blkio_v1(block: dict[str, Any]) -> Lines:
    lines: Lines = []
    if weight := block.get("weight"):
        lines.append(("blkio.bfq.weight", str(weight)))
    for device in block.get("weightDevice") or []:
        lines.append(
            ("blkio.bfq.weight_device", f"{device['major']}:{device['minor']} {device.get('weight') or 0}")
        )
    for key, file, _ in _THROTTLE:
        lines += [
            (file, f"{device['major']}:{device['minor']} {device['rate']}") for device in block.get(key) or []
        ]
    return lines


def _io_v2(block: dict[str, Any]) -> Lines:
    lines: Lines = []
    if weight := block.get("weight"):
        lines.append(("io.bfq.weight", str(weight)))
    for device in block.get("weightDevice") or []:
        lines.append(("io.bfq.weight", f"{device['major']}:{device['minor']} {device.get('weight') or 0}"))
    for key, _, word in _THROTTLE:
        lines += [
            ("io.max", f"{device['major']}:{device['minor']} {word}={device['rate']}")
            for device in block.get(key) or []
        ]
    return lines


def _hugetlb_v1(wanted: dict[str, Any]) -> Lines:
    return [
        (f"hugetlb.{_file_name(one['pageSize'])}.limit_in_bytes", str(one["limit"]))
        for one in wanted["limits"]
    ]


def _hugetlb_v2(wanted: dict[str, Any]) -> Lines:
    return [(f"hugetlb.{_file_name(one['pageSize'])}.max", str(one["limit"])) for one in wanted["limits"]]
