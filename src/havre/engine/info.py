"""GET /version, /info and /system/df."""

import asyncio
import os
import time
from collections import Counter
from collections.abc import Sequence
from typing import Any

from havre.engine import volumes
from havre.engine.images import summary as image_summary
from havre.engine.inspect import DRIVER
from havre.engine.listing import list_containers
from havre.engine.rooms import Rooms
from havre.engine.settings import BUILTIN_RUNTIME
from havre.errors import InvalidParameter
from havre.logs import options as log_options
from havre.runtime.cgroup.support import Support
from havre.tasks import in_disk_thread
from havre.version import API_VERSION, MIN_API_VERSION, VERSION


def version(rooms: Rooms) -> dict[str, Any]:
    """Return what `docker version` shows; Havre names itself in Platform and Components."""
    import platform

    details = {
        "ApiVersion": API_VERSION,
        "Arch": rooms.host.architecture,
        "Experimental": "false",
        "KernelVersion": rooms.host.kernel,
        "MinAPIVersion": MIN_API_VERSION,
        "Os": "linux",
        "PythonVersion": platform.python_version(),
    }
    return {
        "Platform": {"Name": "Havre"},
        "Version": VERSION,
        "ApiVersion": API_VERSION,
        "MinAPIVersion": MIN_API_VERSION,
        "Os": "linux",
        "Arch": rooms.host.architecture,
        "KernelVersion": rooms.host.kernel,
        "Experimental": False,
        "GitCommit": "",
        "GoVersion": "",
        "BuildTime": "",
        "Components": [{"Name": "Engine", "Version": VERSION, "Details": details}],
    }


def info(rooms: Rooms, warnings: Sequence[str] = ()) -> dict[str, Any]:
    """Return what `docker info` shows; `warnings` are those of this moment."""
    states = [one.state.status for one in rooms.containers]
    return {
        "ID": rooms.settings.instance,
        "Containers": len(states),
        "ContainersRunning": states.count("running"),
        "ContainersPaused": states.count("paused"),
        "ContainersStopped": len(states) - states.count("running") - states.count("paused"),
        "Images": len(rooms.images.all()),
        **_storage(rooms),
        **_abilities(rooms),
        **_host(rooms),
        **_registries(rooms),
        "GenericResources": None,
        "HttpProxy": os.environ.get("HTTP_PROXY", ""),
        "HttpsProxy": os.environ.get("HTTPS_PROXY", ""),
        "NoProxy": os.environ.get("NO_PROXY", ""),
        "Isolation": "",
        "NGoroutines": len(asyncio.all_tasks()),
        "Swarm": {
            "NodeID": "",
            "NodeAddr": "",
            "LocalNodeState": "inactive",
            "ControlAvailable": False,
            "Error": "",
            "RemoteManagers": None,
        },
        "Labels": list(rooms.settings.labels),
        "ServerVersion": VERSION,
        "ExperimentalBuild": False,
        "LiveRestoreEnabled": True,
        "Debug": rooms.settings.debug,
        "NFd": len(os.listdir("/proc/self/fd")),
        "NEventsListener": rooms.events.listeners(),
        "SystemTime": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "Warnings": [*rooms.host.warnings, *warnings],
    }


def _storage(rooms: Rooms) -> dict[str, Any]:
    return {
        "Driver": DRIVER,
        "DriverStatus": [["Supports d_type", "true"], ["Mounted on the host", "false"]],
        "DockerRootDir": str(rooms.settings.data_root),
        "LoggingDriver": rooms.settings.log_driver,
    }


def _abilities(rooms: Rooms) -> dict[str, Any]:
    runtimes: dict[str, Any] = {BUILTIN_RUNTIME: {"path": "havre"}}
    for name, choice in rooms.settings.runtimes.items():
        runtimes[name] = {"path": choice.path, **({"runtimeArgs": list(choice.args)} if choice.args else {})}
    return {
        "Plugins": {
            "Volume": ["local"],
            "Network": ["bridge", "host", "null"],
            "Authorization": None,
            "Log": sorted(set(log_options.KNOWN) - {"none"}),
        },
        **_limits(rooms.host.support),
        "IPv4Forwarding": True,
        "CgroupDriver": "cgroupfs",
        "CgroupVersion": str(rooms.host.cgroup_version),
        "Runtimes": runtimes,
        "DefaultRuntime": rooms.settings.default_runtime,
        "InitBinary": "havre",
        "ContainerdCommit": {"ID": ""},
        "RuncCommit": {"ID": ""},
        "InitCommit": {"ID": ""},
        "CDISpecDirs": list(rooms.settings.cdi_spec_dirs),
        "SecurityOptions": (["name=apparmor"] if rooms.host.apparmor else [])
        + (["name=seccomp,profile=builtin"] if rooms.host.seccomp else [])
        + (["name=userns"] if rooms.settings.remap else [])
        + (["name=cgroupns"] if rooms.host.cgroup_version == 2 else []),
    }


def _limits(known: Support) -> dict[str, bool]:
    """What the kernel has; the docker CLI warns of every one that is false."""
    return {
        "MemoryLimit": known.memory,
        "SwapLimit": known.swap,
        "CpuCfsPeriod": known.cpu_cfs,
        "CpuCfsQuota": known.cpu_cfs,
        "CPUShares": known.cpu_shares,
        "CPUSet": known.cpuset,
        "PidsLimit": known.pids,
        "OomKillDisable": known.oom_kill_disable,
    }


def _host(rooms: Rooms) -> dict[str, Any]:
    host = rooms.host
    return {
        "KernelVersion": host.kernel,
        "OperatingSystem": host.operating_system,
        "OSType": "linux",
        "Architecture": {"amd64": "x86_64", "arm64": "aarch64"}.get(host.architecture, host.architecture),
        "NCPU": host.cpus,
        "MemTotal": host.memory_bytes,
        "Name": host.hostname,
    }


def _registries(rooms: Rooms) -> dict[str, Any]:
    insecure = list(rooms.settings.insecure_registries)
    index = {
        "docker.io": {
            "Name": "docker.io",
            "Mirrors": list(rooms.settings.registry_mirrors),
            "Secure": True,
            "Official": True,
        }
    }
    for name in insecure:
        index[name] = {"Name": name, "Mirrors": [], "Secure": False, "Official": False}
    return {
        "IndexServerAddress": "https://index.docker.io/v1/",
        "RegistryConfig": {
            "InsecureRegistryCIDRs": ["127.0.0.0/8", "::1/128"],
            "IndexConfigs": index,
            "Mirrors": [],
        },
    }


KINDS = ("container", "image", "volume", "build-cache")  # of GET /system/df?type=


async def disk_usage(rooms: Rooms, kinds: Sequence[str] = ()) -> dict[str, Any]:
    """Return GET /system/df, all of it or some `kinds`; walks the containers' layers in a disk thread. Raises InvalidParameter."""
    for kind in kinds:
        if kind not in KINDS:
            raise InvalidParameter(f"unknown object type: {kind}", hint=" ".join(KINDS))
    wanted = kinds or KINDS
    found: dict[str, Any] = {}
    if "image" in wanted:
        found["LayersSize"] = await in_disk_thread(rooms.images.usage)
        found["Images"] = await in_disk_thread(_images, rooms)
    if "container" in wanted:
        found["Containers"] = await in_disk_thread(lambda: list_containers(rooms, all_=True, size=True))
    if "volume" in wanted:
        found["Volumes"] = await volumes.usage(rooms)
    if "build-cache" in wanted:
        found["BuildCache"] = []
    return found


def _images(rooms: Rooms) -> list[dict[str, Any]]:
    used = Counter(one.record.image_id for one in rooms.containers)
    shared = rooms.images.shares()
    return [
        {**image_summary(image, used[image.id]), "SharedSize": shared.get(image.id, 0)}
        for image in rooms.images.all()
    ]
