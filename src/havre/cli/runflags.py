"""run's flags and what they become in the create request. Pure but for --env-file and --label-file. Lean."""

import os

from havre.cli.options import bad
from havre.errors import InvalidParameter, NotImplementedHere
from havre.units import parse_duration

RUN_USAGE = "[OPTIONS] IMAGE [COMMAND] [ARG...]"
RUN_FLAGS = {
    name: f"{short}:{kind}"
    for kind, names in {
        "bool": "detach=d init interactive=i no-healthcheck oom-kill-disable privileged publish-all=P quiet=q read-only rm tty=t "
        "use-api-socket",
        "int": "blkio-weight cpu-count cpu-percent cpu-period cpu-quota cpu-shares=c memory-swappiness oom-score-adj pids-limit stop-timeout cpu-rt-period "
        "cpu-rt-runtime health-retries",
        "str": "cgroup-parent cgroupns cidfile cpus cpuset-cpus cpuset-mems detach-keys disable-content-trust domainname entrypoint gpus health-cmd "
        "health-http health-interval health-on-failure health-start-interval health-start-period health-tcp health-timeout hostname=h io-maxbandwidth io-maxiops ip ip6 ipc isolation kernel-memory "
        "log-driver mac-address memory=m memory-reservation memory-swap name pid platform pull restart runtime shm-size sig-proxy "
        "stop-signal umask user=u userns uts volume-driver workdir=w",
        "list": "add-host annotation attach=a blkio-weight-device cap-add cap-drop device device-cgroup-rule device-read-bps "
        "device-read-iops device-write-bps device-write-iops dns dns-option dns-search env=e env-file expose group-add label=l "
        "label-file link link-local-ip log-opt mount network network-alias publish=p security-opt storage-opt sysctl tmpfs ulimit "
        "volume=v volumes-from",
    }.items()
    for name, _, short in (word.partition("=") for word in names.split())
}
OLD_NAMES = {"net": "network", "net-alias": "network-alias", "dns-opt": "dns-option"}  # hidden, as in Docker
WINDOWS = ("cpu_count", "cpu_percent", "io_maxbandwidth", "io_maxiops")
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def request(given: "dict[str, Any]", args: list[str], *, attach_all: bool) -> "dict[str, Any]":
    """Return the body of POST /containers/create. Raises InvalidParameter naming the flag."""
    _check(given)
    exposed: dict[str, Any] = {_port_key(port): {} for port in _expand_ports(given["expose"])}
    bindings = _port_bindings(given["publish"])
    body: dict[str, Any] = {
        "Image": args[0],
        "Cmd": args[1:] or None,
        "Hostname": given["hostname"] or "",
        "Domainname": given["domainname"] or "",
        "User": given["user"] or "",
        **_attach(given, attach_all=attach_all),
        "Tty": given["tty"],
        "OpenStdin": given["interactive"],
        "StdinOnce": given["interactive"] and attach_all,
        "Env": _env(given),
        "WorkingDir": given["workdir"] or "",
        "Entrypoint": None if given["entrypoint"] is None else [given["entrypoint"]],
        "Labels": {**_on_failure(given), **_labels(given)},
        "ExposedPorts": {**exposed, **{key: {} for key in bindings}},
        "StopSignal": given["stop_signal"] or "",
        "StopTimeout": given["stop_timeout"],
        "Healthcheck": _health(given),
        "Volumes": {text: {} for text in given["volume"] if ":" not in text} or None,
        "HostConfig": _host_config(given, bindings),
        "NetworkingConfig": {"EndpointsConfig": _endpoints(given)},
    }
    return body


def _check(given: "dict[str, Any]") -> None:
    """What Docker's CLI refuses before it asks the daemon."""
    for name in WINDOWS:
        if given[name]:
            raise InvalidParameter(
                f'"--{name.replace("_", "-")}" is only supported on a Docker daemon running on windows, '
                "but the Docker daemon is running on linux"
            )
    if (given["disable_content_trust"] or "true").lower() in ("false", "0", "f"):
        raise NotImplementedHere("images are not verified by content trust", hint="leave the flag out")
    if given["use_api_socket"]:
        raise NotImplementedHere("--use-api-socket is not there yet", hint="-v with the daemon's socket")
    for flag, good, kind in (
        ("pid", ("host", "private"), "PID"),
        ("uts", ("host",), "UTS"),
        ("cgroupns", ("host", "private"), "CGROUP"),
    ):
        mode = given[flag]
        if mode and mode not in good and not (flag == "pid" and mode.startswith("container:")):
            raise InvalidParameter(f"--{flag}: invalid {kind} mode")
    swappiness = given["memory_swappiness"]
    if swappiness is not None and not -1 <= swappiness <= 100:
        raise InvalidParameter(f"invalid value: {swappiness}. Valid memory swappiness range is 0-100")
    if given["rm"] and (given["restart"] or "no").partition(":")[0] != "no":
        raise InvalidParameter("conflicting options: cannot specify both --restart and --rm")


def _attach(given: "dict[str, Any]", *, attach_all: bool) -> dict[str, bool]:
    """Which streams somebody watches: those of --attach, else all that are open."""
    wanted = attached(given) or (
        ["stdout", "stderr", *(["stdin"] if given["interactive"] else [])] if attach_all else []
    )
    return {f"Attach{name.capitalize()}": name in wanted for name in ("stdin", "stdout", "stderr")}


def attached(given: "dict[str, Any]") -> list[str]:
    """The streams of --attach, in lower case."""
    return _values(given, "attach")


def _values(given: "dict[str, Any]", flag: str) -> "list[Any]":
    """Read every word of a flag. Raises UsageError with Docker's reason."""
    words = given[flag.replace("-", "_")]
    if not words:
        return []
    from havre.cli.runvalues import READERS

    found = []
    for word in [words] if isinstance(words, str) else words:
        try:
            found.append(READERS[flag](word))
        except ValueError as error:
            raise bad(RUN_FLAGS, flag, word, str(error)) from None
    return found


def _host_config(given: "dict[str, Any]", bindings: "dict[str, Any]") -> "dict[str, Any]":
    networks = given["network"]
    mode = _network_name(networks[0]) if networks else "default"
    return {
        "Binds": [_bind(text) for text in given["volume"] if ":" in text] or None,
        "Mounts": _values(given, "mount") or None,
        "Tmpfs": dict(_split(text, ":") for text in given["tmpfs"]) or None,
        "VolumesFrom": given["volumes_from"] or None,
        "VolumeDriver": given["volume_driver"] or "",
        "NetworkMode": mode,
        "PortBindings": bindings,
        "PublishAllPorts": given["publish_all"],
        "RestartPolicy": _restart(given["restart"]),
        "AutoRemove": given["rm"],
        "LogConfig": {
            "Type": given["log_driver"] or "",
            "Config": dict(_split(text, "=") for text in given["log_opt"]),
        },
        "CapAdd": given["cap_add"] or None,
        "CapDrop": given["cap_drop"] or None,
        "Dns": _values(given, "dns") or None,
        "DnsOptions": given["dns_option"] or None,
        "DnsSearch": given["dns_search"] or None,
        "ExtraHosts": _values(given, "add-host") or None,
        "GroupAdd": given["group_add"] or None,
        "Links": given["link"] or None,
        "Privileged": given["privileged"],
        "ReadonlyRootfs": given["read_only"],
        **_security_options(given["security_opt"]),
        "StorageOpt": _storage(given["storage_opt"]),
        "Sysctls": dict(_values(given, "sysctl")) or None,
        "Annotations": _annotations(given) or None,
        "Runtime": given["runtime"] or "",
        "Isolation": given["isolation"] or "",
        "IpcMode": given["ipc"] or "",
        "PidMode": given["pid"] or "",
        "UTSMode": given["uts"] or "",
        "UsernsMode": _userns(given["userns"] or ""),
        "CgroupnsMode": given["cgroupns"] or "",
        "ShmSize": _bytes(given["shm_size"], "shm-size"),
        "OomScoreAdj": given["oom_score_adj"] or 0,
        **_resources(given),
    }


def _resources(given: "dict[str, Any]") -> "dict[str, Any]":
    swap = given["memory_swap"]
    return {
        "Memory": _bytes(given["memory"], "memory"),
        "MemoryReservation": _bytes(given["memory_reservation"], "memory-reservation"),
        "MemorySwap": -1 if swap == "-1" else _bytes(swap, "memory-swap"),
        "MemorySwappiness": given["memory_swappiness"],
        "KernelMemory": _bytes(given["kernel_memory"], "kernel-memory"),
        "NanoCpus": _nano_cpus(given["cpus"]),
        "CpuShares": given["cpu_shares"] or 0,
        "CpuPeriod": given["cpu_period"] or 0,
        "CpuQuota": given["cpu_quota"] or 0,
        "CpuRealtimePeriod": given["cpu_rt_period"] or 0,
        "CpuRealtimeRuntime": given["cpu_rt_runtime"] or 0,
        "CpusetCpus": given["cpuset_cpus"] or "",
        "CpusetMems": given["cpuset_mems"] or "",
        "CgroupParent": given["cgroup_parent"] or "",
        "BlkioWeight": given["blkio_weight"] or 0,
        "BlkioWeightDevice": _values(given, "blkio-weight-device") or None,
        "BlkioDeviceReadBps": _values(given, "device-read-bps") or None,
        "BlkioDeviceWriteBps": _values(given, "device-write-bps") or None,
        "BlkioDeviceReadIOps": _values(given, "device-read-iops") or None,
        "BlkioDeviceWriteIOps": _values(given, "device-write-iops") or None,
        "PidsLimit": given["pids_limit"],
        **_devices(given),
        "DeviceCgroupRules": _values(given, "device-cgroup-rule") or None,
        "OomKillDisable": given["oom_kill_disable"] or None,
        "Init": given["init"] or None,
        "Ulimits": _values(given, "ulimit") or None,
    }


def _bytes(text: "str | None", flag: str) -> int:
    if not text:
        return 0
    from havre.cli.runvalues import size

    try:
        return size(text)
    except ValueError as error:
        raise bad(RUN_FLAGS, flag, text, str(error)) from None


def _nano_cpus(text: "str | None") -> int:
    try:
        return round(float(text or 0) * 1e9)
    except (ValueError, OverflowError):
        raise bad(RUN_FLAGS, "cpus", text or "", f"failed to parse {text} as a rational number") from None


def nanos(text: "str | None", flag: str) -> int:
    """Return nanoseconds of Go's "1m30s". Raises InvalidParameter in Docker's words."""
    if not text:
        return 0
    try:
        found = parse_duration(text)
    except InvalidParameter as error:
        raise bad(RUN_FLAGS, flag, text, f"time: {error.message}") from None
    return _not_negative(found, flag)


def _not_negative(value: int, flag: str) -> int:
    if value < 0:
        raise InvalidParameter(f"--{flag} cannot be negative")
    return value


def read_lines(path: str) -> list[str]:
    """Return the lines of an --env-file: no comments, no empty ones."""
    try:
        with open(path, encoding="utf-8-sig") as file:
            lines = [line.rstrip("\n") for line in file]
    except FileNotFoundError:
        raise InvalidParameter(f"open {path}: no such file or directory") from None
    except UnicodeDecodeError:
        raise InvalidParameter(f"env file {path} contains invalid utf8 bytes") from None
    return [line.lstrip() for line in lines if line.strip() and not line.lstrip().startswith("#")]


def _env_lines(path: str) -> list[str]:
    lines = read_lines(path)
    for line in lines:
        name = line.partition("=")[0]
        if not name:
            raise InvalidParameter(f"invalid env file ({path}): no variable name on line '{line}'")
        if " " in name or "\t" in name:
            raise InvalidParameter(f"invalid env file ({path}): variable '{name}' contains whitespaces")
    return lines


def environment(entries: list[str], files: list[str]) -> list[str]:
    """Return NAME=value entries; a bare NAME takes the value it has here, or is left out."""
    found = []
    for entry in [line for path in files for line in _env_lines(path)] + entries:
        name, equals, _ = entry.partition("=")
        if not name:
            raise bad(RUN_FLAGS, "env", entry, f"invalid environment variable: {entry}")
        if equals:
            found.append(entry)
        elif name in os.environ:
            found.append(f"{name}={os.environ[name]}")
    return found


def _env(given: "dict[str, Any]") -> "list[str] | None":
    return environment(given["env"], given["env_file"]) or None


def _labels(given: "dict[str, Any]") -> dict[str, str]:
    lines = [line for path in given["label_file"] for line in read_lines(path)] + given["label"]
    return {name: value for name, _, value in (line.partition("=") for line in lines)}


def pairs(entries: list[str], flag: str) -> dict[str, str]:
    """Return NAME=VALUE words as a dict. Raises InvalidParameter naming the flag."""
    found = {}
    for entry in entries:
        name, equals, value = entry.partition("=")
        if not equals:
            raise InvalidParameter(f'invalid argument "{entry}" for "--{flag}": NAME=VALUE is needed')
        found[name] = value
    return found


def _bind(text: str) -> str:
    """A source that begins with a dot is a directory of here."""
    source, colon, rest = text.partition(":")
    if source.startswith(("./", "../")) or source in (".", ".."):
        import os

        source = os.path.abspath(source)
    return source + colon + rest


def _split(text: str, mark: str) -> "tuple[str, str]":
    first, _, rest = text.partition(mark)
    return first, rest


def _userns(text: str) -> str:
    """keep-id keeps the ids of who types it, which the daemon cannot know."""
    kind, _, options = text.partition(":")
    if kind != "keep-id" or "host-uid=" in options:
        return text
    return "keep-id:" + ",".join(
        filter(None, [options, f"host-uid={os.getuid()}", f"host-gid={os.getgid()}"])
    )


def _restart(text: "str | None") -> "dict[str, Any]":
    name, _, count = (text or "no").partition(":")
    if count and not (count.isascii() and count.removeprefix("-").isdigit()):
        raise InvalidParameter("invalid restart policy format: maximum retry count must be an integer")
    return {"Name": name, "MaximumRetryCount": int(count or 0)}


def _security_options(words: list[str]) -> "dict[str, Any]":
    """SecurityOpt; systempaths=unconfined is two empty lists for the daemon, as Docker's CLI sends it."""
    kept = [word for word in words if word not in ("systempaths=unconfined", "systempaths:unconfined")]
    found: dict[str, Any] = {"SecurityOpt": [_security(word) for word in kept] or None}
    if len(kept) < len(words):
        found.update(MaskedPaths=[], ReadonlyPaths=[])
    return found


def _security(text: str) -> str:
    """seccomp=FILE is read here: the daemon may be elsewhere."""
    key, mark, value = text.partition("=") if "=" in text else text.partition(":")
    if not mark and key != "no-new-privileges":
        raise InvalidParameter(f'Invalid --security-opt: "{text}"')
    if key == "seccomp" and value not in ("", "unconfined", "builtin"):
        try:
            with open(value, encoding="utf-8") as file:
                return f"seccomp={file.read()}"
        except OSError as error:
            reason = f"open {value}: {(error.strerror or '').lower()}"
            raise InvalidParameter(f"opening seccomp profile ({value}) failed: {reason}") from None
        except UnicodeDecodeError:
            raise InvalidParameter(f"seccomp profile {value} is not UTF-8 text") from None
    return text


def _annotations(given: "dict[str, Any]") -> dict[str, str]:
    """--umask is Havre's own (and podman's): it travels as an annotation, which every API since 1.43 carries."""
    found = dict(_split(text, "=") for text in given["annotation"])
    return {**found, "havre.umask": given["umask"]} if given["umask"] else found


def _storage(words: list[str]) -> "dict[str, str] | None":
    if any("=" not in word for word in words):
        raise InvalidParameter("invalid storage option")
    return dict(_split(word, "=") for word in words) or None


def _devices(given: "dict[str, Any]") -> "dict[str, Any]":
    """Devices, and DeviceRequests for --gpus and for devices of a CDI description."""
    if not given["device"] and not given["gpus"]:
        return {"Devices": None, "DeviceRequests": None}
    from havre.cli import runvalues

    described = [word for word in given["device"] if runvalues.is_described(word)]
    requests = _values(given, "gpus")
    if described:
        requests = [*requests, {"Driver": "cdi", "DeviceIDs": described}]
    try:
        nodes = [runvalues.device(word) for word in given["device"] if word not in described]
    except ValueError as error:
        raise InvalidParameter(str(error)) from None
    return {"Devices": nodes or None, "DeviceRequests": requests or None}


ON_FAILURE = ("none", "restart", "stop", "kill")


def _on_failure(given: "dict[str, Any]") -> dict[str, str]:
    """A label, so that it passes every API version and every other client can set it too."""
    wanted = given["health_on_failure"]
    if not wanted:
        return {}
    if wanted not in ON_FAILURE:
        raise InvalidParameter(
            f'invalid argument "{wanted}" for "--health-on-failure": must be one of {", ".join(ON_FAILURE)}'
        )
    return {"havre.health-on-failure": wanted}


def _health_test(given: "dict[str, Any]") -> "list[str] | None":
    """HTTP and TCP are Havre's own: the daemon connects, no process starts."""
    kinds = {"health_cmd": "CMD-SHELL", "health_http": "HTTP", "health_tcp": "TCP"}
    found = [[kind, given[name]] for name, kind in kinds.items() if given[name]]
    if len(found) > 1:
        raise InvalidParameter("--health-cmd, --health-http and --health-tcp exclude each other")
    return found[0] if found else None


def _health(given: "dict[str, Any]") -> "dict[str, Any] | None":
    names = (
        "health_cmd",
        "health_http",
        "health_tcp",
        "health_interval",
        "health_retries",
        "health_start_interval",
        "health_start_period",
        "health_timeout",
    )
    if given["no_healthcheck"]:
        if any(given[name] for name in names):
            raise InvalidParameter("--no-healthcheck conflicts with --health-* options")
        return {"Test": ["NONE"]}
    if not any(given[name] for name in names):
        return None
    return {
        "Test": _health_test(given),
        "Interval": nanos(given["health_interval"], "health-interval"),
        "Timeout": nanos(given["health_timeout"], "health-timeout"),
        "StartPeriod": nanos(given["health_start_period"], "health-start-period"),
        "StartInterval": nanos(given["health_start_interval"], "health-start-interval"),
        "Retries": _not_negative(given["health_retries"] or 0, "health-retries"),
    }


def _port_key(text: str) -> str:
    port, _, proto = text.partition("/")
    return f"{port}/{proto or 'tcp'}"


def _expand_ports(entries: list[str]) -> list[str]:
    """Ranges like 7000-7002/udp become single ports."""
    found = []
    for entry in entries:
        ports, _, proto = entry.partition("/")
        first = ports.partition("-")[0]
        if not first.isdigit():
            reason = f'strconv.ParseUint: parsing "{first}": invalid syntax'
            raise InvalidParameter(f"invalid range format for --expose: {entry}, error: {reason}")
        low, high = _range(ports, entry)
        found += [f"{port}/{proto or 'tcp'}" for port in range(low, high + 1)]
    return found


def _range(text: str, whole: str) -> "tuple[int, int]":
    first, _, last = text.partition("-")
    if (
        not first.isdigit()
        or (last and not last.isdigit())
        or not 0 < int(first) <= int(last or first) < 65536
    ):
        raise InvalidParameter(f"invalid containerPort: {whole}", hint="[[ip:]host:]container[/proto]")
    return int(first), int(last or first)


def _port_bindings(entries: list[str]) -> "dict[str, Any]":
    """Return PortBindings of every form of -p: [[ip:][host]:]container[/proto], with ranges."""
    found: dict[str, Any] = {}
    for entry in entries:
        spec, _, proto = entry.partition("/")
        address = ""
        if spec.startswith("["):
            address, _, spec = spec[1:].partition("]:")
        parts = spec.rsplit(":", 2) if not address else ["", *spec.split(":")]
        container = parts[-1]
        host = parts[-2] if len(parts) > 1 else ""
        if len(parts) == 3 and not address:
            address = parts[0]
        low, high = _range(container, entry)
        hosts = _host_ports(host, high - low, entry)
        for offset, port in enumerate(range(low, high + 1)):
            binding = {"HostIp": address, "HostPort": hosts[offset]}
            found.setdefault(f"{port}/{proto or 'tcp'}", []).append(binding)
    return found


def _host_ports(text: str, more: int, whole: str) -> list[str]:
    """One host port for each container port; a range for a single container port is left to the daemon."""
    if not text:
        return [""] * (more + 1)
    low, high = _range(text, whole) if text != "0" else (0, 0)
    if more == 0:
        return [text]
    if high - low != more:
        raise InvalidParameter(f"invalid ranges specified for container and host Ports: {whole}")
    return [str(port) for port in range(low, high + 1)]


def _network_name(text: str) -> str:
    """The name of --network NAME or --network name=NAME,alias=..."""
    if "=" not in text:
        return text
    return dict(word.partition("=")[::2] for word in text.split(",")).get("name", "")


def _endpoints(given: "dict[str, Any]") -> "dict[str, Any]":
    found: dict[str, Any] = {}
    for place, text in enumerate(given["network"] or ["default"]):
        words = dict(word.partition("=")[::2] for word in text.split(",")) if "=" in text else {"name": text}
        first = place == 0
        ip = words.get("ip") or (given["ip"] if first else None)
        ip6 = words.get("ip6") or (given["ip6"] if first else None)
        aliases = [words["alias"]] if "alias" in words else given["network_alias"] if first else []
        ipam = {"IPv4Address": ip or "", "IPv6Address": ip6 or ""} if ip or ip6 else None
        mac = _mac(words.get("mac-address") or (given["mac_address"] if first else None) or "")
        found[words["name"]] = {"IPAMConfig": ipam, "Aliases": aliases or None, "MacAddress": mac}
    return found


def _mac(text: str) -> str:
    if not text:
        return ""
    from havre.cli.runvalues import mac

    try:
        return mac(text)
    except ValueError as error:
        raise InvalidParameter(str(error)) from None
