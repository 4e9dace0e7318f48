"""The reader: tail across rotated files, since and until, following through rotations to the very last line."""

import asyncio
import os
import sys
import time

import pytest

from havre.errors import KernelError
from havre.linux import inotify
from havre.logs import files, reader
from havre.logs.open import open_log

S = 1_000_000_000
AT = 1_795_521_600 * S


def make_plan(folder, size=0, count=3):
    return {
        "driver": "json-file",
        "path": str(folder / "c-json.log"),
        "max_size_bytes": size,
        "max_files": count,
        "attributes": {},
        "format": "json",
        "compress": False,
        "buffer_bytes": 0,
        "remote": {},
    }


def write_lines(plan, numbers, *, stream=b"stdout"):
    log = open_log(plan)
    for number in numbers:
        log.write(stream, b"line %d\n" % number, AT + number * S)
    log.close()


def collect(plan, **asked):
    async def run():
        done = asyncio.Event()
        done.set()
        return [row async for row in reader.read(plan, ended=done, **asked)]

    return asyncio.run(run())


def numbers(rows):
    return [int(line.split()[1]) for _, _, line in rows]


def test_rows_come_back_as_written(tmp_path):
    plan = make_plan(tmp_path)
    log = open_log(plan)
    log.write(b"stdout", b'a "quoted" line\n', AT + 5)
    log.write(b"stderr", b"bad \xff byte", AT + 6)
    log.close()
    rows = collect(plan)
    assert rows[0] == ("stdout", AT + 5, b'a "quoted" line\n')
    assert rows[1][0] == "stderr" and rows[1][2] == "bad \N{REPLACEMENT CHARACTER} byte".encode()


@pytest.mark.parametrize("tail", [None, 2])
@pytest.mark.parametrize("size", [0, 2000])
def test_without_follow_it_ends_though_the_container_writes_on(tmp_path, monkeypatch, tail, size):
    plan = make_plan(tmp_path, size, 200)
    write_lines(plan, range(100))
    after = iter(range(100, 100_000))
    next_block = files.Cursor._next_block

    def chased(cursor):
        write_lines(plan, [next(after)])
        return next_block(cursor)

    monkeypatch.setattr(files.Cursor, "_next_block", chased)
    assert numbers(collect(plan, tail=tail)) == list(range(100))[-(tail or 100) :]


@pytest.mark.parametrize("tail", [0, 1, 7, 30, 31, 100, 10_000])
@pytest.mark.parametrize("size", [0, 1000])
def test_tail_counts_across_rotated_files(tmp_path, tail, size):
    plan = make_plan(tmp_path, size, 200)
    write_lines(plan, range(1000))
    assert numbers(collect(plan, tail=tail)) == list(range(1000))[max(0, 1000 - tail) :]


def test_tail_reads_only_the_end_of_a_large_file(tmp_path, monkeypatch):
    plan = make_plan(tmp_path)
    log = open_log(plan)
    log.write(b"stdout", b"".join(b"line %d\n" % number for number in range(100_000)), AT)
    log.close()
    read = []
    pread = os.pread
    monkeypatch.setattr(os, "pread", lambda *args: read.append(args) or pread(*args))
    assert numbers(collect(plan, tail=3)) == [99_997, 99_998, 99_999]
    assert len(read) <= 4


def test_since_and_until_are_inclusive(tmp_path):
    plan = make_plan(tmp_path, 1000, 200)
    write_lines(plan, range(100))
    assert numbers(collect(plan, since=AT + 20 * S, until=AT + 23 * S)) == [20, 21, 22, 23]
    assert numbers(collect(plan, since=AT + 20 * S, until=AT + 23 * S, tail=78)) == [22, 23]


def test_torn_and_foreign_rows_are_left_out(tmp_path):
    plan = make_plan(tmp_path)
    write_lines(plan, range(3))
    with open(plan["path"], "ab") as file:
        file.write(
            b'{"log":"torn by a kill\n'
            + b"\0" * 100
            + b"\n"
            + b'{"log":"line 3\\n","stream":"stdout","time":"2026-11-24T13:00:00+01:00"}\n'
        )
        file.write(b'{"log":"line 4\\n","stre')
    rows = collect(plan)
    assert numbers(rows) == [0, 1, 2, 3]
    assert rows[3][1] == AT


def test_nothing_comes_when_there_is_no_log(tmp_path):
    assert collect(make_plan(tmp_path)) == []
    assert collect({**make_plan(tmp_path), "driver": "none", "path": ""}) == []


def follow(plan, act, **asked):
    """Follow while `act(ended)` runs; return the rows."""

    async def run():
        ended = (
            asyncio.get_running_loop().create_future() if asked.pop("by_future", False) else asyncio.Event()
        )

        async def gather():
            return [row async for row in reader.read(plan, ended=ended, follow=True, **asked)]

        task = asyncio.create_task(gather())
        await act(ended)
        return await asyncio.wait_for(task, 20)

    return asyncio.run(run())


@pytest.mark.parametrize("by_future", [False, True])
def test_follow_has_the_last_line_when_the_end_comes_at_once(tmp_path, by_future):
    plan = make_plan(tmp_path)
    write_lines(plan, range(5))

    async def act(ended):
        await asyncio.sleep(0.02)
        write_lines(plan, range(5, 10))
        ended.set_result(None) if by_future else ended.set()

    assert numbers(follow(plan, act, by_future=by_future)) == list(range(10))


WRITER = """if 1:
    import sys
    from havre.logs.open import open_log
    log = open_log({"driver": "json-file", "path": sys.argv[1], "max_size_bytes": int(sys.argv[2]), "max_files": 50, "attributes": {}, "format": "json", "compress": False, "buffer_bytes": 0, "remote": {}})
    for first in range(0, 50000, 50):
        log.write(b"stdout", b"".join(b"line %d\\n" % n for n in range(first, first + 50)), 1795521600000000000 + first)
    log.close()
"""


@pytest.mark.parametrize("inotify_left", [True, False])
def test_follow_loses_nothing_when_the_log_rotates_under_load(tmp_path, monkeypatch, inotify_left):
    """5 MB in files of 128 kB, written by another process as fast as it can."""
    plan = make_plan(tmp_path, 128 << 10, 50)
    if not inotify_left:

        def refuse(path):
            raise KernelError("inotify_init1", path, 24)

        monkeypatch.setattr(inotify, "watch_directory", refuse)

    async def act(ended):
        writer = await asyncio.create_subprocess_exec(
            sys.executable, "-c", WRITER, plan["path"], str(128 << 10)
        )
        assert await writer.wait() == 0
        ended.set()

    assert numbers(follow(plan, act)) == list(range(50_000))
    assert len(os.listdir(tmp_path)) > 20


def test_follow_goes_on_when_a_single_file_starts_anew(tmp_path):
    plan = make_plan(tmp_path, 1000, 1)

    async def act(ended):
        log = open_log(plan)
        for number in range(60):
            log.write(b"stdout", b"line %d\n" % number, AT + number)
            await asyncio.sleep(0.005)
        log.close()
        ended.set()

    found = numbers(follow(plan, act))
    assert found[-1] == 59
    assert len(found) > 50  # a row may go with the file it was in before it could be read; never one twice
    assert found == sorted(set(found))


def test_follow_ends_at_until_when_nothing_is_written(tmp_path):
    plan = make_plan(tmp_path)
    log = open_log(plan)
    log.write(b"stdout", b"line 0\n", time.time_ns())
    log.close()
    started = time.monotonic()

    async def act(ended):
        pass

    assert numbers(follow(plan, act, until=time.time_ns() + S // 5)) == [0]
    assert 0.1 < time.monotonic() - started < 5


def test_followers_leave_no_descriptor_behind_when_they_are_cancelled(tmp_path):
    plan = make_plan(tmp_path)
    write_lines(plan, range(5))

    async def run():
        async def one():
            async for _ in reader.read(plan, ended=asyncio.Event(), follow=True):
                seen.append(1)

        seen = []
        tasks = [asyncio.create_task(one()) for _ in range(20)]
        while len(seen) < 100:
            await asyncio.sleep(0.01)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    asyncio.run(run())  # starts the disk threads
    before = len(os.listdir("/proc/self/fd"))
    asyncio.run(run())
    assert len(os.listdir("/proc/self/fd")) == before


def test_open_all_takes_each_file_once_when_a_rotation_comes_between(tmp_path, monkeypatch):
    plan = make_plan(tmp_path, 300, 10)
    write_lines(plan, range(8))
    real_open, turned = os.open, []

    def opening(path, *args, **kwargs):
        fd = real_open(path, *args, **kwargs)
        if path == plan["path"] and not turned:
            turned.append(1)
            monkeypatch.undo()
            write_lines(plan, range(8, 16))  # rotates more than once
        return fd

    monkeypatch.setattr(os, "open", opening)
    cursor = files.Cursor(plan["path"], tail=None, since_nanos=0)
    rows = []
    while (some := cursor.next_rows()) is not None:
        rows += some
    cursor.close()
    assert numbers(rows) == list(range(16))


@pytest.mark.parametrize("form", [("json-file", "json"), ("local", "local")])
def test_since_is_searched_and_not_read_up_to(tmp_path, monkeypatch, form):
    """10 MB, and what is read to find the last rows is less than a twentieth of it."""
    plan = {**make_plan(tmp_path), "driver": form[0], "format": form[1]}
    log = open_log(plan)
    for number in range(10_000):
        log.write(b"stdout", b"line %d %s\n" % (number, b"x" * 1000), AT + number * S)
    log.close()
    read_bytes, pread = [], os.pread

    def counting(fd, size, offset):
        data = pread(fd, size, offset)
        read_bytes.append(len(data))
        return data

    monkeypatch.setattr(os, "pread", counting)
    for first in (0, 1, 5000, 9998):
        read_bytes.clear()
        cursor = files.Cursor(plan["path"], tail=None, since_nanos=AT + first * S, form=form[1])
        assert sum(read_bytes) < 2_000_000
        rows = cursor.next_rows()
        cursor.close()
        assert rows[0][1] <= AT + first * S
    read_bytes.clear()
    assert numbers(collect(plan, since=AT + 9_990 * S)) == list(range(9_990, 10_000))
    assert sum(read_bytes) < 2_000_000


def test_since_finds_rows_that_are_a_little_out_of_order(tmp_path):
    plan = make_plan(tmp_path)
    log = open_log(plan)
    for number in range(5000):
        late = 3 if number % 7 == 0 else 0
        log.write(b"stdout", b"line %d %s\n" % (number, b"x" * 100), AT + (number - late) * S)
    log.close()
    wanted = [n for n in range(5000) if n - (3 if n % 7 == 0 else 0) >= 2500]
    assert numbers(collect(plan, since=AT + 2500 * S)) == wanted


def test_details_stand_in_front_of_the_line(tmp_path):
    plan = {**make_plan(tmp_path), "attributes": {"tag": "a b", "com.example": "x=1"}}
    write_lines(plan, [1])
    assert collect(plan, detailed=True)[0][2] == b"com.example=x%3D1,tag=a+b line 1\n"
    assert collect({**plan, "path": plan["path"]}, detailed=False)[0][2] == b"line 1\n"
