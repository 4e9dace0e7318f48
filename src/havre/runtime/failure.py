"""What went wrong in a child, as (call, target, errno) on its way up. Lean."""

from havre.errors import HavreError, InvalidParameter, KernelError
from havre.runtime import hooks, identity


def as_failure(error: BaseException) -> tuple[str, str, int]:
    """Return (call, target, errno) of whatever went wrong."""
    if isinstance(error, KernelError):
        return error.call, error.target, error.errno
    if isinstance(error, OSError):
        return "monitor", str(error.filename or ""), error.errno or 0
    if isinstance(error, hooks.HookFailed):
        return "hook", str(error), 0
    if isinstance(error, (InvalidParameter, identity.UnknownUser)):
        return "user", str(error), 0  # what the caller got wrong
    if isinstance(error, HavreError):
        return "havre", str(error), 0
    return "monitor", repr(error), 0
