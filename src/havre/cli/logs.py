"""havre logs."""

import os

from havre.cli import options, terminal
from havre.cli.moment import moment
from havre.client.http import query, quote

LOGS_USAGE = "[OPTIONS] CONTAINER"
LOGS_FLAGS = {
    "details": ":bool",
    "follow": "f:bool",
    "since": ":str",
    "tail": "n:str",
    "timestamps": "t:bool",
    "until": ":str",
}
TYPE_CHECKING = False
if TYPE_CHECKING:
    from havre.cli.context import Context


def logs(context: "Context", words: list[str]) -> int:
    """Print what a container has said; with -f go on until it ends."""
    given, args = options.parse(words, LOGS_FLAGS)
    options.need(args, 1, "logs", 1)
    client = context.client
    found = client.get(f"/containers/{quote(args[0])}/json")
    values = {
        "stdout": True,
        "stderr": True,
        "follow": given["follow"] or None,
        "timestamps": given["timestamps"] or None,
        "details": given["details"] or None,
        "tail": given["tail"] or "all",
        "since": moment(given["since"], "since"),
        "until": moment(given["until"], "until"),
    }
    stream = client.request("GET", f"/containers/{found['Id']}/logs" + query(values))
    frames = terminal.Frames()
    for piece in stream.pieces():
        if found["Config"]["Tty"]:
            os.write(1, piece)
        else:
            frames.feed(piece)
    return 0
