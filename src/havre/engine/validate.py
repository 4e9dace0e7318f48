"""Check a HostConfig before anything is made: what is wrong is refused with 400, what is not built yet with 501. Pure."""

import re
from collections.abc import Mapping
from ipaddress import ip_address

from havre.engine import devices, health, security, userns
from havre.engine.checklimits import check_resources
from havre.engine.ending import parse_signal
from havre.engine.files import HOST_GATEWAY
from havre.engine.rooms import Host
from havre.engine.settings import BUILTIN_RUNTIME, Settings
from havre.errors import Conflict, InvalidParameter, NotImplementedHere
from havre.runtime import caps
from havre.runtime.plan import RLIMITS
from havre.spec.engine import ContainerConfig, EndpointSettings, HostConfig, RestartPolicy
from havre.units import parse_bytes

_MAC = re.compile(r"[0-9a-fA-F]{2}([:-][0-9a-fA-F]{2}){5}")
OOM_SCORE_MAX = 1000  # linux/oom.h
MAX_NAME = 64  # __NEW_UTS_LEN, linux/utsname.h
MAX_TERMINAL = 65535  # struct winsize holds 16 bits
_NOT_YET: dict[str, str] = {  # field -> flag; each arrives with its own room and is refused until then
    "links": "--link",
}


def check(
    config: ContainerConfig, host: HostConfig, settings: Settings, cpus: int, machine: Host | None = None
) -> list[str]:
    """Return warnings; a limit the kernel lacks is taken out. Raises InvalidParameter, Conflict or NotImplementedHere."""
    _check_not_yet(host)
    _check_config(config)
    _check_numbers(host)
    _check_lists(host)
    _check_names(host)
    _check_modes(config, host, settings)
    userns.check(host, settings.remap is not None)
    _check_security(host)
    _check_restart(host)
    return (
        check_resources(host, cpus, machine.support if machine else None)
        + _security_warnings(host, machine)
        + health.validate(config)
    )


def _check_not_yet(host: HostConfig) -> None:
    for field, flag in _NOT_YET.items():
        value = getattr(host, field)
        if value:
            raise NotImplementedHere(f"{flag} is not there yet", hint=f"leave {flag} out")


def _check_config(config: ContainerConfig) -> None:
    if config.working_dir and not config.working_dir.startswith("/"):
        raise InvalidParameter(
            f"the working directory '{config.working_dir}' is invalid, it needs to be an absolute path"
        )
    _check_mac(config.mac_address)
    if config.stop_signal:
        parse_signal(config.stop_signal)
    for name, value in (("hostname", config.hostname), ("domainname", config.domainname)):
        if value and (len(value) > MAX_NAME or not value.isprintable() or " " in value):
            raise InvalidParameter(
                f"invalid {name}: {value[: MAX_NAME + 1]!r}", hint="at most 64 letters, digits, - and ."
            )


def _check_numbers(host: HostConfig) -> None:
    storage_bytes(host.storage_opt)
    security.oci_user(host)
    if (host.shm_size or 0) < 0:
        raise InvalidParameter("SHM size can not be less than 0")
    if not -OOM_SCORE_MAX <= (host.oom_score_adj or 0) <= OOM_SCORE_MAX:
        raise InvalidParameter(
            f"Invalid value {host.oom_score_adj}, range for oom score adj is [-1000, 1000]"
        )
    if host.console_size and (
        len(host.console_size) != 2 or not all(0 <= side <= MAX_TERMINAL for side in host.console_size)
    ):
        raise InvalidParameter(f"invalid console size {host.console_size}: two numbers, height and width")
    if "" in (host.annotations or {}):
        raise InvalidParameter("invalid Annotations: the empty string is not permitted as an annotation key")


def _check_lists(host: HostConfig) -> None:
    for rule in host.device_cgroup_rules or []:
        devices.parse_rule(rule)
    for limit in host.ulimits or []:
        if (limit.name or "").upper() not in RLIMITS:
            raise InvalidParameter(f"invalid ulimit type: {limit.name}")
    for path in (*(host.masked_paths or []), *(host.readonly_paths or [])):
        if not path.startswith("/") or "\0" in path:
            raise InvalidParameter(f"{path!r} is not an absolute path", context="MaskedPaths, ReadonlyPaths")
    if ".." in (host.cgroup_parent or "").split("/") or "\0" in (host.cgroup_parent or ""):
        raise InvalidParameter(f"invalid cgroup parent: {host.cgroup_parent!r}", hint="--cgroup-parent /name")
    for field, name in (("cap_add", "CapAdd"), ("cap_drop", "CapDrop")):
        for word in getattr(host, field) or []:
            _check_capability(name, word)


def _check_names(host: HostConfig) -> None:
    for address in host.dns or []:
        if not _is_address(address):
            raise InvalidParameter(
                f"invalid DNS server: {address!r} is not an IP address", hint="--dns 1.1.1.1"
            )
    for text in (*(host.dns_search or []), *(host.dns_options or [])):
        if not text.isprintable() or " " in text:
            raise InvalidParameter(
                f"{text!r} is no word for resolv.conf", context="--dns-search, --dns-option"
            )
    for text in host.extra_hosts or []:
        _check_extra_host(text)


def _is_address(text: str) -> bool:
    try:
        ip_address(text.partition("%")[0])
    except ValueError:
        return False
    return True


def _check_extra_host(text: str) -> None:
    name, colon, address = text.partition(":")
    if not colon or not name or not name.isprintable() or " " in name:
        raise InvalidParameter(f'bad format for add-host: "{text}"', hint="--add-host name:address")
    if address != HOST_GATEWAY and not _is_address(address.strip("[]")):
        raise InvalidParameter(f'invalid IP address in add-host: "{address}"')


def storage_bytes(options: dict[str, str] | None) -> int:
    """Return the size of --storage-opt size=, 0 without one. Raises InvalidParameter for other options."""
    size = 0
    for key, value in (options or {}).items():
        if key.lower() != "size":
            raise InvalidParameter(f"unknown option {key}", context="--storage-opt", hint="size=10G")
        size = parse_bytes(value)
        if size <= 0:
            raise InvalidParameter(f"invalid size: '{value}'", context="--storage-opt")
    return size


def _check_capability(field: str, word: str) -> None:
    try:
        caps.normalise(word)
    except InvalidParameter as error:
        raise InvalidParameter(f"invalid {field}: {error.message}", hint=error.hint) from None


def _check_modes(config: ContainerConfig, host: HostConfig, settings: Settings) -> None:
    if (host.isolation or "").lower() not in ("", "default"):
        raise InvalidParameter(f"invalid isolation ({host.isolation}): linux only supports 'default'")
    if host.cgroup:
        raise NotImplementedHere(
            f"joining a control group ({host.cgroup}) is not there", hint="--cgroup-parent"
        )
    if host.uts_mode not in (None, "", "host"):
        raise InvalidParameter(f"invalid UTS mode: {host.uts_mode}")
    if host.cgroupns_mode not in (None, "", "host", "private"):
        raise InvalidParameter(f"invalid cgroup namespace mode: {host.cgroupns_mode}")
    if host.pid_mode not in (None, "", "host", "private") and not _joins(host.pid_mode):
        raise InvalidParameter(f"invalid PID mode: {host.pid_mode}")
    if host.ipc_mode not in (None, "", "host", "private", "none", "shareable") and not _joins(host.ipc_mode):
        raise InvalidParameter(f"invalid IPC mode: {host.ipc_mode}")
    if host.runtime not in (None, "", BUILTIN_RUNTIME, "runc", "io.containerd.runc.v2", *settings.runtimes):
        raise InvalidParameter(
            f"unknown or invalid runtime name: {host.runtime}", hint="havre info shows the runtimes"
        )


def check_conflicts(given: ContainerConfig, host: HostConfig) -> None:
    """What the caller (not the image) asked for twice: `--network container:X` shares everything of the network."""
    if host.uts_mode == "host" and given.hostname:
        raise InvalidParameter("conflicting options: hostname and the UTS mode")
    mode = host.network_mode or ""
    if mode in ("container", "container:"):
        raise InvalidParameter("invalid container format container:<name|id>")
    if not _joins(mode):
        return
    words = "conflicting options: {}"
    if given.hostname:
        raise InvalidParameter(words.format("hostname and the network mode"))
    if host.dns:
        raise InvalidParameter(words.format("dns and the network mode"))
    if host.extra_hosts:
        raise InvalidParameter(words.format("custom host-to-IP mapping and the network mode"))
    if host.port_bindings or host.publish_all_ports:
        raise InvalidParameter(words.format("port publishing and the container type network mode"))
    if given.exposed_ports:
        raise InvalidParameter(words.format("port exposing and the container type network mode"))


def check_endpoints(given: Mapping[str, EndpointSettings | None]) -> None:
    """What a network cannot do yet is refused, never dropped."""
    for name, asked in given.items():
        if asked is None:
            continue
        ipam = asked.ipam_config
        for value, flag in (
            (asked.links, "--link"),
            (asked.aliases, "--network-alias"),
            (asked.driver_opts, "--network driver-opt="),
            (asked.gw_priority, "--network gw-priority="),
            (ipam and ipam.ipv6_address, "--ip6"),
            (ipam and ipam.link_local_ips, "--link-local-ip"),
        ):
            if value:
                raise NotImplementedHere(
                    f"{flag} is not there yet", context=f"network {name}", hint=f"leave {flag} out"
                )
        if ipam and ipam.ipv4_address and not _is_address(ipam.ipv4_address):
            raise InvalidParameter(f"invalid IPv4 address: {ipam.ipv4_address}", context=f"network {name}")
        _check_mac(asked.mac_address)


def _check_mac(text: str | None) -> None:
    if text and not _MAC.fullmatch(text):
        raise InvalidParameter(f"{text} is not a valid mac address", hint="02:42:ac:11:00:02")


def _joins(mode: str | None) -> bool:
    return bool(mode and mode.startswith("container:") and len(mode) > len("container:"))


def _check_security(host: HostConfig) -> None:
    for text in host.security_opt or []:
        key, value = security.split(text)
        if key not in security.KNOWN:
            raise InvalidParameter(f'invalid --security-opt 1: "{text}"')
        if not value and key != "no-new-privileges":
            raise InvalidParameter(f'invalid --security-opt 1: "{text}"')
        if key in security.FLAGS and value.lower() not in ("", *security.TRUE, *security.FALSE):
            raise InvalidParameter(f'invalid --security-opt 2: "{text}"')
        if key == "systempaths" and value != "unconfined":
            raise InvalidParameter(f'invalid --security-opt 2: "{text}"')


def _security_warnings(host: HostConfig, machine: Host | None) -> list[str]:
    """Labels and profiles of a security module that this host does not run: said, as they cannot be obeyed."""
    found = []
    for key, value in (security.split(text) for text in host.security_opt or []):
        if key == "label" and value != "disable":
            found.append(f"SELinux is not enabled on this host. Label {value} discarded.")
        if key == "apparmor" and value != "unconfined" and not (machine and machine.apparmor):
            found.append(f"AppArmor is not enabled on this host. Profile {value} discarded.")
    return found


def _check_restart(host: HostConfig) -> None:
    name = check_policy(host.restart_policy)
    if host.auto_remove and name != "no":
        raise Conflict(
            "can't create 'AutoRemove' container with restart policy", hint="leave out --rm or --restart"
        )


def check_policy(policy: RestartPolicy | None) -> str:
    """Return the policy's name. Raises InvalidParameter in Docker's words."""
    name = (policy.name if policy else None) or "no"
    retries = (policy.maximum_retry_count if policy else None) or 0
    if name not in ("no", "always", "unless-stopped", "on-failure"):
        raise InvalidParameter(
            f"invalid restart policy: unknown policy '{name}'; use one of 'no', 'always', 'on-failure', or 'unless-stopped'"
        )
    if retries and name != "on-failure":
        more = " and cannot be negative" if retries < 0 else ""
        raise InvalidParameter(
            f"invalid restart policy: maximum retry count can only be used with 'on-failure'{more}"
        )
    if retries < 0:
        raise InvalidParameter("invalid restart policy: maximum retry count cannot be negative")
    return name
