"""Time as Docker prints it: RFC 3339 with nanoseconds, UTC."""

import time

ZERO = "0001-01-01T00:00:00Z"  # Go's zero time, what Docker sends for "never"


def now_nanos() -> int:
    """Wall clock in nanoseconds since 1970."""
    return time.time_ns()


def rfc3339(nanos: int) -> str:
    """Return e.g. 2026-11-24T12:00:00.000000001Z; 0 gives Go's zero time."""
    if nanos == 0:
        return ZERO
    seconds, rest = divmod(nanos, 1_000_000_000)
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)) + f".{rest:09d}Z"
