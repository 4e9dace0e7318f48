"""Ages, dates and sizes as Docker prints them. Lean (units.py serves the daemon; both say the same)."""

import time

from havre.units import human_age, human_bytes


def since(seconds: int) -> str:
    """Return "5 minutes" since a Unix time."""
    return human_age(time.time() - seconds)


def stamp(seconds: int) -> str:
    """Return 2026-11-24 13:00:00 +0000 UTC, in local time."""
    local = time.localtime(seconds)
    return time.strftime("%Y-%m-%d %H:%M:%S %z %Z", local)


def nano_stamp(text: str) -> str:
    """Return 2026-11-24 13:00:00.123456789 +0000 UTC (Go's Time.String) of an RFC 3339 stamp."""
    day, mark, rest = text.partition("T")
    clock = rest.rstrip("Z")
    zone = "+0000 UTC"
    for sign in "+-":
        if sign in clock:
            clock, _, offset = clock.partition(sign)
            zone = f"{sign}{offset.replace(':', '')} {sign}{offset.replace(':', '')}"
    return f"{day} {clock} {zone}" if mark else text


def bytes_text(size: float, digits: int = 3) -> str:
    return human_bytes(size, digits)


def unix_seconds(text: str) -> int:
    """Return the Unix time of an RFC 3339 stamp; 0 when it cannot be read."""
    import calendar

    try:
        return calendar.timegm(time.strptime(text[:19], "%Y-%m-%dT%H:%M:%S"))
    except ValueError:
        return 0
