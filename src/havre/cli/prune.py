"""container prune, image prune, system prune: ask first, then say what was freed."""

import sys

from havre.cli import options
from havre.cli.filters import encode
from havre.cli.human import bytes_text
from havre.client.http import query
from havre.errors import InvalidParameter

CONTAINERS_FLAGS = {"filter": ":list", "force": "f:bool"}
IMAGES_FLAGS = {"all": "a:bool", "filter": ":list", "force": "f:bool"}
SYSTEM_FLAGS = {"all": "a:bool", "filter": ":list", "force": "f:bool", "volumes": ":bool"}
DIGITS = 4
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from havre.cli.context import Context


def sure(given: "dict[str, Any]", warning: str) -> bool:
    """Ask, unless --force is given."""
    if given["force"]:
        return True
    sys.stdout.write(f"WARNING! {warning}\nAre you sure you want to continue? [y/N] ")
    sys.stdout.flush()
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def filters_of(context: "Context", given: list[str]) -> list[str]:
    """The filters given and those of config.json's pruneFilters that are not contradicted."""
    kept = context.config.get("pruneFilters") if context._has_config() else None
    found = list(given)
    for word in kept if isinstance(kept, list) else []:
        name, _, value = str(word).partition("=")
        opposite = {"label": "label!", "label!": "label"}.get(name.strip())
        if opposite is None or f"{opposite}={value}" not in given:
            found.append(str(word))
    return found


def _post(context: "Context", path: str, filters: list[str]) -> "Any":
    return context.client.request("POST", path + query({"filters": encode(filters, "--filter")})).json()


def _containers(context: "Context", filters: list[str]) -> int:
    found = _post(context, "/containers/prune", filters)
    if found["ContainersDeleted"]:
        print("Deleted Containers:\n" + "\n".join(found["ContainersDeleted"]) + "\n")
    return int(found["SpaceReclaimed"])


def _networks(context: "Context", filters: list[str]) -> None:
    found = _post(context, "/networks/prune", filters)
    if found["NetworksDeleted"]:
        print("Deleted Networks:\n" + "\n".join(found["NetworksDeleted"]) + "\n")


def _volumes(context: "Context", filters: list[str]) -> int:
    found = _post(context, "/volumes/prune", filters)
    if found["VolumesDeleted"]:
        print("Deleted Volumes:\n" + "\n".join(found["VolumesDeleted"]) + "\n")
    return int(found["SpaceReclaimed"])


def _images(context: "Context", filters: list[str], everything: bool) -> int:
    found = _post(context, "/images/prune", [*filters, f"dangling={'false' if everything else 'true'}"])
    if found["ImagesDeleted"]:
        print("Deleted Images:")
        for step in found["ImagesDeleted"]:
            print("\n".join(f"{action.lower()}: {value}" for action, value in step.items()))
        print()
    return int(found["SpaceReclaimed"])


def _total(freed: int) -> int:
    print(f"Total reclaimed space: {bytes_text(freed, DIGITS)}")
    return 0


def containers(context: "Context", words: list[str]) -> int:
    given, args = options.parse(words, CONTAINERS_FLAGS)
    options.need(args, 0, "container prune", 0)
    filters = filters_of(context, given["filter"])
    encode(filters, "--filter")  # a bad word is told before the question
    if sure(given, "This will remove all stopped containers."):
        return _total(_containers(context, filters))
    return 0


def images(context: "Context", words: list[str]) -> int:
    given, args = options.parse(words, IMAGES_FLAGS)
    options.need(args, 0, "image prune", 0)
    filters = filters_of(context, given["filter"])
    encode(filters, "--filter")
    kind = (
        "all images without at least one container associated to them"
        if given["all"]
        else "all dangling images"
    )
    if sure(given, f"This will remove {kind}."):
        return _total(_images(context, filters, given["all"]))
    return 0


def system(context: "Context", words: list[str]) -> int:
    """Containers first, so that what they held is free for the rest."""
    given, args = options.parse(words, SYSTEM_FLAGS)
    options.need(args, 0, "system prune", 0)
    filters = filters_of(context, given["filter"])
    encode(filters, "--filter")
    if given["volumes"] and any(word.partition("=")[0].strip() == "until" for word in filters):
        raise InvalidParameter('ERROR: The "until" filter is not supported with "--volumes"')
    if not sure(given, _system_warning(given, filters)):
        return 0
    freed = _containers(context, filters)
    _networks(context, filters)
    if given["volumes"]:
        freed += _volumes(context, filters)
    freed += _images(context, filters, given["all"])
    freed += _cache(context, filters, given["all"])
    return _total(freed)


def _cache(context: "Context", filters: list[str], everything: bool) -> int:
    """The build cache knows fewer filters: a prune by label leaves it alone."""
    if any(word.partition("=")[0].strip() in ("label", "label!") for word in filters):
        return 0
    values = {"all": everything or None, "filters": encode(filters, "--filter")}
    found = context.client.request("POST", "/build/prune" + query(values)).json()
    if found.get("CachesDeleted"):
        print("Deleted build cache objects:\n" + "\n".join(found["CachesDeleted"]) + "\n")
    return int(found["SpaceReclaimed"])


def _system_warning(given: "dict[str, Any]", filters: list[str]) -> str:
    lines = ["This will remove:", "  - all stopped containers"]
    lines.append("  - all networks not used by at least one container")
    if given["volumes"]:
        lines.append("  - all anonymous volumes not used by at least one container")
    lines.append(
        "  - all images without at least one container associated to them"
        if given["all"]
        else "  - all dangling images"
    )
    lines.append("  - all build cache" if given["all"] else "  - unused build cache")
    if filters:
        lines += ["", "  Items to be pruned will be filtered with:", *(f"  - {word}" for word in filters)]
    return "\n".join([*lines, ""])
