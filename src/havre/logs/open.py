"""Open the log of a container that starts: which writer a LogPlan asks for. Lean; called by the monitor."""

import os

from havre.errors import KernelError
from havre.logs.jsonfile import JsonFile

TYPE_CHECKING = False
if TYPE_CHECKING:
    from havre.logs.localfile import LocalFile
    from havre.logs.queue import Queue, Tee
    from havre.spec.runplan import LogPlan

    File = JsonFile | LocalFile
    Writer = File | Queue | Tee


def open_log(plan: "LogPlan") -> "Writer | None":
    """Return the writer, None for driver "none". A log that is sent has reached the other side. Raises KernelError, HavreError."""
    if plan["driver"] == "none":
        return None
    if not plan["remote"] and not plan["buffer_bytes"]:
        return open_file(plan)
    from havre.logs.queue import Queue, Tee

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
        from havre.logs.localfile import LocalFile

        kind = LocalFile
        os.makedirs(os.path.dirname(plan["path"]), mode=0o710, exist_ok=True)
    try:
        return kind(
            plan["path"], plan["max_size_bytes"], plan["max_files"], plan["compress"], plan["attributes"]
        )
    except OSError as error:
        raise KernelError("open", plan["path"], error.errno or 0) from None
