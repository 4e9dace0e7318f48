"""havre version: the client's, then the server's, in docker's layout."""

import os
import sys

from havre.cli import options
from havre.errors import HavreError
from havre.version import API_VERSION, VERSION

VERSION_FLAGS = {"format": "f:str"}
WIDTH = 20  # of the names' column
MACHINES = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm", "i686": "386"}  # Go's names
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from havre.cli.context import Context


def client_info(context: "Context", server_api: str = "") -> "dict[str, Any]":
    """What is known of this side; the API version is the older of the two sides'."""
    older = server_api and _numbers(server_api) < _numbers(API_VERSION)
    return {
        "Version": VERSION,
        "ApiVersion": context.wanted_version or (server_api if older else API_VERSION),
        "DefaultAPIVersion": API_VERSION,
        "Os": "linux",
        "Arch": MACHINES.get(os.uname().machine, os.uname().machine),
        "Context": context.name,
    }


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".") if part.isdigit())


def version(context: "Context", words: list[str]) -> int:
    """Print both versions; 1 when there is no server."""
    given, args = options.parse(words, VERSION_FLAGS)
    options.need(args, 0, "version", 0)
    problem: HavreError | None = None
    server: dict[str, Any] | None = None
    try:
        server = _server(context.client.get("/version"))
    except HavreError as error:
        problem = error
    client = client_info(context, str((server or {}).get("ApiVersion") or ""))
    if given["format"]:
        _formatted(client, server, given["format"])
    else:
        sys.stdout.write(client_text(client) + (server_text(server) if server else ""))
    if problem:
        raise problem
    return 0


def _server(found: "dict[str, Any]") -> "dict[str, Any]":
    """The answer, with the engine itself among the components and its build time as people write it."""
    components = found.get("Components") or [
        {"Name": "Engine", "Version": found.get("Version", ""), "Details": _details(found)}
    ]
    for one in components:
        details = one.get("Details") or {}
        if one["Name"] == "Engine" and details.get("BuildTime"):
            details["BuildTime"] = build_time(details["BuildTime"])
    return {**found, "Components": components}


def _details(found: "dict[str, Any]") -> dict[str, str]:
    names = (
        *("ApiVersion", "Arch", "BuildTime", "GitCommit", "GoVersion"),
        *("KernelVersion", "MinAPIVersion", "Os"),
    )
    details = {name: str(found.get(name) or "") for name in names}
    return {**details, "Experimental": "true" if found.get("Experimental") else "false"}


def build_time(text: str) -> str:
    """Return Go's time.ANSIC of an RFC 3339 stamp; other texts as they are."""
    import time

    try:
        return time.strftime("%a %b %e %H:%M:%S %Y", time.strptime(text[:19], "%Y-%m-%dT%H:%M:%S"))
    except ValueError:
        return text


def _formatted(client: "dict[str, Any]", server: "dict[str, Any] | None", fmt: str) -> None:
    from havre.cli.inspect import render
    from havre.cli.template import Row
    from havre.client import minijson

    if fmt == "json":
        print(minijson.dumps({"Client": client, "Server": server}))
        return
    parts = {"Client": _row("system.clientVersion", client), "Server": _row("types.Version", server)}
    render(Row("system.versionInfo", parts, json=parts), fmt, "version")


def _row(kind: str, found: "dict[str, Any] | None") -> "Any":
    """A template says .APIVersion (Go's field), JSON says ApiVersion."""
    from havre.cli.template import NIL_POINTER, Row

    if found is None:
        return NIL_POINTER
    return Row(kind, {**found, "APIVersion": found.get("ApiVersion", "")}, json=found)


def client_text(client: "dict[str, Any]") -> str:
    api = client["ApiVersion"]
    if api != client["DefaultAPIVersion"]:
        api += f" (downgraded from {client['DefaultAPIVersion']})"
    rows = [
        ("Version", client["Version"]),
        ("API version", api),
        ("OS/Arch", f"{client['Os']}/{client['Arch']}"),
    ]
    return "Client: Havre\n" + _lines(" ", [*rows, ("Context", client["Context"])])


def server_text(server: "dict[str, Any]") -> str:
    """Docker's text of a server: the engine, then its other components with their details by name."""
    name = (server.get("Platform") or {}).get("Name") or ""
    out = f"\nServer:{' ' + name if name else ''}\n"
    for one in server["Components"]:
        details = {key: str(value) for key, value in (one.get("Details") or {}).items()}
        rows = _engine(details) if one["Name"] == "Engine" else sorted(details.items())
        out += f" {one['Name']}:\n" + _lines("  ", [("Version", one.get("Version", "")), *rows])
    return out


def _engine(details: dict[str, str]) -> list[tuple[str, str]]:
    told = details.get
    return [
        ("API version", f"{told('ApiVersion', '')} (minimum version {told('MinAPIVersion', '')})"),
        ("Go version", told("GoVersion", "")),
        ("Git commit", told("GitCommit", "")),
        ("Built", told("BuildTime", "")),
        ("OS/Arch", f"{told('Os', '')}/{told('Arch', '')}"),
        ("Experimental", told("Experimental", "")),
    ]


def _lines(margin: str, rows: list[tuple[str, str]]) -> str:
    return "".join(f"{margin + name + ':':{WIDTH}}{value}\n" for name, value in rows)
