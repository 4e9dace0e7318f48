"""What is written is read back by us, by GNU tar and by Python; the same tree gives the same bytes."""

import io
import os
import socket
import stat
import subprocess
import tarfile
from pathlib import Path

import pytest

from havre.errors import InvalidParameter
from havre.image.tar.compression import open_stream
from havre.image.tar.extract import OPAQUE_XATTR, extract
from havre.image.tar.writer import Traits, Writer, write_layer, write_tree


def _tree(root: Path) -> None:
    (root / "d/e").mkdir(parents=True)
    (root / "d/f").write_bytes(b"data" * 1000)
    os.chmod(root / "d/f", 0o4711)
    os.chown(root / "d/f", 3_000_000, 7)
    os.chmod(root / "d/f", 0o4711)
    os.setxattr(root / "d/f", "user.note", b"\0\xff")
    os.utime(root / "d/f", ns=(0, 1_700_000_000_123_456_789))
    os.link(root / "d/f", root / "d/hard")
    (root / "l").symlink_to("x" * 150)
    os.mkfifo(root / "fifo")
    os.mknod(root / "dev", stat.S_IFCHR | 0o620, os.makedev(1, 5))
    (root / ("n" * 120)).write_text("long")
    (root / "ä").write_text("utf-8")
    (root / "d" / ("p" * 90)).mkdir()
    (root / "d" / ("p" * 90) / "inner").write_text("prefix")


def _listing(root: Path) -> list[tuple[object, ...]]:
    found = []
    for base, folders, files in os.walk(root):
        for name in folders + files:
            path = os.path.join(base, name)
            status = os.lstat(path)
            place = os.path.relpath(path, root)
            link = os.readlink(path) if stat.S_ISLNK(status.st_mode) else ""
            data = Path(path).read_bytes() if stat.S_ISREG(status.st_mode) else b""
            found.append(
                (
                    place,
                    status.st_mode,
                    status.st_uid,
                    status.st_gid,
                    status.st_mtime_ns,
                    status.st_rdev,
                    link,
                    data,
                )
            )
    return sorted(found)


def test_tree_survives_the_round_trip(tmp_path):
    source, target = tmp_path / "in", tmp_path / "out"
    source.mkdir(), target.mkdir()
    _tree(source)
    out = io.BytesIO()
    write_tree(out, str(source))
    out.seek(0)
    extract(open_stream(out), str(target))
    assert _listing(target) == _listing(source)
    assert os.getxattr(target / "d/f", "user.note") == b"\0\xff"
    assert (target / "d/hard").stat().st_nlink == 2


def test_same_tree_gives_the_same_bytes_and_others_can_read_them(tmp_path):
    source = tmp_path / "in"
    source.mkdir()
    _tree(source)
    first, second = io.BytesIO(), io.BytesIO()
    write_tree(first, str(source))
    write_tree(second, str(source))
    assert first.getvalue() == second.getvalue()
    names = {member.name for member in tarfile.open(fileobj=io.BytesIO(first.getvalue()))}
    assert {"d/f", "l", "n" * 120, "ä", "d/" + "p" * 90 + "/inner"} <= names
    listed = subprocess.run(["tar", "-tf", "-"], input=first.getvalue(), capture_output=True, check=False)
    assert listed.returncode == 0 and b"d/hard" in listed.stdout


def test_layer_turns_overlays_whiteouts_back(tmp_path):
    upper, again = tmp_path / "upper", tmp_path / "again"
    (upper / "o").mkdir(parents=True)
    again.mkdir()
    os.setxattr(upper / "o", OPAQUE_XATTR, b"y")
    os.mknod(upper / "gone", stat.S_IFCHR, 0)
    os.mknod(upper / "o" / "too", stat.S_IFCHR, 0)
    out = io.BytesIO()
    write_layer(out, str(upper))
    names = [member.name for member in tarfile.open(fileobj=io.BytesIO(out.getvalue()))]
    assert names == [".wh.gone", "o", "o/.wh..wh..opq", "o/.wh.too"]
    out.seek(0)
    extract(open_stream(out), str(again))
    assert (again / "gone").lstat().st_rdev == 0 and os.getxattr(again / "o", OPAQUE_XATTR) == b"y"


def test_layer_refuses_a_file_that_would_be_a_whiteout(tmp_path):
    (tmp_path / ".wh.x").write_text("")
    with pytest.raises(InvalidParameter, match=r"\.wh\.x"):
        write_layer(io.BytesIO(), str(tmp_path))


@pytest.mark.parametrize("key", ["trusted.overlay.redirect", "trusted.overlay.metacopy"])
@pytest.mark.parametrize("kind", ["file", "directory"])
def test_layer_refuses_what_is_not_wholly_here(tmp_path, key, kind):
    (tmp_path / "directory").mkdir()
    (tmp_path / "file").write_text("")
    os.setxattr(tmp_path / kind, key, b"/x")
    with pytest.raises(InvalidParameter, match=f"'{kind}': its content is in another layer"):
        write_layer(io.BytesIO(), str(tmp_path))


def test_links_out_of_the_tree_are_written_as_links(tmp_path):
    root = tmp_path / "in"
    root.mkdir()
    (tmp_path / "secret").write_text("s")
    (root / "l").symlink_to(tmp_path / "secret")
    (root / "d").symlink_to(tmp_path)
    out = io.BytesIO()
    write_tree(out, str(root))
    assert {member.type for member in tarfile.open(fileobj=io.BytesIO(out.getvalue()))} == {tarfile.SYMTYPE}


def test_large_and_odd_numbers_go_into_pax_records(tar):
    out = io.BytesIO()
    writer = Writer(out)
    writer.header(b"f", size=0, traits=Traits(0o644, (1 << 31, 5), -1_500_000_000))
    writer.finish()
    member = tarfile.open(fileobj=io.BytesIO(out.getvalue())).getmembers()[0]
    assert (member.uid, member.gid, member.mtime) == (1 << 31, 5, -1.5)
    assert len(out.getvalue()) % 512 == 0


def test_what_vanishes_from_a_live_tree_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("a", "b", "c"):
        (tmp_path / name).write_text(name)
    os.link(tmp_path / "b", tmp_path / "d")
    (tmp_path / "folder").mkdir()
    real = os.lstat

    def lstat(name: bytes, *, dir_fd: int) -> os.stat_result:
        found = real(name, dir_fd=dir_fd)
        if name == b"b":
            (tmp_path / "b").unlink()
            (tmp_path / "folder").rmdir() if (tmp_path / "folder").exists() else None
        return found

    monkeypatch.setattr(os, "lstat", lstat)
    out = io.BytesIO()
    write_tree(out, str(tmp_path), live=True)
    found = {one.name: one for one in tarfile.open(fileobj=io.BytesIO(out.getvalue())).getmembers()}
    assert sorted(found) == ["a", "c", "d"]
    assert found["d"].isreg()  # its first name is not there, so it is the file itself
    (tmp_path / "b").write_text("b")
    with pytest.raises(FileNotFoundError):
        write_tree(io.BytesIO(), str(tmp_path))


def test_sockets_are_left_out_under_every_name(tmp_path: Path) -> None:
    socket.socket(socket.AF_UNIX).bind(str(tmp_path / "s"))
    os.link(tmp_path / "s", tmp_path / "t")
    out = io.BytesIO()
    write_tree(out, os.open(tmp_path, os.O_PATH))
    assert tarfile.open(fileobj=io.BytesIO(out.getvalue())).getnames() == []
