"""havre export."""

import os

from havre.cli import options, transfer
from havre.client.http import quote
from havre.errors import HavreError

EXPORT_USAGE = "[OPTIONS] CONTAINER"
EXPORT_FLAGS = {"output": "o:str"}
TYPE_CHECKING = False
if TYPE_CHECKING:
    from havre.cli.context import Context


def export(context: "Context", words: list[str]) -> int:
    """Write a container's files as a tar to a file (by rename: whole or not there) or to stdout."""
    given, args = options.parse(words, EXPORT_FLAGS)
    options.need(args, 1, "export", 1)
    path = given["output"]
    if not path and os.isatty(1):
        raise HavreError("cowardly refusing to save to a terminal. Use the -o flag or redirect")
    if path and not os.path.isdir(os.path.dirname(path) or "."):
        folder = os.path.dirname(path)
        raise HavreError(
            f"failed to export container: invalid output path: stat {folder}: no such file or directory"
        )
    answer = context.client.request("GET", f"/containers/{quote(args[0])}/export")
    if path:
        transfer.save_to(path, answer)
    else:
        for piece in answer.pieces():
            transfer.write_all(piece)
    return 0
