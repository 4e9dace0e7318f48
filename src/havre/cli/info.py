"""havre info (system info), in docker's layout."""

import sys

from havre.cli import options
from havre.cli.version import client_info
from havre.client import minijson
from havre.errors import HavreError
from havre.units import human_binary

INFO_FLAGS = {"format": "f:str"}
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from havre.cli.context import Context

    Found = dict[str, Any]


def info(context: "Context", words: list[str]) -> int:
    given, args = options.parse(words, INFO_FLAGS)
    options.need(args, 0, "info", 0)
    problem: HavreError | None = None
    found: Found = {}
    try:
        found = context.client.get("/info")
    except HavreError as error:
        problem = error
    client = {**client_info(context), "Debug": context.debug, "Plugins": [], "Warnings": None}
    client = {name: client[name] for name in client if name != "ApiVersion"}
    if given["format"]:
        if problem and given["format"] != "json":
            raise problem
        _formatted({**found, "ClientInfo": client}, given["format"])
    else:
        sys.stdout.write(_client_text(client) + "\nServer:\n" + (server_text(found) if found else ""))
        sys.stdout.flush()
    for warning in found.get("Warnings") or []:
        sys.stderr.write(f"{warning}\n")
    if problem:
        raise problem
    return 0


def _formatted(found: "Found", fmt: str) -> None:
    from havre.cli.inspect import render
    from havre.cli.template import Row

    if fmt == "json":
        print(minijson.dumps(found))
    else:
        render(Row("system.dockerInfo", found, json=found), fmt)


def _client_text(client: "Found") -> str:
    debug = _word(client["Debug"])
    return f"Client: Havre\n Version:    {client['Version']}\n Context:    {client['Context']}\n Debug Mode: {debug}\n"


def server_text(found: "Found") -> str:
    """Everything under "Server:", each line one space in."""
    lines = [*_counts(found), *_engine(found), *_security(found), *_host(found), *_registries(found)]
    lines.append(f"Live Restore Enabled: {_word(found.get('LiveRestoreEnabled'))}")
    if pools := found.get("DefaultAddressPools"):
        lines += ["Default Address Pools:", *(f"  Base: {one['Base']}, Size: {one['Size']}" for one in pools)]
    return "".join(f" {line}\n" for line in lines) + "\n"


def _counts(found: "Found") -> list[str]:
    lines = [f"Containers: {found.get('Containers', 0)}"]
    lines += [f" {name}: {found.get(f'Containers{name}', 0)}" for name in ("Running", "Paused", "Stopped")]
    lines += [f"Images: {found.get('Images', 0)}", *_told(found, "Server Version", "ServerVersion")]
    lines += _told(found, "Storage Driver", "Driver")
    return lines + [f" {name}: {value}" for name, value in found.get("DriverStatus") or []]


def _engine(found: "Found") -> list[str]:
    lines = _told(found, "Logging Driver", "LoggingDriver") + _told(found, "Cgroup Driver", "CgroupDriver")
    lines += [*_told(found, "Cgroup Version", "CgroupVersion"), "Plugins:"]
    plugins = found.get("Plugins") or {}
    for name in ("Volume", "Network", "Authorization", "Log"):
        if name != "Authorization" or plugins.get(name):
            lines.append(f" {name}: {' '.join(plugins.get(name) or [])}")
    if folders := found.get("CDISpecDirs"):
        lines += ["CDI spec directories:", *(f"  {folder}" for folder in folders)]
    lines.append(f"Swarm: {(found.get('Swarm') or {}).get('LocalNodeState') or 'inactive'}")
    lines.append(f"Runtimes: {' '.join(sorted(found.get('Runtimes') or {}))}")
    lines += [
        f"Default Runtime: {found.get('DefaultRuntime', '')}",
        f"Init Binary: {found.get('InitBinary', '')}",
    ]
    for name, key in (("containerd", "ContainerdCommit"), ("runc", "RuncCommit"), ("init", "InitCommit")):
        lines.append(f"{name} version: {(found.get(key) or {}).get('ID', '')}")
    return lines


def _security(found: "Found") -> list[str]:
    """name=seccomp,profile=builtin becomes two lines."""
    lines = ["Security Options:"]
    for text in found.get("SecurityOptions") or []:
        for word in text.split(","):
            key, _, value = word.partition("=")
            lines.append(f" {value or key}" if key == "name" or not value else f"  {key.title()}: {value}")
    return lines if len(lines) > 1 else []


def _host(found: "Found") -> list[str]:
    lines = []
    for name, key in (
        *(("Kernel Version", "KernelVersion"), ("Operating System", "OperatingSystem"), ("OSType", "OSType")),
        ("Architecture", "Architecture"),
    ):
        lines += _told(found, name, key)
    lines += [f"CPUs: {found.get('NCPU', 0)}", f"Total Memory: {human_binary(found.get('MemTotal') or 0)}"]
    for name, key in (("Name", "Name"), ("ID", "ID")):
        lines += _told(found, name, key)
    lines += [
        f"Docker Root Dir: {found.get('DockerRootDir', '')}",
        f"Debug Mode: {_word(found.get('Debug'))}",
    ]
    if found.get("Debug"):
        for name, key in (
            *(("File Descriptors", "NFd"), ("Goroutines", "NGoroutines"), ("System Time", "SystemTime")),
            ("EventsListeners", "NEventsListener"),
        ):
            lines.append(f" {name}: {found.get(key, '')}")
    for name, key in (("HTTP Proxy", "HttpProxy"), ("HTTPS Proxy", "HttpsProxy"), ("No Proxy", "NoProxy")):
        lines += _told(found, name, key)
    if labels := found.get("Labels"):
        lines += ["Labels:", *(f" {label}" for label in labels)]
    return [*lines, f"Experimental: {_word(found.get('ExperimentalBuild'))}"]


def _registries(found: "Found") -> list[str]:
    config = found.get("RegistryConfig") or {}
    lines = []
    insecure = [
        name for name, one in (config.get("IndexConfigs") or {}).items() if one and not one.get("Secure")
    ]
    if insecure or config.get("InsecureRegistryCIDRs"):
        lines.append("Insecure Registries:")
        lines += [f" {one}" for one in [*insecure, *(config.get("InsecureRegistryCIDRs") or [])]]
    if mirrors := config.get("Mirrors"):
        lines += ["Registry Mirrors:", *(f" {one}" for one in mirrors)]
    return lines


def _told(found: "Found", name: str, key: str) -> list[str]:
    """A line for a text that is there."""
    return [f"{name}: {found[key]}"] if found.get(key) else []


def _word(value: object) -> str:
    return "true" if value else "false"
