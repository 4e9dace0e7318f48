"""Blobs and links on a filesystem, each change atomic and on the disk before it is answered. Blocking."""

import contextlib
import hashlib
import os
import shutil
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

from havre.registry.server.layout import Layout
from havre.registry.server.names import Digest, parse_digest
from havre.registry.server.refusal import Refused

COPY_BYTES = 1 << 20


class Storage:
    """One registry's folder. The lock makes linking a blob and sweeping it away exclude each other."""

    def __init__(self, root: Path) -> None:
        self.layout = Layout(root)
        self.lock = threading.RLock()
        self.layout.repositories.mkdir(parents=True, exist_ok=True)

    # blobs

    def size(self, digest: Digest) -> int:
        """Return a blob's size. Raises Refused BLOB_UNKNOWN."""
        try:
            return os.stat(self.layout.blob(digest)).st_size
        except FileNotFoundError:
            raise unknown_blob(digest) from None

    def has(self, digest: Digest) -> bool:
        return self.layout.blob(digest).exists()

    def has_in(self, name: str, digest: Digest) -> bool:
        """Whether a repository has a blob."""
        return self.layout.layer(name, digest).exists() and self.has(digest)

    def touch(self, name: str, digest: Digest) -> bool:
        """Make a repository's blob young, so that no collection takes it now; False when it is not here."""
        with self.lock:
            try:
                os.utime(self.layout.layer(name, digest))
                os.utime(self.layout.blob(digest))
                return True
            except FileNotFoundError:
                return False

    def read(self, digest: Digest) -> bytes:
        """Return a whole blob: manifests only. Raises Refused BLOB_UNKNOWN."""
        try:
            return self.layout.blob(digest).read_bytes()
        except FileNotFoundError:
            raise unknown_blob(digest) from None

    def put(self, digest: Digest, data: bytes) -> None:
        """Keep a small blob whose digest was checked."""
        path = self.layout.blob(digest)
        with self.lock:
            if path.exists():
                os.utime(path)
            else:
                write_atomic(path, data)

    def link(self, name: str, digest: Digest) -> bool:
        """Give a repository a blob that is here; False when it is not."""
        with self.lock:
            try:
                os.utime(self.layout.blob(digest))  # it is young again: a sweep leaves it alone
            except FileNotFoundError:
                return False
            write_atomic(self.layout.layer(name, digest), str(digest).encode())
            return True

    def unlink(self, name: str, digest: Digest) -> None:
        """Take a blob from a repository; the bytes go with the next collection. Raises Refused BLOB_UNKNOWN."""
        if not self.has_in(name, digest):
            raise unknown_blob(digest)
        remove_link(self.layout.layer(name, digest))

    def adopt(self, name: str, data: Path, digest: Digest) -> None:
        """Make a finished, checked file a blob of a repository."""
        path = self.layout.blob(digest)
        with self.lock:
            if not path.exists():
                make_folders(path.parent)
                os.rename(data, path)
                sync_folder(path.parent)
            self.link(name, digest)

    # what is there

    def repositories(self, having: str = "_manifests") -> Iterator[str]:
        """Yield the names of all repositories that have manifests (or "_layers", "_uploads"), in order."""
        yield from _repositories(self.layout.repositories, "", having)

    def has_repository(self, name: str) -> bool:
        return (self.layout.repository(name) / "_manifests").is_dir()


def _repositories(folder: Path, name: str, having: str) -> Iterator[str]:
    try:
        entries = sorted(entry.name for entry in os.scandir(folder) if entry.is_dir(follow_symlinks=False))
    except FileNotFoundError:
        return
    if having in entries:
        yield name
    for entry in entries:
        if not entry.startswith("_"):
            yield from _repositories(folder / entry, f"{name}/{entry}" if name else entry, having)


def unknown_blob(digest: Digest) -> Refused:
    return Refused("BLOB_UNKNOWN", "blob unknown to registry", {"digest": str(digest)})


# files


def make_folders(path: Path) -> None:
    """mkdir -p, each new entry on the disk."""
    if path.is_dir():
        return
    make_folders(path.parent)
    with contextlib.suppress(FileExistsError):
        path.mkdir()
    sync_folder(path.parent)


def sync_folder(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def write_atomic(path: Path, data: bytes) -> None:
    """Write by rename: after kill -9 or on a full disk there is the old file or the new one. Raises OSError."""
    make_folders(path.parent)
    work = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        with work.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.rename(work, path)
    except BaseException:
        work.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def remove_link(link: Path) -> None:
    """Remove a link and its folder; nothing else is in there. Idempotent."""
    link.unlink(missing_ok=True)
    with contextlib.suppress(OSError):
        link.parent.rmdir()


def read_link(path: Path) -> Digest | None:
    """Return the digest a link names, None when it is missing or damaged."""
    try:
        return parse_digest(path.read_text("ascii").strip())
    except (FileNotFoundError, NotADirectoryError, UnicodeError):
        return None


def links_below(folder: Path) -> list[Digest]:
    """Return the digests of `folder/algorithm/hex/link`, in order."""
    found = []
    for path in sorted(folder.glob("*/*/link")):
        digest = parse_digest(f"{path.parent.parent.name}:{path.parent.name}")
        if digest is not None:
            found.append(digest)
    return found


def hash_file(path: Path, algorithm: str) -> str:
    """Return a file's digest in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, algorithm).hexdigest()


def remove_tree(path: Path) -> None:
    shutil.rmtree(path, ignore_errors=True)


def age_s(path: Path) -> float:
    """Seconds since a file was made or touched; 0 when it is gone."""
    try:
        return max(0.0, time.time() - os.stat(path).st_mtime)
    except FileNotFoundError:
        return 0.0
