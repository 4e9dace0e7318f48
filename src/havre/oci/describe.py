"""features and spec: what this runtime can do, and a config.json to begin with."""

import json
import os
from typing import Any

from havre.errors import Conflict, InvalidParameter
from havre.oci import flags
from havre.oci.context import OCI_VERSION, Context
from havre.runtime import caps, hooks, mountopts
from havre.runtime.cgroup.layout import host_layout
from havre.runtime.plan import NAMESPACES
from havre.runtime.seccomp import compiler
from havre.version import VERSION

OPERATORS = ("NE", "LT", "LE", "EQ", "GE", "GT", "MASKED_EQ")
_FEW = ["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"]
_STRICT = ["nosuid", "noexec", "nodev"]
MASKED = (
    "/proc/acpi",
    "/proc/asound",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/sys/firmware",
    "/proc/scsi",
)
READ_ONLY = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")


def show_features(context: Context, options: flags.Options, words: list[str]) -> int:
    """Print features.json (runtime-spec features.md)."""
    print(json.dumps(features(), indent=4))
    return 0


def features() -> dict[str, Any]:
    """Return what this runtime knows, whatever the host has."""
    layout = host_layout()
    return {
        "ociVersionMin": "1.0.0",
        "ociVersionMax": OCI_VERSION,
        "hooks": list(hooks.KINDS),
        "mountOptions": sorted(mountopts.known_words()),
        "linux": {
            "namespaces": sorted(NAMESPACES),
            "capabilities": list(caps.ALL),
            "cgroup": {
                "v1": True,
                "v2": True,
                "systemd": False,
                "systemdUser": False,
                "rdma": "rdma" in layout.v1,
            },
            "seccomp": {
                "enabled": True,
                "actions": sorted(compiler.ACTIONS),
                "operators": [f"SCMP_CMP_{name}" for name in OPERATORS],
                "archs": sorted(compiler.ARCHITECTURES),
                "knownFlags": sorted(compiler.FLAGS),
                "supportedFlags": sorted(compiler.FLAGS),
            },
            "apparmor": {"enabled": True},
            "selinux": {"enabled": False},
            "intelRdt": {"enabled": False},
            "mountExtensions": {"idmap": {"enabled": True}},
        },
        "annotations": {"io.havre.version": VERSION},
    }


def write_spec(context: Context, options: flags.Options, words: list[str]) -> int:
    """Write config.json into the bundle. Raises Conflict when there is one."""
    path = os.path.join(flags.text(options, "bundle", "."), "config.json")
    document = json.dumps(rootless(example()) if options.get("rootless") else example(), indent="\t")
    try:
        with open(path, "x", encoding="utf-8") as file:
            file.write(document)
    except FileExistsError:
        raise Conflict(f"file {path} exists. Remove it first") from None
    except OSError as error:
        raise InvalidParameter(f"{path}: {(error.strerror or '').lower()}") from None
    return 0


def example() -> dict[str, Any]:
    """Return runc's starter: sh on a terminal, a read-only root, three capabilities."""
    listed = {kind: _FEW for kind in ("bounding", "effective", "permitted")}
    return {
        "ociVersion": OCI_VERSION,
        "process": {
            "terminal": True,
            "user": {"uid": 0, "gid": 0},
            "args": ["sh"],
            "env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "TERM=xterm"],
            "cwd": "/",
            "capabilities": listed,
            "rlimits": [{"type": "RLIMIT_NOFILE", "hard": 1024, "soft": 1024}],
            "noNewPrivileges": True,
        },
        "root": {"path": "rootfs", "readonly": True},
        "hostname": "havre",
        "mounts": _mounts(),
        "linux": {
            "resources": {"devices": [{"allow": False, "access": "rwm"}]},
            "namespaces": [{"type": kind} for kind in ("pid", "network", "ipc", "uts", "mount", "cgroup")],
            "maskedPaths": list(MASKED),
            "readonlyPaths": list(READ_ONLY),
        },
    }


def _mounts() -> list[dict[str, Any]]:
    pts = ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]
    rows: tuple[tuple[str, str, str, list[str]], ...] = (
        ("/proc", "proc", "proc", []),
        ("/dev", "tmpfs", "tmpfs", ["nosuid", "strictatime", "mode=755", "size=65536k"]),
        ("/dev/pts", "devpts", "devpts", pts),
        ("/dev/shm", "tmpfs", "shm", [*_STRICT, "mode=1777", "size=65536k"]),
        ("/dev/mqueue", "mqueue", "mqueue", _STRICT),
        ("/sys", "sysfs", "sysfs", [*_STRICT, "ro"]),
        ("/sys/fs/cgroup", "cgroup", "cgroup", [*_STRICT, "relatime", "ro"]),
    )
    return [
        {"destination": target, "type": kind, "source": source, "options": words}
        for target, kind, source, words in rows
    ]


def rootless(document: dict[str, Any]) -> dict[str, Any]:
    """Change the starter for a caller without rights: our own ids as root inside, the host's network, no groups."""
    linux = document["linux"]
    kept = [entry for entry in linux["namespaces"] if entry["type"] != "network"]
    linux["namespaces"] = [*kept, {"type": "user"}]
    linux["uidMappings"] = [{"containerID": 0, "hostID": os.geteuid(), "size": 1}]
    linux["gidMappings"] = [{"containerID": 0, "hostID": os.getegid(), "size": 1}]
    linux.pop("resources")
    shown = {"destination": "/sys", "type": "bind", "source": "/sys", "options": ["rbind", *_STRICT, "ro"]}
    mounts = []
    for mount in document["mounts"]:
        if mount["destination"] == "/sys":
            mounts.append(shown)
        elif mount["destination"] != "/sys/fs/cgroup":
            options = [word for word in mount["options"] if not word.startswith("gid=")]
            mounts.append({**mount, "options": options})
    document["mounts"] = mounts
    return document
