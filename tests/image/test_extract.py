"""Every attack of the archive checklist: refused with the entry's name, or led nowhere but inside."""

import io
import os
import stat
import struct
import time
from pathlib import Path

import pytest

from havre.errors import HavreError, Unavailable
from havre.image.tar.bad import BadTar
from havre.image.tar.compression import open_stream
from havre.image.tar.extract import OPAQUE_XATTR, extract


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A root to unpack into, with a neighbour that must stay as it is."""
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "file").write_text("untouched")
    os.chmod(tmp_path / "outside" / "file", 0o600)
    root = tmp_path / "root"
    root.mkdir()
    return root


def unpack(place: Path, archive: io.BytesIO, lower: tuple[str, ...] = ()) -> int:
    return extract(open_stream(archive), str(place), lower=lower)


def untouched(place: Path) -> bool:
    outside = place.parent / "outside"
    return (
        os.listdir(outside) == ["file"]
        and (outside / "file").read_text() == "untouched"
        and stat.S_IMODE((outside / "file").stat().st_mode) == 0o600
        and (outside / "file").stat().st_nlink == 1
    )


def opaque(path: Path) -> bool:
    return OPAQUE_XATTR in os.listxattr(path) and os.getxattr(path, OPAQUE_XATTR) == b"y"


def is_whiteout(path: Path) -> bool:
    status = path.lstat()
    return stat.S_ISCHR(status.st_mode) and status.st_rdev == 0


REFUSED = {
    "dotdot": lambda t: [t.member(b"../outside/file", b"x")],
    "dotdot in the middle": lambda t: [t.member(b"a/../../outside/file", b"x")],
    "dotdot directory": lambda t: [t.folder(b"../outside", 0o777)],
    "absolute dotdot": lambda t: [t.member(b"/../outside/file", b"x")],
    "hardlink out by dotdot": lambda t: [t.hardlink(b"a", b"../outside/file")],
    "hardlink to an absolute host path": lambda t: [t.hardlink(b"a", b"/etc/passwd")],
    "hardlink through a symlink out": lambda t: [t.symlink(b"l", b"../outside"), t.hardlink(b"a", b"l/file")],
    "hardlink to a directory": lambda t: [t.folder(b"d"), t.hardlink(b"a", b"d")],
    "hardlink to nothing": lambda t: [t.hardlink(b"a", b"")],
    "whiteout of dotdot": lambda t: [t.member(b".wh...")],
    "whiteout of dot": lambda t: [t.member(b"a/.wh..")],
    "whiteout of nothing": lambda t: [t.member(b"a/.wh.")],
    "whiteout as a device": lambda t: [t.block(b"null", b"3")],
    "file below a file": lambda t: [t.member(b"a", b"x"), t.member(b"a/b", b"x")],
    "trusted.overlay.redirect": lambda t: [
        t.pax({b"SCHILY.xattr.trusted.overlay.redirect": b"/etc"}),
        t.folder(b"d"),
    ],
    "trusted.overlay.opaque on a file": lambda t: [
        t.pax({b"SCHILY.xattr.trusted.overlay.opaque": b"y"}),
        t.member(b"f"),
    ],
    "user.overlay.whiteout": lambda t: [t.pax({b"SCHILY.xattr.user.overlay.whiteout": b"y"}), t.member(b"f")],
    "trusted attribute on a symlink": lambda t: [
        t.pax({b"SCHILY.xattr.trusted.x": b"y"}),
        t.symlink(b"f", b"g"),
    ],
    "GNU long name of 100 kB": lambda t: [
        t.block(b"././@LongLink", b"L", 100_000) + t.pad(b"n" * 100_000),
        t.member(b"x"),
    ],
    "pax name of 100 kB": lambda t: [t.pax({b"path": b"n" * 100_000}), t.member(b"x")],
    "pax header of 2 MB": lambda t: [t.pax({b"comment": b"n" * (2 << 20)}), t.member(b"x")],
    "name component of 300 bytes": lambda t: [t.pax({b"path": b"d/" + b"n" * 300}), t.member(b"x")],
    "NUL in a name": lambda t: [t.pax({b"path": b"a\0b"}), t.member(b"x")],
    "negative size": lambda t: [t.block(b"f", size_field=b"\xff" * 12)],
    "giant size": lambda t: [t.block(b"f", size_field=b"\x80" + b"\x7f" * 11)],
    "giant pax size": lambda t: [t.pax({b"size": b"9" * 19}), t.member(b"f")],
    "negative pax size": lambda t: [t.pax({b"size": b"-1"}), t.member(b"f")],
    "size past the end": lambda t: [t.block(b"f", size=10_000_000)],
    "pax uid past 32 bits": lambda t: [t.pax({b"uid": b"4294967296"}), t.member(b"f")],
    "unknown kind": lambda t: [t.block(b"f", b"Z")],
    "root that is no directory": lambda t: [t.symlink(b"./", b"/etc")],
    "bad checksum": lambda t: [t.member(b"f")[:148] + b"0000000\0" + t.member(b"f")[156:]],
    "no tar at all": lambda t: [b"<html>" * 200],
}


@pytest.mark.parametrize("attack", REFUSED)
def test_extract_refuses(attack, place, tar):
    with pytest.raises(BadTar) as caught:
        unpack(place, tar.archive(*REFUSED[attack](tar)))
    assert len(str(caught.value)) < 600
    assert untouched(place)


def test_refusal_names_the_entry(place, tar):
    with pytest.raises(BadTar, match=r"'usr/bin/\.\./\.\./\.\./x': a path must not lead upwards"):
        unpack(place, tar.archive(tar.member(b"usr/bin/../../../x")))


def test_absolute_names_stay_below_the_root(place, tar):
    unpack(place, tar.archive(tar.member(b"/etc/x", b"1"), tar.member(b"//a//./b", b"2")))
    assert (place / "etc/x").read_text() == "1"
    assert (place / "a/b").read_text() == "2"


@pytest.mark.parametrize("target", [b"../outside", b"/", b"../../../../..", b"/proc/self/root"])
def test_file_through_a_symlink_stays_inside(place, tar, target):
    entries = [
        tar.symlink(b"link", target),
        tar.member(b"link/outside/file", b"bad"),
        tar.member(b"link/file", b"bad"),
    ]
    try:
        unpack(place, tar.archive(*entries))
    except BadTar:
        pass
    assert untouched(place)
    assert not (place.parent / "file").exists()


def test_absolute_symlink_as_parent_is_resolved_in_the_root(place, tar):
    entries = [tar.folder(b"usr/lib"), tar.symlink(b"lib", b"/usr/lib"), tar.member(b"lib/a", b"1")]
    unpack(place, tar.archive(*entries))
    assert (place / "usr/lib/a").read_text() == "1"


def test_file_replaces_a_symlink_and_not_what_it_points_at(place, tar):
    outside = os.fsencode(place.parent / "outside" / "file")
    unpack(place, tar.archive(tar.symlink(b"f", outside), tar.member(b"f", b"mine")))
    assert (place / "f").read_text() == "mine" and not (place / "f").is_symlink()
    assert untouched(place)


def test_hardlink_to_a_symlink_links_the_symlink(place, tar):
    outside = os.fsencode(place.parent / "outside" / "file")
    entries = [tar.symlink(b"s", outside), tar.hardlink(b"h", b"s"), tar.member(b"h", b"bad")]
    unpack(place, tar.archive(*entries))
    assert untouched(place)
    assert (place / "h").read_text() == "bad" and (place / "s").is_symlink()


def test_directory_entry_over_a_symlink_does_not_change_its_target(place, tar):
    entries = [tar.symlink(b"d", b"../outside"), tar.folder(b"d", 0o777), tar.member(b"d/file", b"in")]
    unpack(place, tar.archive(*entries))
    assert untouched(place)
    assert (place / "d/file").read_text() == "in"


def test_directory_replaced_by_a_link_after_it_was_used(place, tar):
    entries = [
        tar.folder(b"d", 0o711),
        tar.member(b"d/a", b"1"),
        tar.symlink(b"d", b"../outside"),
        tar.member(b"d/file", b"bad"),
    ]
    with pytest.raises(BadTar):
        unpack(place, tar.archive(*entries))
    assert untouched(place)
    assert (place / "d").is_symlink()


def test_link_exchanged_for_another_is_looked_up_anew(place, tar):
    entries = [
        tar.folder(b"one"),
        tar.folder(b"two"),
        tar.symlink(b"l", b"one"),
        tar.member(b"l/a"),
        tar.symlink(b"l", b"two"),
        tar.member(b"l/b"),
    ]
    unpack(place, tar.archive(*entries))
    assert (os.listdir(place / "one"), os.listdir(place / "two")) == (["a"], ["b"])


def test_last_of_duplicate_entries_wins(place, tar):
    entries = [
        tar.member(b"f", b"1"),
        tar.folder(b"f"),
        tar.member(b"f/x", b"2"),
        tar.member(b"f", b"3", mode=0o4755),
    ]
    unpack(place, tar.archive(*entries))
    assert (place / "f").read_bytes() == b"3"
    assert stat.S_IMODE((place / "f").stat().st_mode) == 0o4755


def test_many_replacements_leave_no_fd_open(place, tar):
    before = len(os.listdir("/proc/self/fd"))
    again = [part for _ in range(500) for part in (tar.folder(b"a"), tar.member(b"a/x"), tar.member(b"a"))]
    unpack(place, tar.archive(*again))
    assert len(os.listdir("/proc/self/fd")) == before
    with pytest.raises(BadTar):  # a file where a directory should be
        unpack(place, tar.archive(*again, tar.member(b"a/x")))
    assert len(os.listdir("/proc/self/fd")) == before


def test_modes_owners_and_times_are_kept(place, tar):
    owner = {108: b"0001751\0", 116: b"0000144\0"}
    entries = [
        tar.folder(b"d", 0o2775, extra=owner, mtime=1_000_000),
        tar.member(b"d/plain", b"x", mode=0o4755, mtime=2_000_000),
        tar.member(b"d/owned", b"x", mode=0o2750, extra=owner),
        tar.block(b"fifo", b"6", mode=0o620),
        tar.block(b"dev", b"3", device=(1, 3), mode=0o666),
    ]
    unpack(place, tar.archive(*entries))
    folder, plain = (place / "d").stat(), (place / "d/plain").stat()
    assert (folder.st_uid, folder.st_gid, stat.S_IMODE(folder.st_mode), folder.st_mtime) == (
        1001,
        100,
        0o2775,
        1e6,
    )
    assert (plain.st_uid, plain.st_gid, stat.S_IMODE(plain.st_mode), plain.st_mtime) == (0, 0, 0o4755, 2e6)
    assert stat.S_IMODE((place / "d/owned").stat().st_mode) == 0o2750
    assert stat.S_ISFIFO((place / "fifo").stat().st_mode)
    assert (place / "dev").stat().st_rdev == os.makedev(1, 3)


def test_capability_attribute_is_kept(place, tar):
    value = struct.pack("<IIIII", 0x02000001, 1 << 10, 0, 0, 0)  # VFS_CAP_REVISION_2, net_bind_service
    owner = {108: b"0000001\0"}
    unpack(
        place,
        tar.archive(tar.pax({b"SCHILY.xattr.security.capability": value}), tar.member(b"f", extra=owner)),
    )
    assert os.getxattr(place / "f", "security.capability")[:8] == value[:8]


def test_foreign_attribute_is_left_out(place, tar):
    unpack(place, tar.archive(tar.pax({b"SCHILY.xattr.com.apple.provenance": b"1"}), tar.member(b"f")))
    assert (place / "f").exists()


def test_names_that_are_not_utf8(place, tar):
    unpack(place, tar.archive(tar.member(b"\xff\xfe/\x80", b"x"), tar.symlink(b"l", b"\xff\xfe")))
    assert sorted(os.listdir(os.fsencode(place))) == [b"l", b"\xff\xfe"]


def test_impossible_times_become_1970(place, tar):
    huge = {136: b"\x80" + b"\x7f" * 11}
    entries = [
        tar.member(b"f", extra=huge),
        tar.pax({b"mtime": b"9" * 18}),
        tar.member(b"g"),
        tar.pax({b"mtime": b"-2.5"}),
        tar.member(b"h"),
    ]
    unpack(place, tar.archive(*entries))
    assert (place / "f").stat().st_mtime_ns == 0
    assert (place / "g").stat().st_mtime_ns == 0
    assert (place / "h").stat().st_mtime_ns == -2_500_000_000


# whiteouts


def test_whiteout_and_opaque_take_overlays_form(place, tar):
    entries = [
        tar.folder(b"d"),
        tar.member(b"d/.wh.gone"),
        tar.folder(b"o"),
        tar.member(b"o/.wh..wh..opq"),
        tar.member(b"o/new"),
    ]
    unpack(place, tar.archive(*entries))
    assert is_whiteout(place / "d/gone")
    assert opaque(place / "o") and not opaque(place / "d")
    assert os.listdir(place / "o") == ["new"]


def test_whiteout_then_directory_hides_what_is_below(place, tar):
    unpack(
        place, tar.archive(tar.member(b".wh.d"), tar.folder(b"d"), tar.member(b".wh.e"), tar.member(b"e/x"))
    )
    assert opaque(place / "d") and opaque(place / "e")


def test_whiteout_of_the_layers_own_entry_hides_only_what_is_below(place, tar):
    entries = [tar.member(b"d/a", b"1"), tar.member(b".wh.d"), tar.member(b"f", b"2"), tar.member(b".wh.f")]
    unpack(place, tar.archive(*entries))
    assert (place / "d/a").read_text() == "1" and opaque(place / "d")
    assert (place / "f").read_text() == "2"


def test_repeated_opaque_whiteouts_take_linear_time(place, tar):
    files = [tar.member(b"d/%d" % number) for number in range(2000)]
    start = time.process_time()
    unpack(place, tar.archive(*files, *[tar.member(b"d/.wh..wh..opq")] * 20_000))
    assert time.process_time() - start < 5  # the quadratic way is 40 million unlinks
    assert len(os.listdir(place / "d")) == 2000


def test_aufs_bookkeeping_is_left_out(place, tar):
    unpack(
        place,
        tar.archive(
            tar.folder(b".wh..wh.plnk"),
            tar.member(b".wh..wh.plnk/1.2"),
            tar.member(b".wh..wh.aufs"),
            tar.member(b"f"),
        ),
    )
    assert os.listdir(place) == ["f"]


# what the archive leaves out


def test_missing_directories_look_as_in_the_layers_below(place, tar, tmp_path):
    lower = tmp_path / "lower"
    (lower / "tmp").mkdir(parents=True)
    os.chown(lower / "tmp", 5, 6)
    os.chmod(lower / "tmp", 0o1777)
    (lower / "link").symlink_to("/etc")
    unpack(
        place, tar.archive(tar.member(b"tmp/x"), tar.member(b"link/y"), tar.member(b"new/z")), (str(lower),)
    )
    status = (place / "tmp").stat()
    assert (stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid) == (0o1777, 5, 6)
    assert stat.S_IMODE((place / "link").stat().st_mode) == 0o755
    assert stat.S_IMODE((place / "new").stat().st_mode) == 0o755


def test_missing_directories_do_not_depend_on_the_umask(place, tar):
    before = os.umask(0o077)
    try:
        unpack(place, tar.archive(tar.member(b"a/b/c")))
    finally:
        os.umask(before)
    assert stat.S_IMODE((place / "a").stat().st_mode) == stat.S_IMODE((place / "a/b").stat().st_mode) == 0o755


def test_whiteout_names_are_plain_files_where_the_archive_is_no_layer(place, tar):
    archive = tar.archive(tar.member(b".wh.a", b"1"), tar.member(b"d/.wh..wh..opq", b"2"))
    extract(open_stream(archive), str(place), whiteouts=False)
    assert (place / ".wh.a").read_text() == "1" and (place / "d/.wh..wh..opq").read_text() == "2"


def test_very_deep_directories(place, tar):
    deep = b"/".join([b"a"] * 1900)
    unpack(
        place, tar.archive(tar.pax({b"path": deep + b"/f"}), tar.member(b"x", b"1"), tar.member(b"a", b"2"))
    )
    assert (place / "a").read_bytes() == b"2"


def test_path_longer_than_the_kernel_takes_is_refused(place, tar):
    with pytest.raises(BadTar, match="name too long"):
        unpack(place, tar.archive(tar.pax({b"path": b"/".join([b"a"] * 3000)}), tar.member(b"x")))


def test_full_disk_is_not_the_archives_fault(place, tar, monkeypatch):
    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("havre.image.tar.extract.os.write", full)
    with pytest.raises(Unavailable, match="no space left on device"):
        unpack(place, tar.archive(tar.member(b"f", b"x")))


def test_random_damage_never_escapes_as_another_error(place, tar):
    import random

    whole = tar.archive(
        tar.pax({b"path": b"long", b"mtime": b"1.5", b"SCHILY.xattr.user.a": b"b"}),
        tar.member(b"x", b"data" * 300),
        tar.symlink(b"l", b"x"),
        tar.hardlink(b"h", b"long"),
        tar.folder(b"d"),
    ).getvalue()
    dice = random.Random(11)
    for number in range(400):
        data = bytearray(whole)
        for _ in range(dice.randint(1, 4)):
            at = dice.randrange(len(data))
            data[at] = dice.randrange(256)
            head = at // 512 * 512
            if dice.random() < 0.8:  # a checksum that fits again
                data[head + 148 : head + 156] = b" " * 8
                data[head + 148 : head + 156] = b"%06o\0 " % sum(data[head : head + 512])
        root = place / str(number)
        root.mkdir()
        try:
            unpack(root, io.BytesIO(bytes(data)))
        except HavreError:
            pass
    assert untouched(place)
