"""What this host can do, asked once at start."""

import os
import platform
import socket

from havre.engine.rooms import Host
from havre.runtime.cgroup.layout import host_layout
from havre.runtime.cgroup.layout import version as cgroup_version
from havre.runtime.cgroup.support import ask
from havre.spec.platform import host_platform


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
