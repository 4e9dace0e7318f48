"""Compressed rotated files: made beside the writer, read back in order, by tail and by time, while they come to be."""

import asyncio
import contextlib
import gzip
import json
import os
import subprocess
import sys
import time

import pytest

from havre.logs import files, gzipped, reader

WRITER = """if 1:
    import sys, time
    from havre.logs.open import open_log
    plan = {"driver": sys.argv[1], "format": sys.argv[2], "path": sys.argv[3], "max_size_bytes": int(sys.argv[4]), "max_files": 200,
            "compress": True, "attributes": {}, "buffer_bytes": 0, "remote": {}}
    log = open_log(plan)
    for first in range(0, int(sys.argv[5]), 50):
        log.write(b"stdout", b"".join(b"line %d\\n" % n for n in range(first, first + 50)), 1795521600000000000 + first)
    log.close()
"""
FORMS = [("json-file", "json"), ("local", "local")]


def path_of(folder):
    return str(folder / "logs" / "container.log")


def write(folder, form, size, lines):
    os.makedirs(folder / "logs", exist_ok=True)
    subprocess.run([sys.executable, "-c", WRITER, *form, path_of(folder), str(size), str(lines)], check=True)
    wait_compressed(folder)


def wait_compressed(folder):
    """The compressor goes on after its writer: its result is waited for."""
    until = time.monotonic() + 20
    while any(not name.endswith((".gz", ".log")) for name in os.listdir(folder / "logs")):
        assert time.monotonic() < until
        os.sched_yield()


def numbers(rows):
    return [int(line.split()[1]) for _, _, line in rows]


def read_all(folder, form, **words):
    cursor = files.Cursor(
        path_of(folder), **{"tail": None, "since_nanos": 0, "follow": False, "form": form[1], **words}
    )
    rows = []
    while (some := cursor.next_rows()) is not None:
        rows += some
    cursor.close()
    return rows


@pytest.mark.parametrize("form", FORMS)
def test_rotated_files_are_gzip_with_dockerds_extra_field(tmp_path, form):
    write(tmp_path, form, 20_000, 3000)
    packed = sorted((tmp_path / "logs").glob("*.gz"))
    assert len(packed) >= 2
    head = packed[0].read_bytes()[:200]
    extra = json.loads(head[12 : 12 + int.from_bytes(head[10:12], "little")])
    assert extra["lastTime"].endswith("Z") and extra["ino"] > 0
    assert b"line" in gzip.decompress(packed[0].read_bytes())  # a stranger reads it


@pytest.mark.parametrize("form", FORMS)
def test_all_lines_come_in_order_when_files_are_compressed(tmp_path, form):
    write(tmp_path, form, 20_000, 5000)
    assert numbers(read_all(tmp_path, form)) == list(range(5000))


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("tail", [0, 1, 300, 1234, 4999, 5000, 9999])
def test_tail_reaches_into_compressed_files(tmp_path, form, tail):
    write(tmp_path, form, 20_000, 5000)
    assert numbers(read_all(tmp_path, form, tail=tail)) == list(range(5000))[max(0, 5000 - tail) :][:tail]


@pytest.mark.parametrize("form", FORMS)
def test_follow_loses_nothing_when_files_are_compressed_under_it(tmp_path, form):
    """What the reader holds is renamed, compressed and removed while it reads."""
    os.makedirs(tmp_path / "logs")
    plan = {"path": path_of(tmp_path), "format": form[1]}

    async def run():
        ended, rows = asyncio.Event(), []
        words = [sys.executable, "-c", WRITER, *form, path_of(tmp_path), "64000", "30000"]
        writer = await asyncio.create_subprocess_exec(*words)

        async def wait():
            assert await writer.wait() == 0
            ended.set()

        waiting = asyncio.create_task(wait())
        async for row in reader.read(plan, follow=True, ended=ended):
            rows.append(row)
        await waiting
        return rows

    assert numbers(asyncio.run(run())) == list(range(30_000))


def test_broken_gzip_ends_and_the_next_file_follows(tmp_path):
    write(tmp_path, FORMS[0], 20_000, 5000)
    oldest = max((tmp_path / "logs").glob("*.gz"), key=lambda one: int(one.name.split(".")[-2]))
    oldest.write_bytes(oldest.read_bytes()[:300])
    found = numbers(read_all(tmp_path, FORMS[0]))
    assert found[-1] == 4999 and found == sorted(found)


def test_interrupted_compression_is_done_again(tmp_path):
    folder = tmp_path / "logs"
    folder.mkdir()
    (folder / "l.1").write_bytes(b"rows\n")
    (folder / "l.compressing").write_bytes(b"half")
    gzipped.compress_rotated(str(folder / "l"), 3)
    assert sorted(os.listdir(folder)) == ["l.1.gz"]
    assert gzip.decompress((folder / "l.1.gz").read_bytes()) == b"rows\n"


def test_full_disk_leaves_the_file_as_it_is(tmp_path):
    """RLIMIT_FSIZE stands in for the full disk."""
    (tmp_path / "l.1").write_bytes(os.urandom(100_000))
    code = """if 1:
        import resource, sys
        from havre.logs.gzipped import compress_rotated
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, -1))
        compress_rotated(sys.argv[1], 3)
    """
    done = subprocess.run([sys.executable, "-c", code, tmp_path / "l"], capture_output=True)
    assert b"File too large" in done.stderr
    assert os.listdir(tmp_path) == ["l.1"]


def test_place_of_a_compressed_file_is_told_from_one_with_the_same_inode():
    held = files._File(os.memfd_create("held"), 7, None)
    older = files._File(os.memfd_create("older"), 7, None)
    os.utime(held.fd, ns=(5, 5))
    os.utime(older.fd, ns=(3, 3))
    same = files._File(os.memfd_create("same"), 7, gzipped.Stream(-1))
    os.utime(same.fd, ns=(5, 5))
    assert files._place_of(held, [older, same]) == 1
    assert files._place_of(held, [older]) == -1
    for one in (held, older, same):
        with contextlib.suppress(OSError):
            os.close(one.fd)
