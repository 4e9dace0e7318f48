"""SQLite (WAL) records. Blocking, thread safe: one connection behind one lock; a put costs about 30 us.

synchronous=NORMAL: a committed record survives kill -9 of the daemon (sqlite.org/wal.html). For power cuts the daemon calls
`sync` within a second of a write, outside of any request: an fsync of the log, which is what synchronous=FULL does on every
commit. The file is whole after a power cut; at most the last second is gone, which the start treats like a crash just before it.
"""

import os
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from havre import log
from havre.errors import HavreError, Unavailable
from havre.store.reserve import Reserve

SCHEMA = 1  # user_version of the file; a newer one is refused, an older one is brought up by MIGRATIONS
MIGRATIONS: dict[
    int, str
] = {  # schema -> the statements that make it of the one before; never changed after a release
    1: "create table if not exists record(kind text not null, id text not null, doc blob not null, primary key(kind, id)) without rowid"
}
CACHE_KIB = 512  # page cache; records are small and the daemon's memory is counted
_FULL = (
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_IOERR,
)  # the second: SQLite could not make room for its own files
_DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
T = TypeVar("T")


class Damaged(HavreError):
    """The file, or a record in it, cannot be read: whoever starts the daemon has to decide."""


class Records:
    """All records of one data root. Errors from a full or read-only disk come out as Unavailable, with nothing half-written."""

    def __init__(self, path: Path) -> None:
        self._lock = threading.RLock()
        self._depth = 0
        self._path = path
        self._reserve = Reserve(path.with_name("reserve"))
        self._owed: dict[tuple[str, str], bytes | None] = {}
        self._unsynced = self._frees = False  # the second: the transaction that is open removes something
        self.on_write: Callable[[], object] = lambda: (
            None
        )  # called by the writing thread when `sync` has something to do
        with self._errors():
            _keep_to_root(str(path))
            self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
            try:
                self._prepare()
            except BaseException:
                self._db.close()
                raise
        self._reserve.keep()

    def _prepare(self) -> None:
        self._run("pragma journal_mode=wal", reserve=True)
        self._db.execute("pragma synchronous=normal")
        self._db.execute(f"pragma cache_size=-{CACHE_KIB}")
        version = self._db.execute("pragma user_version").fetchone()[0]
        if version > SCHEMA:
            raise Unavailable(
                f"{self._path} was written by a newer havre (schema {version}, this one knows up to {SCHEMA}); nothing was changed",
                hint="the newer havred again, or another --data-root",
            )
        for step in range(version + 1, SCHEMA + 1):
            with self.transaction():
                self._run(MIGRATIONS[step])
                self._run(f"pragma user_version={step}")

    # writing

    def put(self, kind: str, key: str, doc: bytes) -> None:
        """Write or replace one record. Raises Unavailable on a full disk: the reserve is not for what is new."""
        self._write(kind, key, doc)

    def delete(self, kind: str, key: str) -> bool:
        """Remove one record; say whether it was there."""
        return self._write(kind, key, None)

    def owe(self, kind: str, key: str, doc: bytes | None) -> None:
        """Write (None: remove) what has happened already. Never raises: when the disk refuses it is written with the next one that works."""
        try:
            self._write(kind, key, doc, reserve=True)
        except Unavailable as error:
            with self._lock:
                if not self._owed:
                    log.error("a record could not be written; it is kept in memory", kind=kind, error=error)
                self._owed[kind, key] = doc
            self.on_write()

    def settle(self) -> bool:
        """Try again to write what is owed; say whether nothing is owed any more."""
        with self._lock:
            try:
                self._pay()
            except Unavailable:
                return False
        return True

    @property
    def owing(self) -> bool:
        return bool(self._owed)

    def _write(self, kind: str, key: str, doc: bytes | None, *, reserve: bool = False) -> bool:
        with self._lock, self._errors():
            self._pay(besides=(kind, key))
            return self._one(kind, key, doc, reserve=reserve)

    def _pay(self, besides: tuple[str, str] = ("", "")) -> None:
        while self._owed:
            (kind, key), doc = next(iter(self._owed.items()))
            if (kind, key) != besides:
                with self._errors():
                    self._one(kind, key, doc, reserve=True)
            del self._owed[kind, key]

    def _one(self, kind: str, key: str, doc: bytes | None, *, reserve: bool) -> bool:
        if doc is None:
            self._frees = True
            sql = "delete from record where kind=? and id=?"
            done = self._run(sql, (kind, key), reserve=True).rowcount > 0
        else:
            sql = "insert or replace into record values(?,?,?)"
            done = self._run(sql, (kind, key, doc), reserve=reserve).rowcount > 0
        if not self._depth:
            self._written()
        return done

    def _run(self, sql: str, values: tuple[Any, ...] = (), *, reserve: bool = False) -> sqlite3.Cursor:
        """Execute; with `reserve` on a full disk once more, with the space that was kept for it."""
        try:
            return self._db.execute(sql, values)
        except sqlite3.Error as error:
            torn = self._depth and not self._db.in_transaction
            if not reserve or not _is(error, _FULL) or torn or not self._reserve.free():
                raise
        return self._db.execute(sql, values)

    def _written(self) -> None:
        if not self._unsynced:
            self._unsynced = True
            self.on_write()
        self._reserve.keep()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Make the puts and deletes inside one atomic step; nests (the outermost commits). Holds the lock: keep it short."""
        with self._lock:
            if self._depth:
                yield
                return
            with self._errors():
                self._run("begin immediate")
            self._depth += 1
            self._frees = False
            try:
                yield
                with self._errors():
                    self._run("commit", reserve=self._frees)
            except BaseException:
                if self._db.in_transaction:
                    self._db.execute("rollback")
                raise
            finally:
                self._depth -= 1
            self._written()

    def sync(self) -> None:
        """Bring what was committed so far to the disk. Holds no lock: nobody waits for the disk meanwhile."""
        self._unsynced = False
        try:
            fd = os.open(f"{self._path}-wal", os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return
        try:
            os.fsync(fd)
        except OSError as error:
            log.error("could not bring records to the disk", path=self._path, error=error)
        finally:
            os.close(fd)

    # reading

    def get(self, kind: str, key: str) -> bytes | None:
        """Return the document, or None."""
        with self._lock, self._errors():
            row = self._db.execute("select doc from record where kind=? and id=?", (kind, key)).fetchone()
        return None if row is None else bytes(row[0])

    def all(self, kind: str) -> list[tuple[str, bytes]]:
        """Return every (id, document) of a kind, ordered by id."""
        with self._lock, self._errors():
            rows = self._db.execute("select id, doc from record where kind=? order by id", (kind,)).fetchall()
        return [(row[0], bytes(row[1])) for row in rows]

    def load(self, kind: str, decode: Callable[[bytes], T]) -> list[tuple[str, T]]:
        """Return every record of a kind, decoded. Raises Damaged naming the one that `decode` refuses with a ValueError."""
        found = []
        for key, doc in self.all(kind):
            try:
                found.append((key, decode(doc)))
            except ValueError as error:
                raise Damaged(
                    f"{self._path}: the record of {kind} {key} cannot be read: {error}",
                    hint=f"sqlite3 {self._path} \"delete from record where kind='{kind}' and id='{key}'\" to give it up",
                ) from None
        return found

    def close(self) -> None:
        with self._lock:
            self.settle()
            self._db.close()

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            if _is(error, _DAMAGED):
                raise Damaged(
                    f"{self._path} is damaged: {error}",
                    hint=f"sqlite3 {self._path} .recover | sqlite3 new.db, then put new.db in its place without the -wal and "
                    "-shm files; or move havre.db away: what containers and images have on the disk is then set aside, not deleted",
                ) from error
            raise Unavailable(
                f"cannot use {self._path}: {error}",
                hint="free some disk space and check that the data root is writable",
            ) from error


def _keep_to_root(path: str) -> None:
    """Records hold environments with secrets. SQLite gives its own files beside the database the same mode."""
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        for name in (path, f"{path}-wal", f"{path}-shm"):
            if os.path.exists(name):
                os.chmod(name, 0o600)
    except OSError:
        pass  # SQLite meets the same and says it better


def _is(error: sqlite3.Error, codes: tuple[int, ...]) -> bool:
    """Whether its primary result code is one of these (the extended code has more in its upper bits)."""
    return (getattr(error, "sqlite_errorcode", 0) & 0xFF) in codes
