"""daemon.json and dockerd's flags, merged and checked. One table says for each key what becomes of it."""

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Address, ip_address
from pathlib import Path
from typing import Any

from havre import log
from havre.engine.settings import CDI_SPEC_DIRS, RuntimeChoice, Settings
from havre.errors import InvalidParameter
from havre.image.transfers import Transfers
from havre.logs import options as log_options
from havre.network.create import LARGEST_MTU, SMALLEST_MTU
from havre.network.defaults import HOST_IP_OPTION, ICC_OPTION, MASQUERADE_OPTION, MTU_OPTION
from havre.units import parse_bytes

DATA_ROOT = "/var/lib/havre"
EXEC_ROOT = "/run/havre"
HOST = "unix:///run/havre/havre.sock"
PIDFILE = "/run/havre/havred.pid"
CONFIG_FILE = "/etc/havre/daemon.json"
AUTO_USER = "havre"  # whose lines in /etc/subuid and /etc/subgid are for --userns auto
DOCKER_PATHS = {
    "hosts": "unix:///var/run/docker.sock",
    "pidfile": "/var/run/docker.pid",
    "config": "/etc/docker/daemon.json",
}


@dataclass(frozen=True, slots=True)
class Config:
    """Everything the daemon was told."""

    settings: Settings
    hosts: tuple[str, ...]
    pidfile: str
    group: str
    tls: bool
    tls_verify: bool
    tls_ca: str
    tls_cert: str
    tls_key: str
    log_level: str
    log_format: str
    bridge: str
    bridge_given: bool
    bip: str
    pools: tuple[str, ...]
    bridge_options: Mapping[str, str]  # of the default bridge: --icc, --ip, --ip-masq, --mtu
    fixed_cidr: str
    network_defaults: Mapping[str, str]  # options of networks to come, --default-network-opt bridge=...
    ip_forward: bool
    transfers: Transfers
    proxies: Mapping[str, str]  # http-proxy, https-proxy, no-proxy
    oom_score_adjust: int | None
    userns_remap: str = ""  # the word; daemon/userns.py turns it into ids
    userns_auto_user: str = ""
    ignored: tuple[str, ...] = ()  # accepted for dockerd's sake, without a meaning here
    later: Mapping[str, str] = field(default_factory=dict)  # accepted, but what it asks for is not there yet


def make(
    values: Mapping[str, Any],
    *,
    ignored: tuple[str, ...] = (),
    later: Mapping[str, str] | None = None,
    as_dockerd: bool = False,
) -> Config:
    """Return the checked configuration of merged keys (daemon.json names). Raises InvalidParameter naming the key.

    `as_dockerd`: it takes the place of a dockerd, docker0 included.
    """
    _check_storage(values.get("storage-driver") or "")
    data_root = Path(os.path.realpath(values.get("data-root") or DATA_ROOT))
    exec_root = Path(os.path.realpath(values.get("exec-root") or EXEC_ROOT))
    instance = hashlib.sha256(str(data_root).encode()).hexdigest()[:8]
    tls_verify = bool(values.get("tlsverify"))
    return Config(
        settings=_settings(values, data_root, exec_root, instance),
        hosts=tuple(values.get("hosts") or [HOST]),
        pidfile=values.get("pidfile") or str(exec_root / "havred.pid"),
        group=values.get("group") or "docker",
        tls=bool(values.get("tls")) or tls_verify,
        tls_verify=tls_verify,
        tls_ca=values.get("tlscacert") or "",
        tls_cert=values.get("tlscert") or "",
        tls_key=values.get("tlskey") or "",
        log_level="debug" if values.get("debug") else _one_of("log-level", values, ("info", *log.LEVELS)),
        log_format=_one_of("log-format", values, ("text", "json")),
        bridge=values.get("bridge") or "docker0",
        bridge_given=bool(values.get("bridge")) or as_dockerd,
        bip=values.get("bip") or "",
        pools=tuple(_pool(each) for each in values.get("default-address-pools") or []),
        bridge_options=_bridge_options(values),
        fixed_cidr=values.get("fixed-cidr") or "",
        network_defaults=_network_defaults(values.get("default-network-opts") or {}),
        ip_forward=values.get("ip-forward") is not False,
        transfers=_transfers(values),
        proxies=_proxies(values),
        oom_score_adjust=values.get("oom-score-adjust"),
        userns_remap=values.get("userns-remap") or "",
        userns_auto_user=values.get("userns-auto-user") or AUTO_USER,
        ignored=ignored,
        later=later or {},
    )


def _check_storage(driver: str) -> None:
    if driver not in ("", "overlay2", "overlay", "overlayfs"):
        raise InvalidParameter(f"driver not supported: {driver}", hint="overlay2, the only one")


def _one_of(key: str, values: Mapping[str, Any], allowed: tuple[str, ...]) -> str:
    """Return a key's word, the first allowed one when it is not given."""
    found: str = values.get(key) or allowed[0]
    if found not in allowed:
        raise InvalidParameter(f"invalid {key}: {found}", hint=", ".join(dict.fromkeys(allowed)))
    return found


def _bridge_options(values: Mapping[str, Any]) -> dict[str, str]:
    """The default bridge's options by Docker's names; an mtu only when it was given."""
    address = values.get("ip") or "0.0.0.0"
    try:
        IPv4Address(address)
    except ValueError:
        raise InvalidParameter(f"invalid --ip {address}", hint="--ip 127.0.0.1") from None
    found = {
        ICC_OPTION: "false" if values.get("icc") is False else "true",
        MASQUERADE_OPTION: "false" if values.get("ip-masq") is False else "true",
        HOST_IP_OPTION: address,
    }
    mtu = values.get("mtu") or 0
    if mtu:
        if not SMALLEST_MTU <= mtu <= LARGEST_MTU:
            raise InvalidParameter(
                f"invalid mtu {mtu}", hint=f"a number from {SMALLEST_MTU} to {LARGEST_MTU}"
            )
        found[MTU_OPTION] = str(mtu)
    return found


def _network_defaults(given: Mapping[str, Any]) -> dict[str, str]:
    found: dict[str, str] = {}
    for driver, options in given.items():
        if driver != "bridge" or not isinstance(options, dict):
            raise InvalidParameter(
                f"default-network-opts: there are no options for '{driver}' networks",
                hint='{"bridge": {"com.docker.network.driver.mtu": "1400"}}',
            )
        found.update({str(name): str(value) for name, value in options.items()})
    return found


def _transfers(values: Mapping[str, Any]) -> Transfers:
    found = Transfers()
    for key in ("max-concurrent-downloads", "max-concurrent-uploads", "max-download-attempts"):
        number = values.get(key)
        if number is None:
            continue
        if number < 1:
            raise InvalidParameter(f"invalid {key}: {number}", hint="1 or more")
        found = replace(found, **{key.removeprefix("max-").replace("-", "_"): number})
    return found


def _proxies(values: Mapping[str, Any]) -> dict[str, str]:
    nested = values.get("proxies") or {}
    names = ("http-proxy", "https-proxy", "no-proxy")
    strange = [name for name in nested if name not in names or not isinstance(nested[name], str)]
    if strange:
        raise InvalidParameter(f"proxies: {', '.join(strange)} is not among {', '.join(names)}")
    found = {name: values.get(name) or nested.get(name) or "" for name in names}
    return {name: value for name, value in found.items() if value}


def _gateway(values: Mapping[str, Any]) -> str:
    """The IPv4 address that host-gateway stands for, "" for the network's own gateway."""
    given = [*(values.get("host-gateway-ips") or []), values.get("host-gateway-ip") or ""]
    found = ""
    for word in filter(None, given):
        try:
            address = ip_address(word)
        except ValueError:
            raise InvalidParameter(
                f"invalid host-gateway-ip {word}", hint="--host-gateway-ip 192.0.2.1"
            ) from None
        found = found or (word if address.version == 4 else "")
    return found


def _settings(values: Mapping[str, Any], data_root: Path, exec_root: Path, instance: str) -> Settings:
    return Settings(
        data_root=data_root,
        exec_root=exec_root,
        instance=instance,
        cgroup_parent=values.get("cgroup-parent") or f"/havre-{instance}",
        runtimes=_runtimes(values.get("runtimes") or {}),
        default_runtime=values.get("default-runtime") or "havre",
        **_log_defaults(values),
        default_ulimits=_ulimits(values.get("default-ulimits") or {}),
        shm_size_bytes=_shm_size(values.get("default-shm-size")),
        init=bool(values.get("init")),
        ipc_mode=values.get("default-ipc-mode") or "private",
        cgroupns_mode=values.get("default-cgroupns-mode") or "",
        no_new_privileges=bool(values.get("no-new-privileges")),
        seccomp_profile=values.get("seccomp-profile") or "",
        dns=tuple(values.get("dns") or ()),
        dns_options=tuple(values.get("dns-opts") or ()),
        dns_search=tuple(values.get("dns-search") or ()),
        labels=tuple(values.get("labels") or ()),
        insecure_registries=tuple(values.get("insecure-registries") or ()),
        registry_mirrors=tuple(values.get("registry-mirrors") or ()),
        cdi_spec_dirs=tuple(values.get("cdi-spec-dirs") or CDI_SPEC_DIRS),
        host_gateway_ip=_gateway(values),
        shutdown_timeout_s=15 if values.get("shutdown-timeout") is None else values["shutdown-timeout"],
        debug=bool(values.get("debug")),
    )


def _log_defaults(values: Mapping[str, Any]) -> dict[str, Any]:
    driver, options = values.get("log-driver") or "json-file", values.get("log-opts") or {}
    if not isinstance(options, dict) or not all(isinstance(each, str) for each in options.values()):
        raise InvalidParameter("log-opts needs texts", hint='"log-opts": {"max-size": "10m"}')
    try:
        log_options.check(driver, options)
    except InvalidParameter as error:
        raise InvalidParameter(f"failed to set log opts: {error.message}", hint=error.hint) from None
    return {"log_driver": driver, "log_opts": options, "log_budget_bytes": _log_budget(values)}


def _log_budget(values: Mapping[str, Any]) -> int:
    text = str(values.get("log-budget") or "")
    try:
        return log_options.decimal_bytes(text) if text else 0
    except InvalidParameter as error:
        raise InvalidParameter(f"invalid log-budget: {error.message}", hint='"log-budget": "5g"') from None


def _shm_size(value: int | str | None) -> int:
    return parse_bytes(str(value)) if value else 64 << 20


def _runtimes(given: Mapping[str, Any]) -> dict[str, RuntimeChoice]:
    """The installed runc and crun are there by name; daemon.json adds others."""
    found = {name: RuntimeChoice(path) for name in ("runc", "crun") if (path := _which(name))}
    for name, choice in given.items():
        if not isinstance(choice, dict) or not choice.get("path"):
            raise InvalidParameter(
                f"runtime '{name}' needs a path",
                hint=f'"runtimes": {{"{name}": {{"path": "/usr/bin/{name}"}}}}',
            )
        path = choice["path"] if "/" in choice["path"] else _which(choice["path"])
        found[name] = RuntimeChoice(path or choice["path"], tuple(choice.get("runtimeArgs") or ()))
    return found


def _which(name: str) -> str:
    import shutil

    return shutil.which(name, path="/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin") or ""


def _ulimits(given: Mapping[str, Any]) -> dict[str, tuple[int, int]]:
    try:
        return {name: (int(each.get("Soft", 0)), int(each.get("Hard", 0))) for name, each in given.items()}
    except (AttributeError, ValueError, TypeError):
        raise InvalidParameter("default-ulimits needs Soft and Hard numbers", context="daemon.json") from None


def _pool(given: Any) -> str:
    """An entry of default-address-pools, or the flag's "base=10.0.0.0/8,size=24", as "base,size"."""
    if isinstance(given, str):
        given = dict(part.partition("=")[::2] for part in given.split(","))
    if not isinstance(given, dict) or "base" not in given or "size" not in given:
        raise InvalidParameter(
            "an address pool needs base and size", hint='{"base": "10.10.0.0/16", "size": 24}'
        )
    return f"{given['base']},{given['size']}"


def read_file(path: str, *, must_exist: bool) -> dict[str, Any]:
    """Return the keys of a daemon.json. Raises InvalidParameter naming the file and the place."""
    try:
        text = Path(path).read_text(encoding="utf-8")
    except FileNotFoundError:
        if must_exist:
            raise InvalidParameter(f"no such configuration file: {path}") from None
        return {}
    except OSError as error:
        raise InvalidParameter(f"cannot read {path}: {error.strerror}") from error
    try:
        found = json.loads(text or "{}")
    except ValueError as error:
        raise InvalidParameter(f"unable to parse {path}: {error}") from None
    if not isinstance(found, dict):
        raise InvalidParameter(f"unable to parse {path}: not a JSON object")
    return found
