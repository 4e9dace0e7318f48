"""pause, resume, update: the container's control groups."""

import sys
from typing import Any

from havre.errors import Conflict, InvalidParameter
from havre.oci import bundle, flags, schema, state
from havre.oci.context import Context
from havre.runtime.cgroup import files as cgroups
from havre.runtime.cgroup.layout import host_layout
from havre.runtime.cgroup.plan import make_plan
from havre.units import parse_bytes

_NUMBERS = {  # flag -> (part of linux.resources, key)
    "cpu-period": ("cpu", "period"),
    "cpu-quota": ("cpu", "quota"),
    "cpu-burst": ("cpu", "burst"),
    "cpu-share": ("cpu", "shares"),
    "cpu-rt-period": ("cpu", "realtimePeriod"),
    "cpu-rt-runtime": ("cpu", "realtimeRuntime"),
    "cpu-idle": ("cpu", "idle"),
    "pids-limit": ("pids", "limit"),
    "blkio-weight": ("blockIO", "weight"),
}
_TEXTS = {"cpuset-cpus": ("cpu", "cpus"), "cpuset-mems": ("cpu", "mems")}
_SIZES = {"memory": "limit", "memory-reservation": "reservation", "memory-swap": "swap"}


def pause(context: Context, options: flags.Options, words: list[str]) -> int:
    """Freeze everything in the container's group."""
    container = state.load(context.root, words[0])
    if container.status() not in (state.RUNNING, state.CREATED):
        raise Conflict("container not running or created")
    if not container.cgroup["freezer"]:
        raise Conflict("this host has no freezer control group")
    cgroups.freeze(container.cgroup["freezer"])
    return 0


def resume(context: Context, options: flags.Options, words: list[str]) -> int:
    """Let a paused container go on."""
    container = state.load(context.root, words[0])
    if container.status() != state.PAUSED:
        raise Conflict("container not paused")
    cgroups.thaw(container.cgroup["freezer"])
    return 0


def update(context: Context, options: flags.Options, words: list[str]) -> int:
    """Change limits: from flags, or from --resources FILE (or - for stdin), which then stands alone."""
    container = state.load(context.root, words[0])
    if container.status() in (state.STOPPED, state.CREATING):
        raise Conflict("container not running")
    wanted = (
        _from_file(flags.text(options, "resources")) if options.get("resources") else _from_flags(options)
    )
    linux = container.config["linux"]
    path = linux.get("cgroupsPath") or f"/havre/{container.id}"
    plan = make_plan(host_layout(), path, {**wanted, "devices": []})
    for warning in plan["warnings"]:
        context.report.warn(warning)
    cgroups.update(plan)
    known = linux.setdefault("resources", {})
    for part, values in wanted.items():
        known[part] = {**(known.get(part) or {}), **values} if isinstance(values, dict) else values
    container.save()
    return 0


def _from_file(path: str) -> dict[str, Any]:
    try:
        if path == "-":
            data = sys.stdin.buffer.read()
        else:
            with open(path, "rb") as file:
                data = file.read()
    except OSError as error:
        raise InvalidParameter(f"--resources {path}: {(error.strerror or '').lower()}") from None
    wanted = bundle.check(data, schema.Resources, path)
    wanted.pop("devices", None)  # device rules belong to the start; containerd sends them along unchanged
    return wanted


def _from_flags(options: flags.Options) -> dict[str, Any]:
    wanted: dict[str, dict[str, Any]] = {}
    for flag, (part, key) in _NUMBERS.items():
        if (value := flags.number(options, flag)) is not None:
            wanted.setdefault(part, {})[key] = value
    for flag, (part, key) in _TEXTS.items():
        if text := flags.text(options, flag):
            wanted.setdefault(part, {})[key] = text
    for flag, key in _SIZES.items():
        if text := flags.text(options, flag):
            wanted.setdefault("memory", {})[key] = -1 if text == "-1" else parse_bytes(text)
    return wanted
