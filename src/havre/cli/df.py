"""havre system df: what images, containers, volumes and the build cache take on the disk."""

import sys

from havre.cli import options, ps, table
from havre.cli.human import bytes_text, nano_stamp, since, unix_seconds
from havre.cli.images import counted, image_rows, size_text
from havre.client import minijson
from havre.errors import HavreError

DISK_USAGE_FLAGS = {"format": ":str", "verbose": "v:bool"}
DIGITS = 4
COLUMNS = (
    ("Type", "TYPE"),
    ("TotalCount", "TOTAL"),
    ("Active", "ACTIVE"),
    ("Size", "SIZE"),
    ("Reclaimable", "RECLAIMABLE"),
)
IMAGE_COLUMNS = (
    *(("Repository", "REPOSITORY"), ("Tag", "TAG"), ("ID", "IMAGE ID"), ("CreatedSince", "CREATED")),
    *(("Size", "SIZE"), ("SharedSize", "SHARED SIZE"), ("UniqueSize", "UNIQUE SIZE")),
    ("Containers", "CONTAINERS"),
)
CONTAINER_COLUMNS = (
    *(("ID", "CONTAINER ID"), ("Image", "IMAGE"), ("Command", "COMMAND"), ("LocalVolumes", "LOCAL VOLUMES")),
    *(("Size", "SIZE"), ("RunningFor", "CREATED"), ("Status", "STATUS"), ("Names", "NAMES")),
)
VOLUME_COLUMNS = (("Name", "VOLUME NAME"), ("Links", "LINKS"), ("Size", "SIZE"))
CACHE_COLUMNS = (
    *(("ID", "CACHE ID"), ("CacheType", "CACHE TYPE"), ("Size", "SIZE"), ("CreatedSince", "CREATED")),
    *(("LastUsedSince", "LAST USED"), ("UsageCount", "USAGE"), ("Shared", "SHARED")),
)
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from havre.cli.context import Context

    Found = dict[str, Any]
    Rows = list[dict[str, Any]]


def disk_usage(context: "Context", words: list[str]) -> int:
    given, args = options.parse(words, DISK_USAGE_FLAGS)
    options.need(args, 0, "system df", 0)
    found = context.client.get("/system/df")
    fmt = given["format"] or ""
    if given["verbose"]:
        _verbose(found, fmt)
    else:
        rows = [_images(found), _containers(found), _volumes(found), _cache(found)]
        table.show(rows, COLUMNS, fmt, kind="formatter.diskUsageImagesContext")
    return 0


def _listed(found: "Found", name: str) -> "Rows":
    return [one for one in found.get(name) or [] if one]


def _images(found: "Found") -> "Found":
    """What could go: everything but the layers of images in use."""
    images, size = _listed(found, "Images"), found.get("LayersSize") or 0
    used = sum(
        one["Size"] - one["SharedSize"]
        for one in images
        if one.get("Containers", 0) > 0 and one.get("Size", -1) >= 0 and one.get("SharedSize", -1) >= 0
    )
    active = sum(1 for one in images if one.get("Containers", 0) > 0)
    return _row("Images", len(images), active, size, max(size - used, 0), share=True)


def _containers(found: "Found") -> "Found":
    containers = _listed(found, "Containers")
    down = [one for one in containers if one["State"] not in ("running", "paused", "restarting")]
    size = sum(one.get("SizeRw") or 0 for one in containers)
    return _row(
        "Containers",
        len(containers),
        len(containers) - len(down),
        size,
        sum(one.get("SizeRw") or 0 for one in down),
    )


def _volumes(found: "Found") -> "Found":
    volumes = _listed(found, "Volumes")
    usage = [one.get("UsageData") or {} for one in volumes]
    known = [one for one in usage if one.get("Size", -1) >= 0]
    free = sum(one["Size"] for one in known if not one.get("RefCount"))
    active = sum(1 for one in usage if one.get("RefCount", 0) > 0)
    return _row("Local Volumes", len(volumes), active, sum(one["Size"] for one in known), free)


def _cache(found: "Found") -> "Found":
    caches = _listed(found, "BuildCache")
    counted_ = [one for one in caches if not one.get("Shared")]
    used = sum(one["Size"] for one in counted_ if one.get("InUse"))
    total = sum(one["Size"] for one in counted_)
    active = sum(1 for one in caches if one.get("InUse"))
    return {
        **_row("Build Cache", len(caches), active, total, total - used),
        "Reclaimable": bytes_text(total - used, DIGITS),
    }


def _row(kind: str, total: int, active: int, size: int, free: int, *, share: bool = False) -> "Found":
    """`share`: Docker shows the part in per cent of images always, of the others only when there is something."""
    part = f" ({free * 100 // size}%)" if size > 0 else ""
    return {
        "Type": kind,
        "TotalCount": str(total),
        "Active": str(active),
        "Size": bytes_text(size, DIGITS),
        "Reclaimable": bytes_text(free, DIGITS) + part,
    }


def _verbose(found: "Found", fmt: str) -> None:
    parts = {
        "Images": _image_rows(found),
        "Containers": [_container_row(one, cut=not fmt) for one in _listed(found, "Containers")],
        "Volumes": [_volume_row(one) for one in _listed(found, "Volumes")],
        "BuildCache": [_cache_row(one) for one in _listed(found, "BuildCache")],
    }
    if fmt == "json":
        shown = {name: [_public(row) for row in rows] for name, rows in parts.items()}
        sys.stdout.write(minijson.dumps(shown, html=True))
        return
    if fmt:
        _templated(parts, fmt)
        return
    print("Images space usage:\n")
    table.show(
        [{**row, "ID": row["ID"].removeprefix("sha256:")[:12]} for row in parts["Images"]], IMAGE_COLUMNS
    )
    print("\nContainers space usage:\n")
    table.show(parts["Containers"], CONTAINER_COLUMNS)
    print("\nLocal Volumes space usage:\n")
    table.show(parts["Volumes"], VOLUME_COLUMNS)
    print(f"\nBuild cache usage: {_cache(found)['Size']}\n")
    table.show(parts["BuildCache"], CACHE_COLUMNS)


def _public(row: "Found") -> "Found":
    return {name: row[name] for name in sorted(row) if not name.startswith("_")}


def _templated(parts: "dict[str, Rows]", fmt: str) -> None:
    from havre.cli.template import Row, Template, TemplateError

    fields = {name: [Row("formatter.row", _public(row)) for row in rows] for name, rows in parts.items()}
    try:
        print(Template(fmt).render(Row("*formatter.diskUsageContext", fields)))
    except TemplateError as error:
        intro = "" if error.executing else "template parsing error: "
        raise HavreError(f"{intro}{error}") from None


def _image_rows(found: "Found") -> "Rows":
    """One row an image: its first name, the size shared with others, its own."""
    rows = []
    for one in _listed(found, "Images"):
        row = image_rows(one, True, False)[0]
        row["Digest"] = "" if row["Digest"] == "<none>" else row["Digest"]
        row["SharedSize"] = size_text(one.get("SharedSize"), DIGITS)
        row["Containers"] = counted(one.get("Containers"))
        rows.append(row)
    return rows


def _container_row(one: "Found", *, cut: bool) -> "Found":
    row = ps.row(one, not cut)
    return {**row, "Size": bytes_text(one.get("SizeRw") or 0)}


def _volume_row(one: "Found") -> "Found":
    usage = one.get("UsageData") or {}
    labels = one.get("Labels") or {}
    return {
        **{name: one.get(name) or "" for name in ("Driver", "Mountpoint", "Name", "Scope")},
        **dict.fromkeys(("Availability", "Group", "Status"), "N/A"),
        "Labels": ",".join(f"{key}={value}" for key, value in labels.items()),
        "Links": counted(usage.get("RefCount")),
        "Size": size_text(usage.get("Size"), DIGITS),
    }


def _cache_row(one: "Found") -> "Found":
    last = one.get("LastUsedAt") or ""
    return {
        "ID": one["ID"][:12],
        "Parent": " ".join(one.get("Parents") or []) or one.get("Parent", ""),
        "CacheType": one.get("Type", ""),
        "Description": one.get("Description", ""),
        "Size": bytes_text(one.get("Size") or 0),
        "CreatedAt": nano_stamp(one.get("CreatedAt") or ""),
        "CreatedSince": since(unix_seconds(one.get("CreatedAt") or "")) + " ago",
        "LastUsedAt": nano_stamp(last),
        "LastUsedSince": since(unix_seconds(last)) + " ago" if last else "",
        "UsageCount": str(one.get("UsageCount", 0)),
        "InUse": "true" if one.get("InUse") else "false",
        "Shared": "true" if one.get("Shared") else "false",
    }
