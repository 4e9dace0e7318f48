"""The --log-opt of each driver: which there are, what they must look like, in dockerd's words. Pure, but for files that must exist."""

import os
import re
from collections.abc import Mapping
from urllib.parse import urlsplit

from havre.errors import InvalidParameter
from havre.units import parse_bytes

Options = Mapping[str, str]

_ATTRIBUTES = frozenset({"labels", "labels-regex", "env", "env-regex", "tag"})
_FILE = _ATTRIBUTES | {"max-size", "max-file", "compress"}
KNOWN: dict[str, frozenset[str]] = {
    "json-file": _FILE,
    "local": _FILE,
    "none": frozenset(),
    "syslog": _ATTRIBUTES
    | {f"syslog-{word}" for word in ("address", "facility", "format")}
    | {f"syslog-tls-{word}" for word in ("ca-cert", "cert", "key", "skip-verify")},
    "journald": _ATTRIBUTES,
    "gelf": _ATTRIBUTES
    | {"gelf-address", "gelf-compression-level", "gelf-compression-type"}
    | {"gelf-tcp-max-reconnect", "gelf-tcp-reconnect-delay"},
    "fluentd": _ATTRIBUTES
    | {
        f"fluentd-{word}"
        for word in (
            "address async async-connect async-reconnect-interval buffer-limit max-retries request-ack retry-wait "
            "sub-second-precision write-timeout"
        ).split()
    },
}
FILE_DRIVERS = frozenset({"json-file", "local"})
FOREIGN = {  # dockerd has them; they speak one vendor's API
    "awslogs": "Amazon CloudWatch",
    "splunk": "Splunk",
    "gcplogs": "Google Cloud Logging",
    "etwlogs": "Event Tracing for Windows",
}
BUILT_IN = frozenset({"mode", "max-buffer-size", "cache-disabled"}) | {f"cache-{word}" for word in _FILE}
MAX_BUFFER_BYTES = 1_000_000  # dockerd's ring
TRANSPORTS = ("tcp://", "tcp+tls://", "udp://", "unix://", "unixgram://")
FACILITIES = (
    "kern user mail daemon auth syslog lpr news uucp cron authpriv ftp - - - - "
    "local0 local1 local2 local3 local4 local5 local6 local7"
).split()  # RFC 5424 6.2.1, by number
_SIZE = re.compile(r"(\d+(?:\.\d+)?) ?([kmgtp]?)i?b?", re.ASCII | re.IGNORECASE)
_BOOLEANS = {"1": True, "t": True, "true": True, "0": False, "f": False, "false": False}
_DURATION = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(ns|us|µs|ms|s|m|h)", re.ASCII)
_SECONDS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}


def check(driver: str, options: Options) -> None:
    """Refuse what dockerd refuses at create. Raises InvalidParameter."""
    if driver == "none":
        return
    _check_mode(options)
    if driver not in KNOWN:
        raise _unknown_driver(driver)
    for name in sorted(set(options) - KNOWN[driver] - BUILT_IN):
        raise InvalidParameter(_unknown(driver, name), hint="one of " + ", ".join(sorted(KNOWN[driver])))
    if "cache-disabled" in options:
        boolean(
            options, "cache-disabled", f"invalid value for option cache-disabled: {options['cache-disabled']}"
        )
    if driver == "syslog":
        syslog_address(options)
        facility(options)
        if options.get("syslog-format", "") not in ("", "rfc3164", "rfc5424", "rfc5424micro"):
            raise InvalidParameter("Invalid syslog format", hint="rfc3164, rfc5424 or rfc5424micro")
    elif driver == "gelf":
        _check_gelf(options)
    elif driver == "fluentd":
        fluentd_address(options)


def _check_mode(options: Options) -> None:
    mode = options.get("mode", "")
    if mode not in ("", "blocking", "non-blocking"):
        raise InvalidParameter(f"logger: logging mode not supported: {mode}", hint="blocking or non-blocking")
    if "max-buffer-size" in options:
        if mode != "non-blocking":
            raise InvalidParameter(
                "logger: max-buffer-size option is only supported with 'mode=non-blocking'",
                hint="--log-opt mode=non-blocking",
            )
        try:
            parse_bytes(options["max-buffer-size"])
        except InvalidParameter as error:
            raise InvalidParameter(f"error parsing option max-buffer-size: {error.message}") from None


def _unknown_driver(driver: str) -> InvalidParameter:
    ours = ", ".join(sorted(KNOWN))
    if driver in FOREIGN:
        hint = f"{driver} sends to {FOREIGN[driver]} only and is not part of Havre; {ours}"
    else:
        hint = ours
    return InvalidParameter(f"logger: no log driver named '{driver}' is registered", hint=hint)


def _unknown(driver: str, name: str) -> str:
    if driver == "local":
        return f"unknown log opt '{name}' for log driver local"
    if driver == "gelf":
        return f'unknown log opt "{name}" for gelf log driver'
    return f"unknown log opt '{name}' for {driver} log driver"


# values


def decimal_bytes(text: str) -> int:
    """Bytes of "10m" with decimal units, as dockerd reads max-size. Raises InvalidParameter."""
    found = _SIZE.fullmatch(text)
    if not found:
        raise InvalidParameter(f"invalid size: '{text}'", hint="a number with k, m or g behind it")
    return int(float(found[1]) * 1000 ** " kmgtp".index(found[2].lower() or " "))


def whole(options: Options, name: str, default: int) -> int:
    """A whole number. Raises InvalidParameter."""
    text = options.get(name, "")
    if not text:
        return default
    if not re.fullmatch(r"[+-]?[0-9]{1,18}", text):
        raise InvalidParameter(f"invalid value for {name}: {text}: not a whole number")
    return int(text)


def boolean(options: Options, name: str, words: str = "") -> bool:
    """A truth value as Go spells it; False when it is not given. Raises InvalidParameter."""
    text = options.get(name, "")
    if not text:
        return False
    if text not in ("TRUE", "True", "T", "FALSE", "False", "F") and text not in _BOOLEANS:
        raise InvalidParameter(words or f'invalid boolean value for {name}: "{text}"', hint="true or false")
    return _BOOLEANS[text.lower()]


def seconds(options: Options, name: str, default: float) -> float:
    """A duration as Go spells it ("1s", "500ms"). Raises InvalidParameter."""
    text = options.get(name, "")
    if not text:
        return default
    parts = _DURATION.findall(text.removeprefix("-"))
    if text != "0" and "".join(number + unit for number, unit in parts) != text.removeprefix("-"):
        raise InvalidParameter(f'invalid value for {name}: invalid duration "{text}"', hint="1s, 500ms")
    total = sum(float(number) * _SECONDS[unit] for number, unit in parts)
    return -total if text.startswith("-") else total


# addresses


def syslog_address(options: Options) -> tuple[str, str, int]:
    """(scheme, host or path, port) of syslog-address; ("", "", 0) for the host's own. Raises InvalidParameter."""
    text = options.get("syslog-address", "")
    if not text:
        return "", "", 0
    if not text.startswith(TRANSPORTS):
        raise InvalidParameter(f"syslog-address should be in form proto://address, got {text}")
    scheme, rest = text.split("://", 1)
    if scheme.startswith("unix"):
        if not os.path.exists(rest):
            raise InvalidParameter(f"stat {rest}: no such file or directory")
        return scheme, rest, 0
    host, port = host_and_port(text, "syslog-address")
    return scheme, host, port or 514


def host_and_port(text: str, name: str) -> tuple[str, int]:
    """(host, port) of a URL, port 0 when there is none. Raises InvalidParameter naming the option."""
    try:
        found = urlsplit(text)
        return found.hostname or "", found.port or 0
    except ValueError as error:
        raise InvalidParameter(f"invalid {name} {text}: {str(error).lower()}") from None


def facility(options: Options) -> int:
    """The facility's number, moved to where it stands in a priority. Raises InvalidParameter."""
    text = options.get("syslog-facility", "") or "daemon"
    if text in FACILITIES and text != "-":
        return FACILITIES.index(text) << 3
    if re.fullmatch(r"[0-9]{1,2}", text) and int(text) <= 23:
        return int(text) << 3
    raise InvalidParameter("invalid syslog facility", hint="daemon, local0 ... local7, or 0 to 23")


def gelf_address(options: Options) -> tuple[str, str, int]:
    """(udp or tcp, host, port). Raises InvalidParameter."""
    text = options.get("gelf-address", "")
    if not text:
        raise InvalidParameter(
            "gelf-address is a required parameter", hint="--log-opt gelf-address=udp://host:12201"
        )
    if not text.startswith(TRANSPORTS):
        raise InvalidParameter(f"gelf-address should be in form proto://address, got {text}")
    scheme = text.split("://", 1)[0]
    if scheme not in ("udp", "tcp"):
        raise InvalidParameter("gelf: endpoint needs to be TCP or UDP")
    host, port = host_and_port(text, "gelf-address")
    if not port:
        raise InvalidParameter("gelf: please provide gelf-address as proto://host:port")
    return scheme, host, port


def _check_gelf(options: Options) -> None:
    scheme = gelf_address(options)[0]
    for name in ("gelf-compression-level", "gelf-compression-type"):
        if name in options and scheme != "udp":
            raise InvalidParameter("compression is only supported on UDP")
    level = options.get("gelf-compression-level", "-1")
    if not re.fullmatch(r"-1|[0-9]", level):
        raise InvalidParameter(
            f'unknown value "{level}" for log opt "gelf-compression-level" for gelf log driver'
        )
    kind = options.get("gelf-compression-type", "gzip")
    if kind not in ("gzip", "zlib", "none"):
        raise InvalidParameter(
            f'unknown value "{kind}" for log opt "gelf-compression-type" for gelf log driver'
        )
    for name in ("gelf-tcp-max-reconnect", "gelf-tcp-reconnect-delay"):
        if name in options and scheme != "tcp":
            raise InvalidParameter(f'"{name}" is only valid for TCP')
        if name in options and not re.fullmatch(r"[0-9]{1,9}", options[name]):
            raise InvalidParameter(f'"{name}" must be a positive integer')


def fluentd_address(options: Options) -> tuple[str, str, int]:
    """(tcp, tls or unix, host or path, port). Raises InvalidParameter."""
    text = options.get("fluentd-address", "")
    if not text:
        return "tcp", "127.0.0.1", 24224
    scheme, _, rest = text.rpartition("://")
    scheme = scheme or "tcp"
    wrong = f"invalid fluentd-address ({text}): "
    if scheme == "unix":
        if not rest.strip("/"):
            raise InvalidParameter(wrong + "path is empty")
        return scheme, rest, 0
    if scheme not in ("tcp", "tls"):
        raise InvalidParameter(wrong + f"unsupported scheme: '{scheme}'", hint="tcp, tls or unix")
    if "/" in rest:
        raise InvalidParameter(wrong + "should not contain a path element")
    host, port = host_and_port(f"{scheme}://{rest}", "fluentd-address")
    return scheme, host or "127.0.0.1", port or 24224
