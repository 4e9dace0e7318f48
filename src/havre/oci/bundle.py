"""A bundle's config.json: read, checked, and completed to what the runtime plans from. Raises InvalidParameter naming the place."""

import os
from pathlib import Path
from typing import Any

import msgspec

from havre.errors import InvalidParameter, NotFound
from havre.oci import schema

# What every container may use, whatever its rules say (runtime-spec config-linux.md "Default Devices"; as runc and crun do).
DEFAULT_RULES: tuple[tuple[str, int | None, int | None, str], ...] = (
    ("c", None, None, "m"),
    ("b", None, None, "m"),
    ("c", 1, 3, "rwm"),
    ("c", 1, 5, "rwm"),
    ("c", 1, 7, "rwm"),
    ("c", 1, 8, "rwm"),
    ("c", 1, 9, "rwm"),
    ("c", 5, 0, "rwm"),
    ("c", 5, 2, "rwm"),
    ("c", 136, None, "rwm"),
)

_REFUSED = {
    "mountLabel": "SELinux is not enabled on this host",
    "intelRdt": "Intel RDT is not supported",
    "netDevices": "moving network devices is not supported",
}


def read_config(bundle: str, name: str) -> dict[str, Any]:
    """Return the checked config of a bundle, with absolute paths and the default device rules."""
    path = Path(bundle, name or "config.json")
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise NotFound(f"JSON specification file {path} not found") from None
    except OSError as error:
        raise InvalidParameter(f"{path}: {(error.strerror or '').lower()}") from None
    config = check(data, schema.Config, str(path))
    _check_version(config["ociVersion"])
    _refuse(config)
    _complete(config, bundle)
    return config


def check(data: bytes, kind: type[msgspec.Struct], where: str) -> dict[str, Any]:
    """Decode JSON by a schema and return it as plain values with the specification's names."""
    try:
        checked: dict[str, Any] = msgspec.to_builtins(msgspec.json.decode(data, type=kind))
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidParameter(str(error), context=where) from None
    return checked


def _check_version(version: str) -> None:
    major, dot, rest = version.partition(".")
    if major != "1" or not dot or not rest[:1].isdigit():
        raise InvalidParameter(f"unsupported ociVersion {version!r}", hint="1.0.0 up to 1.2.x")


def _refuse(config: dict[str, Any]) -> None:
    """What we cannot do must be an error, never silence (runtime.md, Errors)."""
    linux, process = config.get("linux") or {}, config.get("process") or {}
    for key, reason in _REFUSED.items():
        if linux.get(key):
            raise InvalidParameter(reason, context=f"linux.{key}")
    if (linux.get("seccomp") or {}).get("listenerPath"):
        raise InvalidParameter("a seccomp listener is not supported", context="linux.seccomp.listenerPath")
    if process.get("selinuxLabel"):
        raise InvalidParameter("SELinux is not enabled on this host", context="process.selinuxLabel")
    if process.get("execCPUAffinity"):
        raise InvalidParameter(
            "not supported", context="process.execCPUAffinity", hint="linux.resources.cpu.cpus"
        )
    for key in ("network", "rdma"):
        if any(((linux.get("resources") or {}).get(key) or {}).values()):
            raise InvalidParameter("this control group is not supported", context=f"linux.resources.{key}")


def _complete(config: dict[str, Any], bundle: str) -> None:
    root = config["root"]
    root["path"] = os.path.join(bundle, root["path"])
    if not os.path.isdir(root["path"]):
        raise InvalidParameter(f"root.path {root['path']} is not a directory")
    for mount in config.get("mounts") or []:
        if {"bind", "rbind"} & set(mount.get("options") or []) or mount.get("type") == "bind":
            mount["source"] = os.path.join(bundle, mount.get("source") or "")
        if not mount["destination"].startswith("/"):
            mount["destination"] = "/" + mount["destination"]  # runc's reading of an old habit
    linux = config.setdefault("linux", {})
    resources = linux.setdefault("resources", {})
    resources["devices"] = [*(resources.get("devices") or []), *_default_rules()]


def _default_rules() -> list[dict[str, Any]]:
    return [
        {"allow": True, "type": kind, "major": major, "minor": minor, "access": access}
        for kind, major, minor, access in DEFAULT_RULES
    ]
