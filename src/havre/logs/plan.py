"""From a driver, its options and a container to a LogPlan: everything the monitor needs, decided. Pure.

`remote` of the drivers that send, all of them: `tag`, `address` (scheme, host or path, port), `required` (a start fails when nobody is
there). Then syslog: `facility`, `form`, `attributes`, `tls`; journald: `fields`; gelf: `extra`, `compression`, `level`, `retries`, `delay_s`;
fluentd: `fields`, and its own words.
"""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from havre.errors import InvalidParameter
from havre.logs import options as opts
from havre.logs.subject import Subject, attributes, tag
from havre.spec.runplan import LogPlan, no_log
from havre.units import parse_bytes

Options = Mapping[str, str]

JSON_MAX_SIZE_BYTES = (
    10_000_000  # "logs filled my disk" is among Docker's oldest complaints: rotate unless told otherwise
)
JSON_MAX_FILES = 3
LOCAL_MAX_SIZE_BYTES = 20 << 20  # dockerd's defaults of driver local
LOCAL_MAX_FILES = 5
DEFAULT_TAG = "{{.ID}}"


def make(driver: str, options: Options, subject: Subject, folder: Path) -> LogPlan:
    """Return where the output of a container goes. `folder` is its own. Raises InvalidParameter naming the option."""
    opts.check(driver, options)
    try:
        plan = file_plan(driver, options, subject, folder)
        if driver in REMOTE:
            plan["remote"] = REMOTE[driver](options, subject)
    except InvalidParameter as error:
        raise InvalidParameter(
            error.message, context="failed to initialize logging driver", hint=error.hint
        ) from None
    plan["buffer_bytes"] = _buffer_bytes(options)
    return plan


def _buffer_bytes(options: Options) -> int:
    if options.get("mode") != "non-blocking":
        return 0
    return max(1, parse_bytes(options.get("max-buffer-size") or str(opts.MAX_BUFFER_BYTES)))


def file_plan(driver: str, options: Options, subject: Subject, folder: Path) -> LogPlan:
    """Only the file that the daemon reads: the log itself, or what is kept of one that is sent (cache-*)."""
    if driver == "none":
        return no_log()
    if driver == "json-file":
        return _json_plan(options, subject, folder)
    if driver == "local":
        return _local_plan(driver, options, subject, folder / "local-logs" / "container.log")
    if opts.boolean(options, "cache-disabled"):
        return LogPlan(**{**no_log(), "driver": driver})
    cache = {
        name.removeprefix("cache-"): value for name, value in options.items() if name.startswith("cache-")
    }
    return _local_plan(driver, cache, subject, folder / "local-logs" / "container-cached.log")


def _json_plan(options: Options, subject: Subject, folder: Path) -> LogPlan:
    size_text = options.get("max-size", "")
    size = 0 if size_text == "-1" else opts.decimal_bytes(size_text) if size_text else JSON_MAX_SIZE_BYTES
    if size_text and size_text != "-1" and size <= 0:
        raise InvalidParameter("max-size must be a positive number", hint="max-size=10m")
    files = opts.whole(options, "max-file", JSON_MAX_FILES)
    if files < 1:
        raise InvalidParameter("max-file cannot be less than 1")
    compress = opts.boolean(options, "compress")
    if compress and (files < 2 or not size):
        raise InvalidParameter("compress cannot be true when max-file is less than 2 or max-size is not set")
    return LogPlan(
        driver="json-file",
        format="json",
        path=str(folder / f"{subject.id}-json.log"),
        max_size_bytes=size,
        max_files=files,
        compress=compress,
        attributes=_file_attributes(options, subject),
        buffer_bytes=0,
        remote={},
    )


def _local_plan(driver: str, options: Options, subject: Subject, path: Path) -> LogPlan:
    size = opts.decimal_bytes(options["max-size"]) if options.get("max-size") else LOCAL_MAX_SIZE_BYTES
    files = opts.whole(options, "max-file", LOCAL_MAX_FILES)
    if files < 0:
        raise InvalidParameter("max-file must not be negative")
    compress = opts.boolean(options, "compress") if options.get("compress") else True
    if compress and files <= 1:
        raise InvalidParameter(
            "compression cannot be enabled when max file count is 1", hint="compress=false, or max-file=2"
        )
    return LogPlan(
        driver=driver,
        format="local",
        path=str(path),
        max_size_bytes=size,
        max_files=max(1, files),
        compress=compress,
        attributes=_file_attributes(options, subject),
        buffer_bytes=0,
        remote={},
    )


def _file_attributes(options: Options, subject: Subject) -> dict[str, str]:
    """A tag stands there only when it was asked for."""
    found = attributes(subject, options)
    if options.get("tag"):
        found["tag"] = tag(subject, options, "")
    return found


# drivers that send


def _syslog(options: Options, subject: Subject) -> dict[str, Any]:
    address = opts.syslog_address(options)
    return {
        "address": address,
        "required": True,
        "tag": tag(subject, options, DEFAULT_TAG),
        "facility": opts.facility(options),
        "form": options.get("syslog-format", ""),
        "attributes": attributes(subject, options),
        "tls": _tls(options, "syslog-tls-") if address[0] == "tcp+tls" else {},
    }


def _tls(options: Options, prefix: str) -> dict[str, str]:
    """Files of a TLS client; `skip-verify` counts by being there, as in dockerd."""
    found = {name: options.get(prefix + name, "") for name in ("ca-cert", "cert", "key")}
    for name, path in found.items():
        if path and not os.path.isfile(path):
            raise InvalidParameter(f"could not read {prefix}{name}: open {path}: no such file or directory")
    if bool(found["cert"]) != bool(found["key"]):
        raise InvalidParameter(f"{prefix}cert and {prefix}key belong together")
    return {**found, "skip-verify": "1" if prefix + "skip-verify" in options else ""}


def _journald(options: Options, subject: Subject) -> dict[str, Any]:
    name = tag(subject, options, DEFAULT_TAG)
    fields = {
        "CONTAINER_ID": subject.id[:12],
        "CONTAINER_ID_FULL": subject.id,
        "CONTAINER_NAME": subject.name,
        "CONTAINER_TAG": name,
        "IMAGE_NAME": subject.image_name,
        "SYSLOG_IDENTIFIER": name,
    }
    for key, value in attributes(subject, options).items():
        if clean := _journal_name(key):
            fields[clean] = value
    return {"tag": name, "required": True, "fields": fields}


def _journal_name(text: str) -> str:
    """A field's name may hold capitals, digits and underscores, and begins with none of the last."""
    return "".join(c.upper() if c.isascii() and c.isalnum() else "_" for c in text).lstrip("_")[:64]


def _gelf(options: Options, subject: Subject) -> dict[str, Any]:
    extra = {
        "_container_id": subject.id,
        "_container_name": subject.name,
        "_image_id": subject.image_id,
        "_image_name": subject.image_name,
        "_command": subject.command,
        "_tag": tag(subject, options, DEFAULT_TAG),
        "_created": subject.created,
    }
    for key, value in attributes(subject, options).items():
        extra[key if key.startswith("_") else f"_{key}"] = value
    return {
        "address": opts.gelf_address(options),
        "required": True,
        "tag": extra["_tag"],
        "extra": json.dumps(extra, ensure_ascii=False, separators=(",", ":"), sort_keys=True)[
            1:
        ],  # the rest of each message, ready
        "compression": options.get("gelf-compression-type", "gzip"),
        "level": int(options.get("gelf-compression-level", "1")),  # go-gelf's default is the fastest
        "retries": int(options.get("gelf-tcp-max-reconnect", "3")),
        "delay_s": int(options.get("gelf-tcp-reconnect-delay", "1")),
    }


def _fluentd(options: Options, subject: Subject) -> dict[str, Any]:
    if options.get("fluentd-async") and options.get("fluentd-async-connect"):
        raise InvalidParameter(
            "conflicting options: cannot specify both 'fluentd-async' and 'fluentd-async-connect'"
        )
    later = opts.boolean(options, "fluentd-async") or opts.boolean(options, "fluentd-async-connect")
    interval = opts.seconds(options, "fluentd-async-reconnect-interval", 0)
    if interval and not 0.1 <= interval <= 10:
        raise InvalidParameter(
            f'invalid value for fluentd-async-reconnect-interval: value ("{options["fluentd-async-reconnect-interval"]}") '
            "must be between 100ms and 10s"
        )
    retries = opts.whole(options, "fluentd-max-retries", 2**31 - 1)
    if retries < 0:
        raise InvalidParameter("fluentd-max-retries cannot be negative")
    limit = options.get("fluentd-buffer-limit", "")
    return {
        "address": opts.fluentd_address(options),
        "required": not later,
        "tag": tag(subject, options, DEFAULT_TAG),
        "fields": {
            "container_id": subject.id,
            "container_name": f"/{subject.name}",
            **attributes(subject, options),
        },
        "async": later,
        "buffer_bytes": parse_bytes(limit) if limit else 1 << 20,
        "retries": retries,
        "retry_wait_s": opts.seconds(options, "fluentd-retry-wait", 1.0),
        "interval_s": interval,
        "write_timeout_s": opts.seconds(options, "fluentd-write-timeout", 0),
        "sub_second": opts.boolean(options, "fluentd-sub-second-precision"),
        "ack": opts.boolean(options, "fluentd-request-ack"),
    }


REMOTE = {"syslog": _syslog, "journald": _journald, "gelf": _gelf, "fluentd": _fluentd}
