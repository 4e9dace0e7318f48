"""images, rmi, tag, history."""

import sys
import time

from havre.cli import options, table
from havre.cli.filters import encode
from havre.cli.human import bytes_text, since, stamp
from havre.client.http import query, quote
from havre.errors import HavreError, InvalidParameter

IMAGES_USAGE = "[OPTIONS] [REPOSITORY[:TAG]]"
IMAGES_FLAGS = {
    "all": "a:bool",
    "digests": ":bool",
    "filter": "f:list",
    "format": ":str",
    "no-trunc": ":bool",
    "quiet": "q:bool",
    "tree": ":bool",
}
RMI_USAGE = "[OPTIONS] IMAGE [IMAGE...]"
RMI_FLAGS = {"force": "f:bool", "no-prune": ":bool"}
TAG_USAGE = "SOURCE_IMAGE[:TAG] TARGET_IMAGE[:TAG]"
HISTORY_USAGE = "[OPTIONS] IMAGE"
HISTORY_FLAGS = {"format": ":str", "human": "H:str", "no-trunc": ":bool", "quiet": "q:bool"}
RAW = """repository: {{.Repository}}
tag: {{.Tag}}
{digest}image_id: {{.ID}}
created_at: {{.CreatedAt}}
virtual_size: {{.Size}}
"""
COLUMNS = (
    ("Repository", "REPOSITORY"),
    ("Tag", "TAG"),
    ("ID", "IMAGE ID"),
    ("CreatedSince", "CREATED"),
    ("Size", "SIZE"),
)
HISTORY_COLUMNS = (
    ("ID", "IMAGE"),
    ("CreatedSince", "CREATED"),
    ("CreatedBy", "CREATED BY"),
    ("Size", "SIZE"),
    ("Comment", "COMMENT"),
)
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from havre.cli.context import Context


def images(context: "Context", words: list[str]) -> int:
    """List images."""
    given, args = options.parse(words, IMAGES_FLAGS)
    options.need(args, 0, "images", 1)
    filters = given["filter"] + ([f"reference={args[0]}"] if args else [])
    if given["tree"]:
        raise InvalidParameter("--tree is not there yet", hint="havre images --digests")
    found = context.client.get(
        "/images/json" + query({"all": given["all"] or None, "filters": encode(filters)})
    )
    rows = [row for one in found for row in image_rows(one, given["no_trunc"], given["digests"])]
    columns = COLUMNS if not given["digests"] else (*COLUMNS[:2], ("Digest", "DIGEST"), *COLUMNS[2:])
    fmt = given["format"] or ("" if given["quiet"] else context.configured("imagesFormat"))
    quiet = "ID" if given["quiet"] else ""
    raw = RAW.replace("{digest}", "digest: {{.Digest}}\n" if given["digests"] else "")
    table.show(rows, columns, fmt, quiet=quiet, kind="formatter.imageContext", raw=raw)
    return 0


def image_rows(one: "dict[str, Any]", no_trunc: bool, digests: bool) -> "list[dict[str, Any]]":
    """One row a tag; a dangling image has one of its own."""
    shown = one["Id"] if no_trunc else one["Id"].partition(":")[2][:12]
    base = {
        "ID": shown,
        "CreatedSince": since(one["Created"]) + " ago",
        "CreatedAt": stamp(one["Created"]),
        "Size": bytes_text(one["Size"]),
        "Containers": counted(one.get("Containers")),
        "SharedSize": size_text(one.get("SharedSize"), 4),
        "UniqueSize": "N/A"
        if one.get("SharedSize", -1) < 0 or one.get("Size", -1) < 0
        else bytes_text(one["Size"] - one["SharedSize"], 4),
        "VirtualSize": bytes_text(one["Size"], 4),
    }
    by_name = {digest.partition("@")[0]: digest.partition("@")[2] for digest in one.get("RepoDigests") or []}
    rows = []
    for name in one.get("RepoTags") or ["<none>:<none>"]:
        repository, _, tag = name.rpartition(":")
        rows.append(
            {"Repository": repository, "Tag": tag, "Digest": by_name.get(repository, "<none>"), **base}
        )
    if digests and not one.get("RepoTags"):
        return [
            {"Repository": name, "Tag": "<none>", "Digest": digest, **base}
            for name, digest in by_name.items()
        ] or rows
    return rows


def counted(number: "Any") -> str:
    """Docker's -1 says that nobody has counted."""
    return "N/A" if number is None or number < 0 else str(number)


def size_text(size: "Any", digits: int) -> str:
    return "N/A" if size is None or size < 0 else bytes_text(size, digits)


def rmi(context: "Context", words: list[str]) -> int:
    """Untag and delete; go on after an error."""
    given, args = options.parse(words, RMI_FLAGS)
    options.need(args, 1, "rmi")
    code = 0
    for name in args:
        try:
            path = f"/images/{quote(name)}" + query(
                {"force": given["force"] or None, "noprune": given["no_prune"] or None}
            )
            for step in context.client.request("DELETE", path).json():
                for action, value in step.items():
                    print(f"{action}: {value}")
        except HavreError as error:
            sys.stderr.write(f"Error response from daemon: {error}\n")
            code = 1
    return code


def tag(context: "Context", words: list[str]) -> int:
    _, args = options.parse(words, {})
    options.need(args, 2, "tag", 2)
    from havre.spec import reference

    try:
        reference.parse(args[1])
    except InvalidParameter as error:
        raise InvalidParameter(
            f'Error parsing reference: "{args[1]}" is not a valid repository/tag: {error}'
        ) from None
    head, _, last = args[1].rpartition("/")
    name, _, tag_ = last.partition(":")
    repository = f"{head}/{name}" if head else name
    context.client.request(
        "POST", f"/images/{quote(args[0])}/tag" + query({"repo": repository, "tag": tag_})
    ).read()
    return 0


def history(context: "Context", words: list[str]) -> int:
    given, args = options.parse(words, HISTORY_FLAGS)
    options.need(args, 1, "history", 1)
    human = options.boolean(given["human"], True)
    rows = []
    for one in context.client.get(f"/images/{quote(args[0])}/history"):
        by = one["CreatedBy"].replace("\t", " ")
        at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(one["Created"]))
        rows.append(
            {
                "ID": one["Id"] if given["no_trunc"] else one["Id"].removeprefix("sha256:")[:12],
                "CreatedSince": since(one["Created"]) + " ago" if human else at,
                "CreatedAt": at,
                "CreatedBy": by if given["no_trunc"] or len(by) <= 45 else by[:44] + "…",
                "Size": bytes_text(one["Size"]) if human else str(one["Size"]),
                "Comment": one["Comment"],
            }
        )
    columns = tuple(
        (name, "CREATED AT" if title == "CREATED" and not human else title) for name, title in HISTORY_COLUMNS
    )
    quiet = "ID" if given["quiet"] else ""
    table.show(rows, columns, given["format"] or "", quiet=quiet, kind="image.historyContext")
    return 0
