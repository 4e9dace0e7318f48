"""Open the log of a container that starts: which writer a LogPlan asks for. Lean; called by the monitor.

What every monitor may need is imported in the zygote, whose pages they share: an import in a monitor costs it 1 MB of its own.
"""

import os

from havre.errors import InvalidParameter, KernelError
from havre.logs.jsonfile import JsonFile
from havre.logs.localfile import LocalFile
from havre.logs.queue import Queue, Tee

TYPE_CHECKING = False
if TYPE_CHECKING:
    from havre.spec.runplan import LogPlan

    File = JsonFile | LocalFile
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


def open_file(plan: "LogPlan") -> "File":
    """Open the file that the daemon reads. Raises KernelError."""
    if plan["format"] == "json":
        kind: type[File] = JsonFile
    else:
        kind = LocalFile
        os.makedirs(os.path.dirname(plan["path"]), mode=0o710, exist_ok=True)
    try:
        return kind(
            plan["path"], plan["max_size_bytes"], plan["max_files"], plan["compress"], plan["attributes"]
        )
    except OSError as error:
        raise KernelError("open", plan["path"], error.errno or 0) from None
