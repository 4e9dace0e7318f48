"""havred's command line: dockerd's flags in dockerd's grammar; a flag and the same key in daemon.json conflict, as there."""

import os
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from havre.daemon import config
from havre.errors import InvalidParameter
from havre.version import VERSION

# kind of each daemon.json key with a meaning here. The flag is the same word, singular where FLAG_NAMES says so.
STRINGS = frozenset(
    "bip bridge cgroup-parent config-file data-root default-cgroupns-mode default-ipc-mode default-runtime default-shm-size "
    "exec-root group log-driver log-format log-level pidfile seccomp-profile shutdown-timeout tlscacert tlscert tlskey userns-auto-user userns-remap".split()
)
BOOLEANS = frozenset("debug init no-new-privileges tls tlsverify".split())
LISTS = frozenset(
    "cdi-spec-dirs default-address-pools dns dns-opts dns-search hosts insecure-registries labels registry-mirrors".split()
)
MAPS = frozenset("default-ulimits log-opts runtimes".split())
FLAG_NAMES = {
    "cdi-spec-dir": "cdi-spec-dirs",
    "host": "hosts",
    "label": "labels",
    "insecure-registry": "insecure-registries",
    "registry-mirror": "registry-mirrors",
    "dns-opt": "dns-opts",
    "default-address-pool": "default-address-pools",
    "log-opt": "log-opts",
    "default-ulimit": "default-ulimits",
    "add-runtime": "runtimes",
}
SHORT = {"H": "host", "D": "debug", "G": "group", "l": "log-level", "b": "bridge"}
# dockerd's other flags: what they steer does not exist here, or is always on. Accepted, named in one debug line.
NO_MEANING = {
    "allow-nondistributable-artifacts": True,
    "api-cors-header": True,
    "authorization-plugin": True,
    "bip6": True,
    "bridge-accept-fwmark": True,
    "cgroup-driver": True,
    "containerd": True,
    "containerd-namespace": True,
    "containerd-plugins-namespace": True,
    "cpu-rt-period": True,
    "cpu-rt-runtime": True,
    "cri-containerd": False,
    "default-gateway": True,
    "default-gateway-v6": True,
    "default-network-opt": True,
    "exec-opt": True,
    "experimental": False,
    "feature": True,
    "firewall-backend": True,
    "fixed-cidr": True,
    "fixed-cidr-v6": True,
    "host-gateway-ip": True,
    "http-proxy": True,
    "https-proxy": True,
    "icc": False,
    "init-path": True,
    "ip": True,
    "ip-forward": False,
    "ip-forward-no-drop": False,
    "ip-masq": False,
    "ip6tables": False,
    "iptables": False,
    "ipv6": False,
    "live-restore": False,
    "max-concurrent-downloads": True,
    "max-concurrent-uploads": True,
    "max-download-attempts": True,
    "metrics-addr": True,
    "mtu": True,
    "network-control-plane-mtu": True,
    "no-proxy": True,
    "node-generic-resource": True,
    "oom-score-adjust": True,
    "raw-logs": False,
    "selinux-enabled": False,
    "storage-driver": True,
    "storage-opt": True,
    "swarm-default-advertise-addr": True,
    "userland-proxy": False,
    "userland-proxy-path": True,
    "validate": False,
}
# Refused rather than ignored: leaving these out would weaken or change what the caller asked for.
REFUSED = {
    "authorization-plugin": "authorization plugins are not there yet",
    "selinux-enabled": "SELinux labels are not there yet",
    "rootless": "rootless mode is not there yet",
}


def called_dockerd() -> bool:
    """Whether the program was started under dockerd's name: then Docker's socket, pid file and daemon.json are the defaults."""
    return os.path.basename(sys.argv[0]) == "dockerd"


def parse(words: Sequence[str], *, as_dockerd: bool = False) -> config.Config:
    """Return the configuration of a command line and its daemon.json. Raises InvalidParameter."""
    flags, ignored = _parse_words(words)
    default = config.DOCKER_PATHS["config"] if as_dockerd else config.CONFIG_FILE
    path = flags.pop("config-file", default)
    from_file = config.read_file(path, must_exist=path != default)
    unknown = sorted(set(from_file) - STRINGS - BOOLEANS - LISTS - MAPS - set(NO_MEANING) - set(REFUSED))
    if unknown:
        raise InvalidParameter(
            f"the following directives don't match any configuration option: {', '.join(unknown)}",
            context=path,
        )
    both = sorted(key for key in flags if key in from_file and key not in LISTS | MAPS)
    if both or ("hosts" in flags and "hosts" in from_file):
        names = ", ".join(both or ["hosts"])
        raise InvalidParameter(
            f"the following directives are specified both as a flag and in the configuration file: {names}",
            context=path,
        )
    _refuse(from_file)
    merged = {**from_file, **_merge_collections(flags, from_file)}
    if as_dockerd:
        merged.setdefault("hosts", [config.DOCKER_PATHS["hosts"]])
        merged.setdefault("pidfile", config.DOCKER_PATHS["pidfile"])
    return config.make(merged, (*ignored, *sorted(set(from_file) & set(NO_MEANING))))


def _merge_collections(flags: Mapping[str, Any], from_file: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(flags)
    for key in LISTS & set(flags) & set(from_file):
        merged[key] = [*from_file[key], *flags[key]]
    for key in MAPS & set(flags) & set(from_file):
        merged[key] = {**from_file[key], **flags[key]}
    return merged


def _refuse(given: Mapping[str, Any]) -> None:
    for key, reason in REFUSED.items():
        if given.get(key):
            raise InvalidParameter(reason, hint=f"leave out --{key}")


def _parse_words(words: Sequence[str]) -> tuple[dict[str, Any], list[str]]:
    found: dict[str, Any] = {}
    ignored: list[str] = []
    rest = list(words)
    while rest:
        name, value = _split(rest.pop(0))
        if name in NO_MEANING or name in REFUSED:
            if name in REFUSED and value not in ("false", "0"):
                _refuse({name: value or (rest[0] if rest else "true")})
            if NO_MEANING.get(name) and value is None:
                _value(name, rest)
            ignored.append(f"--{name}")
            continue
        key = FLAG_NAMES.get(name, name)
        if key in BOOLEANS:
            found[key] = _boolean(name, "true" if value is None else value)
            continue
        if key not in STRINGS | LISTS | MAPS:
            raise InvalidParameter(f"unknown flag: --{name}", hint="havred --help")
        _add(found, key, name, _value(name, rest) if value is None else value)
    return found, ignored


def _split(word: str) -> tuple[str, str | None]:
    """Return (flag, value or None) of "--flag=value", "-H=value", "-Hvalue" or "-D"."""
    if word.startswith("--"):
        name, equals, value = word[2:].partition("=")
        return name, value if equals else None
    if word.startswith("-") and len(word) > 1 and word[1] in SHORT:
        value = word[2:].removeprefix("=")
        return SHORT[word[1]], value or None
    raise InvalidParameter(f"unknown argument: {word}", hint="havred --help")


def _value(name: str, rest: list[str]) -> str:
    if not rest:
        raise InvalidParameter(f"flag needs an argument: --{name}")
    return rest.pop(0)


def _boolean(name: str, text: str) -> bool:
    if text.lower() in ("true", "1", "t"):
        return True
    if text.lower() in ("false", "0", "f"):
        return False
    raise InvalidParameter(f'invalid argument "{text}" for "--{name}": not a boolean')


def _add(found: dict[str, Any], key: str, name: str, value: str) -> None:
    if key in STRINGS:
        found[key] = value
    elif key in LISTS:
        found.setdefault(key, []).append(value)
    else:
        option, equals, text = value.partition("=")
        if not equals:
            raise InvalidParameter(f'invalid argument "{value}" for "--{name}": NAME=VALUE is needed')
        found.setdefault(key, {})[option] = _map_value(key, text)


def _map_value(key: str, text: str) -> Any:
    if key == "runtimes":
        return {"path": text}
    if key == "default-ulimits":
        soft, _, hard = text.partition(":")
        return {"Soft": soft, "Hard": hard or soft}
    return text


def only_talk(words: Sequence[str]) -> int:
    """--help, --version and --validate: print and return the exit code."""
    if any(word in ("--version", "-v") for word in words):
        print(f"Havre version {VERSION}")
        return 0
    if "--validate" in words:
        try:
            parse([word for word in words if word != "--validate"])
        except InvalidParameter as error:
            print(f"unable to configure the daemon: {error}", file=sys.stderr)
            return 1
        print("configuration OK")
        return 0
    print(usage())
    return 0


def usage() -> str:
    """The text of --help."""
    shorts = {name: letter for letter, name in SHORT.items()}
    names = {key: flag for flag, key in FLAG_NAMES.items()}
    lines = [
        "Usage:  havred [OPTIONS]",
        "",
        "The daemon of Havre. The options are dockerd's.",
        "",
        "Options:",
    ]
    for key in sorted(STRINGS | BOOLEANS | LISTS | MAPS):
        flag = names.get(key, key)
        kind = "" if key in BOOLEANS else " list" if key in LISTS else " map" if key in MAPS else " string"
        short = f"-{shorts[flag]}, " if flag in shorts else "    "
        lines.append(f"  {short}--{flag}{kind}")
    lines += [
        "      --teardown            Take bridges, firewall table and control groups out of the kernel again, and end",
        "      --validate            Check flags and daemon.json, and end",
        "",
        f"Accepted for dockerd's sake: {len(NO_MEANING)} more flags without a meaning here.",
    ]
    return "\n".join(lines)
