"""havre volume: create, inspect, ls, prune, rm."""

from havre.cli import inspect as inspecting
from havre.cli import options, table
from havre.cli.containers import each
from havre.cli.filters import encode
from havre.cli.human import bytes_text
from havre.cli.prune import filters_of, sure
from havre.cli.runflags import pairs
from havre.client.http import query, quote

CREATE_USAGE = "[OPTIONS] [VOLUME]"
CREATE_FLAGS = {"driver": "d:str", "label": ":list", "name": ":str", "opt": "o:list"}
LS_FLAGS = {"filter": "f:list", "format": ":str", "quiet": "q:bool"}
INSPECT_USAGE = "[OPTIONS] VOLUME [VOLUME...]"
INSPECT_FLAGS = {"format": "f:str"}
RM_USAGE = "[OPTIONS] VOLUME [VOLUME...]"
RM_FLAGS = {"force": "f:bool"}
PRUNE_FLAGS = {"all": "a:bool", "filter": ":list", "force": "f:bool"}
COLUMNS = (("Driver", "DRIVER"), ("Name", "VOLUME NAME"))
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from havre.cli.context import Context


def create(context: "Context", words: list[str]) -> int:
    """Make a volume and print its name."""
    given, args = options.parse(words, CREATE_FLAGS)
    options.need(args, 0, "volume create", 1)
    if args and given["name"] and args[0] != given["name"]:
        raise options.UsageError(
            "conflicting options: cannot specify a volume-name through both --name and as a positional arg"
        )
    labels = {key: value for key, _, value in (label.partition("=") for label in given["label"])}
    body = {
        "Name": args[0] if args else given["name"] or "",
        "Driver": given["driver"] or "local",
        "DriverOpts": pairs(given["opt"], "opt"),
        "Labels": labels,
    }
    print(context.client.request("POST", "/volumes/create", body).json()["Name"])
    return 0


def ls(context: "Context", words: list[str]) -> int:
    given, args = options.parse(words, LS_FLAGS)
    options.need(args, 0, "volume ls", 0)
    found = context.client.get("/volumes" + query({"filters": encode(given["filter"], "--filter")}))
    rows = [_row(one) for one in sorted(found["Volumes"] or [], key=lambda one: str(one["Name"]))]
    fmt = given["format"] or ("" if given["quiet"] else context.config.get("volumesFormat") or "")
    table.show(rows, COLUMNS, fmt, quiet="Name" if given["quiet"] else "", kind="formatter.volumeContext")
    return 0


def _row(one: "dict[str, Any]") -> "dict[str, Any]":
    labels = one.get("Labels") or {}
    return {
        "Availability": "N/A",
        "Driver": one["Driver"],
        "Group": "N/A",
        "Labels": ",".join(f"{key}={labels[key]}" for key in sorted(labels)),
        "Links": "N/A",
        "Mountpoint": one["Mountpoint"],
        "Name": one["Name"],
        "Scope": one["Scope"],
        "Size": "N/A",
        "Status": "N/A",
        "_labels": labels,
    }


def inspect(context: "Context", words: list[str]) -> int:
    given, args = options.parse(words, INSPECT_FLAGS)
    options.need(args, 1, "volume inspect")
    return inspecting.show(args, lambda name: context.client.get(f"/volumes/{quote(name)}"), given["format"])


def rm(context: "Context", words: list[str]) -> int:
    given, args = options.parse(words, RM_FLAGS)
    options.need(args, 1, "volume rm")
    force = query({"force": given["force"]}) if given["force"] else ""
    return each(args, lambda name: _remove(context, name, force))


def _remove(context: "Context", name: str, force: str) -> None:
    context.client.request("DELETE", f"/volumes/{quote(name)}{force}").read()


def prune(context: "Context", words: list[str]) -> int:
    given, args = options.parse(words, PRUNE_FLAGS)
    options.need(args, 0, "volume prune", 0)
    warning = "This will remove anonymous local volumes not used by at least one container."
    if given["all"]:
        warning = "This will remove all local volumes not used by at least one container."
    filters = [*filters_of(context, given["filter"]), *(["all=true"] if given["all"] else [])]
    if sure(given, warning):
        found = context.client.request(
            "POST", "/volumes/prune" + query({"filters": encode(filters, "--filter")})
        ).json()
        if found["VolumesDeleted"]:
            print("Deleted Volumes:\n" + "\n".join(found["VolumesDeleted"]) + "\n")
        print(f"Total reclaimed space: {bytes_text(found['SpaceReclaimed'])}")
    return 0
