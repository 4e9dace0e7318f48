"""What this host can do, asked once at start."""

import os
import platform
import socket
from collections.abc import Sequence

from havre.engine.rooms import Host
from havre.runtime.cgroup.layout import host_layout
from havre.runtime.cgroup.layout import version as cgroup_version
from havre.runtime.cgroup.support import ask
from havre.spec.platform import host_platform

SYSTEM_FOLDERS = ("/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin")
INSTALLER, HEAD_BYTES = b"Havre's install.sh", 300  # our own stub named dockerd says so in its second line


def ask_host() -> Host:
    """Read /proc, /etc/os-release and the cgroup mounts."""
    return Host(
        cgroup_version=cgroup_version(),
        kernel=platform.release(),
        operating_system=_operating_system(),
        architecture=host_platform().architecture,
        cpus=len(os.sched_getaffinity(0)),
        memory_bytes=_memory_bytes(),
        hostname=socket.gethostname(),
        seccomp=os.path.exists("/proc/sys/kernel/seccomp/actions_avail"),
        warnings=_warnings(),
        apparmor=_has_apparmor(),
        support=ask(host_layout()),
    )


def reserved_bridges(folders: Sequence[str] = SYSTEM_FOLDERS) -> tuple[str, ...]:
    """Names of bridges to leave free: where a dockerd is installed, it would take over a docker0 that it finds when it starts."""
    for folder in folders:
        try:
            with open(os.path.join(folder, "dockerd"), "rb") as file:
                if INSTALLER not in file.read(HEAD_BYTES):
                    return ("docker0",)
        except OSError:
            continue
    return ()


def _operating_system() -> str:
    try:
        return platform.freedesktop_os_release().get("PRETTY_NAME", "Linux")
    except OSError:
        return "Linux"


def _memory_bytes() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _warnings() -> tuple[str, ...]:
    found = []
    if not os.path.exists("/proc/sys/kernel/seccomp/actions_avail"):
        found.append("WARNING: the kernel has no seccomp filters: containers run without a syscall filter")
    return tuple(found)


def _has_apparmor() -> bool:
    try:
        with open("/sys/module/apparmor/parameters/enabled", encoding="ascii") as file:
            return file.read(1) == "Y"
    except OSError:
        return False
