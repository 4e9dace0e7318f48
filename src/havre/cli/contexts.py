"""havre context create, export, import, inspect, ls, rm, show, update, use."""

import os
import sys

from havre.cli import options, table
from havre.cli.contextstore import (
    DEFAULT,
    DEFAULT_DESCRIPTION,
    ENDPOINT,
    Store,
    check_name,
)
from havre.cli.options import UsageError
from havre.client import minijson
from havre.errors import Conflict, HavreError

CREATE_USAGE = UPDATE_USAGE = "[OPTIONS] CONTEXT"
CREATE_FLAGS = {"description": ":str", "docker": ":list", "from": ":str"}
UPDATE_FLAGS = {"description": ":str", "docker": ":list"}
LS_FLAGS = {"format": ":str", "quiet": "q:bool"}
INSPECT_USAGE, INSPECT_FLAGS = "[OPTIONS] [CONTEXT] [CONTEXT...]", {"format": "f:str"}
RM_USAGE, RM_FLAGS = "CONTEXT [CONTEXT...]", {"force": "f:bool"}
USE_USAGE, SHOW_USAGE = "CONTEXT", ""
EXPORT_USAGE, IMPORT_USAGE = "[OPTIONS] CONTEXT [FILE|-]", "CONTEXT FILE|-"
COLUMNS = (
    ("Name", "NAME"),
    ("Description", "DESCRIPTION"),
    ("DockerEndpoint", "DOCKER ENDPOINT"),
    ("Error", "ERROR"),
)
LONGEST = 45  # letters of an error in the table
KEYS = {"from", "host", "ca", "cert", "key", "skip-tls-verify"}
FILES = {"ca": "ca.pem", "cert": "cert.pem", "key": "key.pem"}
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from havre.cli.context import Context

    Meta = dict[str, Any]


def create(context: "Context", words: list[str]) -> int:
    given, args = options.parse(words, CREATE_FLAGS)
    options.need(args, 1, "context create", 1)
    name, store = args[0], Store(context.config_dir)
    if store.has(name):
        raise Conflict(f'context "{name}" already exists')
    check_name(name)
    settings = _settings(given["docker"])
    source = given["from"] or settings.get("from") or ("" if settings else context.name)
    meta: Meta = {"Name": name, "Metadata": {}, "Endpoints": {}}
    files: dict[str, bytes] = {}
    if source:
        found, files = _source(context, store, source)
        meta["Endpoints"] = {ENDPOINT: found["Endpoints"].get(ENDPOINT, {})}
        meta["Metadata"] = {} if given["docker"] else dict(found.get("Metadata") or {})
    else:
        meta["Endpoints"], files = {ENDPOINT: _endpoint(settings)}, _read_files(settings)
    if given["description"]:
        meta["Metadata"]["Description"] = given["description"]
    store.put(meta, files)
    return _done(name, "created")


def _source(context: "Context", store: Store, name: str) -> "tuple[Meta, dict[str, bytes]]":
    return (_default(context), {}) if name == DEFAULT else (store.get(name), store.files(name))


def _default(context: "Context") -> "Meta":
    """The context that is no file: what the environment and the flags say."""
    endpoint = {"Host": context.default_host, "SkipTLSVerify": False}
    return {
        "Name": DEFAULT,
        "Metadata": {"Description": DEFAULT_DESCRIPTION},
        "Endpoints": {ENDPOINT: endpoint},
    }


def _settings(words: list[str]) -> dict[str, str]:
    """Return {"host": ...} of --docker "host=tcp://x,ca=file". Raises HavreError in docker's words."""
    found: dict[str, str] = {}
    for word in ",".join(words).split(",") if words else []:
        key, equals, value = word.partition("=")
        if not equals:
            raise UsageError(
                f'invalid argument "{word}" for "--docker" flag: {word} must be formatted as key=value'
            )
        if key not in KEYS:
            raise HavreError(f"unable to create docker endpoint config: unrecognized config key: {key}")
        found[key] = value
    return found


def _endpoint(settings: dict[str, str]) -> "Meta":
    skip = settings.get("skip-tls-verify", "false")
    if skip.lower() not in ("true", "false", "1", "0", "t", "f"):
        raise HavreError(
            f'unable to create docker endpoint config: skip-tls-verify: strconv.ParseBool: parsing "{skip}": invalid syntax'
        )
    host = {"Host": settings["host"]} if settings.get("host") else {}
    return {**host, "SkipTLSVerify": skip.lower() in ("true", "1", "t")}


def _read_files(settings: dict[str, str]) -> "dict[str, bytes]":
    """The TLS files named, checked to be PEM."""
    found = {}
    for key, name in FILES.items():
        if path := settings.get(key):
            with open(os.path.expanduser(path), "rb") as file:
                data = file.read()
            if b"-----BEGIN " not in data:
                raise HavreError(
                    "unable to create docker endpoint config: invalid docker endpoint options: "
                    f"failed to retrieve context tls info: {name} seems invalid"
                )
            found[f"{ENDPOINT}/{name}"] = data
    if (f"{ENDPOINT}/cert.pem" in found) != (f"{ENDPOINT}/key.pem" in found):
        raise HavreError(
            "unable to create docker endpoint config: invalid docker endpoint options: cert and key go together"
        )
    return found


def _done(name: str, what: str) -> int:
    print(name)
    sys.stdout.flush()
    sys.stderr.write(f'Successfully {what} context "{name}"\n')
    return 0


def update(context: "Context", words: list[str]) -> int:
    given, args = options.parse(words, UPDATE_FLAGS)
    options.need(args, 1, "context update", 1)
    name, store = check_name(args[0]), Store(context.config_dir)
    meta, files = store.get(name), None
    if given["description"]:
        meta["Metadata"] = {**(meta.get("Metadata") or {}), "Description": given["description"]}
    if settings := _settings(given["docker"]):
        if source := settings.get("from"):
            found, files = _source(context, store, source)
            meta["Endpoints"][ENDPOINT] = found["Endpoints"].get(ENDPOINT, {})
        else:
            meta["Endpoints"][ENDPOINT], files = _endpoint(settings), _read_files(settings)
    store.put(meta, files)
    return _done(name, "updated")


def ls(context: "Context", words: list[str]) -> int:
    given, args = options.parse(words, LS_FLAGS)
    options.need(args, 0, "context ls", 0)
    store, current = Store(context.config_dir), context.name
    rows = [_row(_default(context), current)]
    rows += [_row(store.get(name), current) for name in store.names()]
    if current not in {row["Name"] for row in rows}:
        rows.append(_missing(store, current))
    rows.sort(key=lambda row: str(row["Name"]))
    fmt = given["format"] or ""
    if fmt in ("", "table"):
        for row in rows:
            row["Name"] += " *" if row["Current"] and not given["quiet"] else ""
            row["Error"] = _cut(row["Error"])
    table.show(
        rows, COLUMNS, fmt, quiet="Name" if given["quiet"] else "", kind="formatter.clientContextContext"
    )
    if not given["quiet"] and os.environ.get("DOCKER_HOST") and not context.named_by_flag:
        sys.stdout.flush()
        sys.stderr.write(_OVERRIDDEN)
    return 0


_OVERRIDDEN = (
    "Warning: DOCKER_HOST environment variable overrides the active context. To use a context, either set the "
    "global --context flag, or unset DOCKER_HOST environment variable.\n"
)


def _row(meta: "Meta", current: str) -> "Meta":
    return {
        "Name": meta["Name"],
        "Description": (meta.get("Metadata") or {}).get("Description") or "",
        "DockerEndpoint": (meta["Endpoints"].get(ENDPOINT) or {}).get("Host") or "",
        "Error": "",
        "Current": meta["Name"] == current,
    }


def _missing(store: Store, name: str) -> "Meta":
    """The context in use that is not there."""
    try:
        store.get(name)
        text = ""
    except HavreError as error:
        text = str(error)
    return {"Name": name, "Description": "", "DockerEndpoint": "", "Error": text, "Current": True}


def _cut(text: str) -> str:
    return text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"


def show(context: "Context", words: list[str]) -> int:
    _, args = options.parse(words, {})
    options.need(args, 0, "context show", 0)
    print(context.name)
    return 0


def inspect(context: "Context", words: list[str]) -> int:
    from havre.cli import inspect as inspecting

    given, args = options.parse(words, INSPECT_FLAGS)
    store = Store(context.config_dir)
    return inspecting.show(
        args or [context.name],
        lambda name: _inspected(context, store, name),
        given["format"],
        intro="",
        html=True,
    )


def _inspected(context: "Context", store: Store, name: str) -> "Meta":
    meta = _default(context) if name == DEFAULT else store.get(name)
    material: dict[str, list[str]] = {}
    for place in store.files(name) if name != DEFAULT else {}:
        endpoint, _, file = place.partition("/")
        material.setdefault(endpoint, []).append(file)
    paths = ("<IN MEMORY>", "<IN MEMORY>") if name == DEFAULT else (store.meta_dir(name), store.tls_dir(name))
    return {
        "Name": meta["Name"],
        "Metadata": {} if name == DEFAULT else meta.get("Metadata") or {},
        "Endpoints": meta["Endpoints"],
        "TLSMaterial": material,
        "Storage": {"MetadataPath": paths[0], "TLSPath": paths[1]},
    }


def use(context: "Context", words: list[str]) -> int:
    _, args = options.parse(words, {})
    options.need(args, 1, "context use", 1)
    if args[0] != DEFAULT:
        Store(context.config_dir).get(args[0])
    _set_current(context, "" if args[0] == DEFAULT else args[0])
    print(args[0])
    sys.stdout.flush()
    sys.stderr.write(f'Current context is now "{args[0]}"\n')
    if os.environ.get("DOCKER_HOST"):
        sys.stderr.write(_OVERRIDDEN)
    return 0


def _set_current(context: "Context", name: str) -> None:
    config = {key: value for key, value in context.config.items() if key != "currentContext"}
    if name:
        config["currentContext"] = name
    context.write_config(config)


def rm(context: "Context", words: list[str]) -> int:
    """Remove contexts; the one in use only with --force."""
    from havre.cli.containers import each

    given, args = options.parse(words, RM_FLAGS)
    options.need(args, 1, "context rm")
    store, in_use = Store(context.config_dir), context.configured("currentContext")

    def work(name: str) -> None:
        if name == DEFAULT:
            raise HavreError('context "default" cannot be removed')
        if name == in_use and not given["force"]:
            raise HavreError(f'context "{name}" is in use, set -f flag to force remove')
        if store.has(name) or not given["force"]:
            store.remove(name)
        if name == in_use:
            _set_current(context, "")

    return each(args, work, intro="")


def export(context: "Context", words: list[str]) -> int:
    """Write meta.json and tls/ as a tar archive."""
    from havre.cli.contextarchive import packed

    _, args = options.parse(words, {})
    options.need(args, 1, "context export", 2)
    name, store = args[0], Store(context.config_dir)
    meta, files = _source(context, store, name)
    if name == DEFAULT:
        meta = {**meta, "Metadata": {}}
    target = args[1] if len(args) > 1 else f"{name}.dockercontext"
    data = packed(minijson.dumps(meta).encode(), files)
    if target == "-":
        if os.isatty(1):
            raise HavreError("cowardly refusing to export to a terminal, specify a file path")
        sys.stdout.buffer.write(data)
        return 0
    try:
        with open(target, "xb", opener=lambda path, flags: os.open(path, flags, 0o600)) as file:
            file.write(data)
    except FileExistsError:
        raise HavreError(f"open {target}: file exists", hint="rm it first, or name another file") from None
    sys.stderr.write(f'Written file "{target}"\n')
    return 0


def import_(context: "Context", words: list[str]) -> int:
    """Make a context of an exported archive, tar or zip."""
    from havre.cli.contextarchive import MOST_BYTES, unpacked

    _, args = options.parse(words, {})
    options.need(args, 2, "context import", 2)
    name, store = args[0], Store(context.config_dir)
    if store.has(name):
        raise Conflict(f'context "{name}" already exists')
    check_name(name)
    if args[1] == "-":
        data = sys.stdin.buffer.read(MOST_BYTES + 1)
    else:
        with open(args[1], "rb") as file:
            data = file.read(MOST_BYTES + 1)
    meta, files = unpacked(data)
    store.put({**meta, "Name": name}, files)
    return _done(name, "imported")
