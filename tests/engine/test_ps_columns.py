"""One process in each column, at a moment that is known."""

from dataclasses import replace

import pytest

from havre.engine.ps_columns import COLUMNS, Clock, Shown
from havre.linux.proc import HERTZ, PAGE_BYTES, Process

PROCESS = Process(
    pid=100, tid=100, name="my sleep", state="S", ppid=1, pgrp=100, session=100, tty=0, tpgid=-1, flags=0x40_4100,
    minor_faults=7, major_faults=3, ticks=125 * HERTZ, priority=20, nice=0, threads=1, start_ticks=1000 * HERTZ,
    virtual_bytes=3 * PAGE_BYTES, resident_pages=2, processor=1, realtime_priority=0, policy=0, uids=(0, 33),
    gids=(0, 34), signals={key: "0000000000000006" for key in ("SigPnd", "SigBlk", "SigIgn", "SigCgt")},
    locked=False, arguments=["sleep", "a b", "\x1b[31m"],
)  # fmt: skip
CLOCK = Clock(now=1_800_000_000.0, boot=1_799_990_000, uptime=11_000.0, memory_bytes=200 * PAGE_BYTES)
NAMES = {33: "www-data", 34: "a-long-group-name"}


def shown(column: str, width: int = 0, clock: Clock = CLOCK, **changed: object) -> str:
    return COLUMNS[column](Shown(replace(PROCESS, **changed), clock, NAMES, NAMES, width))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("column", "wanted"),
    [
        ("pid", "100"),
        ("user", "www-data"),
        ("ruser", "0"),
        ("group", "a-long-+"),
        ("tname", "?"),
        ("time", "00:02:05"),
        ("bsdtime", "2:05"),
        ("etime", "02:46:40"),
        ("etimes", "10000"),
        ("pcpu", "1.2"),
        ("c", "1"),
        ("pmem", "1.0"),
        ("sz", "3"),
        ("stat", "Ss"),
        ("f", "4"),
        ("pri", "19"),
        ("opri", "80"),
        ("cls", "TS"),
        ("rtprio", "-"),
        ("ignored", "0000000000000006"),
        ("comm", "my sleep"),
        ("args", "sleep a b ?[31m"),
    ],
)
def test_column_shows_what_ps_shows(column: str, wanted: str) -> None:
    assert shown(column) == wanted


def test_name_is_whole_when_the_column_is_wide() -> None:
    assert shown("group", 20) == "a-long-group-name"


def test_stat_marks_what_is_special() -> None:
    assert shown("stat", state="R", nice=-5, locked=True, threads=3, tpgid=100) == "R<Lsl+"
    assert shown("stat", nice=5, session=1) == "SN"


@pytest.mark.parametrize(
    ("number", "wanted"),
    [(136 << 8 | 3, "pts/3"), (5 << 8 | 1, "console"), (4 << 8 | 1, "tty1"), (4 << 8 | 64, "ttyS0")],
)
def test_terminals_have_their_names(number: int, wanted: str) -> None:
    assert shown("tty", tty=number) == wanted


def test_zombie_and_kernel_thread_have_brackets() -> None:
    assert shown("args", state="Z", arguments=[]) == "[my sleep] <defunct>"
    assert shown("comm", state="Z") == "my sleep <defunct>"
    assert shown("args", arguments=[]) == "[my sleep]"


def test_start_is_a_date_after_a_day() -> None:
    old = replace(CLOCK, boot=CLOCK.boot - 3 * 86400, uptime=CLOCK.uptime + 3 * 86400)
    assert shown("stime")[2] == ":"
    assert shown("stime", clock=old)[2] != ":"
    assert shown("etime", clock=old) == "3-02:46:40"
