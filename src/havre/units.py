"""Sizes and durations: parse what people type, print what Docker prints."""

from havre.errors import InvalidParameter

_BINARY = {"": 1, "b": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40, "p": 1 << 50}
_POWERS = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")
_DURATION = {"ns": 1, "us": 1000, "ms": 10**6, "s": 10**9, "m": 60 * 10**9, "h": 3600 * 10**9}
_UNIT_LETTERS = "abcdefghijklmnopqrstuvwxyz"
_DECIMAL = ("B", "kB", "MB", "GB", "TB", "PB")


def parse_bytes(text: str) -> int:
    """Return bytes of "512m", "1g", "64KiB"; units are binary as in Docker. Raises InvalidParameter."""
    word = text.strip().lower()
    digits = word.rstrip("bkmgtpi ")
    unit = word[len(digits) :].strip().removesuffix("ib").removesuffix("b")
    try:
        return int(float(digits) * _BINARY[unit])
    except (ValueError, KeyError, OverflowError):
        raise InvalidParameter(
            f"invalid size: '{text}'", hint="a number with b, k, m or g behind it"
        ) from None


def human_bytes(size: float, digits: int = 3) -> str:
    """Return Docker's decimal size, 3 (4 in `system df`) significant digits: 1.24MB, 0B."""
    for unit in _DECIMAL[:-1]:
        if size < 1000:
            return f"{size:.{digits}g}{unit}"
        size /= 1000
    return f"{size:.4g}{_DECIMAL[-1]}"


def human_binary(size: float) -> str:
    """Return Docker's binary size with 4 significant digits: 23.54GiB, 512B."""
    for unit in _POWERS[:-1]:
        if size < 1024:
            return f"{size:.4g}{unit}"
        size /= 1024
    return f"{size:.4g}{_POWERS[-1]}"


def parse_duration(text: str) -> int:
    """Return nanoseconds of Go's "1h30m", "1.5s", "-2ms" or "0". Raises InvalidParameter in Go's words."""
    sign, left = (-1, text[1:]) if text[:1] == "-" else (1, text.removeprefix("+"))
    if left == "0":
        return 0
    if not left or not left.isascii():
        raise InvalidParameter(f'invalid duration "{text}"', hint="1m30s")
    total = 0
    while left:
        digits = left[: len(left) - len(left.lstrip("0123456789."))]
        left = left[len(digits) :]
        unit = left[: len(left) - len(left.lstrip(_UNIT_LETTERS))]
        left = left[len(unit) :]
        if not digits.strip(".") or digits.count(".") > 1 or unit not in _DURATION:
            what = (
                f'unknown unit "{unit}" in' if unit and digits else "missing unit in" if digits else "invalid"
            )
            raise InvalidParameter(f'{what} duration "{text}"', hint="1m30s")
        whole, _, rest = digits.partition(".")
        total += int(whole or 0) * _DURATION[unit]
        total += int(rest or 0) * _DURATION[unit] // 10 ** len(rest)
    return sign * total


def go_duration(nanos: int) -> str:
    """Return what Go prints of a duration: 1m30s, 2.5s, 100ms, 0s."""
    for unit, size in (("ns", 1), ("µs", 1000), ("ms", 1_000_000)):
        if nanos and nanos < size * 1000 and nanos < 1_000_000_000:
            return f"{_decimal(nanos, size)}{unit}"
    minutes, rest = divmod(nanos, 60_000_000_000)
    hours, minutes = divmod(minutes, 60)
    front = (f"{hours}h" if hours else "") + (f"{minutes}m" if hours or minutes else "")
    return f"{front}{_decimal(rest, 1_000_000_000)}s"


def _decimal(value: int, size: int) -> str:
    whole, rest = divmod(value, size)
    return f"{whole}.{rest:0{len(str(size)) - 1}d}".rstrip("0") if rest else str(whole)


def human_age(seconds: float) -> str:
    """Return Docker's rough duration: "5 seconds", "About a minute", "3 weeks"."""
    s = int(seconds)
    if s < 60:
        return _small(s)
    minutes, hours = s // 60, round(seconds / 3600)
    if minutes == 1:
        return "About a minute"
    if minutes < 60:
        return f"{minutes} minutes"
    if hours == 1:
        return "About an hour"
    if hours < 48:
        return f"{hours} hours"
    if hours < 24 * 7 * 2:
        return f"{hours // 24} days"
    if hours < 24 * 30 * 2:
        return f"{hours // 24 // 7} weeks"
    if hours < 24 * 365 * 2:
        return f"{hours // 24 // 30} months"
    return f"{hours // 24 // 365} years"


def _small(seconds: int) -> str:
    if seconds < 1:
        return "Less than a second"
    return "1 second" if seconds == 1 else f"{seconds} seconds"
