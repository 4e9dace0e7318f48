"""havre logs."""

import os
import time

from havre.cli import options, terminal
from havre.cli.runflags import nanos
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
        "since": moment(given["since"]),
        "until": moment(given["until"]),
    }
    stream = client.request("GET", f"/containers/{found['Id']}/logs" + query(values))
    frames = terminal.Frames()
    for piece in stream.pieces():
        if found["Config"]["Tty"]:
            os.write(1, piece)
        else:
            frames.feed(piece)
    return 0


def moment(text: "str | None") -> str:
    """Return what the API takes: "10m" becomes a Unix time, everything else stays."""
    if not text:
        return ""
    if text[-1] in "smh" and text[0].isdigit() and ":" not in text:
        return f"{time.time() - nanos(text, 'since') / 1e9:.9f}"
    return text
