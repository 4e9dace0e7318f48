"""Change the limits of a control group that is in use: all of them, or none. Blocking; used by the daemon, not by the monitor."""

import os

from havre.errors import KernelError
from havre.runtime.cgroup import files
from havre.runtime.cgroup.layout import host_layout
from havre.runtime.cgroup.plan import CgroupPlan

_UNLIMITED = {
    "io.max": "rbps=max wbps=max riops=max wiops=max"
}  # what a device without a line has; elsewhere 0


def change(plan: CgroupPlan) -> None:
    """Apply the plan's limits. Raises KernelError; what was written already is written back then."""
    saved = [
        (path, old)
        for path, value, _ in dict.fromkeys(plan["writes"])
        if (old := _saved(path, value)) is not None
    ]
    try:
        files.update(plan)
    except KernelError:
        _write_back(saved)
        raise


def _saved(path: str, value: str) -> str | None:
    """What to write to have again what is there now; None where there is no such file."""
    try:
        text = files.read(path).strip()
    except OSError:
        return None
    name = os.path.basename(path)
    if name == "memory.oom_control":  # "oom_kill_disable 0\nunder_oom 0"
        return text.split()[1]
    if name == "io.max" or "throttle" in name or name.endswith("weight_device"):
        device = value.split(maxsplit=1)[0]
        lines = [line for line in text.splitlines() if line.startswith(device + " ")]
        return lines[0] if lines else f"{device} {_UNLIMITED.get(name, '0')}"
    if name == "io.bfq.weight":
        return text.splitlines()[0]
    return text


def _write_back(saved: list[tuple[str, str]]) -> None:
    """Last written first; what depends on the others goes again behind them (memory and swap)."""
    left = list(reversed(saved))
    for _ in range(2):
        left = [one for one in left if not _written(*one)]


def _written(path: str, value: str) -> bool:
    try:
        files.write(path, value)
    except KernelError:
        return False
    return True


def memory_usage(path: str) -> str:
    """Return runc's words for why a memory limit cannot be that low."""
    layout = host_layout()
    base, usage, peak = (
        (layout.v1["memory"], "memory.usage_in_bytes", "memory.max_usage_in_bytes")
        if "memory" in layout.v1
        else (layout.v2, "memory.current", "memory.peak")
    )
    return f"current usage: {_number(f'{base}{path}/{usage}')}, peak usage: {_number(f'{base}{path}/{peak}')}"


def _number(path: str) -> str:
    try:
        return files.read(path).strip()
    except OSError:
        return "unknown"
