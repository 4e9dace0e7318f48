"""Blobs by digest. Nothing is visible before its size and digest are right; a broken-off download can be resumed. Blocking."""

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from havre.errors import HavreError, InvalidParameter, NotFound
from havre.spec.reference import DIGEST

STEP_BYTES = 1 << 20


class DigestMismatch(HavreError):
    """The bytes are not what was promised."""

    status = 400


class Content:
    """root/blobs/<algorithm>/<hex>, and root/ingest for what is on its way."""

    def __init__(self, root: Path) -> None:
        self._blobs, self._ingest = root / "blobs", root / "ingest"
        for path in (self._blobs / "sha256", self._blobs / "sha512", self._ingest):
            path.mkdir(parents=True, exist_ok=True, mode=0o700)

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
        """Open a blob for reading. Raises NotFound."""
        try:
            return self.path(digest).open("rb")
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
        with self.ingest(wanted, len(data)) as writer:
            writer.write(data)
            writer.commit()
        return wanted

    def ingest(self, digest: str, size: int) -> "Ingest":
        """Begin or resume receiving a blob; `size` -1 when it is not known."""
        return Ingest(self._ingest / digest.replace(":", "-"), self.path(digest), digest, size)

    def delete(self, digest: str) -> int:
        """Remove a blob; return its bytes, 0 when it was not there."""
        path = self.path(digest)
        try:
            size = path.stat().st_size
            path.unlink()
        except FileNotFoundError:
            return 0
        return size

    def all(self) -> Iterator[str]:
        """Every digest there is."""
        for algorithm in ("sha256", "sha512"):
            for name in os.listdir(self._blobs / algorithm):
                yield f"{algorithm}:{name}"


class Ingest:
    """One blob on its way. Use as a context manager: what is not committed stays as a resumable part, or goes with `abort`."""

    def __init__(self, part: Path, target: Path, digest: str, size: int) -> None:
        self._part, self._target, self._digest, self._size = part, target, digest, size
        self._hash = hashlib.new(digest.partition(":")[0])
        self.offset = 0
        self._file = self._open()

    def _open(self) -> BinaryIO:
        file = self._part.open("a+b")
        file.seek(0)
        while chunk := file.read(STEP_BYTES):  # what an earlier try has left
            self._hash.update(chunk)
            self.offset += len(chunk)
        if 0 <= self._size < self.offset:
            self._restart(file)
        return file

    def _restart(self, file: BinaryIO) -> None:
        file.truncate(0)
        self._hash = hashlib.new(self._digest.partition(":")[0])
        self.offset = 0

    def restart(self) -> None:
        """Forget what an earlier try has left."""
        self._restart(self._file)

    def write(self, data: bytes | memoryview) -> None:
        """Append. Raises DigestMismatch as soon as there is too much."""
        self.offset += len(data)
        if 0 <= self._size < self.offset:
            self.abort()
            raise DigestMismatch(f"{self._digest} is larger than the {self._size} bytes it should have")
        self._hash.update(data)
        self._file.write(data)

    def commit(self) -> None:
        """Make it visible. Raises DigestMismatch, with nothing left."""
        found = f"{self._hash.name}:{self._hash.hexdigest()}"
        if self._size >= 0 and self.offset != self._size:
            raise DigestMismatch(f"{self._digest} was cut short: {self.offset} of {self._size} bytes")
        if found != self._digest:
            self.abort()
            raise DigestMismatch(f"the content of {self._digest} does not match: it is {found}")
        self._file.flush()
        os.fsync(self._file.fileno())
        os.replace(self._part, self._target)
        self._file.close()

    def abort(self) -> None:
        """Throw it away."""
        self._file.close()
        self._part.unlink(missing_ok=True)

    def __enter__(self) -> "Ingest":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
