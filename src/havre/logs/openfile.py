"""The file that the daemon reads a log from: json-file's or local's. Lean."""

import os

from havre.errors import KernelError
from havre.logs.jsonfile import JsonFile
from havre.logs.localfile import LocalFile

TYPE_CHECKING = False
if TYPE_CHECKING:
    from havre.spec.runplan import LogPlan

    File = JsonFile | LocalFile


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
