"""network ls, network inspect."""

from havre.cli import inspect as inspecting
from havre.cli import options, table
from havre.cli.containers import each
from havre.cli.filters import encode
from havre.cli.human import nano_stamp
from havre.cli.prune import filters_of, sure
from havre.cli.runflags import pairs
from havre.client.http import query, quote

COLUMNS = (("ID", "NETWORK ID"), ("Name", "NAME"), ("Driver", "DRIVER"), ("Scope", "SCOPE"))
RAW = "network_id: {{.ID}}\nname: {{.Name}}\ndriver: {{.Driver}}\nscope: {{.Scope}}\n"
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from havre.cli.context import Context


def ls(context: "Context", words: list[str]) -> int:
    given, args = options.parse(
        words, {"filter": "f:list", "format": ":str", "no-trunc": ":bool", "quiet": "q:bool"}
    )
    options.need(args, 0, "network ls", 0)
    found = context.client.get("/networks" + query({"filters": encode(given["filter"])}))
    rows = [_row(one, given["no_trunc"]) for one in sorted(found, key=lambda one: str(one["Name"]))]
    quiet = "ID" if given["quiet"] else ""
    fmt = given["format"] or ("" if quiet else context.configured("networksFormat"))
    table.show(rows, COLUMNS, fmt, quiet=quiet, kind="network.networkContext", raw=RAW)
    return 0


def _row(one: "dict[str, Any]", no_trunc: bool) -> "dict[str, Any]":
    """The fields Docker's network formats have."""
    labels = one.get("Labels") or {}
    return {
        "ID": one["Id"] if no_trunc else one["Id"][:12],
        "Name": one["Name"],
        "Driver": one["Driver"],
        "Scope": one["Scope"],
        "CreatedAt": nano_stamp(one.get("Created") or ""),
        "IPv4": _word(one.get("EnableIPv4")),
        "IPv6": _word(one.get("EnableIPv6")),
        "Internal": _word(one.get("Internal")),
        "Labels": ",".join(f"{key}={value}" for key, value in labels.items()),
        "_labels": labels,
    }


def _word(value: "Any") -> str:
    return "true" if value else "false"


def inspect(context: "Context", words: list[str]) -> int:
    given, args = options.parse(words, {"format": "f:str", "verbose": "v:bool"})
    options.need(args, 1, "network inspect")
    return inspecting.show(args, lambda name: context.client.get(f"/networks/{quote(name)}"), given["format"])


CREATE_FLAGS = {
    "attachable": ":bool",
    "aux-address": ":list",
    "driver": "d:str",
    "gateway": ":list",
    "internal": ":bool",
    "ip-range": ":list",
    "ipam-driver": ":str",
    "ipv4": ":str",
    "ipv6": ":bool",
    "label": ":list",
    "opt": "o:list",
    "subnet": ":list",
}


def create(context: "Context", words: list[str]) -> int:
    """Make a network and print its id."""
    given, args = options.parse(words, CREATE_FLAGS)
    options.need(args, 1, "network create", 1)
    pools = [
        {
            "Subnet": subnet,
            "IPRange": given["ip_range"][place] if place < len(given["ip_range"]) else "",
            "Gateway": given["gateway"][place] if place < len(given["gateway"]) else "",
            "AuxiliaryAddresses": pairs(given["aux_address"], "aux-address") if place == 0 else {},
        }
        for place, subnet in enumerate(given["subnet"])
    ]
    body = {
        "Name": args[0],
        "Driver": given["driver"] or "bridge",
        "Internal": given["internal"],
        "Attachable": given["attachable"],
        "EnableIPv6": given["ipv6"] or None,
        "EnableIPv4": False if (given["ipv4"] or "true").lower() in ("false", "0") else None,
        "IPAM": {"Driver": given["ipam_driver"] or "default", "Config": pools},
        "Options": pairs(given["opt"], "opt"),
        "Labels": {key: value for key, _, value in (label.partition("=") for label in given["label"])},
    }
    print(context.client.request("POST", "/networks/create", body).json()["Id"])
    return 0


def rm(context: "Context", words: list[str]) -> int:
    _, args = options.parse(words, {"force": "f:bool"})
    options.need(args, 1, "network rm")
    return each(args, lambda name: _remove(context, name))


def _remove(context: "Context", name: str) -> None:
    context.client.request("DELETE", f"/networks/{quote(name)}").read()


def prune(context: "Context", words: list[str]) -> int:
    given, args = options.parse(words, {"filter": ":list", "force": "f:bool"})
    options.need(args, 0, "network prune", 0)
    filters = encode(filters_of(context, given["filter"]), "--filter")
    if sure(given, "This will remove all custom networks not used by at least one container."):
        found = context.client.request("POST", "/networks/prune" + query({"filters": filters})).json()
        if found["NetworksDeleted"]:
            print("Deleted Networks:\n" + "\n".join(found["NetworksDeleted"]))
    return 0
