"""version, info, events, system df, system dial-stdio."""

import os
import sys

from havre.cli import options, table
from havre.cli.filters import encode
from havre.cli.human import bytes_text
from havre.cli.inspect import render
from havre.cli.logs import moment
from havre.client import minijson
from havre.client.http import query
from havre.errors import HavreError
from havre.version import API_VERSION, VERSION

VERSION_FLAGS = INFO_FLAGS = {"format": "f:str"}
EVENTS_FLAGS = {"filter": "f:list", "format": ":str", "since": ":str", "until": ":str"}
DF_COLUMNS = (
    ("Type", "TYPE"),
    ("TotalCount", "TOTAL"),
    ("Active", "ACTIVE"),
    ("Size", "SIZE"),
    ("Reclaimable", "RECLAIMABLE"),
)
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from havre.cli.context import Context


def _formatted(value: "Any", fmt: str) -> int:
    if fmt == "json":
        print(minijson.dumps(value))
    else:
        render([value], fmt)
    return 0


def version(context: "Context", words: list[str]) -> int:
    """Print the client's version, then the server's."""
    given, _ = options.parse(words, VERSION_FLAGS)
    client = {
        "Version": VERSION,
        "ApiVersion": API_VERSION,
        "DefaultAPIVersion": API_VERSION,
        "Os": "linux",
        "Arch": os.uname().machine,
    }
    try:
        server, problem = context.client.get("/version"), None
    except HavreError as error:
        server, problem = None, error
    if given["format"]:
        code = _formatted({"Client": client, "Server": server}, given["format"])
    else:
        code = 0
        print(f"Client: Havre\n Version:           {VERSION}\n API version:       {API_VERSION}")
        if server:
            print(f"\nServer: {(server.get('Platform') or {}).get('Name') or 'Engine'}")
            for title, key in (
                ("Version", "Version"),
                ("API version", "ApiVersion"),
                ("OS/Arch", "Os"),
                ("Kernel", "KernelVersion"),
            ):
                value = f"{server['Os']}/{server['Arch']}" if key == "Os" else server.get(key, "")
                extra = (
                    f" (minimum version {server['MinAPIVersion']})"
                    if key == "ApiVersion" and server.get("MinAPIVersion")
                    else ""
                )
                print(f" {title + ':':18} {value}{extra}")
    if problem:
        sys.stderr.write(f"{problem}\n")
        return 1
    return code


def info(context: "Context", words: list[str]) -> int:
    given, _ = options.parse(words, INFO_FLAGS)
    found = context.client.get("/info")
    if given["format"]:
        return _formatted(found, given["format"])
    lines = [
        ("Containers", found["Containers"]),
        (" Running", found["ContainersRunning"]),
        (" Paused", found["ContainersPaused"]),
        (" Stopped", found["ContainersStopped"]),
        ("Images", found["Images"]),
        ("Server Version", found["ServerVersion"]),
        ("Storage Driver", found["Driver"]),
        ("Logging Driver", found["LoggingDriver"]),
        ("Cgroup Driver", found["CgroupDriver"]),
        ("Cgroup Version", found["CgroupVersion"]),
        ("Runtimes", " ".join(found["Runtimes"])),
        ("Default Runtime", found["DefaultRuntime"]),
        ("Security Options", " ".join(found.get("SecurityOptions") or [])),
        ("Kernel Version", found["KernelVersion"]),
        ("Operating System", found["OperatingSystem"]),
        ("OSType", found["OSType"]),
        ("Architecture", found["Architecture"]),
        ("CPUs", found["NCPU"]),
        ("Total Memory", bytes_text(found["MemTotal"])),
        ("Name", found["Name"]),
        ("Docker Root Dir", found["DockerRootDir"]),
        ("Live Restore Enabled", str(found.get("LiveRestoreEnabled", False)).lower()),
    ]
    for name, value in lines:
        print(f"{name}: {value}")
    for warning in found.get("Warnings") or []:
        sys.stderr.write(f"{warning}\n")
    return 0


def events(context: "Context", words: list[str]) -> int:
    given, _ = options.parse(words, EVENTS_FLAGS)
    values = {
        "since": moment(given["since"]),
        "until": moment(given["until"]),
        "filters": encode(given["filter"]),
    }
    answer = context.client.request("GET", "/events" + query(values))
    for event in answer.objects():
        if given["format"]:
            _formatted(event, given["format"])
        else:
            print(event_line(event))
        sys.stdout.flush()
    return 0


def event_line(event: "dict[str, Any]") -> str:
    """Docker's line: time, type, action, id, (attributes)."""
    import time

    seconds, nanos = divmod(event["timeNano"], 1_000_000_000)
    local = time.localtime(seconds)
    zone = time.strftime("%z", local)
    stamp = (
        time.strftime("%Y-%m-%dT%H:%M:%S", local)
        + f".{nanos:09d}"
        + (f"{zone[:3]}:{zone[3:]}" if zone != "+0000" else "Z")
    )
    actor = event["Actor"]
    attributes = ", ".join(f"{key}={value}" for key, value in sorted((actor.get("Attributes") or {}).items()))
    return f"{stamp} {event['Type']} {event['Action']} {actor['ID']}" + (
        f" ({attributes})" if attributes else ""
    )


def disk_usage(context: "Context", words: list[str]) -> int:
    given, _ = options.parse(words, {"format": ":str", "verbose": "v:bool"})
    found = context.client.get("/system/df")
    images, containers = found.get("Images") or [], found.get("Containers") or []
    free_images = sum(one["Size"] for one in images if not one.get("Containers"))
    down = [one for one in containers if one["State"] not in ("running", "paused", "restarting")]
    rows = [
        _df_row(
            "Images",
            len(images),
            sum(1 for one in images if one.get("Containers")),
            found.get("LayersSize") or 0,
            free_images,
        ),
        _df_row(
            "Containers",
            len(containers),
            len(containers) - len(down),
            sum(one.get("SizeRw", 0) for one in containers),
            sum(one.get("SizeRw", 0) for one in down),
        ),
    ]
    table.show(rows, DF_COLUMNS, given["format"] or "")
    return 0


def _df_row(kind: str, total: int, active: int, size: int, free: int) -> "dict[str, Any]":
    share = f" ({free * 100 // size}%)" if size else ""
    return {
        "Type": kind,
        "TotalCount": total,
        "Active": active,
        "Size": bytes_text(size),
        "Reclaimable": bytes_text(free) + share,
    }


def dial_stdio(context: "Context", words: list[str]) -> int:
    """Carry stdin and stdout to the daemon: what ssh:// hosts run on the far side."""
    import select

    from havre.client.connection import connect

    sock = connect(context.client.host)
    poll = select.poll()
    poll.register(0, select.POLLIN)
    poll.register(sock.fileno(), select.POLLIN)
    while True:
        for fd, _ in poll.poll():
            if fd == 0:
                if data := os.read(0, 65536):
                    sock.sendall(data)
                else:
                    poll.unregister(0)
                    sock.shutdown(1)
            elif data := sock.recv(65536):
                view = memoryview(data)
                while view:
                    view = view[os.write(1, view) :]
            else:
                return 0
