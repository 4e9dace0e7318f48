"""state, list, ps, events: what can be seen of a container from outside."""

import json
import subprocess
import time
from typing import Any

from havre.errors import Conflict, HavreError, InvalidParameter
from havre.oci import flags, state
from havre.oci.context import Context
from havre.oci.state import Container

EVENTS_INTERVAL_S = 5.0  # runc events --interval
_COLUMNS = ("ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER")


def show_state(context: Context, options: flags.Options, words: list[str]) -> int:
    """Print the runtime-spec's state."""
    print(json.dumps(state.load(context.root, words[0]).state(), indent=2))
    return 0


def show_list(context: Context, options: flags.Options, words: list[str]) -> int:
    """Print all containers: a table, JSON, or ids."""
    style = _style(options)
    found = state.load_all(context.root)
    if options.get("quiet"):
        print("".join(f"{container.id}\n" for container in found), end="")
    elif style == "json":
        print(json.dumps([container.state() for container in found]))
    else:
        _print_table([_COLUMNS, *(_row(container.state()) for container in found)])
    return 0


def _style(options: flags.Options) -> str:
    style = flags.text(options, "format", "table")
    if style not in ("table", "json"):
        raise InvalidParameter(f"invalid format option {style!r}", hint="table or json")
    return style


def _row(shown: dict[str, Any]) -> tuple[str, ...]:
    owner = shown["owner"] or "root"
    return (shown["id"], str(shown["pid"]), shown["status"], shown["bundle"], shown["created"], owner)


def _print_table(rows: list[tuple[str, ...]]) -> None:
    widths = [max(12, *(len(row[column]) + 3 for row in rows)) for column in range(len(rows[0]) - 1)]
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=False)]
        print("".join([*cells, row[-1]]))


def show_processes(context: Context, options: flags.Options, words: list[str]) -> int:
    """Print the processes of a container: JSON pids, or the host's ps cut down to them."""
    container = state.load(context.root, words[0])
    style = _style(options)
    pids = state.pids(container.cgroup)
    if style == "json":
        print(json.dumps(pids))
        return 0
    asked = words[1:] or ["-ef"]
    try:
        told = subprocess.run(["ps", *asked], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise HavreError("this host has no ps", hint="--format json") from None
    if told.returncode:
        raise InvalidParameter(told.stderr.strip())
    head, *lines = told.stdout.splitlines()
    if "PID" not in head.split():
        raise InvalidParameter("couldn't find PID field in ps output")
    column = head.split().index("PID")
    print("\n".join([head, *(line for line in lines if int(line.split()[column]) in pids)]))
    return 0


def show_events(context: Context, options: flags.Options, words: list[str]) -> int:
    """Print statistics as JSON lines, every interval until the container stops, or with --stats once."""
    container = state.load(context.root, words[0])
    if container.status() in (state.STOPPED, state.CREATING):
        raise Conflict(f"container with id {container.id} is not running")
    interval_s = _seconds(flags.text(options, "interval", ""))
    while True:
        print(json.dumps({"type": "stats", "id": container.id, "data": _statistics(container)}), flush=True)
        if options.get("stats") or container.status() == state.STOPPED:
            return 0
        time.sleep(interval_s)


def _seconds(word: str) -> float:
    """Read a Go duration of one unit: 500ms, 5s, 1m."""
    units = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
    for unit, factor in units.items():
        head = word.removesuffix(unit)
        if head != word and head.replace(".", "", 1).isdigit() and float(head) > 0:
            return float(head) * factor
    if word:
        raise InvalidParameter(f"invalid duration {word!r} for --interval", hint="5s")
    return EVENTS_INTERVAL_S


_V1 = {
    "pids": {"current": "pids.current", "limit": "pids.max"},
    "memory": {
        "usage": "memory.usage_in_bytes",
        "limit": "memory.limit_in_bytes",
        "max": "memory.max_usage_in_bytes",
        "failcnt": "memory.failcnt",
    },
    "cpu": {"total": "cpuacct.usage"},
}
_V2 = {
    "pids": {"current": "pids.current", "limit": "pids.max"},
    "memory": {"usage": "memory.current", "limit": "memory.max", "max": "memory.peak"},
}


def _statistics(container: Container) -> dict[str, Any]:
    """Return runc's shape: pids, memory.usage and cpu.usage, as far as this host has the files."""
    found: dict[str, dict[str, int]] = {"pids": {}, "memory": {}, "cpu": {}}
    for table in (_V1, _V2):
        for kind, files in table.items():
            for key, name in files.items():
                number = _first_number(container, name)
                if number is not None:
                    found[kind].setdefault(key, number)
    for directory in container.cgroup["directories"]:
        for line in _read(f"{directory}/cpu.stat").splitlines():
            name, _, value = line.partition(" ")
            if name == "usage_usec":
                found["cpu"].setdefault("total", int(value) * 1000)
    return {"pids": found["pids"], "memory": {"usage": found["memory"]}, "cpu": {"usage": found["cpu"]}}


def _first_number(container: Container, name: str) -> int | None:
    for directory in container.cgroup["directories"]:
        text = _read(f"{directory}/{name}").strip()
        if text.isdigit():
            return int(text)
    return None


def _read(path: str) -> str:
    try:
        with open(path, encoding="ascii") as file:
            return file.read()
    except OSError:
        return ""
