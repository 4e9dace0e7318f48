"""havre ps. Lean: this is the command people type most."""

import sys

from havre.cli import options, table
from havre.cli.filters import encode
from havre.cli.human import bytes_text, since, stamp
from havre.client.http import query
from havre.errors import HavreError

PS_USAGE = "[OPTIONS]"
PS_FLAGS = {
    "all": "a:bool",
    "filter": "f:list",
    "format": ":str",
    "last": "n:int",
    "latest": "l:bool",
    "no-trunc": ":bool",
    "quiet": "q:bool",
    "size": "s:bool",
}
COLUMNS = (
    ("ID", "CONTAINER ID"),
    ("Image", "IMAGE"),
    ("Command", "COMMAND"),
    ("RunningFor", "CREATED"),
    ("Status", "STATUS"),
    ("Ports", "PORTS"),
    ("Names", "NAMES"),
)
RAW = """container_id: {{.ID}}
image: {{.Image}}
command: {{.Command}}
created_at: {{.CreatedAt}}
state: {{- pad .State 1 0}}
status: {{- pad .Status 1 0}}
names: {{.Names}}
labels: {{- pad .Labels 1 0}}
ports: {{- pad .Ports 1 0}}
"""
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from havre.cli.context import Context


def ps(context: "Context", words: list[str]) -> int:
    """List containers."""
    given, args = options.parse(words, PS_FLAGS)
    options.need(args, 0, "ps", 0)
    limit = 1 if given["latest"] else given["last"] if given["last"] and given["last"] > 0 else 0
    fmt = given["format"] or ("" if given["quiet"] else context.configured("psFormat"))
    values = {
        "all": given["all"] or None,
        "limit": limit or None,
        "size": given["size"] or (not given["quiet"] and _names_size(fmt)) or None,
        "filters": encode(given["filter"]),
    }
    found = context.client.get("/containers/json" + query(values))
    rows = [row(one, given["no_trunc"]) for one in found]
    columns = (*COLUMNS, ("Size", "SIZE")) if given["size"] else COLUMNS
    raw = RAW + ("size: {{.Size}}\n" if given["size"] else "")
    if given["quiet"] and fmt:
        sys.stderr.write("WARNING: Ignoring custom format, because both --format and --quiet are set.\n")
        fmt = fmt if fmt == "raw" else ""
    quiet = "ID" if given["quiet"] else ""
    try:
        table.show(rows, columns, fmt, quiet=quiet, kind="formatter.ContainerContext", raw=raw)
    except table.FormatError as error:  # ps has words of its own
        what = "execute" if error.executing else "parse"
        raise HavreError(f"failed to {what} template: {error.reason}") from None
    return 0


def _names_size(fmt: str) -> bool:
    """Whether a template shows sizes, which cost a walk of every container's layer: they are asked for only then, as by docker."""
    return "{{" in fmt and any(word in fmt for word in (".Size", "json .}}", "json . }}"))


def row(one: "dict[str, Any]", no_trunc: bool) -> "dict[str, Any]":
    """The fields Docker's ps formats have."""
    command = one["Command"]
    shown = command if no_trunc or len(command) <= 20 else command[:19] + "…"
    names = [name.lstrip("/") for name in one["Names"] if no_trunc or name.count("/") == 1]
    image = one["Image"] if one["Image"] else one["ImageID"].partition(":")[2][:12]
    return {
        "ID": one["Id"] if no_trunc else one["Id"][:12],
        "Image": image,
        "Command": f'"{shown}"',
        "CreatedAt": stamp(one["Created"]),
        "RunningFor": since(one["Created"]) + " ago",
        "Status": one["Status"],
        "State": one["State"],
        "Ports": ports_text(one.get("Ports") or []),
        "Names": ",".join(names),
        "Labels": ",".join(f"{key}={value}" for key, value in (one.get("Labels") or {}).items()),
        "Mounts": ",".join(mount.get("Name") or mount["Source"] for mount in one.get("Mounts") or []),
        "Networks": ",".join((one.get("NetworkSettings") or {}).get("Networks") or {}),
        "LocalVolumes": str(sum(1 for mount in one.get("Mounts") or [] if mount.get("Driver") == "local")),
        "Size": f"{bytes_text(one.get('SizeRw', 0))} (virtual {bytes_text(one.get('SizeRootFs', 0))})"
        if "SizeRootFs" in one
        else "0B",
        "Platform": (one.get("ImageManifestDescriptor") or {}).get("platform"),
        "_labels": one.get("Labels") or {},
    }


def ports_text(ports: "list[dict[str, Any]]") -> str:
    """0.0.0.0:8080->80/tcp, 443/tcp; neighbouring ports are folded into ranges."""
    groups: list[list[Any]] = []
    for one in sorted(ports, key=lambda p: (p.get("Type"), p.get("IP") or "", p["PrivatePort"])):
        public, private = one.get("PublicPort") or 0, one["PrivatePort"]
        last = groups[-1] if groups else None
        same = last and last[0] == one.get("IP") and last[5] == one.get("Type")
        if same and last and private == last[2] + 1 and public == (last[4] + 1 if last[4] else 0):
            last[2], last[4] = private, public
        else:
            groups.append([one.get("IP"), private, private, public, public, one.get("Type")])
    texts = []
    for address, first, last_port, public, public_last, kind in groups:
        inner = f"{first}/{kind}" if first == last_port else f"{first}-{last_port}/{kind}"
        outer = f"{public}" if public == public_last else f"{public}-{public_last}"
        shown = f"[{address}]" if address and ":" in address else address
        texts.append(f"{shown}:{outer}->{inner}" if public else inner)
    return ", ".join(texts)
