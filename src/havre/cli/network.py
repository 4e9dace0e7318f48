"""network ls, network inspect."""

from havre.cli import inspect as inspecting
from havre.cli import options, table
from havre.cli.filters import encode
from havre.client.http import query, quote

COLUMNS = (("ID", "NETWORK ID"), ("Name", "NAME"), ("Driver", "DRIVER"), ("Scope", "SCOPE"))
TYPE_CHECKING = False
if TYPE_CHECKING:
    from havre.cli.context import Context


def ls(context: "Context", words: list[str]) -> int:
    given, args = options.parse(
        words, {"filter": "f:list", "format": ":str", "no-trunc": ":bool", "quiet": "q:bool"}
    )
    options.need(args, 0, "network ls", 0)
    found = context.client.get("/networks" + query({"filters": encode(given["filter"])}))
    rows = [
        {
            "ID": one["Id"] if given["no_trunc"] else one["Id"][:12],
            "Name": one["Name"],
            "Driver": one["Driver"],
            "Scope": one["Scope"],
            "Labels": ",".join(f"{key}={value}" for key, value in (one.get("Labels") or {}).items()),
        }
        for one in sorted(found, key=lambda one: str(one["Name"]))
    ]
    table.show(rows, COLUMNS, given["format"] or "", quiet="ID" if given["quiet"] else "")
    return 0


def inspect(context: "Context", words: list[str]) -> int:
    given, args = options.parse(words, {"format": "f:str", "verbose": "v:bool"})
    options.need(args, 1, "network inspect")
    return inspecting.show(args, lambda name: context.client.get(f"/networks/{quote(name)}"), given["format"])
