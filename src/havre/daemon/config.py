"""daemon.json and dockerd's flags, merged and checked. One table says for each key what becomes of it."""

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from havre.engine.settings import CDI_SPEC_DIRS, RuntimeChoice, Settings
from havre.errors import InvalidParameter
from havre.logs import options as log_options
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
    bip: str
    pools: tuple[str, ...]
    userns_remap: str = ""  # the word; daemon/userns.py turns it into ids
    userns_auto_user: str = ""
    ignored: tuple[str, ...] = ()  # accepted for dockerd's sake, without a meaning here
    extra: Mapping[str, Any] = field(default_factory=dict)


def make(values: Mapping[str, Any], ignored: tuple[str, ...] = ()) -> Config:
    """Return the checked configuration of merged keys (daemon.json names). Raises InvalidParameter naming the key."""
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
        log_level="debug" if values.get("debug") else values.get("log-level") or "info",
        log_format=values.get("log-format") or "text",
        bridge=values.get("bridge") or "docker0",
        bip=values.get("bip") or "",
        pools=tuple(_pool(each) for each in values.get("default-address-pools") or []),
        userns_remap=values.get("userns-remap") or "",
        userns_auto_user=values.get("userns-auto-user") or AUTO_USER,
        ignored=ignored,
    )


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
        shutdown_timeout_s=int(values.get("shutdown-timeout") or 15),
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
    return {"log_driver": driver, "log_opts": options}


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
