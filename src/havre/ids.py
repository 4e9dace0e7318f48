"""Ids: 64 hex digits for containers, networks and execs; the short form is the first 12."""

import os
from typing import NewType

ContainerId = NewType("ContainerId", str)
NetworkId = NewType("NetworkId", str)
ExecId = NewType("ExecId", str)

SHORT = 12  # Docker's truncated id


def new_id() -> str:
    """Return a random id of 64 hex digits that is never all digits in its short form (Docker's rule: hostnames)."""
    while True:
        value = os.urandom(32).hex()
        if not value[:SHORT].isdigit():
            return value


def short(value: str) -> str:
    """Return the 12-digit form; a digest loses its algorithm first."""
    return value.rpartition(":")[2][:SHORT]
