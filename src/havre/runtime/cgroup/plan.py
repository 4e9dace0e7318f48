"""From an OCI cgroupsPath and linux.resources to directories and writes. Pure.

Sources: Documentation/admin-guide/cgroup-v1 and cgroup-v2.rst of the kernel, runtime-spec config-linux.md.
"""

from typing import Any, TypedDict

from havre.errors import InvalidParameter
from havre.runtime.cgroup.layout import Layout

PERIOD_US = 100_000
V2_CONTROLLERS = ("cpu", "cpuset", "io", "memory", "pids", "hugetlb")


class CgroupPlan(TypedDict):
    """What `files` needs; marshal-able."""

    parents: list[str]  # directories made if missing and left behind, outermost first
    directories: list[str]  # the container's own, removed with it
    subtree: list[tuple[str, str]]  # v2: (cgroup.subtree_control file, "+cpu +memory")
    copied: list[
        tuple[str, str]
    ]  # v1 cpuset: (file of the parent, same file of the child) copied while empty
    writes: list[tuple[str, str, bool]]  # (file, value, whether a failure is an error)
    freezer: str  # file to write the freezer state to; "" without one
    oom: str  # file that counts OOM kills; "" without one
    warnings: list[str]


def make_plan(layout: Layout, path: str, resources: dict[str, Any]) -> CgroupPlan:
    """Return the plan of one container. Raises InvalidParameter for a path that climbs out."""
    clean = _clean(path)
    plan = CgroupPlan(
        parents=[], directories=[], subtree=[], copied=[], writes=[], freezer="", oom="", warnings=[]
    )
    for mount in dict.fromkeys(layout.v1.values()):
        _add_directories(plan, mount, clean)
    if layout.v2 and layout.v2_controllers and not layout.v1:
        _add_directories(plan, layout.v2, clean)
        wanted = " ".join(f"+{name}" for name in V2_CONTROLLERS if name in layout.v2_controllers)
        plan["subtree"] = [
            (f"{parent}/cgroup.subtree_control", wanted) for parent in _ancestors(layout.v2, clean)
        ]
    if cpuset := layout.v1.get("cpuset"):
        plan["copied"] = _cpuset_copies(cpuset, clean)
    _add_places(plan, layout, clean)
    plan["writes"] = _writes(layout, clean, resources, plan["warnings"])
    return plan


def _clean(path: str) -> str:
    """Return "/a/b" of a cgroupsPath; systemd's "slice:prefix:name" becomes /slice/prefix-name.scope."""
    if path.count(":") == 2 and "/" not in path:
        parent, prefix, name = path.split(":")
        path = f"/{parent or 'system.slice'}/{prefix}-{name}.scope" if prefix else f"/{parent}/{name}"
    parts = [part for part in path.split("/") if part and part != "."]
    if ".." in parts or not parts or "\0" in path:
        raise InvalidParameter(f"invalid cgroup path: {path!r}")
    return "/" + "/".join(parts)


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
        (f"{above}/{name}", f"{below}/{name}")
        for above, below in zip(chain, chain[1:], strict=False)
        for name in names
    ]


def _add_places(plan: CgroupPlan, layout: Layout, path: str) -> None:
    if "freezer" in layout.v1:
        plan["freezer"] = f"{layout.v1['freezer']}{path}/freezer.state"
    elif layout.v2:
        plan["freezer"] = f"{layout.v2}{path}/cgroup.freeze"
    if "memory" in layout.v1:
        plan["oom"] = f"{layout.v1['memory']}{path}/memory.oom_control"
    elif "memory" in layout.v2_controllers:
        plan["oom"] = f"{layout.v2}{path}/memory.events"


def _writes(
    layout: Layout, path: str, resources: dict[str, Any], warnings: list[str]
) -> list[tuple[str, str, bool]]:
    found: list[tuple[str, str, bool]] = []
    for controller, v1, v2, wanted in (
        ("memory", _memory_v1, _memory_v2, resources.get("memory") or {}),
        ("cpu", _cpu_v1, _cpu_v2, resources.get("cpu") or {}),
        ("cpuset", _cpuset, _cpuset, resources.get("cpu") or {}),
        ("pids", _pids, _pids, resources.get("pids") or {}),
        ("blkio", _blkio_v1, _io_v2, resources.get("blockIO") or {}),
        ("hugetlb", _hugetlb_v1, _hugetlb_v2, {"limits": resources.get("hugepageLimits") or []}),
    ):
        name_v2 = "io" if controller == "blkio" else controller
        if controller in layout.v1:
            base, lines = layout.v1[controller] + path, v1(wanted)
        elif name_v2 in layout.v2_controllers and not layout.v1:
            base, lines = layout.v2 + path, v2(wanted)
        else:
            if v1(wanted):
                warnings.append(f"this kernel has no {controller} controller: its limits are discarded")
            continue
        found += [(f"{base}/{file}", value, True) for file, value in lines]
    if "devices" in layout.v1:
        found += [
            (f"{layout.v1['devices']}{path}/{file}", rule, True)
            for file, rule in devices_v1(resources.get("devices") or [])
        ]
    if layout.unified:
        unified = resources.get("unified") or {}
        found += [
            (f"{layout.v2}{path}/{_file_name(key)}", str(value), True) for key, value in unified.items()
        ]
    return found


def _file_name(key: str) -> str:
    if "/" in key or not key:
        raise InvalidParameter(f"invalid cgroup file name: {key!r}")
    return key


Lines = list[tuple[str, str]]


def _memory_v1(memory: dict[str, Any]) -> Lines:
    lines: Lines = []
    if limit := memory.get("limit"):
        lines.append(("memory.limit_in_bytes", str(limit)))
    if (swap := memory.get("swap")) and limit:
        lines.append(("memory.memsw.limit_in_bytes", str(swap)))
    if reservation := memory.get("reservation"):
        lines.append(("memory.soft_limit_in_bytes", str(reservation)))
    if memory.get("swappiness") is not None:
        lines.append(("memory.swappiness", str(memory["swappiness"])))
    if memory.get("disableOOMKiller"):
        lines.append(("memory.oom_control", "1"))
    return lines


def _memory_v2(memory: dict[str, Any]) -> Lines:
    lines: Lines = []
    limit, swap = memory.get("limit") or 0, memory.get("swap") or 0
    if limit:
        lines.append(("memory.max", "max" if limit < 0 else str(limit)))
    if swap:  # v2 counts swap alone, OCI counts memory and swap together
        lines.append(("memory.swap.max", "max" if swap < 0 else str(max(0, swap - limit))))
    if reservation := memory.get("reservation"):
        lines.append(("memory.low", str(reservation)))
    return lines


def _cpu_v1(cpu: dict[str, Any]) -> Lines:
    keys = (
        ("shares", "cpu.shares"),
        ("period", "cpu.cfs_period_us"),
        ("quota", "cpu.cfs_quota_us"),
        ("burst", "cpu.cfs_burst_us"),
        ("realtimePeriod", "cpu.rt_period_us"),
        ("realtimeRuntime", "cpu.rt_runtime_us"),
    )
    return [(file, str(cpu[key])) for key, file in keys if cpu.get(key)]


def _cpu_v2(cpu: dict[str, Any]) -> Lines:
    lines: Lines = []
    if shares := cpu.get("shares"):
        lines.append(("cpu.weight", str(weight_of_shares(shares))))
    if cpu.get("quota") or cpu.get("period"):
        quota = cpu.get("quota") or -1
        lines.append(("cpu.max", f"{quota if quota > 0 else 'max'} {cpu.get('period') or PERIOD_US}"))
    if cpu.get("idle"):
        lines.append(("cpu.idle", str(cpu["idle"])))
    return lines


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


def devices_v1(rules: list[dict[str, Any]]) -> Lines:
    """Return the writes of a device list; a rule without type or numbers speaks of everything."""
    lines: Lines = []
    for rule in rules:
        file = "devices.allow" if rule.get("allow") else "devices.deny"
        kind = rule.get("type") or "a"
        major, minor = (_any(rule.get(key)) for key in ("major", "minor"))
        lines.append(
            (
                file,
                "a"
                if kind == "a" and (major, minor) == ("*", "*")
                else f"{kind} {major}:{minor} {rule.get('access') or 'rwm'}",
            )
        )
    return lines


def _any(number: int | None) -> str:
    return "*" if number is None or number < 0 else str(number)
