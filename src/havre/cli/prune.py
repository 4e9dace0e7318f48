"""container prune, image prune, system prune: ask first, then say what was freed."""

import os
import sys

from havre.cli import options
from havre.cli.filters import encode
from havre.cli.human import bytes_text
from havre.client.http import query

FLAGS = {"all": "a:bool", "filter": ":list", "force": "f:bool", "volumes": ":bool"}
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
    return os.isatty(0) and sys.stdin.readline().strip().lower() in ("y", "yes")


def _containers(context: "Context", filters: list[str]) -> int:
    found = context.client.request("POST", "/containers/prune" + query({"filters": encode(filters)})).json()
    if found["ContainersDeleted"]:
        print("Deleted Containers:")
        print("\n".join(found["ContainersDeleted"]) + "\n")
    return int(found["SpaceReclaimed"])


def _images(context: "Context", filters: list[str], everything: bool) -> int:
    wanted = [*filters, f"dangling={'false' if everything else 'true'}"]
    found = context.client.request("POST", "/images/prune" + query({"filters": encode(wanted)})).json()
    if found["ImagesDeleted"]:
        print("Deleted Images:")
        for step in found["ImagesDeleted"]:
            print("\n".join(f"{action.lower()}: {value}" for action, value in step.items()))
        print()
    return int(found["SpaceReclaimed"])


def containers(context: "Context", words: list[str]) -> int:
    given, _ = options.parse(words, FLAGS)
    if sure(given, "This will remove all stopped containers."):
        print(f"Total reclaimed space: {bytes_text(_containers(context, given['filter']))}")
    return 0


def images(context: "Context", words: list[str]) -> int:
    given, _ = options.parse(words, FLAGS)
    kind = (
        "all images without at least one container associated to them"
        if given["all"]
        else "all dangling images"
    )
    if sure(given, f"This will remove {kind}."):
        print(f"Total reclaimed space: {bytes_text(_images(context, given['filter'], given['all']))}")
    return 0


def system(context: "Context", words: list[str]) -> int:
    given, _ = options.parse(words, FLAGS)
    if sure(given, "This will remove stopped containers and unused images."):
        freed = _containers(context, given["filter"]) + _images(context, given["filter"], given["all"])
        print(f"Total reclaimed space: {bytes_text(freed)}")
    return 0
