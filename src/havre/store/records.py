"""SQLite (WAL) records. Blocking, thread safe: one connection behind one lock; a put costs about 30 us.

synchronous=NORMAL: a committed record survives kill -9 of the daemon (sqlite.org/wal.html); after a power cut the
file is whole, but the last transactions may be gone, which the start-up reconciliation treats like a crash just
before them. `durable()` asks for an fsync.
"""

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from havre.errors import Unavailable

SCHEMA = 1  # user_version of the file; a newer file is refused, an older one is migrated in _migrate
CACHE_KIB = 512  # page cache; records are small and the daemon's memory is counted
_CREATE = """
create table if not exists record(kind text not null, id text not null, doc blob not null, primary key(kind, id)) without rowid;
"""


class Records:
    """All records of one data root. Errors from a full or read-only disk come out as Unavailable, with nothing half-written."""

    def __init__(self, path: Path) -> None:
        self._lock = threading.RLock()
        self._depth = 0
        self._path = path
        self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        with self._errors():
            self._db.execute("pragma journal_mode=wal")
            self._db.execute("pragma synchronous=normal")
            self._db.execute(f"pragma cache_size=-{CACHE_KIB}")
            self._migrate()

    def _migrate(self) -> None:
        version = self._db.execute("pragma user_version").fetchone()[0]
        if version > SCHEMA:
            raise Unavailable(
                f"{self._path} was written by a newer havre (schema {version}, this one knows {SCHEMA})"
            )
        self._db.executescript(_CREATE + f"pragma user_version={SCHEMA};")

    def put(self, kind: str, key: str, doc: bytes) -> None:
        """Write or replace one record."""
        with self._lock, self._errors():
            self._db.execute("insert or replace into record values(?,?,?)", (kind, key, doc))

    def get(self, kind: str, key: str) -> bytes | None:
        """Return the document, or None."""
        with self._lock, self._errors():
            row = self._db.execute("select doc from record where kind=? and id=?", (kind, key)).fetchone()
        return None if row is None else bytes(row[0])

    def delete(self, kind: str, key: str) -> bool:
        """Remove one record; say whether it was there."""
        with self._lock, self._errors():
            return self._db.execute("delete from record where kind=? and id=?", (kind, key)).rowcount > 0

    def all(self, kind: str) -> list[tuple[str, bytes]]:
        """Return every (id, document) of a kind, ordered by id."""
        with self._lock, self._errors():
            rows = self._db.execute("select id, doc from record where kind=? order by id", (kind,)).fetchall()
        return [(row[0], bytes(row[1])) for row in rows]

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Make the puts and deletes inside one atomic step; nests (the outermost commits). Holds the lock: keep it short."""
        with self._lock:
            if self._depth:
                yield
                return
            with self._errors():
                self._db.execute("begin immediate")
            self._depth += 1
            try:
                yield
                with self._errors():
                    self._db.execute("commit")
            except BaseException:
                if self._db.in_transaction:
                    self._db.execute("rollback")
                raise
            finally:
                self._depth -= 1

    def durable(self) -> None:
        """Bring what was committed so far to the disk (a WAL checkpoint with fsync)."""
        with self._lock, self._errors():
            self._db.execute("pragma wal_checkpoint(full)")

    def close(self) -> None:
        with self._lock:
            self._db.close()

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise Unavailable(
                f"cannot use {self._path}: {error}",
                hint="free some disk space and check that the data root is writable",
            ) from error
