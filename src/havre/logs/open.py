"""Open the log of a container that starts: which writer a LogPlan asks for. Lean; called by the monitor."""

import os

from havre.errors import InvalidParameter, KernelError
from havre.logs.jsonfile import JsonFile

TYPE_CHECKING = False
if TYPE_CHECKING:
    from havre.logs.localfile import LocalFile
    from havre.spec.runplan import LogPlan

    Writer = JsonFile | LocalFile


def open_log(plan: "LogPlan") -> "Writer | None":
    """Return the writer, None for driver "none". Raises KernelError, InvalidParameter."""
    if plan["driver"] == "none":
        return None
    if plan["driver"] not in ("json-file", "local"):
        raise InvalidParameter(f"logger: no log driver named '{plan['driver']}' is registered")
    return open_file(plan)


def open_file(plan: "LogPlan") -> "Writer":
    """Open the file that the daemon reads. Raises KernelError."""
    if plan["format"] == "json":
        kind: type[Writer] = JsonFile
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
