"""Security options as OCI fields: seccomp, no-new-privileges, masked paths. Pure, but for uname(2)."""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from itertools import takewhile
from typing import Any

from havre.errors import InvalidParameter
from havre.runtime import caps, seccomp
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


KNOWN = frozenset({"apparmor", "label", "no-new-privileges", "seccomp", "systempaths", "writable-cgroups"})
FLAGS = frozenset({"no-new-privileges", "writable-cgroups"})
TRUE, FALSE = ("1", "t", "true"), ("0", "f", "false")  # strconv.ParseBool, in lower case
GO_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}  # uname's word -> the profile's
SECCOMP_ARCHITECTURES = {"amd64": "SCMP_ARCH_X86_64", "arm64": "SCMP_ARCH_AARCH64"}


UMASK = "havre.umask"  # an annotation: the Engine API has no field for what `run --umask` asks


@dataclass(frozen=True, slots=True)
class Security:
    """One container's --security-opt words, read once."""

    seccomp: str = ""  # "" built-in, "unconfined", or a JSON profile
    no_new_privileges: bool = False
    system_paths: bool = True  # False: systempaths=unconfined
    writable_cgroups: bool = False
    apparmor: str = ""


def split(text: str) -> tuple[str, str]:
    """Return the key and the value of one --security-opt: "key=value", the older "key:value", or a bare key."""
    key, _, value = text.partition("=") if "=" in text else text.partition(":")
    return key, value


def read(host: HostConfig, *, no_new_privileges: bool) -> Security:
    """Return the options as values; validate.check has refused unknown ones."""
    given = dict(split(text) for text in host.security_opt or [])
    privileges = given.get("no-new-privileges")
    return Security(
        seccomp=given.get("seccomp", ""),
        no_new_privileges=no_new_privileges if privileges is None else privileges.lower() not in FALSE,
        system_paths=given.get("systempaths") != "unconfined",
        writable_cgroups=given.get("writable-cgroups", "false").lower() not in FALSE,
        apparmor=given.get("apparmor", "").replace("unconfined", ""),
    )


def oci_user(host: HostConfig) -> dict[str, int]:
    """Return OCI `process.user` before names are looked up inside. Raises InvalidParameter for a umask that is none."""
    user = {"uid": 0, "gid": 0}
    if (text := (host.annotations or {}).get(UMASK)) is not None:
        if not text or not set(text) <= set("01234567") or int(text, 8) > 0o777:
            raise InvalidParameter(f"invalid umask: {text!r}", hint="--umask 0027")
        user["umask"] = int(text, 8)
    return user


def check(host: HostConfig) -> None:
    """Read and compile a profile of the caller's own, so that a bad one is refused at create. Raises InvalidParameter; some ms."""
    text = read(host, no_new_privileges=False).seccomp
    if text not in ("", "builtin", "unconfined"):
        found = parse_profile(text, list(caps.ALL))
        seccomp.compile_profile(found, os.uname().machine)
        seccomp.filter_flags(found)


def oci_seccomp(
    security: Security, host: HostConfig, capabilities: list[str], default: Mapping[str, object] | None
) -> dict[str, Any] | None:
    """Return OCI `linux.seccomp`, or None for a container without a filter."""
    if security.seccomp == "unconfined" or (host.privileged and not security.seccomp):
        return None
    if security.seccomp in ("", "builtin"):
        if default is None or security.seccomp:
            return _default(tuple(sorted(capabilities)))
        return _convert(dict(default), set(capabilities), *_machine())
    return parse_profile(security.seccomp, capabilities)


@lru_cache(maxsize=16)
def _default(capabilities: tuple[str, ...]) -> dict[str, Any]:
    return seccomp.default_profile(list(capabilities))


def parse_profile(text: str, capabilities: list[str]) -> dict[str, Any]:
    """Return a profile in Docker's JSON form as an OCI object. Raises InvalidParameter."""
    try:
        profile = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InvalidParameter(f"Decoding seccomp profile failed: {error}") from None
    if not isinstance(profile, dict):
        raise InvalidParameter("Decoding seccomp profile failed: it is not a JSON object")
    return _convert(profile, set(capabilities), *_machine())


def _machine() -> tuple[str, tuple[int, ...]]:
    """This machine in the profile's words: amd64, and the kernel's version as (6, 1)."""
    uname = os.uname()
    return GO_ARCHITECTURES.get(uname.machine, uname.machine), _version(uname.release)


def _version(text: str) -> tuple[int, ...]:
    numbers = text.split(".")[:2]
    return tuple(int("".join(takewhile(str.isdigit, part)) or 0) for part in numbers)


def _convert(
    profile: dict[str, Any], held: set[str], architecture: str, kernel: tuple[int, ...]
) -> dict[str, Any]:
    try:
        if profile.get("listenerPath"):
            raise InvalidParameter("a seccomp listener is not supported", context="listenerPath")
        rules = profile.get("syscalls") or []
        kept = [rule for rule in rules if _applies(rule, held, architecture, kernel)]
        wanted: dict[str, Any] = {
            key: profile[key] for key in ("defaultAction", "defaultErrnoRet", "flags") if key in profile
        }
        return {
            **wanted,
            "architectures": _architectures(profile, architecture),
            "syscalls": [_rule(rule) for rule in kept],
        }
    except (ValueError, AttributeError, TypeError, KeyError) as error:
        raise InvalidParameter(f"Decoding seccomp profile failed: {error!r}") from None


def _applies(rule: dict[str, Any], held: set[str], architecture: str, kernel: tuple[int, ...]) -> bool:
    """Docker's filters: all capabilities of `includes`, none of `excludes`; architectures; the oldest kernel."""
    include, exclude = rule.get("includes") or {}, rule.get("excludes") or {}
    if set(include.get("caps") or []) - held or set(exclude.get("caps") or []) & held:
        return False
    if include.get("arches") and architecture not in include["arches"]:
        return False
    if architecture in (exclude.get("arches") or []):
        return False
    if (least := include.get("minKernel")) and kernel < _version(least):
        return False
    return not ((above := exclude.get("minKernel")) and kernel >= _version(above))


def _rule(rule: dict[str, Any]) -> dict[str, Any]:
    if rule.get("name") and rule.get("names"):
        raise InvalidParameter(
            "'name' and 'names' were specified in the seccomp profile, use either 'name' or 'names'"
        )
    names = rule.get("names") or ([rule["name"]] if rule.get("name") else [])
    if not all(isinstance(name, str) for name in names):
        raise TypeError(names)
    kept = {key: rule[key] for key in ("action", "errnoRet", "args") if rule.get(key) is not None}
    return {"names": names, **kept}


def _architectures(profile: dict[str, Any], architecture: str) -> list[str]:
    listed, by_native = profile.get("architectures"), profile.get("archMap")
    if listed and by_native:
        raise InvalidParameter(
            "'architectures' and 'archMap' were specified in the seccomp profile, "
            "use either 'architectures' or 'archMap'"
        )
    if listed:
        return list(listed)
    found: list[str] = []
    for entry in by_native or []:
        if entry["architecture"] == SECCOMP_ARCHITECTURES.get(architecture):
            found += [entry["architecture"], *(entry.get("subArchitectures") or [])]
    return found
