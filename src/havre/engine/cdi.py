"""CDI: devices of a vendor's own description (--device vendor.com/class=name, --gpus). `ask` reads files; `apply` is pure.

A description may bring environment, device nodes, mounts, hooks and groups (CDI SPEC.md). Nothing of it is skipped: what cannot
be done is an error. Directories later in the list win over earlier ones; a device that is there twice in one is nobody's.
"""

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from havre.engine import devices
from havre.errors import InvalidParameter
from havre.runtime.hooks import KINDS
from havre.spec import cdi
from havre.spec.engine import DeviceRequest, HostConfig

DRIVER = "cdi"
GPU_WORDS = frozenset("gpu nvidia compute compat32 graphics utility video display ngx".split())
NVIDIA = "nvidia.com/gpu"
ALL = -1  # DeviceRequest.Count


@dataclass(frozen=True, slots=True)
class Edits:
    """What the asked devices change in a container."""

    nodes: tuple[devices.Device, ...] = ()
    env: tuple[str, ...] = ()
    mounts: tuple[cdi.Mount, ...] = ()
    hooks: tuple[cdi.Hook, ...] = ()
    groups: tuple[int, ...] = ()


@dataclass(slots=True)
class _Known:
    """All specs of the host: by kind, in order of growing priority; and what could not be read."""

    specs: list[tuple[int, cdi.Spec]] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)


def ask(host: HostConfig, directories: Sequence[str]) -> Edits:
    """Read the specs and resolve every device request. Raises InvalidParameter. Blocking."""
    requests = host.device_requests or []
    if not requests:
        return Edits()
    known = _read(directories)
    names = [name for request in requests for name in _names(request, known)]
    return _edits(list(dict.fromkeys(names)), known)


def _read(directories: Sequence[str]) -> _Known:
    known = _Known()
    for priority, directory in enumerate(directories):
        try:
            files = sorted(os.listdir(directory))
        except OSError:
            continue
        for name in files:
            if name.endswith((".json", ".yaml", ".yml")):
                _read_file(f"{directory}/{name}", priority, known)
    return known


def _read_file(path: str, priority: int, known: _Known) -> None:
    try:
        with open(path, "rb") as file:
            data = file.read(cdi.MAX_BYTES + 1)
        if len(data) > cdi.MAX_BYTES:
            raise InvalidParameter(f"larger than {cdi.MAX_BYTES} bytes", context=f"CDI spec {path}")
        known.specs.append((priority, cdi.parse(data, path)))
    except (InvalidParameter, OSError) as error:
        known.broken.append(str(error))


def _names(request: DeviceRequest, known: _Known) -> list[str]:
    """Return the qualified names one request stands for."""
    if request.count and request.device_ids:
        raise InvalidParameter("cannot set both Count and DeviceIDs on device request")
    if request.options:
        raise InvalidParameter("options of a device request are not supported", hint="leave them out")
    if request.driver == DRIVER:
        if request.count:
            raise InvalidParameter('"Count" is not supported by the cdi driver', hint="name the devices")
        return list(request.device_ids or [])
    kind = _gpu_kind(request, known)
    if not kind:
        raise InvalidParameter(
            f'could not select device driver "{request.driver or ""}" with capabilities: {_go(request.capabilities)}',
            hint="a CDI spec of the GPUs in /etc/cdi, made by nvidia-ctk cdi generate",
        )
    there = [device.name for _, spec in known.specs if spec.kind == kind for device in spec.devices or []]
    if request.device_ids:
        return [f"{kind}={name}" for name in request.device_ids]
    if request.count == ALL:
        return [f"{kind}=all"] if "all" in there else [f"{kind}={name}" for name in there]
    numbered = sorted({int(name) for name in there if name.isdigit()})
    wanted = request.count or 0
    if wanted > len(numbered):
        raise InvalidParameter(f"{wanted} GPUs were asked for, {len(numbered)} are there", context=kind)
    return [f"{kind}={number}" for number in numbered[:wanted]]


def _gpu_kind(request: DeviceRequest, known: _Known) -> str:
    """Return the kind that answers a request for GPUs: NVIDIA's first, "" for none or for other wishes."""
    words = [set(each) for each in request.capabilities or []]
    if not any("gpu" in each and each <= GPU_WORDS for each in words):
        return ""
    kinds = sorted({spec.kind for _, spec in known.specs if spec.kind.endswith("/gpu")})
    if request.driver:
        kinds = [kind for kind in kinds if kind.startswith(f"{request.driver}.")]
    return NVIDIA if NVIDIA in kinds else kinds[0] if kinds else ""


def _go(lists: list[list[str]] | None) -> str:
    """Return [[gpu utility]], as Go prints it."""
    return "[" + " ".join(f"[{' '.join(each)}]" for each in lists or []) + "]"


def _edits(names: Sequence[str], known: _Known) -> Edits:
    found: list[cdi.Edits] = []
    seen: set[int] = set()
    missing = []
    for name in names:
        chosen = _choose(name, known)
        if chosen is None:
            missing.append(name)
            continue
        spec, device = chosen
        if (
            id(spec) not in seen
        ):  # a spec's own edits are made once, however many of its devices are asked for
            seen.add(id(spec))
            found.append(spec.container_edits or cdi.Edits())
        found.append(device.container_edits or cdi.Edits())
    if missing:
        reason = f" ({'; '.join(known.broken)})" if known.broken else ""
        raise InvalidParameter(
            f"CDI device injection failed: unresolvable CDI devices {', '.join(missing)}{reason}"
        )
    return _merge(found)


def _choose(name: str, known: _Known) -> tuple[cdi.Spec, cdi.Device] | None:
    if not cdi.is_qualified(name):
        raise InvalidParameter(f"invalid CDI device name {name!r}", hint="vendor.com/class=name")
    kind, _, wanted = name.partition("=")
    there = [
        (priority, spec, device)
        for priority, spec in known.specs
        if spec.kind == kind
        for device in spec.devices or []
        if device.name == wanted
    ]
    top = [entry for entry in there if entry[0] == max(each[0] for each in there)]
    return (top[0][1], top[0][2]) if len(top) == 1 else None


def _merge(found: Iterable[cdi.Edits]) -> Edits:
    nodes: list[devices.Device] = []
    env: list[str] = []
    mounts: list[cdi.Mount] = []
    hooks: list[cdi.Hook] = []
    groups: list[int] = []
    for edits in found:
        if edits.intel_rdt or edits.net_devices:
            raise InvalidParameter("CDI edits of Intel RDT and network devices are not supported")
        nodes += [_node(node) for node in edits.device_nodes or []]
        env += edits.env or []
        mounts += edits.mounts or []
        hooks += edits.hooks or []
        groups += edits.additional_gids or []
    for hook in hooks:
        if hook.hook_name not in KINDS:
            raise InvalidParameter(f"unknown CDI hook {hook.hook_name!r}", hint=", ".join(KINDS))
    by_path = {node.path: node for node in nodes}
    return Edits(tuple(by_path.values()), tuple(env), tuple(mounts), tuple(hooks), tuple(groups))


def _node(wanted: cdi.DeviceNode) -> devices.Device:
    """Fill in what the description leaves to the host."""
    source, access = wanted.host_path or wanted.path, wanted.permissions or "rwm"
    if not set(access) <= set("rwm"):
        raise InvalidParameter(f"invalid device permissions {access!r}", context=f"CDI device {wanted.path}")
    known = bool(wanted.type and wanted.major is not None and wanted.minor is not None)
    seen = None if known else devices.stat_node(source, wanted.path, access)
    if not known and seen is None:
        raise InvalidParameter(f"{source} is not a device node", context="CDI device")
    mode, uid, gid = wanted.file_mode, wanted.uid, wanted.gid
    return devices.Device(
        source=source,
        path=wanted.path,
        kind=seen.kind if seen else wanted.type or "c",
        major=seen.major if seen else wanted.major or 0,
        minor=seen.minor if seen else wanted.minor or 0,
        mode=mode if mode is not None else seen.mode if seen else 0o666,
        uid=uid if uid is not None else seen.uid if seen else 0,
        gid=gid if gid is not None else seen.gid if seen else 0,
        access=access,
    )


def apply(edits: Edits, config: dict[str, Any]) -> None:
    """Put environment, mounts and hooks into an OCI config; nodes and groups go the way of --device and --group-add. Pure."""
    env = config["process"]["env"]
    for entry in edits.env:
        name = entry.partition("=")[0] + "="
        env[:] = [each for each in env if not each.startswith(name)] + [entry]
    for mount in edits.mounts:
        words = mount.options or ["ro", "nosuid", "nodev", "bind"]
        bind = [] if {"bind", "rbind"} & set(words) or mount.type not in (None, "", "bind") else ["rbind"]
        config["mounts"].append(
            {
                "destination": mount.container_path,
                "type": mount.type or "bind",
                "source": mount.host_path,
                "options": [*bind, *words],
            }
        )
    for hook in edits.hooks:
        kept = {"path": hook.path, "args": hook.args, "env": hook.env, "timeout": hook.timeout}
        wanted = {key: value for key, value in kept.items() if value}
        config.setdefault("hooks", {}).setdefault(hook.hook_name, []).append(wanted)
