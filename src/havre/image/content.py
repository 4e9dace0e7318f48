"""Blobs by digest. Nothing is visible before its size and digest are right; a broken-off download can be resumed. Blocking."""

import fcntl
import hashlib
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from havre.errors import HavreError, InvalidParameter, NotFound, Unavailable
from havre.image.tree import Trash
from havre.spec.reference import DIGEST

STEP_BYTES = 1 << 20
PART_KEPT_S = 7 * 86400  # a part that nobody came back for
WORK, PRIVATE = "work-", ".private-"
_PART = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC


class DigestMismatch(HavreError):
    """The bytes are not what was promised."""

    status = 400


def write_all(fd: int, data: bytes | memoryview, what: str) -> None:
    """Write all of it. Raises Unavailable naming `what` when the disk is full or broken."""
    view = memoryview(data)
    try:
        while view:
            view = view[os.write(fd, view) :]
    except OSError as error:
        why = os.strerror(error.errno or 0).lower()
        raise Unavailable(f"cannot store {what}: {why}", hint="free some disk space: df -h, df -i") from error


class Content:
    """root/blobs/<algorithm>/<hex>, and root/ingest for what is on its way."""

    def __init__(self, root: Path, trash: Trash) -> None:
        self._blobs, self._ingest, self._trash = root / "blobs", root / "ingest", trash
        for path in (self._blobs / "sha256", self._blobs / "sha512", self._ingest):
            path.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.sweep()

    def sweep(self) -> None:
        """While nobody is at work: throw away what a crash, or a disk that failed, has left half-made; parts that can be resumed stay for a while."""
        with os.scandir(self._ingest) as entries:
            for entry in entries:
                old = entry.stat(follow_symlinks=False).st_mtime < time.time() - PART_KEPT_S
                if old or entry.name.startswith(WORK) or PRIVATE in entry.name:
                    self._trash.throw(Path(entry.path))

    def workspace(self) -> Path:
        """Return a new empty directory for something half-made; `discard` removes it, as the next start does."""
        path = self._ingest / f"{WORK}{os.urandom(8).hex()}"
        path.mkdir(mode=0o700)
        return path

    def discard(self, path: Path) -> None:
        self._trash.throw(path)

    def path(self, digest: str) -> Path:
        """Where a blob lies or would lie. Raises InvalidParameter for what is no digest (path tricks included)."""
        if not DIGEST.fullmatch(digest):
            raise InvalidParameter(f"invalid digest: {digest[:200]!r}")
        algorithm, _, value = digest.partition(":")
        return self._blobs / algorithm / value

    def has(self, digest: str) -> bool:
        return self.path(digest).is_file()

    def size(self, digest: str) -> int:
        """Bytes of a blob. Raises NotFound."""
        try:
            return self.path(digest).stat().st_size
        except FileNotFoundError:
            raise NotFound(f"no such blob: {digest}") from None

    def open(self, digest: str) -> BinaryIO:
        """Open a blob for reading, unbuffered. Raises NotFound."""
        try:
            return self.path(digest).open("rb", buffering=0)
        except FileNotFoundError:
            raise NotFound(f"no such blob: {digest}") from None

    def read(self, digest: str, limit: int = 4 << 20) -> bytes:
        """Return a small blob (a manifest or a config). Raises NotFound, InvalidParameter past `limit`."""
        if self.size(digest) > limit:
            raise InvalidParameter(f"{digest} is too large: {self.size(digest)} bytes, at most {limit}")
        with self.open(digest) as file:
            return file.read()

    def put(self, data: bytes, digest: str = "") -> str:
        """Store small content; return its digest. Raises DigestMismatch when it is not `digest`."""
        wanted = digest or f"sha256:{hashlib.sha256(data).hexdigest()}"
        with self.ingest(wanted, len(data), private=True) as writer:
            writer.write(data)
            writer.commit()
        return wanted

    def ingest(self, digest: str, size: int, *, private: bool = False) -> "Ingest":
        """Begin or resume receiving a blob; `size` -1 when it is not known. Raises InvalidParameter.

        A second one for the same digest at the same time gets a part of its own, which is not resumed; so does a `private` one.
        """
        part = self._ingest / digest.replace(":", "-")
        return Ingest(_private(part) if private else part, self.path(digest), digest, size)

    def adopt(self, file: Path, digest: str) -> None:
        """Move a finished file of this filesystem in. The caller has computed `digest` from the bytes it wrote."""
        target = self.path(digest)
        if target.is_file():
            return
        fd = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)
        os.replace(file, target)

    def delete(self, digest: str) -> int:
        """Remove a blob; return its bytes, 0 when it was not there."""
        path = self.path(digest)
        try:
            size = path.stat().st_size
        except FileNotFoundError:
            return 0
        self._trash.throw(path)
        return size

    def all(self) -> Iterator[str]:
        """Every digest there is."""
        for algorithm in ("sha256", "sha512"):
            for name in os.listdir(self._blobs / algorithm):
                yield f"{algorithm}:{name}"


def _private(part: Path) -> Path:
    return part.with_name(f"{part.name}{PRIVATE}{os.urandom(6).hex()}")


class Ingest:
    """One blob on its way. Use as a context manager: what is not committed stays as a resumable part, or goes with `abort`."""

    def __init__(self, part: Path, target: Path, digest: str, size: int) -> None:
        self._part, self._target, self._digest, self._size = part, target, digest, size
        self.offset = 0
        self._hash = hashlib.new(digest.partition(":")[0])
        self._done = False
        self._fd = self._open()
        self._resume()

    def _open(self) -> int:
        """The shared part, locked; or a private one while somebody else has that lock."""
        while True:
            fd = os.open(self._part, _PART, 0o600)
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(fd)
                self._part = _private(self._part)
                continue
            try:
                if os.path.samestat(os.fstat(fd), os.stat(self._part)):
                    return fd
            except FileNotFoundError:
                pass
            os.close(fd)  # it was committed between open and lock

    def _resume(self) -> None:
        while chunk := os.read(self._fd, STEP_BYTES):  # what an earlier try has left
            self._hash.update(chunk)
            self.offset += len(chunk)
        if 0 <= self._size < self.offset:
            self.restart()

    def restart(self) -> None:
        """Forget what an earlier try has left."""
        os.ftruncate(self._fd, 0)
        os.lseek(self._fd, 0, os.SEEK_SET)
        self._hash = hashlib.new(self._digest.partition(":")[0])
        self.offset = 0

    def write(self, data: bytes | memoryview) -> None:
        """Append. Raises DigestMismatch as soon as there is too much, Unavailable when the disk is full."""
        if 0 <= self._size < self.offset + len(data):
            self.abort()
            raise DigestMismatch(f"{self._digest} is larger than the {self._size} bytes it should have")
        self._hash.update(data)
        try:
            write_all(self._fd, data, self._digest)
        except Unavailable:
            os.ftruncate(self._fd, 0)  # the hash knows more than the file: nothing here can be resumed
            raise
        self.offset += len(data)

    def commit(self) -> None:
        """Make it visible. Raises DigestMismatch: cut short (the part stays for another try) or wrong (nothing stays)."""
        if self._size >= 0 and self.offset != self._size:
            raise DigestMismatch(f"{self._digest} was cut short: {self.offset} of {self._size} bytes")
        found = f"{self._hash.name}:{self._hash.hexdigest()}"
        if found != self._digest:
            self.abort()
            raise DigestMismatch(f"the content of {self._digest} does not match: it is {found}")
        os.fsync(self._fd)
        os.replace(self._part, self._target)
        self._done = True
        self._close()

    def abort(self) -> None:
        """Throw it away."""
        if not self._done:
            self._done = True
            self._part.unlink(missing_ok=True)
        self._close()

    def _close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def __enter__(self) -> "Ingest":
        return self

    def __exit__(self, *_: object) -> None:
        if PRIVATE in self._part.name or not self.offset:
            self.abort()  # nobody could resume it
        self._close()
