"""What a task in the background says when it fails."""

from havre import log


def report(name: str, error: BaseException) -> None:
    """Say that a background task failed."""
    log.error("background task failed", task=name, error=repr(error))
