"""Open the log of a container that starts: which writer a LogPlan asks for. Lean; called by the monitor.

What every monitor may need is imported in the zygote, whose pages they share: an import in a monitor costs it 1 MB of its own.
"""

from havre.errors import InvalidParameter
from havre.logs.openfile import open_file
from havre.logs.queue import Queue, Tee

TYPE_CHECKING = False
if TYPE_CHECKING:
    from havre.logs.openfile import File
    from havre.spec.runplan import LogPlan

    Writer = File | Queue | Tee


def open_log(plan: "LogPlan") -> "Writer | None":
    """Return the writer, None for driver "none". A log that is sent has reached the other side. Raises HavreError."""
    if plan["driver"] == "none":
        return None
    if not plan["remote"] and plan["driver"] not in ("json-file", "local"):
        raise InvalidParameter(f"logger: no log driver named '{plan['driver']}' is registered")
    if not plan["remote"] and not plan["buffer_bytes"]:
        return open_file(plan)
    sent = Queue(plan)
    if not plan["remote"] or not plan["path"]:
        return sent
    try:
        return Tee(open_file(plan), sent)
    except BaseException:
        sent.close()
        raise
