"""The local format: dockerd's bytes, read back by our reader; what a crash and a full disk leave."""

import os
import subprocess
import sys

import pytest

from havre.logs import entries
from havre.logs.localfile import LocalFile, varint

AT = 1_795_521_600_123_456_789


def write(path, pieces, *, size=0, files=1, attributes=None):
    log = LocalFile(str(path), size, files, False, attributes or {})
    for stream, data, nanos in pieces:
        log.write(stream, data, nanos)
    log.close()


def read(path, *, detailed=False):
    rows, used = entries.Parser(detailed=detailed).parse(path.read_bytes())
    assert used == path.stat().st_size
    return rows


def test_row_is_dockerds_when_line_is_plain(tmp_path):
    """The bytes are what dockerd 20.10 wrote for `echo hello`, but for the time."""
    write(tmp_path / "l", [(b"stdout", b"hello\n", AT)])
    entry = b"\x0a\x06stdout\x10" + varint(AT) + b"\x1a\x05hello"
    length = len(entry).to_bytes(4, "big")
    assert (tmp_path / "l").read_bytes() == length + entry + length
    assert (tmp_path / "l").stat().st_mode & 0o777 == 0o640


def test_rows_come_back_when_lines_are_odd(tmp_path):
    lines = [b"\n", b"a\r\n", b"\xff\x00\x01\n", "grüße\n".encode(), b"x" * 200 + b"\n", b"last"]
    write(tmp_path / "l", [(b"stderr", b"".join(lines), AT)])
    found = read(tmp_path / "l")
    assert [row[2] for row in found] == lines
    assert {row[0] for row in found} == {"stderr"}
    assert [row[1] for row in found[:-1]] == [AT] * 5


def test_long_line_is_partial_rows_with_one_id_when_read_in_pieces(tmp_path):
    line = os.urandom(3 * 16384 + 5).replace(b"\n", b"x")
    data = line + b"\nnext\n"
    write(tmp_path / "l", [(b"stdout", data[i : i + 7000], AT + i) for i in range(0, len(data), 7000)])
    found = read(tmp_path / "l")
    assert b"".join(row[2] for row in found) == data
    assert [len(row[2]) for row in found] == [16384, 16384, 16384, 6, 5]
    times = [row[1] for row in found]
    assert times == sorted(times)
    assert times[0] < times[1] < times[2]  # each its own, so that rows stay in order
    fields = [dict((n, v) for n, v, _ in entries._fields(raw)) for raw in raw_entries(tmp_path / "l")]
    about = [dict((n, v) for n, v, _ in entries._fields(one[5])) for one in fields if 5 in one]
    assert [one.get(1, 0) for one in about] == [0, 0, 0, 1]
    assert [one[3] for one in about] == [1, 2, 3, 4]
    assert len({one[2] for one in about}) == 1 and len(about[0][2]) == 64


def raw_entries(path):
    data, place = path.read_bytes(), 0
    while place < len(data):
        length = int.from_bytes(data[place : place + 4], "big")
        yield data[place + 4 : place + 4 + length]
        place += length + 8


def test_attributes_are_details_when_asked_for(tmp_path):
    write(tmp_path / "l", [(b"stdout", b"x\n", AT)], attributes={"b": "2 &", "a": "1"})
    assert read(tmp_path / "l", detailed=True)[0][2] == b"a=1,b=2+%26 x\n"
    assert read(tmp_path / "l")[0][2] == b"x\n"


def test_rotation_falls_between_rows(tmp_path):
    path = tmp_path / "l"
    write(path, [(b"stdout", b"".join(b"line %d\n" % n for n in range(100)), AT)], size=1000, files=50)
    names = sorted((name for name in os.listdir(tmp_path)), key=lambda n: -int(n.partition(".")[2] or 0))
    assert len(names) > 3
    assert b"".join(row[2] for name in names for row in read(tmp_path / name)) == b"".join(
        b"line %d\n" % n for n in range(100)
    )


@pytest.mark.parametrize("cut", [1, 5, 20])
def test_torn_row_is_cut_when_the_log_is_opened_again(tmp_path, cut):
    path = tmp_path / "l"
    write(path, [(b"stdout", b"one\ntwo\n", AT)])
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size - cut)
    write(path, [(b"stdout", b"three\n", AT)])
    assert [row[2] for row in read(path)] == [b"one\n", b"three\n"]


def test_full_disk_drops_rows_and_tells_how_many(tmp_path):
    code = """if 1:
        import resource, sys
        from havre.logs.localfile import LocalFile
        log = LocalFile(sys.argv[1], 0, 1, False, {})
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, -1))
        for number in range(40):
            log.write(b"stdout", b"line %d\\n" % number, 1)
        resource.setrlimit(resource.RLIMIT_FSIZE, (-1, -1))
        log.write(b"stdout", b"again\\n", 1)
        log.close()
    """
    subprocess.run([sys.executable, "-c", code, tmp_path / "l"], check=True)
    found = [row[2].decode() for row in read(tmp_path / "l")]
    kept = found.index("again\n") - 1
    assert 5 < kept < 39
    assert found == [f"line {n}\n" for n in range(kept)] + [
        f"havre: {40 - kept} log lines were dropped: file too large\n",
        "again\n",
    ]


def test_place_in_the_middle_is_found_although_a_line_looks_like_rows(tmp_path):
    """A container that prints rows of the format must not make the reader believe them."""
    fake = b"\x0a\x06stdout\x1a\x04fake"
    forged = (len(fake).to_bytes(4, "big") + fake + len(fake).to_bytes(4, "big")) * 300
    lines = [forged.replace(b"\n", b"\x0b") + b"\n" if n % 3 == 0 else b"line %d\n" % n for n in range(60)]
    path = tmp_path / "l"
    write(path, [(b"stdout", line, AT + n) for n, line in enumerate(lines)])
    data = path.read_bytes()
    starts, place = set(), 0
    while place < len(data):
        starts.add(place)
        place += int.from_bytes(data[place : place + 4], "big") + 8
    for begin in range(1, len(data) - 70000, 997):
        found = entries.Parser.sync(data[begin:])
        assert begin + found in starts


@pytest.mark.parametrize("seed", range(20))
def test_garbage_ends_the_reading_and_raises_nothing(tmp_path, seed):
    path = tmp_path / "l"
    write(path, [(b"stdout", b"good\n", AT)])
    with path.open("ab") as file:
        file.write(bytes((seed,)) + os.urandom(300))
    rows = entries.Parser().parse(path.read_bytes())[0]
    assert rows[0][2] == b"good\n"
    fd = os.open(path, os.O_RDONLY)
    entries.Parser.tail(fd, 5, path.stat().st_size)
    os.close(fd)
