"""--since and --until: what docker reads as a duration, a date, a Unix time."""

import time

import pytest

from havre.cli.moment import date_nanos, duration_nanos, moment
from havre.errors import HavreError


@pytest.mark.parametrize(
    ("text", "nanos"),
    [
        ("10m", 600 * 10**9),
        ("1h30m", 5400 * 10**9),
        ("1.5s", 1_500_000_000),
        ("5ms", 5_000_000),
        ("-2s", -2 * 10**9),
        ("0", 0),
        ("10", None),
        ("m", None),
        ("1x", None),
        ("1..5s", None),
        ("", None),
        ("9" * 30 + "h", None),
    ],
)
def test_durations_follow_gos_grammar(text: str, nanos: int | None) -> None:
    assert duration_nanos(text) == nanos


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("2013-01-02T00:00:00Z", 1357084800),
        ("2013-01-02T00:00:00.5Z", 1357084800.5),
        ("2013-01-02T02:00:00+02:00", 1357084800),
        ("2013-01-01T22:00-02:00", 1357084800),
    ],
)
def test_dates_with_a_zone_are_exact(text: str, seconds: float) -> None:
    assert date_nanos(text) == int(seconds * 10**9)


def test_dates_without_a_zone_are_local() -> None:
    wanted = int(time.mktime((2013, 1, 2, 0, 0, 0, 0, 0, -1))) * 10**9
    assert date_nanos("2013-01-02") == date_nanos("2013-01-02T00:00:00") == wanted


@pytest.mark.parametrize("text", ["1234567890", "1234567890.5", "-5"])
def test_unix_times_pass_as_they_are(text: str) -> None:
    assert moment(text) == text


@pytest.mark.parametrize("text", ["nonsense", "2013-13-45", "1e5", "²", "2013-01-02T00:00:00.x"])
def test_everything_else_is_refused_by_name(text: str) -> None:
    with pytest.raises(HavreError, match="failed to parse value as time or duration"):
        moment(text, "since")
