"""--since and --until: durations and dates as docker reads them, as the Unix time the API takes."""

import calendar
import time

from havre.errors import HavreError

FORMS = (
    "%Y-%m-%dT%H:%M:%S",
    "%Y-%m-%dT%H:%M",
    "%Y-%m-%dT%H",
    "%Y-%m-%d %H:%M:%S",
    "%Y-%m-%d",
)
UNITS = {"ns": 1, "us": 10**3, "µs": 10**3, "ms": 10**6, "s": 10**9, "m": 60 * 10**9, "h": 3600 * 10**9}
LONGEST = 1 << 63


def moment(text: "str | None", option: str = "") -> str:
    """Return "seconds.nanos" of "10m" (that long ago), of a date (local time without a zone) or of a Unix time; "" for none.

    Raises HavreError in docker's words; `option` names the flag in them.
    """
    if not text:
        return ""
    length = duration_nanos(text)
    if length is not None:
        return _stamp(time.time_ns() - length)
    seconds, _, part = text.partition(".")
    if (
        seconds.removeprefix("-").isascii()
        and seconds.removeprefix("-").isdigit()
        and (part.isdigit() or not part)
    ):
        return text
    found = date_nanos(text)
    if found is None:
        intro = f'invalid value for "{option}": ' if option else ""
        raise HavreError(f'{intro}failed to parse value as time or duration: "{text}"')
    return _stamp(found)


def _stamp(nanos: int) -> str:
    seconds, rest = divmod(nanos, 10**9)
    return f"{seconds}.{rest:09d}"


def duration_nanos(text: str) -> int | None:
    """Return nanoseconds of Go's duration grammar (1h30m, 1.5s), None when it is none."""
    rest = text.lstrip("+-") if text[:1] in "+-" else text
    if rest == "0":
        return 0
    total = 0.0
    while rest:
        count = 0
        while count < len(rest) and ((rest[count].isascii() and rest[count].isdigit()) or rest[count] == "."):
            count += 1
        unit = next(
            (one for one in ("ns", "us", "µs", "ms", "s", "m", "h") if rest.startswith(one, count)), ""
        )
        if not unit or rest[:count].count(".") > 1 or rest[:count] in ("", "."):
            return None
        total += float(rest[:count]) * UNITS[unit]
        rest = rest[count + len(unit) :]
    if not text or total >= LONGEST:
        return None
    return int(-total if text.startswith("-") else total)


def date_nanos(text: str) -> int | None:
    """Return nanoseconds since 1970 of 2006-01-02T15:04:05.999Z, of its beginnings and of forms without a zone; None when it is no date."""
    head, zone = _split_zone(text)
    head, dot, part = head.partition(".")
    if dot and not (part.isascii() and part.isdigit()):
        return None
    for form in FORMS:
        try:
            parsed = time.strptime(head, form)
        except ValueError:
            continue
        seconds = int(time.mktime(parsed)) if zone is None else calendar.timegm(parsed) - zone
        return seconds * 10**9 + int((part + "000000000")[:9])
    return None


def _split_zone(text: str) -> tuple[str, int | None]:
    """(the rest, offset in seconds); None without a zone."""
    if text.endswith("Z"):
        return text[:-1], 0
    if len(text) > 6 and text[-6] in "+-" and text[-3] == ":" and "T" in text:
        hours, minutes = text[-5:-3], text[-2:]
        if hours.isdigit() and minutes.isdigit():
            seconds = int(hours) * 3600 + int(minutes) * 60
            return text[:-6], seconds if text[-6] == "+" else -seconds
    return text, None
