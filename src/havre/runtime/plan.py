"""Compile a RunPlan into a Program: plain tuples the child carries out one after the other. Pure; runs in the daemon.

Everything that can be wrong in an OCI config is refused here, before the first side effect.
"""

import os
from collections.abc import Sequence
from typing import Any, TypedDict

import msgspec

from havre.errors import InvalidParameter
from havre.linux import syscalls as sys
from havre.runtime import caps, hooks, idmap, mountopts, scheduling, seccomp
from havre.runtime.cgroup.layout import Layout
from havre.runtime.cgroup.plan import CgroupPlan, make_plan
from havre.spec.runplan import OciConfig, RunPlan, VethPlan

NAMESPACES = {
    "mount": sys.CLONE_NEWNS,
    "pid": sys.CLONE_NEWPID,
    "network": sys.CLONE_NEWNET,
    "ipc": sys.CLONE_NEWIPC,
    "uts": sys.CLONE_NEWUTS,
    "cgroup": sys.CLONE_NEWCGROUP,
    "time": sys.CLONE_NEWTIME,
    "user": sys.CLONE_NEWUSER,
}
RLIMITS = {  # asm-generic/resource.h
    name: number
    for number, name in enumerate(
        "CPU FSIZE DATA STACK CORE RSS NPROC NOFILE MEMLOCK AS LOCKS SIGPENDING MSGQUEUE NICE RTPRIO RTTIME".split()
    )
}
# What every container finds in /dev (runtime-spec config-linux.md, "Default Devices"): name, major, minor.
NODES = (("null", 1, 3), ("zero", 1, 5), ("full", 1, 7), ("random", 1, 8), ("urandom", 1, 9), ("tty", 5, 0))


class Process(TypedDict):
    """One process, compiled."""

    args: list[str]
    env: list[str]
    cwd: str
    user: str  # names or numbers to look up inside; "" takes the next three as they are
    uid: int
    gid: int
    groups: list[int]
    group_add: list[str]
    umask: int
    caps: dict[str, int]
    no_new_privileges: bool
    rlimits: list[tuple[int, str, int, int]]
    oom_score_adj: int | None
    seccomp: bytes
    seccomp_flags: int
    terminal: bool
    size: tuple[int, int]  # rows and columns of its terminal; 0, 0: unknown
    init: bool
    keyring: bool  # start a session keyring of its own
    preserve_fds: int  # how many descriptors after stderr the caller hands on
    apparmor: str
    personality: int  # linux/personality.h; -1 leaves it
    io_priority: int  # ioprio_set(2) value; -1 leaves it
    scheduler: tuple[
        int, int, int, int, int, int, int
    ]  # sched_setattr(2), in the order of struct sched_attr; policy -1 leaves it


Hook = tuple[str, list[str], list[str], float]  # path, args, env, timeout in seconds (0: none)


class Program(TypedDict):
    """One container, compiled; marshal-able."""

    id: str
    flags: int  # CLONE_NEW*
    userns: str  # "" the caller's, "new", or the path of the one to join
    uid_map: str  # lines for /proc/PID/uid_map; of one that is joined only to be compared
    gid_map: str
    time_offsets: str  # lines for /proc/self/timens_offsets
    own_time: bool  # a time namespace of its own
    joins: list[tuple[str, int, str]]  # (type, CLONE_NEW*, path)
    hostname: str
    domainname: str
    root: list[Any]  # ["overlay", lower, upper, work] or ["bind", path]
    root_readonly: bool
    root_propagation: int
    mounts: list[tuple[Any, ...]]  # ("fs" | "bind" | "cgroup", target, ...)
    nodes: list[tuple[str, str, int, int, int, int, int]]
    masked: list[str]
    readonly: list[str]
    sysctl: list[tuple[str, str]]
    process: Process
    cgroup: CgroupPlan
    veths: list[VethPlan]
    mount_at: str  # a host directory to put the root on, only seen in the container's mount namespace
    pivot: bool  # False: move the root over "/" and chroot, for hosts whose root is a ramdisk
    hooks: dict[str, list[Hook]]  # by the runtime-spec's names
    state: str  # the head of the state JSON that hooks read; see runtime/hooks.py


def compile_plan(plan: RunPlan, layout: Layout) -> Program:
    """Return the program of one container. Raises InvalidParameter naming the part of the config."""
    config = plan["config"]
    linux = config.get("linux") or {}
    flags, joins = _namespaces(linux, plan["join_netns"])
    cgroup = make_plan(
        layout, linux.get("cgroupsPath") or f"/havre/{plan['id']}", linux.get("resources") or {}
    )
    private_cgroup = bool(flags & sys.CLONE_NEWCGROUP)
    overlay = plan["overlay"]
    root = config.get("root") or {}
    process = compile_process(
        config.get("process") or {}, linux.get("seccomp"), plan["user"], plan["group_add"]
    )
    process["init"] = plan["init"]
    if any(plan["tty_size"]):
        process["size"] = plan["tty_size"]
    process["personality"] = scheduling.personality(linux.get("personality"))
    own_time = bool(flags & sys.CLONE_NEWTIME)
    userns = (
        "new" if flags & sys.CLONE_NEWUSER else next((path for kind, _, path in joins if kind == "user"), "")
    )
    uid_map, gid_map = idmap.namespace_lines(linux, userns)
    return Program(
        id=plan["id"],
        flags=flags & ~sys.CLONE_NEWTIME,  # clone(2) has no bit for it: the child unshares
        userns=userns,
        uid_map=uid_map,
        gid_map=gid_map,
        time_offsets=idmap.time_lines(linux.get("timeOffsets") or {}),
        own_time=own_time,
        joins=joins,
        hostname=config.get("hostname") or "",
        domainname=config.get("domainname") or "",
        root=["overlay", overlay["lower"], overlay["upper"], overlay["work"]]
        if overlay
        else ["bind", root.get("path") or ""],
        root_readonly=bool(root.get("readonly")),
        root_propagation=_propagation(linux.get("rootfsPropagation") or "rprivate"),
        mounts=[
            _mount(mount, cgroup, layout, private_cgroup, userns) for mount in config.get("mounts") or []
        ],
        nodes=[*_default_nodes(), *(_node(device) for device in linux.get("devices") or [])],
        masked=[_absolute(path) for path in linux.get("maskedPaths") or []],
        readonly=[_absolute(path) for path in linux.get("readonlyPaths") or []],
        sysctl=[_sysctl(key, value, flags, joins) for key, value in (linux.get("sysctl") or {}).items()],
        process=process,
        cgroup=cgroup,
        veths=plan["veths"],
        mount_at=_mount_at(plan),
        pivot=True,
        hooks=hooks.compile_hooks(config.get("hooks") or {}),
        state=state_head(config, plan["id"], plan["run_dir"]),
    )


def _mount_at(plan: RunPlan) -> str:
    """Below the bundle when hooks read its config.json: a root over the run directory would put the image's own file there."""
    config = plan["config"]
    if config.get("hooks") and plan["overlay"]:
        return f"{plan['run_dir']}/{config['root']['path']}"
    return plan["run_dir"]


def state_head(config: OciConfig, container_id: str, bundle: str) -> str:
    """Return the state JSON that hooks read, without status, pid and the closing brace."""
    known = {
        "ociVersion": config.get("ociVersion") or "",
        "id": container_id,
        "bundle": bundle,
        "annotations": config.get("annotations") or {},
    }
    return msgspec.json.encode(known).decode().removesuffix("}")


def compile_process(
    process: dict[str, Any], filters: dict[str, Any] | None, user: str, group_add: Sequence[str]
) -> Process:
    """Return one OCI process object, compiled; for run and exec."""
    args = process.get("args") or []
    if not args or not isinstance(args[0], str):
        raise InvalidParameter("process.args is empty", hint="name a command")
    identity = process.get("user") or {}
    uid, gid = int(identity.get("uid") or 0), int(identity.get("gid") or 0)
    return Process(
        args=[_text(arg, "process.args") for arg in args],
        env=[_text(entry, "process.env") for entry in process.get("env") or []],
        cwd=_absolute(process.get("cwd") or "/"),
        user=user,
        uid=uid,
        gid=gid,
        groups=[int(group) for group in identity.get("additionalGids") or []],
        group_add=list(group_add),
        umask=int(identity.get("umask", 0o022)),
        caps=caps.masks(process.get("capabilities")),
        no_new_privileges=bool(process.get("noNewPrivileges")),
        rlimits=[_rlimit(limit) for limit in process.get("rlimits") or []],
        oom_score_adj=process.get("oomScoreAdj"),
        seccomp=seccomp.compile_profile(filters, os.uname().machine) if filters else b"",
        seccomp_flags=seccomp.filter_flags(filters) if filters else 0,
        terminal=bool(process.get("terminal")),
        size=_console_size(process.get("consoleSize") or {}),
        init=False,
        keyring=True,
        preserve_fds=0,
        apparmor=_text(process.get("apparmorProfile") or "", "process.apparmorProfile"),
        personality=-1,
        io_priority=scheduling.io_priority(process.get("ioPriority")),
        scheduler=scheduling.scheduler(process.get("scheduler")),
    )


def _console_size(box: dict[str, Any]) -> tuple[int, int]:
    rows, columns = int(box.get("height") or 0), int(box.get("width") or 0)
    if not (0 <= rows < 1 << 16 and 0 <= columns < 1 << 16):
        raise InvalidParameter(
            f"a terminal cannot have {rows} rows and {columns} columns", context="process.consoleSize"
        )
    return rows, columns


def _text(value: Any, where: str) -> str:
    if not isinstance(value, str) or "\0" in value:
        raise InvalidParameter("a zero byte or no string", context=where)
    return value


def _absolute(path: str) -> str:
    if not isinstance(path, str) or not path.startswith("/") or "\0" in path:
        raise InvalidParameter(f"{path!r} is not an absolute path")
    return path


def _namespaces(linux: dict[str, Any], join_netns: str) -> tuple[int, list[tuple[str, int, str]]]:
    flags, joins = 0, []
    seen: set[str] = set()
    for namespace in linux.get("namespaces") or []:
        kind, path = namespace.get("type"), namespace.get("path") or ""
        if kind not in NAMESPACES:
            raise InvalidParameter(f"unknown namespace type {kind!r}")
        if kind in seen:
            raise InvalidParameter(f"namespace {kind!r} is listed twice")
        seen.add(kind)
        if path:
            joins.append((kind, NAMESPACES[kind], _absolute(path)))
        else:
            flags |= NAMESPACES[kind]
    if join_netns and not any(kind == "network" for kind, _, _ in joins):
        joins.append(("network", sys.CLONE_NEWNET, join_netns))
    if "mount" not in seen:
        raise InvalidParameter("a container needs a mount namespace of its own")
    return flags, joins


def _propagation(word: str) -> int:
    if word.removeprefix("r") not in mountopts.PROPAGATION:
        raise InvalidParameter(f"invalid propagation {word!r}", context="linux.rootfsPropagation")
    return mountopts.PROPAGATION[word.removeprefix("r")]


def _mount(
    mount: dict[str, Any], cgroup: CgroupPlan, layout: Layout, private_cgroup: bool, userns: str
) -> tuple[Any, ...]:
    """Return ("fs", target, type, source, attributes, data, propagation), ("bind", ...) or ("cgroup", ...)."""
    target, kind, source = (
        _absolute(mount.get("destination") or ""),
        mount.get("type") or "",
        mount.get("source") or "",
    )
    options = mountopts.read(mount.get("options") or [])
    mapped = idmap.mount_lines(mount, options.idmap, bool(userns), options.bind or kind == "bind")
    if options.bind or kind == "bind":
        attributes = (options.add, options.clear, options.recursive_add, options.recursive_clear)
        spread = (options.propagation, options.propagation_recursive)
        return ("bind", target, source, options.bind_recursive, *attributes, *spread, mapped)
    if kind == "cgroup" or kind == "cgroup2":
        return (
            "cgroup",
            target,
            options.add,
            _cgroup_views(cgroup, layout),
            layout.unified and private_cgroup,
        )
    return (
        "fs",
        target,
        kind,
        source or kind,
        options.add,
        [list(pair) for pair in options.data],
        options.propagation,
    )


def _cgroup_views(cgroup: CgroupPlan, layout: Layout) -> list[tuple[str, str]]:
    """Return (name below /sys/fs/cgroup, host directory): the container sees its own groups only. v2: one, named ""."""
    if layout.unified:
        return [("", path) for path in cgroup["directories"]]
    views = []
    for mount in dict.fromkeys(layout.v1.values()):
        own = next(path for path in cgroup["directories"] if path.startswith(mount + "/"))
        views.append((os.path.basename(mount), own))
    return views


def _default_nodes() -> list[tuple[str, str, int, int, int, int, int]]:
    return [(f"/dev/{name}", "c", major, minor, 0o666, 0, 0) for name, major, minor in NODES]


def _node(device: dict[str, Any]) -> tuple[str, str, int, int, int, int, int]:
    kind = device.get("type")
    if kind not in ("c", "b", "u", "p"):
        raise InvalidParameter(f"unknown device type {kind!r}", context=f"device {device.get('path')}")
    numbers = int(device.get("major") or 0), int(device.get("minor") or 0)
    mode = int(device["fileMode"]) & 0o777 if device.get("fileMode") is not None else 0o666
    owner = int(device.get("uid") or 0), int(device.get("gid") or 0)
    return (_absolute(device.get("path") or ""), kind, *numbers, mode, *owner)


_SYSCTL_IPC = ("kernel.msg", "kernel.sem", "kernel.shm", "fs.mqueue.")


def _sysctl(key: str, value: Any, flags: int, joins: Sequence[tuple[str, int, str]]) -> tuple[str, str]:
    """Only what belongs to a namespace of the container's own or a joined one; anything else would change the host."""
    namespace = "network" if key.startswith("net.") else "ipc" if key.startswith(_SYSCTL_IPC) else ""
    if key in ("kernel.domainname", "kernel.hostname"):
        namespace = "uts"
    parts = key.replace("/", ".").split(".")
    if not namespace or ".." in key or not all(parts):
        raise InvalidParameter(f"sysctl {key!r} is not in a separate kernel namespace")
    if not flags & NAMESPACES[namespace] and namespace not in (kind for kind, _, _ in joins):
        raise InvalidParameter(f"sysctl {key!r} is not allowed in the host's {namespace} namespace")
    return "/".join(parts) if "/" not in key else key, str(value)


def _finite(value: int) -> int:
    """RLIM_INFINITY is all ones in Go's JSON and -1 in setrlimit(2)."""
    return -1 if value >= 2**63 else value


def _rlimit(limit: dict[str, Any]) -> tuple[int, str, int, int]:
    name = str(limit.get("type") or "").removeprefix("RLIMIT_")
    if name not in RLIMITS:
        raise InvalidParameter(f"invalid ulimit type: {name.lower()}")
    soft, hard = (_finite(int(limit.get(key, 0))) for key in ("soft", "hard"))
    if hard >= 0 and (soft > hard or soft < 0):
        raise InvalidParameter(f"ulimit {name.lower()}: soft limit {soft} is above the hard limit {hard}")
    return RLIMITS[name], name.lower(), soft, hard
