"""Formats: v7, ustar, GNU and pax, also as GNU tar itself writes them; sparse files of every kind; limits."""

import io
import os
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from havre.image.tar import headers, reader
from havre.image.tar.bad import BadTar
from havre.image.tar.compression import open_stream
from havre.image.tar.extract import extract


def entries(archive: io.BytesIO) -> list[tuple[reader.Entry, bytes]]:
    source = reader.Reader(open_stream(archive))
    found = []
    for entry in source:
        data = b""
        while view := source.read():
            data += view
        found.append((entry, data))
    return found


def test_v7_without_magic(tar):
    archive = tar.archive(tar.member(b"f", b"1", magic=b"", kind=b"\0"), tar.block(b"d/", b"\0", magic=b""))
    (file, data), (folder, _) = entries(archive)
    assert (file.kind, data, folder.kind) == (reader.REGULAR, b"1", reader.DIRECTORY)


def test_ustar_prefix(tar):
    ((entry, _),) = entries(tar.archive(tar.member(b"name", extra={345: b"some/prefix"})))
    assert entry.name == b"some/prefix/name"


def test_gnu_header_has_no_prefix(tar):
    archive = tar.archive(tar.member(b"name", magic=b"ustar  \0", extra={345: b"17777777777"}))
    assert entries(archive)[0][0].name == b"name"


def test_gnu_long_name_and_link(tar):
    long_name, long_link = b"n" * 200, b"t" * 300
    parts = [
        tar.block(b"././@LongLink", b"L", 201) + tar.pad(long_name + b"\0"),
        tar.block(b"././@LongLink", b"K", 301) + tar.pad(long_link + b"\0"),
        tar.symlink(b"n" * 100, b"t" * 100),
        tar.member(b"after"),
    ]
    (entry, _), (after, _) = entries(tar.archive(*parts))
    assert (entry.name, entry.link, after.name) == (long_name, long_link, b"after")


def test_base_256_size(tar):
    archive = tar.archive(tar.block(b"f", size_field=b"\x80" + (5).to_bytes(11, "big")) + tar.pad(b"12345"))
    assert entries(archive)[0][1] == b"12345"


def test_pax_wins_over_the_header_and_ends_with_its_entry(tar):
    parts = [
        tar.pax({b"path": b"p\xc3\xa4", b"size": b"3", b"uid": b"70000"}),
        tar.block(b"short") + tar.pad(b"abc"),
        tar.member(b"x"),
    ]
    (first, data), (second, _) = entries(tar.archive(*parts))
    assert (first.name, first.uid, data) == ("pä".encode(), 70000, b"abc")
    assert (second.name, second.uid) == (b"x", 0)


def test_global_pax_header_is_left_out_as_docker_does(tar):
    (entry, _), *more = entries(
        tar.archive(tar.pax({b"path": b"evil", b"comment": b"c"}, b"g"), tar.member(b"f"))
    )
    assert entry.name == b"f" and not more
    assert entries(tar.archive(tar.pax({b"comment": b"c"}, b"g"))) == []


@pytest.mark.parametrize(
    "data", [b"5 a=b\n", b"99 a=b\n", b"x a=b\n", b"6 a=bc", b"-6 a=b\n", b"6 abc\n", b" 6 a=b\n", b"0 a=b\n"]
)
def test_damaged_pax_record_is_refused(data):
    with pytest.raises(BadTar):
        headers.pax_records(data)


def test_pax_bomb_of_many_records_takes_linear_time():
    data = b"".join(b"%d k%05d=v\n" % (12, number) for number in range(80_000))
    assert len(data) < reader.MAX_PAX_BYTES
    start = time.process_time()
    headers.pax_records(data)
    assert time.process_time() - start < 2


def test_headers_without_end_are_counted(tar, monkeypatch):
    monkeypatch.setattr(reader, "MAX_ENTRIES", 50)
    with pytest.raises(BadTar, match="more than 50 entries"):
        entries(tar.archive(*[tar.pax({b"path": b"x"})] * 100, tar.member(b"f")))


@pytest.mark.parametrize("cut", [100, 512, 700, 1024, 1500])
def test_truncated_archive_is_an_error(tar, cut):
    whole = tar.archive(tar.pax({b"path": b"x"}), tar.member(b"f", b"d" * 3000)).getvalue()
    with pytest.raises(BadTar, match="end of archive"):
        entries(io.BytesIO(whole[:cut]))


@pytest.mark.parametrize(
    "data", [b"root:x:0:0:root:/root:/bin/bash\n" * 40, b"{}" + b" " * 2000, b"\xff" * 1024, b"a" * 512]
)
def test_what_is_no_archive_is_said_so(data):
    with pytest.raises(BadTar, match="this is no tar archive"):
        entries(io.BytesIO(data))


def test_signed_checksum_of_old_writers_is_taken(tar):
    data = bytearray(tar.member(b"\xe4", b"1"))
    field = data[148:156]
    signed = int(bytes(field).strip(b" \0"), 8) - 256
    data[148:156] = b"%06o\0 " % signed
    assert entries(io.BytesIO(bytes(data) + bytes(1024)))[0][0].name == b"\xe4"


def test_empty_archive_has_no_entries(tar):
    assert entries(tar.archive()) == []
    assert entries(io.BytesIO(b"")) == []


# sparse


def _sparse_0_0(tar) -> list[bytes]:
    pairs = [(b"GNU.sparse.size", b"100000"), (b"GNU.sparse.numblocks", b"2")]
    for offset, length in ((10, 3), (50_000, 4)):
        pairs += [(b"GNU.sparse.offset", b"%d" % offset), (b"GNU.sparse.numbytes", b"%d" % length)]
    return [tar.pax(pairs), tar.member(b"s", b"abcdefg")]


def _sparse_0_1(tar) -> list[bytes]:
    records = {b"GNU.sparse.size": b"100000", b"GNU.sparse.name": b"s", b"GNU.sparse.map": b"10,3,50000,4"}
    return [tar.pax(records), tar.member(b"GNUSparseFile.1/s", b"abcdefg")]


def _sparse_1_0(tar) -> list[bytes]:
    records = {
        b"GNU.sparse.major": b"1",
        b"GNU.sparse.minor": b"0",
        b"GNU.sparse.name": b"s",
        b"GNU.sparse.realsize": b"100000",
    }
    return [tar.pax(records), tar.member(b"x", tar.pad(b"2\n10\n3\n50000\n4\n") + b"abcdefg")]


def _sparse_old(tar) -> list[bytes]:
    fields = b"%011o\0%011o\0%011o\0%011o\0" % (10, 3, 50_000, 4)
    extra = {386: fields, 483: b"%011o\0" % 100_000}
    return [tar.member(b"s", b"abcdefg", kind=b"S", magic=b"ustar  \0", extra=extra)]


@pytest.mark.parametrize("make", [_sparse_0_0, _sparse_0_1, _sparse_1_0, _sparse_old])
def test_sparse_formats(tar, tmp_path, make):
    extract(open_stream(tar.archive(*make(tar), tar.member(b"after", b"1"))), str(tmp_path))
    data = (tmp_path / "s").read_bytes()
    assert len(data) == 100_000
    assert (data[10:13], data[50_000:50_004], data.strip(b"\0").count(b"\0")) == (b"abc", b"defg", 49_987)
    assert (tmp_path / "after").read_text() == "1"


@pytest.mark.parametrize("kind", ["gnu", "0.0", "0.1", "1.0"])
def test_sparse_files_of_gnu_tar(tmp_path, kind):
    if (
        "GNU tar"
        not in subprocess.run(["tar", "--version"], capture_output=True, text=True, check=False).stdout
    ):
        pytest.skip("no GNU tar here")
    source, target = tmp_path / "in", tmp_path / "out"
    source.mkdir(), target.mkdir()
    with (source / "s").open("wb") as file:
        for number in range(60):  # more pieces than the header holds: extension blocks
            file.seek(number * 65536)
            file.write(b"%d" % number * 700)
        file.truncate(10_000_000)
    form = ["--format=gnu"] if kind == "gnu" else ["--format=pax", f"--sparse-version={kind}"]
    subprocess.run(["tar", "-C", source, "-S", *form, "-cf", tmp_path / "t.tar", "."], check=True)
    with (tmp_path / "t.tar").open("rb") as file:
        extract(open_stream(file), str(target))
    assert (target / "s").read_bytes() == (source / "s").read_bytes()
    assert (target / "s").stat().st_blocks * 512 < 9_000_000


@pytest.mark.parametrize(
    "text", [b"5,3,4,2", b"0,200000", b"10", b"-1,4", b"1,2,x,4", b",".join([b"1"] * 400_001)[:1_000_000]]
)
def test_bad_sparse_map_is_refused(tar, text):
    with pytest.raises(BadTar):
        headers.text_map(text, 100_000)


@pytest.mark.parametrize("map_", [b"2\n10\n3\n", b"999999999\n", b"x\n", b"1" * 600, b"1\n5\n9999999\n"])
def test_bad_leading_sparse_map_is_refused_and_ends(tar, map_):
    records = {b"GNU.sparse.major": b"1", b"GNU.sparse.minor": b"0", b"GNU.sparse.realsize": b"1000"}
    with pytest.raises(BadTar):
        entries(tar.archive(tar.pax(records), tar.member(b"x", map_)))


def test_endless_old_sparse_extension_is_refused(tar):
    extension = (b"%011o\0" % 0) * 42 + b"\1" + bytes(7)
    head = tar.block(b"s", b"S", magic=b"ustar  \0", extra={482: b"\1", 483: b"%011o\0" % 10})
    with pytest.raises(BadTar, match="sparse map"):
        entries(io.BytesIO(head + extension * 6000))


@pytest.mark.parametrize("form", ["v7", "ustar", "gnu", "pax"])
def test_archives_of_gnu_tar_come_out_the_same(tmp_path, form):
    if not shutil.which("tar"):
        pytest.skip("no tar here")
    source, target = tmp_path / "in", tmp_path / "out"
    far = "d" * (30 if form in ("v7", "ustar") else 80)
    (source / "deep" / far / ("e" * 30)).mkdir(parents=True)
    target.mkdir()
    name = "f" * (50 if far == "d" * 30 else 90)
    (source / "deep" / far / name).write_bytes(os.urandom(3000))
    (source / "link").symlink_to("deep")
    os.link(source / "deep" / far / name, source / "hard")
    subprocess.run(["tar", "-C", source, f"--format={form}", "-cf", tmp_path / "t.tar", "."], check=True)
    with (tmp_path / "t.tar").open("rb") as file:
        extract(open_stream(file), str(target))
    assert subprocess.run(["diff", "-r", "--no-dereference", source, target], check=False).returncode == 0
    assert (target / "hard").stat().st_nlink == 2


def test_pieces_of_a_slow_stream_come_out_whole(tar, tmp_path: Path):
    class Slow(io.RawIOBase):
        def __init__(self, data: bytes) -> None:
            self._data = data

        def read(self, size: int = -1) -> bytes:
            found, self._data = self._data[:7], self._data[7:]
            return found

    data = os.urandom(5000)
    extract(open_stream(Slow(tar.archive(tar.member(b"f", data)).getvalue())), str(tmp_path))
    assert (tmp_path / "f").read_bytes() == data
