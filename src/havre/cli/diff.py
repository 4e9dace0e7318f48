"""havre diff."""

import sys

from havre.cli import options
from havre.client.http import quote

DIFF_USAGE = "CONTAINER"
LETTERS = "CAD"  # by the Engine API's Kind: changed, added, deleted
TYPE_CHECKING = False
if TYPE_CHECKING:
    from havre.cli.context import Context


def diff(context: "Context", words: list[str]) -> int:
    """Print what a container has changed in its image."""
    _, args = options.parse(words, {})
    options.need(args, 1, "diff", 1)
    found = context.client.get(f"/containers/{quote(args[0])}/changes") or []
    sys.stdout.write("".join(f"{LETTERS[one['Kind']]} {one['Path']}\n" for one in found))
    return 0
