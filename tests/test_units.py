"""Durations as Go writes them."""

import pytest

from havre.errors import InvalidParameter
from havre.units import go_duration, parse_duration

S = 10**9


@pytest.mark.parametrize(
    ("nanos", "text"),
    [(0, "0s"), (1, "1ns"), (1500, "1.5µs"), (200 * 10**6, "200ms"), (S, "1s"), (3 * S // 2, "1.5s"), (60 * S, "1m0s"),
     (90 * S, "1m30s"), (3600 * S, "1h0m0s"), (3661 * S, "1h1m1s")],
)  # fmt: skip
def test_go_duration(nanos: int, text: str) -> None:
    assert go_duration(nanos) == text
    if "µ" not in text:
        assert parse_duration(text) == nanos


@pytest.mark.parametrize(
    ("text", "nanos"),
    [("1.5h", 5400 * S), ("-2s", -2 * S), ("0", 0), (".5s", S // 2), ("1m1ms", 60 * S + 10**6)],
)
def test_parse_duration(text: str, nanos: int) -> None:
    assert parse_duration(text) == nanos


@pytest.mark.parametrize("text", ["", "5", "s", "1x", "1.2.3s", "1 s", "--1s", "1s2", "٣s", "."])
def test_bad_durations_are_refused(text: str) -> None:
    with pytest.raises(InvalidParameter, match="duration"):
        parse_duration(text)
