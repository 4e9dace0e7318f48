"""Records survive, roll back, and refuse what they cannot read."""

import os
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from havre.errors import Unavailable
from havre.store import Damaged, Records
from havre.store import records as module


def test_put_replaces_and_get_returns_bytes(tmp_path: Path) -> None:
    records = Records(tmp_path / "r.db")
    records.put("container", "a", b"1")
    records.put("container", "a", b"2")
    assert records.get("container", "a") == b"2"
    assert records.get("container", "b") is None
    assert records.delete("container", "a") is True
    assert records.delete("container", "a") is False


def test_all_is_ordered_and_by_kind(tmp_path: Path) -> None:
    records = Records(tmp_path / "r.db")
    for key in "cab":
        records.put("x", key, key.encode())
    records.put("y", "z", b"")
    assert records.all("x") == [("a", b"a"), ("b", b"b"), ("c", b"c")]


def test_transaction_rolls_back_when_it_raises(tmp_path: Path) -> None:
    records = Records(tmp_path / "r.db")
    with pytest.raises(KeyError), records.transaction():
        records.put("x", "1", b"")
        with records.transaction():
            records.put("x", "2", b"")
        raise KeyError
    assert records.all("x") == []


def test_committed_record_is_there_when_the_writer_is_killed(tmp_path: Path) -> None:
    path = tmp_path / "r.db"
    pid = os.fork()
    if pid == 0:
        Records(path).put("x", "1", b"kept")
        os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(pid, 0)
    assert Records(path).get("x", "1") == b"kept"


def test_newer_schema_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "r.db"
    Records(path).close()
    with sqlite3.connect(path) as db:
        db.execute("pragma user_version=99")
    with pytest.raises(Unavailable, match="newer havre"):
        Records(path)


def test_full_disk_is_unavailable_and_keeps_old_records(tmp_path: Path) -> None:
    records = Records(tmp_path / "r.db")
    records.put("x", "1", b"old")
    records._db.execute("pragma max_page_count=4")
    with pytest.raises(Unavailable, match="free some disk"):
        records.put("x", "2", b"x" * 100_000)
    assert records.get("x", "1") == b"old"


def test_newer_schema_is_left_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "r.db"
    Records(path).close()
    with sqlite3.connect(path) as db:
        db.execute("pragma user_version=99")
    with pytest.raises(Unavailable, match="schema 99, this one knows up to"):
        Records(path)
    assert sqlite3.connect(path).execute("pragma user_version").fetchone() == (99,)


def test_older_schema_is_migrated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "r.db"
    first = Records(path)
    first.put("x", "1", b"old")
    first.close()
    monkeypatch.setattr(module, "SCHEMA", 2)
    monkeypatch.setitem(module.MIGRATIONS, 2, "update record set doc = x'6e6577' where kind='x'")
    assert Records(path).get("x", "1") == b"new"
    assert sqlite3.connect(path).execute("pragma user_version").fetchone() == (2,)


def test_migration_that_fails_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "r.db"
    Records(path).close()
    monkeypatch.setattr(module, "SCHEMA", 2)
    monkeypatch.setitem(module.MIGRATIONS, 2, "update nosuch set doc = 1")
    with pytest.raises(Unavailable, match="nosuch"):
        Records(path)
    assert sqlite3.connect(path).execute("pragma user_version").fetchone() == (1,)


@pytest.mark.parametrize("data", [b"no database at all" * 500, b""], ids=["other file", "torn page"])
def test_damaged_file_says_what_to_do(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "r.db"
    records = Records(path)
    for number in range(100):
        records.put("x", str(number), b"x" * 500)
    records.close()
    if data:
        path.write_bytes(data)
    else:
        whole = bytearray(path.read_bytes())
        whole[4096:] = os.urandom(len(whole) - 4096)
        path.write_bytes(whole)
    with pytest.raises(Damaged, match=r"is damaged.*\.recover"):
        Records(path).all("x")


def test_record_that_cannot_be_decoded_is_named(tmp_path: Path) -> None:
    records = Records(tmp_path / "r.db")
    records.put("number", "a", b"1")
    assert records.load("number", int) == [("a", 1)]
    records.put("number", "b", b"one")
    with pytest.raises(Damaged, match="the record of number b cannot be read"):
        records.load("number", int)


def test_what_is_owed_is_written_in_order_as_soon_as_it_can_be(tmp_path: Path) -> None:
    records = Records(tmp_path / "r.db")
    told: list[int] = []
    records.on_write = lambda: told.append(1)
    records.put("x", "gone", b"")
    records._db.execute("pragma query_only=1")
    records.owe("x", "1", b"first")
    records.owe("x", "1", b"second")
    records.owe("x", "gone", None)
    assert records.owing and not records.settle()
    with pytest.raises(Unavailable):
        records.put("x", "2", b"")
    records._db.execute("pragma query_only=0")
    told.clear()
    assert records.settle() and not records.owing
    assert records.all("x") == [("1", b"second")]


def test_put_overtakes_what_is_owed_for_the_same_record(tmp_path: Path) -> None:
    records = Records(tmp_path / "r.db")
    records._db.execute("pragma query_only=1")
    records.owe("x", "1", b"old")
    records._db.execute("pragma query_only=0")
    records.put("x", "1", b"new")
    assert not records.owing and records.get("x", "1") == b"new"


def test_owed_record_is_told_to_who_settles(tmp_path: Path) -> None:
    records = Records(tmp_path / "r.db")
    told: list[int] = []
    records.on_write = lambda: told.append(1)
    records._db.execute("pragma query_only=1")
    records.owe("x", "1", b"")
    assert told


def test_writes_on_a_full_disk_have_the_reserve(tmp_path: Path) -> None:
    """A mount namespace of its own with a small tmpfs, filled to the last byte."""
    if os.geteuid() != 0 or subprocess.run(["unshare", "-m", "true"], capture_output=True).returncode:
        pytest.skip("needs root and a mount namespace")
    script = f"""
import os, sys
from pathlib import Path
from havre.errors import Unavailable
from havre.store import Records
os.system("mount -t tmpfs -o size=16m none {tmp_path}")
records = Records(Path("{tmp_path}/r.db"))
records.put("x", "1", b"old" * 1000)
fd = os.open("{tmp_path}/filler", os.O_WRONLY | os.O_CREAT)
try:
    while os.write(fd, bytes(4096)): pass
except OSError: pass
try:
    for number in range(10000):
        records.put("x", str(number), b"new" * 100)
except Unavailable: pass
assert os.path.exists("{tmp_path}/reserve") and number < 9999
for number in range(200):
    records.owe("x", "owed" + str(number), b"new" * 100)
assert not records.owing
assert not os.path.exists("{tmp_path}/reserve")
assert len(records.all("x")) >= 200
records.close()
records = Records(Path("{tmp_path}/r.db"))
assert records.delete("x", "1")
"""
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2] / "src")}
    done = subprocess.run(
        ["unshare", "-m", "--", sys.executable, "-c", script], env=env, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


def test_records_are_for_root_alone_also_when_they_were_not(tmp_path):
    path = tmp_path / "havre.db"
    path.touch(mode=0o644)
    path.chmod(0o644)
    Records(path).put("container", "a", b"{}")
    assert {one.stat().st_mode & 0o777 for one in tmp_path.glob("havre.db*")} == {0o600}
