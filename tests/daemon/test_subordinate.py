"""--userns-remap words, /etc/subuid and /etc/subgid, and the user that "default" makes: on files of our own."""

import fcntl
import os

import pytest

from havre.daemon import dockremap, subordinate, userns
from havre.daemon.subordinate import POOL, Accounts, read_pool, read_remap
from havre.errors import HavreError, InvalidParameter, Unavailable

PASSWD = "root:x:0:0:root:/root:/bin/sh\nann:x:1000:1001::/home/ann:/bin/sh\nbob:x:1002:1003::/:/bin/sh\n"
GROUP = "root:x:0:\nann:x:1001:\nbob:x:1003:\nstaff:x:50:\nfour:x:1000:\n"
SUBUID = "# a comment\nann:200000:1000\nann:400000:500\n1002:300000:65536\n"
SUBGID = "ann:210000:1500\n1002:300000:65536\n"


@pytest.fixture
def accounts(tmp_path):
    for name, text in (("passwd", PASSWD), ("group", GROUP), ("subuid", SUBUID), ("subgid", SUBGID)):
        (tmp_path / name).write_text(text)
    return Accounts(tmp_path)


@pytest.mark.parametrize(
    ("word", "name"),
    [
        ("ann", "ann:ann"),
        ("ann:staff", "ann:staff"),
        ("1000", "ann:four"),
        ("1000:50", "ann:staff"),
        ("ann:50", "ann:staff"),
    ],
)
def test_remap_reads_names_and_numbers(accounts, word, name):
    found, maps = read_remap(accounts, word)
    assert found == name and maps is not None
    assert [(each.inside, each.outside, each.size) for each in maps.uids] == [
        (0, 200000, 1000),
        (1000, 400000, 500),
    ]
    assert [(each.inside, each.outside, each.size) for each in maps.gids] == [(0, 210000, 1500)]


def test_remap_finds_ranges_by_uid(accounts):
    _, maps = read_remap(accounts, "bob")
    assert maps is not None and maps.root == (300000, 300000)


def test_root_is_not_remapped_with_itself(accounts):
    assert read_remap(accounts, "root") == ("root:root", None)


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("nobody-here", 'Error during uid lookup for "nobody-here"'),
        ("54321", "Uid 54321 has no entry in /etc/passwd"),
        ("ann:nobody-here", 'Error during gid lookup for "nobody-here"'),
        ("ann:54321", "Gid 54321 has no entry in /etc/group"),
        ("a:b:c", "invalid user/group specification"),
        (":ann", "invalid user/group specification"),
        ("ann:", "invalid user/group specification"),
    ],
)
def test_remap_refuses_in_dockers_words(accounts, word, said):
    with pytest.raises(InvalidParameter, match=said):
        read_remap(accounts, word)


def test_user_without_ranges_is_told_what_to_type(accounts):
    (accounts.etc / "subgid").write_text("bob:x:y\n")
    with pytest.raises(InvalidParameter, match='no subgid ranges found for user "ann"') as caught:
        read_remap(accounts, "ann")
    assert caught.value.hint.startswith("echo ann:400500:65536 | tee -a")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("ann:1:x\n", "'ann:1:x' is no range"),
        ("ann:1\n", "'ann:1' is no range"),
        ("ann:4294967295:2\n", "is no range"),
        ("ann:-5:9\n", "is no range"),
        ("ann:100:50\nann:149:2\n", "the ranges of 'ann' overlap"),
        ("".join(f"ann:{number * 10}:5\n" for number in range(400)), "has 400 ranges, the kernel maps 340"),
    ],
)
def test_bad_lines_of_the_user_are_named(accounts, text, said):
    (accounts.etc / "subuid").write_text(text)
    with pytest.raises(InvalidParameter, match=said):
        read_remap(accounts, "ann")


def test_pool_is_the_users_lines_where_uids_and_gids_meet(accounts):
    (accounts.etc / "subuid").write_text("havre:1000000:2000\nhavre:5000000:10\n")
    (accounts.etc / "subgid").write_text("havre:1001500:2000\n")
    assert read_pool(accounts, "havre") == ((1001500, 500),)


def test_pool_is_our_own_when_nobody_has_any_of_it(accounts):
    assert read_pool(accounts, "havre") == (POOL,)
    (accounts.etc / "subgid").write_text(f"somebody:{POOL[0] + 5}:1\n")
    assert read_pool(accounts, "havre") == ()


def test_two_daemons_begin_in_different_places():
    first = [userns.first_slot((POOL,), instance) for instance in ("00000001", "0000abcd", "ffffffff")]
    assert len(set(first)) == 3 and all(
        (one - POOL[0]) % 65536 == 0 and POOL[0] <= one < sum(POOL) for one in first
    )
    assert userns.first_slot((), "ffffffff") == 0


def test_default_makes_user_group_and_ranges_once(accounts):
    (accounts.etc / "passwd").write_text(PASSWD.rstrip("\n"))
    (accounts.etc / "subuid").chmod(0o640)
    dockremap.make(accounts)
    name, maps = read_remap(accounts, "default")
    assert name == "dockremap:dockremap" and maps is not None and maps.root == (400500, 400500)
    texts = {each: (accounts.etc / each).read_text() for each in ("passwd", "group", "subuid", "subgid")}
    assert texts["passwd"].startswith(PASSWD) and texts["passwd"].count("dockremap:*:") == 1
    assert texts["subuid"] == SUBUID + "dockremap:400500:65536\n"
    assert (accounts.etc / "subuid").stat().st_mode & 0o777 == 0o640
    dockremap.make(accounts)
    assert texts == {each: (accounts.etc / each).read_text() for each in texts}
    assert sorted(os.listdir(accounts.etc)) == [".pwd.lock", "group", "passwd", "subgid", "subuid"]


def test_default_completes_what_is_half_there_and_follows_a_link(accounts, tmp_path):
    with (accounts.etc / "passwd").open("a") as file:
        file.write("dockremap:x:700:701::/:/bin/false\n")
    with (accounts.etc / "group").open("a") as file:
        file.write("dockremap:x:701:\n")
    (accounts.etc / "subgid").rename(accounts.etc / "real")
    (accounts.etc / "subgid").symlink_to("real")
    dockremap.make(accounts)
    assert (accounts.etc / "passwd").read_text().count("dockremap") == 1
    assert (accounts.etc / "real").read_text().endswith("dockremap:400500:65536\n") and (
        accounts.etc / "subgid"
    ).is_symlink()


def test_default_says_what_to_type_when_the_files_cannot_be_written(accounts):
    (accounts.etc / "group.havre").mkdir()  # in the way of the new file
    with pytest.raises(HavreError, match=r"cannot make the user dockremap: .*group") as caught:
        dockremap.make(accounts)
    assert (
        "useradd --system --user-group dockremap && echo dockremap:400500:65536 | tee -a" in caught.value.hint
    )
    assert (accounts.etc / "passwd").read_text() == PASSWD


def test_default_waits_for_useradds_lock_only_so_long(accounts, monkeypatch):
    monkeypatch.setattr(dockremap, "LOCK_TIMEOUT_S", 0.0)
    ready, leave = os.pipe(), os.pipe()
    pid = os.fork()
    if pid == 0:
        fd = os.open(accounts.etc / ".pwd.lock", os.O_WRONLY | os.O_CREAT, 0o600)
        fcntl.lockf(fd, fcntl.LOCK_EX)
        os.write(ready[1], b"x")
        os.read(leave[0], 1)
        os._exit(0)
    try:
        os.read(ready[0], 1)
        with pytest.raises(Unavailable, match="is locked by another program"):
            dockremap.make(accounts)
    finally:
        os.write(leave[1], b"x")
        os.waitpid(pid, 0)
    dockremap.make(accounts)
    assert "dockremap" in (accounts.etc / "subuid").read_text()


def test_next_start_leaves_our_own_pool_alone(accounts):
    (accounts.etc / "subuid").write_text(f"havre:{POOL[0]}:{POOL[1]}\n")
    (accounts.etc / "subgid").write_text("")
    assert subordinate.next_start(accounts) == 100000
