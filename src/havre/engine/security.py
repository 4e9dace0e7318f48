"""Security options as OCI fields: seccomp, no-new-privileges, masked paths. Pure."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from havre.errors import InvalidParameter
from havre.runtime import seccomp
from havre.spec.engine import HostConfig

# Docker's lists (moby oci/defaults.go): what /proc and /sys would tell about or change on the host.
MASKED = (
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
)
READ_ONLY = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")


@dataclass(frozen=True, slots=True)
class Security:
    """One container's --security-opt words, read once."""

    seccomp: str = ""  # "" built-in, "unconfined", or a JSON profile
    no_new_privileges: bool = False
    system_paths: bool = True  # False: systempaths=unconfined
    writable_cgroups: bool = False


def read(host: HostConfig, *, no_new_privileges: bool) -> Security:
    """Return the options as values; validate.check has refused unknown ones."""
    profile, privileges, paths, cgroups = "", no_new_privileges, True, False
    for text in host.security_opt or []:
        key, _, value = text.partition("=") if "=" in text else text.partition(":")
        if key == "seccomp":
            profile = value
        elif key == "no-new-privileges":
            privileges = value.lower() not in ("false", "0")
        elif key == "systempaths":
            paths = value != "unconfined"
        elif key == "writable-cgroups":
            cgroups = value.lower() in ("true", "1")
    return Security(profile, privileges, paths, cgroups)


def oci_seccomp(
    security: Security, host: HostConfig, capabilities: list[str], default: Mapping[str, object] | None
) -> dict[str, Any] | None:
    """Return OCI `linux.seccomp`, or None for a container without a filter."""
    if security.seccomp == "unconfined" or (host.privileged and not security.seccomp):
        return None
    if security.seccomp in ("", "builtin"):
        return dict(default) if default is not None else _default(tuple(sorted(capabilities)))
    return parse_profile(security.seccomp, capabilities)


@lru_cache(maxsize=16)
def _default(capabilities: tuple[str, ...]) -> dict[str, Any]:
    return seccomp.default_profile(list(capabilities))


def parse_profile(text: str, capabilities: list[str]) -> dict[str, Any]:
    """Return a profile in Docker's JSON form (with includes/excludes by capability and archMap) as an OCI object."""
    try:
        profile = json.loads(text)
        rules = profile.get("syscalls") or []
        if not isinstance(profile, dict) or not isinstance(rules, list):
            raise InvalidParameter("Decoding seccomp profile failed: not an object with a list of syscalls")
        syscalls = [_rule(rule) for rule in rules if _applies(rule, set(capabilities))]
    except (ValueError, AttributeError, TypeError, KeyError) as error:
        raise InvalidParameter(f"Decoding seccomp profile failed: {error}") from None
    wanted: dict[str, Any] = {
        key: profile[key] for key in ("defaultAction", "defaultErrnoRet", "flags") if key in profile
    }
    return {**wanted, "architectures": _architectures(profile), "syscalls": syscalls}


def _applies(rule: dict[str, Any], capabilities: set[str]) -> bool:
    include, exclude = rule.get("includes") or {}, rule.get("excludes") or {}
    if set(include.get("caps") or []) - capabilities or set(exclude.get("caps") or []) & capabilities:
        return False
    return (not include.get("arches") or "amd64" in include["arches"]) and "amd64" not in (
        exclude.get("arches") or []
    )


def _rule(rule: dict[str, Any]) -> dict[str, Any]:
    names = rule.get("names") or ([rule["name"]] if rule.get("name") else [])
    kept = {key: rule[key] for key in ("action", "errnoRet", "args") if rule.get(key) is not None}
    return {"names": names, **kept}


def _architectures(profile: dict[str, Any]) -> list[str]:
    if listed := profile.get("architectures"):
        return list(listed)
    found: list[str] = []
    for entry in profile.get("archMap") or []:
        found += [entry["architecture"], *(entry.get("subArchitectures") or [])]
    return found
