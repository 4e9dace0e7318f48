"""Check a HostConfig before anything is made: what is wrong is refused with 400, what is not built yet with 501. Pure."""

from typing import Any

from havre.engine.settings import BUILTIN_RUNTIME, Settings
from havre.errors import Conflict, InvalidParameter, NotImplementedHere
from havre.spec.engine import ContainerConfig, HostConfig, Resources

MIN_MEMORY_BYTES = 6 << 20  # Docker's floor
_JSON_FILE_OPTS = frozenset({"max-size", "max-file", "labels", "env", "tag"})
_NOT_YET: dict[str, str] = {  # field -> flag; each arrives with its own room and is refused until then
    "volumes_from": "--volumes-from",
    "links": "--link",
    "volume_driver": "--volume-driver",
    "device_requests": "--gpus",
    "storage_opt": "--storage-opt",
    "userns_mode": "--userns",
}


def check(config: ContainerConfig, host: HostConfig, settings: Settings, cpus: int) -> list[str]:
    """Return warnings. Raises InvalidParameter, Conflict or NotImplementedHere naming the field."""
    _check_not_yet(host)
    _check_modes(config, host, settings)
    _check_security(host)
    _check_restart(host)
    _check_log(host, settings)
    return check_resources(host, cpus) + _not_carried_out(config)


def _not_carried_out(config: ContainerConfig) -> list[str]:
    """What an image may bring along and no container should fail for: said, never silently dropped."""
    found = []
    test = (config.healthcheck.test if config.healthcheck else None) or ["NONE"]
    if test[0] != "NONE":
        found.append("health checks are not run yet: the container has no health status")
    if config.volumes:
        paths = ", ".join(sorted(config.volumes))
        found.append(f"there are no volumes yet: {paths} will be part of the container itself and go with it")
    return found


def _check_not_yet(host: HostConfig) -> None:
    for field, flag in _NOT_YET.items():
        value = getattr(host, field)
        if value and not (field == "userns_mode" and value == "host"):
            raise NotImplementedHere(f"{flag} is not there yet", hint=f"leave {flag} out")


def _check_modes(config: ContainerConfig, host: HostConfig, settings: Settings) -> None:
    if host.isolation not in (None, "", "default"):
        raise InvalidParameter(f"invalid isolation '{host.isolation}': only default on Linux")
    if host.uts_mode not in (None, "", "host"):
        raise InvalidParameter(f"invalid UTS mode: {host.uts_mode}")
    if host.cgroupns_mode not in (None, "", "host", "private"):
        raise InvalidParameter(f"invalid cgroup namespace mode: {host.cgroupns_mode}")
    if host.pid_mode not in (None, "", "host", "private") and not _joins(host.pid_mode):
        raise InvalidParameter(f"invalid PID mode: {host.pid_mode}")
    if host.ipc_mode not in (None, "", "host", "private", "none", "shareable"):
        if _joins(host.ipc_mode):
            raise NotImplementedHere("--ipc container:X is not there yet", hint="--ipc host")
        raise InvalidParameter(f"invalid IPC mode: {host.ipc_mode}")
    if _joins(host.network_mode):
        _check_joined_network(config, host)
    if host.runtime not in (None, "", BUILTIN_RUNTIME, "runc", "io.containerd.runc.v2", *settings.runtimes):
        raise InvalidParameter(
            f"unknown or invalid runtime name: {host.runtime}", hint="havre info shows the runtimes"
        )


def _check_joined_network(config: ContainerConfig, host: HostConfig) -> None:
    """`--network container:X` shares everything of the network, so nothing of it can be set."""
    words = "conflicting options: {} and the network mode is container type"
    if config.hostname:
        raise InvalidParameter(words.format("hostname"))
    if host.port_bindings or host.publish_all_ports:
        raise InvalidParameter("conflicting options: port publishing and the container type network mode")
    if host.dns or host.extra_hosts:
        raise InvalidParameter(words.format("dns or custom host-to-IP mapping"))


def _joins(mode: str | None) -> bool:
    return bool(mode and mode.startswith("container:") and len(mode) > len("container:"))


def _check_security(host: HostConfig) -> None:
    for text in host.security_opt or []:
        key, _, value = text.replace(":", "=", 1).partition("=") if "=" not in text else text.partition("=")
        if key in ("seccomp", "no-new-privileges", "systempaths", "label", "apparmor", "writable-cgroups"):
            if key == "systempaths" and value != "unconfined":
                raise InvalidParameter(f"invalid --security-opt 2: {text!r}")
            if key == "apparmor" and value not in ("unconfined", ""):
                raise InvalidParameter(f"AppArmor is not enabled on this host: --security-opt {text}")
            continue
        raise InvalidParameter(f'invalid --security-opt 1: "{text}"')


def _check_restart(host: HostConfig) -> None:
    policy = host.restart_policy
    name = (policy.name if policy else None) or "no"
    retries = (policy.maximum_retry_count if policy else None) or 0
    if name not in ("no", "always", "unless-stopped", "on-failure"):
        raise InvalidParameter(
            f"invalid restart policy: unknown policy '{name}'; use one of 'no', 'always', 'on-failure', or 'unless-stopped'"
        )
    if retries < 0 or (retries and name != "on-failure"):
        raise InvalidParameter(
            "invalid restart policy: maximum retry count can only be used with 'on-failure'"
        )
    if host.auto_remove and name != "no":
        raise Conflict(
            "can't create 'AutoRemove' container with restart policy", hint="leave out --rm or --restart"
        )


def _check_log(host: HostConfig, settings: Settings) -> None:
    driver = (host.log_config.type if host.log_config else None) or settings.log_driver
    options = (host.log_config.config if host.log_config else None) or {}
    if driver not in ("json-file", "none"):
        raise InvalidParameter(
            f"logger: no log driver named '{driver}' is registered", hint="--log-driver json-file or none"
        )
    if driver == "json-file" and (unknown := sorted(set(options) - _JSON_FILE_OPTS)):
        raise InvalidParameter(f"unknown log opt '{unknown[0]}' for json-file log driver")


def check_resources(limits: Resources, cpus: int) -> list[str]:
    """Check the limits of create and update; return Docker's warnings."""
    _check_memory(limits)
    _check_cpu(limits, cpus)
    weight = limits.blkio_weight or 0
    if weight and not 10 <= weight <= 1000:
        raise InvalidParameter("Range of blkio weight is from 10 to 1000")
    if any((limits.cpu_count, limits.cpu_percent, limits.io_maximum_iops, limits.io_maximum_bandwidth)):
        raise InvalidParameter("CpuCount, CpuPercent and IOMaximum* are for Windows hosts")
    warnings = []
    if limits.kernel_memory:
        warnings.append("kernel memory limits are gone from the kernel (since 5.4). Limitation discarded.")
    if limits.oom_kill_disable and not limits.memory:
        warnings.append(
            "OOM killer is disabled for the container, but no memory limit is set, this can crash the host"
        )
    return warnings


def _check_memory(limits: Resources) -> None:
    memory, swap, reservation = limits.memory or 0, limits.memory_swap or 0, limits.memory_reservation or 0
    if 0 < memory < MIN_MEMORY_BYTES:
        raise InvalidParameter("Minimum memory limit allowed is 6MB")
    if memory < 0 or reservation < 0:
        raise InvalidParameter("a memory limit cannot be negative")
    if swap > 0 and not memory:
        raise InvalidParameter(
            "You should always set the Memory limit when using Memoryswap limit, see usage"
        )
    if 0 < swap < memory:
        raise InvalidParameter("Minimum memoryswap limit should be larger than memory limit, see usage")
    if memory and reservation > memory:
        raise InvalidParameter(
            "Minimum memory limit can not be less than memory reservation limit, see usage"
        )
    if (swappiness := limits.memory_swappiness) is not None and not -1 <= swappiness <= 100:
        raise InvalidParameter(f"Invalid value: {swappiness}, valid memory swappiness range is 0-100")


def _check_cpu(limits: Resources, cpus: int) -> None:
    nano = limits.nano_cpus or 0
    if nano and (limits.cpu_period or limits.cpu_quota):
        raise InvalidParameter("Conflicting options: Nano CPUs and CPU Period or Quota cannot both be set")
    if nano < 0 or nano > cpus * 1_000_000_000:
        raise InvalidParameter(
            f"range of CPUs is from 0.01 to {cpus}.00, as there are only {cpus} CPUs available"
        )
    if (period := limits.cpu_period or 0) and not 1000 <= period <= 1_000_000:
        raise InvalidParameter(
            "CPU cfs period can not be less than 1ms (i.e. 1000) or larger than 1s (i.e. 1000000)"
        )
    if 0 < (limits.cpu_quota or 0) < 1000:
        raise InvalidParameter("CPU cfs quota can not be less than 1ms (i.e. 1000)")
    for field in ("cpuset_cpus", "cpuset_mems"):
        if text := getattr(limits, field):
            _check_cpuset(text, field, cpus)


def _check_cpuset(text: str, field: str, cpus: int) -> None:
    try:
        parts: list[Any] = [[int(end) for end in part.split("-")] for part in text.split(",")]
        good = all(1 <= len(ends) <= 2 and ends[0] <= ends[-1] and min(ends) >= 0 for ends in parts)
    except ValueError:
        good = False
    if not good:
        raise InvalidParameter(f"Invalid value {text} for {field.replace('_', ' ')}")
    if field == "cpuset_cpus" and max(ends[-1] for ends in parts) >= cpus:
        raise InvalidParameter(
            f"Requested CPUs are not available - requested {text}, available: 0-{cpus - 1}"
        )
