"""The writer: dockerd's format byte for byte, rotation, a torn end, a full disk."""

import errno
import json
import os
import subprocess
import sys

import pytest

from havre.errors import InvalidParameter, KernelError
from havre.logs import jsonfile
from havre.logs.open import open_log

AT = 1_795_521_600_123_456_789  # 2026-11-24T12:00:00.123456789Z


def open_at(folder, **changes):
    plan = {
        "driver": "json-file",
        "path": str(folder / "c-json.log"),
        "max_size_bytes": 0,
        "max_files": 1,
        "attributes": {},
        "format": "json",
        "compress": False,
        "buffer_bytes": 0,
        "remote": {},
    }
    return open_log({**plan, **changes})


def rows(folder, name="c-json.log"):
    return [json.loads(line) for line in (folder / name).read_bytes().splitlines()]


def logged(folder):
    return "".join(row["log"] for row in rows(folder))


def test_row_is_dockerds_when_line_is_plain(tmp_path):
    log = open_at(tmp_path)
    log.write(b"stdout", b"hello <b>\tworld\n", AT)
    log.write(b"stderr", "grüße\r\n".encode(), AT + 877)
    log.close()
    assert (tmp_path / "c-json.log").read_bytes() == (
        b'{"log":"hello \\u003cb\\u003e\\u0009world\\n","stream":"stdout","time":"2026-11-24T12:00:00.123456789Z"}\n'
        + '{"log":"grüße\\r\\n","stream":"stderr","time":"2026-11-24T12:00:00.123457666Z"}\n'.encode()
    )
    assert (tmp_path / "c-json.log").stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize(
    ("nanos", "text"),
    [
        (0, "12:00:00Z"),
        (500_000_000, "12:00:00.5Z"),
        (10, "12:00:00.00000001Z"),
        (1_000_000_000, "12:00:01Z"),
    ],
)
def test_time_has_no_trailing_zeros(tmp_path, nanos, text):
    log = open_at(tmp_path)
    log.write(b"stdout", b"x\n", AT - 123_456_789 + nanos)
    log.close()
    assert rows(tmp_path)[0]["time"] == f"2026-11-24T{text}"


def test_attributes_stand_between_stream_and_time_when_asked(tmp_path):
    log = open_at(tmp_path, attributes={"b": 'quo"te', "a": "1"})
    log.write(b"stdout", b"x\ny\n", AT)
    log.close()
    assert (tmp_path / "c-json.log").read_bytes().count(
        b'"stdout","attrs":{"a":"1","b":"quo\\"te"},"time":'
    ) == 2


def test_begun_lines_wait_for_their_end_when_streams_interleave(tmp_path):
    log = open_at(tmp_path)
    log.write(b"stdout", b"one ", AT)
    log.write(b"stderr", b"other\n", AT)
    log.write(b"stdout", b"line\nlast", AT)
    assert [row["log"] for row in rows(tmp_path)] == ["other\n", "one line\n"]
    log.close()
    assert [row["log"] for row in rows(tmp_path)] == ["other\n", "one line\n", "last"]


@pytest.mark.parametrize("length", [16383, 16384, 16385, 32768, 50000])
@pytest.mark.parametrize("step", [1000, 65536])
def test_long_line_is_cut_as_dockerd_does(tmp_path, length, step):
    log = open_at(tmp_path)
    data = b"short\n" + b"a" * length + b"\nafter\n"
    for start in range(0, len(data), step):
        log.write(b"stdout", data[start : start + step], AT)
    log.close()
    found = [row["log"] for row in rows(tmp_path)]
    assert [len(one) for one in found[1:-1]] == [16384] * (length // 16384) + [length % 16384 + 1]
    assert "".join(found) == data.decode()


def test_output_without_any_newline_is_kept_in_bounded_memory(tmp_path):
    log = open_at(tmp_path)
    for _ in range(10):
        log.write(b"stdout", b"z" * 65536, AT)
        assert sum(len(rest) for rest in log._rest.values()) < 16384
    log.close()
    assert logged(tmp_path) == "z" * 655360


def test_rotation_keeps_max_files_and_no_row_is_torn(tmp_path):
    log = open_at(tmp_path, max_size_bytes=2000, max_files=3)
    for number in range(200):
        log.write(b"stdout", f"line {number}\nand {number}\n".encode(), AT)
    log.close()
    assert sorted(os.listdir(tmp_path)) == ["c-json.log", "c-json.log.1", "c-json.log.2"]
    found = [row["log"] for name in (".2", ".1", "") for row in rows(tmp_path, "c-json.log" + name)]
    assert found == [f"{word} {number}\n" for number in range(200) for word in ("line", "and")][-len(found) :]
    assert 2000 <= (tmp_path / "c-json.log.1").stat().st_size < 2000 + 100


def test_one_large_write_is_spread_over_files_between_rows(tmp_path):
    log = open_at(tmp_path, max_size_bytes=5000, max_files=100)
    log.write(b"stdout", b"".join(b"%d\n" % number for number in range(1000)), AT)
    log.close()
    names = sorted(os.listdir(tmp_path), key=lambda name: -int(name.rpartition(".")[2].replace("log", "0")))
    assert len(names) > 10
    assert [int(row["log"]) for name in names for row in rows(tmp_path, name)] == list(range(1000))


def test_single_file_starts_anew_when_full(tmp_path):
    log = open_at(tmp_path, max_size_bytes=1000, max_files=1)
    for number in range(50):
        log.write(b"stdout", b"line %d\n" % number, AT)
    log.close()
    assert os.listdir(tmp_path) == ["c-json.log"]
    assert rows(tmp_path)[-1]["log"] == "line 49\n"
    assert (tmp_path / "c-json.log").stat().st_size < 1100


def test_torn_row_is_cut_when_the_log_is_opened_again(tmp_path):
    (tmp_path / "c-json.log").write_bytes(
        b'{"log":"whole\\n","stream":"stdout","time":"x"}\n{"log":"to' + b"r" * 70000
    )
    log = open_at(tmp_path)
    log.write(b"stdout", b"next\n", AT)
    log.close()
    assert [row["log"] for row in rows(tmp_path)] == ["whole\n", "next\n"]


def test_full_disk_drops_rows_and_tells_how_many(tmp_path):
    """RLIMIT_FSIZE stands in for the full disk: the kernel writes what fits and then refuses."""
    code = """if 1:
        import resource, sys
        from havre.logs.open import open_log
        plan = {"driver": "json-file", "path": sys.argv[1], "max_size_bytes": 0, "max_files": 1, "attributes": {}, "format": "json", "compress": False, "buffer_bytes": 0, "remote": {}}
        log = open_log(plan)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, -1))
        for number in range(40):
            log.write(b"stdout", b"line %d\\n" % number, 1)
        resource.setrlimit(resource.RLIMIT_FSIZE, (-1, -1))
        log.write(b"stdout", b"again\\n", 1)
        log.close()
    """
    subprocess.run([sys.executable, "-c", code, tmp_path / "c-json.log"], check=True)
    found = [row["log"] for row in rows(tmp_path)]
    kept = found.index("again\n") - 1
    assert 5 < kept < 39
    assert found == [f"line {n}\n" for n in range(kept)] + [
        f"havre: {40 - kept} log lines were dropped: file too large\n",
        "again\n",
    ]


def test_directory_that_goes_away_does_not_raise(tmp_path):
    (tmp_path / "d").mkdir()
    log = open_at(tmp_path / "d", max_size_bytes=100, max_files=2)
    os.unlink(tmp_path / "d" / "c-json.log")
    os.rmdir(tmp_path / "d")
    for _ in range(5):
        log.write(b"stdout", b"x" * 90 + b"\n", AT)
    assert log.dropped
    log.close()


def test_open_refuses_unknown_drivers_and_bad_places(tmp_path):
    assert open_at(tmp_path, driver="none", path="") is None
    with pytest.raises(InvalidParameter, match="splunk"):
        open_at(tmp_path, driver="splunk")
    with pytest.raises(KernelError) as caught:
        open_at(tmp_path / "missing")
    assert caught.value.errno == errno.ENOENT and "missing" in str(caught.value)
    os.symlink("/etc/passwd", tmp_path / "c-json.log")
    with pytest.raises(KernelError):  # never follow a link out of the data root
        open_at(tmp_path)


def test_import_is_lean():
    code = "import os, sys; before = set(sys.modules); import havre.logs.jsonfile; print(*sorted(set(sys.modules) - before))"
    out = subprocess.run(
        [sys.executable, "-IS", "-c", f"import sys; sys.path.insert(0, {str(SRC)!r}); " + code],
        capture_output=True,
        text=True,
        check=True,
    )
    assert set(out.stdout.split()) == {
        "havre",
        "havre.errors",
        "havre.logs",
        "havre.logs.escape",
        "havre.logs.jsonfile",
        "havre.logs.lines",
        "havre.logs.logfile",
        *IN_THE_ZYGOTE,
    }


IN_THE_ZYGOTE = {
    "_ctypes",
    "ctypes._endian",
    "types",
    "_struct",
    "ctypes",
    "havre.linux",
    "havre.linux.syscalls",
    "select",
    "struct",
}
SRC = os.path.dirname(os.path.dirname(os.path.dirname(jsonfile.__file__)))
