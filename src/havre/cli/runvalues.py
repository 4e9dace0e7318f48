"""The values of run's rarer flags, read as Docker's CLI reads them. Pure. Lean; imported when one of them is given.

Every function takes one word and raises ValueError with Docker's reason (docker/cli opts/, cli/command/container/opts.go).
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

ULIMITS = (
    "core cpu data fsize locks memlock msgqueue nice nofile nproc rss rtprio rttime sigpending stack".split()
)
SYSCTLS = (
    "kernel.msgmax kernel.msgmnb kernel.msgmni kernel.sem kernel.shmall kernel.shmmax kernel.shmmni "
    "kernel.shm_rmid_forced".split()
)
SYSCTL_PREFIXES = ("net.", "fs.mqueue.")
STREAMS = ("stdin", "stdout", "stderr")
_UNITS = {"": 1, "b": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40, "p": 1 << 50}
_TRUE, _FALSE = ("1", "t", "T", "true", "TRUE", "True"), ("0", "f", "F", "false", "FALSE", "False")


def size(text: str) -> int:
    """Return bytes of "64m", "1.5g", "100KiB"."""
    word = text.strip().lower()
    digits = word.rstrip("bkmgtpi ")
    unit = word[len(digits) :].strip()
    unit = unit[0] if unit[1:] in ("b", "ib") and unit[0] != "b" else unit
    try:
        if not digits or digits[0] in "+-" or unit not in _UNITS:
            raise ValueError
        return int(float(digits) * _UNITS[unit])
    except (ValueError, OverflowError):
        raise ValueError(f"invalid size: '{text}'") from None


def number(text: str) -> int:
    """Return a decimal integer as Go's ParseInt takes it."""
    if not (text[1:] if text[:1] in ("-", "+") else text).isdigit() or not text.isascii():
        raise ValueError(f'strconv.ParseInt: parsing "{text}": invalid syntax')
    return int(text)


def ulimit(text: str) -> "dict[str, Any]":
    name, equals, values = text.partition("=")
    if not equals:
        raise ValueError(f"invalid ulimit argument: {text}")
    if name not in ULIMITS:
        raise ValueError(f"invalid ulimit type: {name}")
    parts = values.split(":")
    if len(parts) > 2:
        raise ValueError(f"too many limit value arguments - {values}, can only have up to two, `soft[:hard]`")
    soft = number(parts[0])
    hard = number(parts[1]) if len(parts) == 2 else soft
    if hard != -1 and (soft == -1 or soft > hard):
        raise ValueError(f"ulimit soft limit must be less than or equal to hard limit: {soft} > {hard}")
    return {"Name": name, "Soft": soft, "Hard": hard}


def sysctl(text: str) -> "tuple[str, str]":
    name, equals, value = text.partition("=")
    if equals and (name in SYSCTLS or name.startswith(SYSCTL_PREFIXES)):
        return name, value
    raise ValueError(f"sysctl '{text}' is not allowed")


def is_described(text: str) -> bool:
    """Whether a --device word names a device of a CDI spec: "vendor.com/class=name"."""
    kind, equals, name = text.partition("=")
    vendor, slash, kind_name = kind.partition("/")
    return bool(equals and name and slash and vendor and kind_name and "/" not in kind_name + name)


def device(text: str) -> dict[str, str]:
    parts = text.split(":")
    if len(parts) > 3 or not parts[0]:
        raise ValueError(f"invalid device specification: {text}")
    target, access = parts[0], "rwm"
    if len(parts) == 3:
        target, access = parts[1], parts[2]
    elif len(parts) == 2 and _is_mode(parts[1]):
        access = parts[1]
    elif len(parts) == 2:
        target = parts[1]
    if not _is_mode(access):
        raise ValueError(f"bad mode specified: {access}")
    if not target.startswith("/"):
        raise ValueError(f"{target} is not an absolute path")
    return {"PathOnHost": parts[0], "PathInContainer": target, "CgroupPermissions": access}


def _is_mode(word: str) -> bool:
    return bool(word) and set(word) <= set("rwm") and len(set(word)) == len(word)


def device_rule(text: str) -> str:
    words = text.split(" ")
    numbers = words[1].split(":") if len(words) == 3 else []
    good = len(numbers) == 2 and all(part == "*" or part.isdigit() for part in numbers)
    if (
        not good
        or words[0] not in ("a", "b", "c")
        or not (0 < len(words[2]) <= 3 and set(words[2]) <= set("rwm"))
    ):
        raise ValueError(f"invalid device cgroup format '{text}'")
    return text


def weight_device(text: str) -> "dict[str, Any]":
    path, value = _path_and_value(text)
    weight = int(value) if value.isdigit() else -1
    if weight != 0 and not 10 <= weight <= 1000:
        raise ValueError(f"invalid weight for device: {text}")
    return {"Path": path, "Weight": weight}


def rate_bytes(text: str) -> "dict[str, Any]":
    path, value = _path_and_value(text)
    try:
        return {"Path": path, "Rate": size(value)}
    except ValueError:
        raise ValueError(
            f"invalid rate for device: {text}. The correct format is <device-path>:<number>[<unit>]. "
            "Number must be a positive integer. Unit is optional and can be kb, mb, or gb"
        ) from None


def rate_count(text: str) -> "dict[str, Any]":
    path, value = _path_and_value(text)
    if not value.isdigit():
        raise ValueError(
            f"invalid rate for device: {text}. The correct format is <device-path>:<number>. "
            "Number must be a positive integer"
        )
    return {"Path": path, "Rate": int(value)}


def _path_and_value(text: str) -> "tuple[str, str]":
    path, colon, value = text.partition(":")
    if not colon or not path:
        raise ValueError(f"bad format: {text}")
    if not path.startswith("/dev/"):
        raise ValueError(f"bad format for device path: {text}")
    return path, value


def gpus(text: str) -> "dict[str, Any]":
    """One --gpus: a count, "all", or device=, driver=, capabilities= and options= words."""
    found: dict[str, Any] = {}
    for word in csv(text):
        key, equals, value = word.partition("=")
        if not equals:
            key, value = "count", word
        if key in found:
            raise ValueError(f"gpu request key '{key}' can be specified only once")
        found[key] = value
    unknown = set(found) - {"count", "device", "driver", "capabilities", "options"}
    if unknown:
        raise ValueError(f"unexpected key '{min(unknown)}' in '{text}'")
    capabilities = sorted({"gpu", *found["capabilities"].split(",")} if "capabilities" in found else {"gpu"})
    count = _gpu_count(found["count"]) if "count" in found else 0
    if "count" not in found and "device" not in found:
        count = 1
    request: dict[str, Any] = {
        "Driver": found.get("driver", ""),
        "Count": count,
        "Capabilities": [capabilities],
    }
    if "device" in found:
        request["DeviceIDs"] = found["device"].split(",")
    if "options" in found:
        request["Options"] = dict(one.partition("=")[::2] for one in found["options"].split(","))
    return request


def _gpu_count(text: str) -> int:
    if text == "all":
        return -1
    if text.isdigit():
        return int(text)
    raise ValueError(f'invalid count ({text}): value must be either "all" or an integer: invalid syntax')


def csv(text: str) -> list[str]:
    """Return the comma separated words of a line; a word in quotes may hold commas."""
    words, word, quoted = [], "", False
    for letter in text:
        if letter == '"':
            quoted = not quoted
        elif letter == "," and not quoted:
            words.append(word)
            word = ""
        else:
            word += letter
    if quoted:
        raise ValueError('parse error: extraneous or missing " in quoted-field')
    return [*words, word]


def is_ip(text: str) -> bool:
    """Whether a word is an IPv4 or IPv6 address."""
    from socket import AF_INET, AF_INET6, inet_pton

    for family in (AF_INET, AF_INET6):
        try:
            inet_pton(family, text.partition("%")[0] if family == AF_INET6 else text)
            return True
        except OSError:
            continue
    return False


def ip(text: str) -> str:
    if not is_ip(text):
        raise ValueError(f"IP address is not correctly formatted: {text}")
    return text


def add_host(text: str) -> str:
    """Return "name:address" of name:address and name=address."""
    mark = "=" if "=" in text else ":"
    name, found, address = text.partition(mark)
    if not found or not name:
        raise ValueError(f'bad format for add-host: "{text}"')
    bare = address[1:-1] if address[:1] == "[" and address[-1:] == "]" else address
    if bare != "host-gateway" and not is_ip(bare):
        raise ValueError(f'invalid IP address in add-host: "{address}"')
    return f"{name}:{bare}"


def mac(text: str) -> str:
    parts = text.replace("-", ":").split(":")
    if len(parts) != 6 or not all(
        len(part) == 2 and set(part.lower()) <= set("0123456789abcdef") for part in parts
    ):
        raise ValueError(f"{text} is not a valid mac address")
    return text


def attach(text: str) -> str:
    if text.lower() not in STREAMS:
        raise ValueError("valid streams are STDIN, STDOUT and STDERR")
    return text.lower()


def boolean(text: str, key: str) -> bool:
    if text not in _TRUE + _FALSE:
        raise ValueError(f"invalid value for {key}: {text}")
    return text in _TRUE


def mount(text: str) -> "dict[str, Any]":
    """One --mount, as opts/mount.go reads it."""
    found: dict[str, Any] = {"Type": "volume"}
    parts: dict[str, dict[str, Any]] = {"bind": {}, "volume": {}, "image": {}, "tmpfs": {}}
    for word in csv(text):
        key, equals, value = word.partition("=")
        key = key.lower()
        if not equals:
            if key not in _BARE:
                raise ValueError(f"invalid field '{word}' must be a key=value pair")
            value = "true"
        _mount_word(found, parts, key, value, word)
    _check_mount(found, parts, text)
    return {**found, **{_OPTIONS[kind]: words for kind, words in parts.items() if words}}


_OPTIONS = {
    "bind": "BindOptions",
    "volume": "VolumeOptions",
    "image": "ImageOptions",
    "tmpfs": "TmpfsOptions",
}
_BARE = ("readonly", "ro", "volume-nocopy", "bind-nonrecursive", "bind-create-src", "idmap", "noidmap")
_PLAIN = {
    "type": "Type",
    "target": "Target",
    "dst": "Target",
    "destination": "Target",
    "consistency": "Consistency",
}
_RECURSIVE = {"enabled": {}, "disabled": {"NonRecursive": True}, "writable": {"ReadOnlyNonRecursive": True}, "readonly": {"ReadOnlyForceRecursive": True}}  # fmt: skip


def _mount_word(
    found: "dict[str, Any]", parts: "dict[str, dict[str, Any]]", key: str, value: str, word: str
) -> None:
    if key in _PLAIN:
        found[_PLAIN[key]] = value.lower() if key == "type" else value
    elif key in ("source", "src"):
        found["Source"] = _absolute(value) if value.startswith(".") else value
    elif key in ("readonly", "ro"):
        found["ReadOnly"] = boolean(value, key)
    elif key in ("volume-label", "volume-opt", "volume-driver"):
        _volume_word(parts["volume"], key, value)
    elif key == "bind-recursive":
        if value not in _RECURSIVE:
            good = 'must be "enabled", "disabled", "writable", or "readonly"'
            raise ValueError(f"invalid value for {key}: {value} ({good})")
        parts["bind"].update(_RECURSIVE[value])
    elif key in ("idmap", "noidmap"):
        parts["bind"]["IDMap"] = boolean(value, key) == (key == "idmap")  # of Havre only
    elif key in _WORDS:
        name, read = _WORDS[key]
        parts[key.partition("-")[0]][name] = read(value, key)
    else:
        raise ValueError(f"unexpected key '{key}' in '{word}'")


def _volume_word(options: "dict[str, Any]", key: str, value: str) -> None:
    name, _, inner = value.partition("=")
    if key == "volume-label":
        options.setdefault("Labels", {})[name] = inner
    elif key == "volume-opt":
        options.setdefault("DriverConfig", {}).setdefault("Options", {})[name] = inner
    else:
        options.setdefault("DriverConfig", {})["Name"] = value


def _octal(text: str, key: str) -> int:
    try:
        return int(text, 8)
    except ValueError:
        raise ValueError(f"invalid value for {key}: {text}") from None


def _absolute(path: str) -> str:
    from os.path import abspath

    return abspath(path)


_WORDS: "dict[str, tuple[str, Callable[[str, str], Any]]]" = {
    "bind-propagation": ("Propagation", lambda value, key: value.lower()),
    "bind-nonrecursive": ("NonRecursive", boolean),
    "bind-create-src": ("CreateMountpoint", boolean),
    "volume-subpath": ("Subpath", lambda value, key: value),
    "volume-nocopy": ("NoCopy", boolean),
    "image-subpath": ("Subpath", lambda value, key: value),
    "tmpfs-size": ("SizeBytes", lambda value, key: size(value)),
    "tmpfs-mode": ("Mode", _octal),
}


def _check_mount(found: "dict[str, Any]", parts: "dict[str, dict[str, Any]]", text: str) -> None:
    kind = found["Type"]
    if not kind:
        raise ValueError("type is required")
    if not found.get("Target"):
        raise ValueError("target is required")
    for other, words in parts.items():
        if words and other != kind:
            raise ValueError(f"cannot mix '{other}-*' options with mount type '{kind}'")
    bind = parts["bind"]
    if bind.get("ReadOnlyNonRecursive") and not found.get("ReadOnly"):
        raise ValueError(
            "option 'bind-recursive=writable' requires 'readonly' to be specified in conjunction"
        )
    if bind.get("ReadOnlyForceRecursive"):
        if not found.get("ReadOnly"):
            raise ValueError(
                "option 'bind-recursive=readonly' requires 'readonly' to be specified in conjunction"
            )
        if bind.get("Propagation") != "rprivate":
            raise ValueError(
                "option 'bind-recursive=readonly' requires 'bind-propagation=rprivate' to be specified in conjunction"
            )


READERS: "dict[str, Callable[[str], Any]]" = {  # flag -> how one of its words is read
    "add-host": add_host,
    "attach": attach,
    "blkio-weight-device": weight_device,
    "device-cgroup-rule": device_rule,
    "device-read-bps": rate_bytes,
    "device-read-iops": rate_count,
    "device-write-bps": rate_bytes,
    "device-write-iops": rate_count,
    "dns": ip,
    "gpus": gpus,
    "mount": mount,
    "sysctl": sysctl,
    "ulimit": ulimit,
}
