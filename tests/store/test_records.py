"""Records survive, roll back, and refuse what they cannot read."""

import os
import signal
import sqlite3
from pathlib import Path

import pytest

from havre.errors import Unavailable
from havre.store import Records


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
