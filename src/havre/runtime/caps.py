"""Capabilities: Docker's defaults, --cap-add and --cap-drop, and the OCI object. Pure."""

import difflib
from collections.abc import Sequence
from typing import Any

from havre.errors import InvalidParameter

# linux/capability.h, in the kernel's order: the index is the number.
ALL = tuple(
    f"CAP_{name}"
    for name in (
        "CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID SETPCAP LINUX_IMMUTABLE NET_BIND_SERVICE "
        "NET_BROADCAST NET_ADMIN NET_RAW IPC_LOCK IPC_OWNER SYS_MODULE SYS_RAWIO SYS_CHROOT SYS_PTRACE SYS_PACCT SYS_ADMIN "
        "SYS_BOOT SYS_NICE SYS_RESOURCE SYS_TIME SYS_TTY_CONFIG MKNOD LEASE AUDIT_WRITE AUDIT_CONTROL SETFCAP MAC_OVERRIDE "
        "MAC_ADMIN SYSLOG WAKE_ALARM BLOCK_SUSPEND AUDIT_READ PERFMON BPF CHECKPOINT_RESTORE"
    ).split()
)
NUMBERS = {name: number for number, name in enumerate(ALL)}
# Docker's 14 (moby oci/caps/defaults.go): mask a80425fb.
DEFAULT = tuple(
    f"CAP_{name}"
    for name in (
        "CHOWN DAC_OVERRIDE FSETID FOWNER MKNOD NET_RAW SETGID SETUID SETFCAP SETPCAP NET_BIND_SERVICE SYS_CHROOT KILL AUDIT_WRITE"
    ).split()
)


def normalise(name: str) -> str:
    """Return CAP_NET_ADMIN of "net_admin"; "ALL" stays. Raises InvalidParameter with the nearest name."""
    word = name.strip().upper()
    if word == "ALL":
        return word
    full = word if word.startswith("CAP_") else f"CAP_{word}"
    if full not in NUMBERS:
        near = difflib.get_close_matches(full, ALL, 1)
        raise InvalidParameter(
            f'unknown capability: "{full}"', hint=near[0] if near else "man 7 capabilities"
        )
    return full


def resolve(add: Sequence[str], drop: Sequence[str], privileged: bool) -> list[str]:
    """Return the names a container gets, in the kernel's order, by Docker's rules (--cap-add ALL --cap-drop X, ...)."""
    added, dropped = [normalise(name) for name in add], [normalise(name) for name in drop]
    if privileged:
        return list(ALL)
    if "ALL" in added:
        wanted = set(ALL) - set(dropped)
    elif "ALL" in dropped:
        wanted = set(added)
    else:
        wanted = (set(DEFAULT) - set(dropped)) | set(added)
    return [name for name in ALL if name in wanted]


def oci_capabilities(names: Sequence[str]) -> dict[str, list[str]]:
    """Return `process.capabilities`: bounding, effective and permitted; inheritable and ambient stay empty (CVE-2022-29162)."""
    listed = list(names)
    return {"bounding": listed, "effective": listed, "permitted": listed, "inheritable": [], "ambient": []}


def mask(names: Sequence[str]) -> int:
    """Return the bit mask of names; unknown ones are left out (a newer runtime-spec may know more)."""
    return sum(1 << NUMBERS[name] for name in set(names) if name in NUMBERS)


def masks(capabilities: dict[str, Any] | None) -> dict[str, int]:
    """Return the masks of an OCI capabilities object, all empty when there is none."""
    given = capabilities or {}
    return {
        key: mask(given.get(key) or [])
        for key in ("bounding", "effective", "permitted", "inheritable", "ambient")
    }
