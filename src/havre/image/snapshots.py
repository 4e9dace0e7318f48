"""Containers' own writable layers: snapshots/<n>/{upper,work}. Mounts nothing: an Overlay value is handed out. Blocking."""

import os
import zlib
from collections.abc import Callable
from pathlib import Path

import msgspec

from havre.errors import Conflict, KernelError, NotFound, NotImplementedHere
from havre.image.layers import Layers
from havre.image.tree import Trash
from havre.linux import quota
from havre.spec.runplan import Overlay
from havre.store import Records

BLOCK = 512  # the unit of st_blocks (stat(2))
KIND = "snapshot"


class SnapshotRecord(msgspec.Struct):
    """Kind "snapshot", by key (a container id)."""

    number: int
    chain: str
    project: int = 0  # of a layer with a size limit (linux/quota.py)


class Snapshots:
    """Prepared by key; removal is by rename into the trash, which is emptied apart, so that `rm` is fast."""

    def __init__(self, root: Path, records: Records, layers: Layers, trash: Trash) -> None:
        self._root, self._empty, self._trash = root / "snapshots", root / "empty", trash
        for path in (self._root, self._empty):
            path.mkdir(parents=True, exist_ok=True, mode=0o710)
        self._records, self._layers = records, layers
        self._known = dict(records.load(KIND, msgspec.json.Decoder(SnapshotRecord).decode))
        # two data roots on one file system share its projects, so that each begins somewhere else
        self._first_project = (zlib.crc32(bytes(self._root)) & 0x7FFF) << 16
        self._next = 1 + max([0, *(one.number for one in self._known.values())])
        for name in set(os.listdir(self._root)) - {str(one.number) for one in self._known.values()}:
            self._trash.throw(self._root / name)

    def prepare(
        self,
        chain: str,
        key: str,
        owner: Callable[[int, int], tuple[int, int]] = lambda uid, gid: (uid, gid),
        *,
        limit_bytes: int = 0,
    ) -> Overlay:
        """Make a fresh upper layer over the image's; `owner` says who an owner in the image is on the host (user namespaces).

        It may hold `limit_bytes` of its own, 0 for no limit. Raises NotFound when a layer is missing, Conflict when the key is taken,
        NotImplementedHere where no size can be enforced.
        """
        with self._layers.lock:  # from here on the layers are in use
            if key in self._known:
                raise Conflict(f"snapshot {key} is already there")
            self._layers.stack(chain)
            project = self._first_project + self._next if limit_bytes else 0
            record = SnapshotRecord(self._next, chain, project)
            self._next += 1
            self._records.put(KIND, key, msgspec.json.encode(record))
            self._known[key] = record
        folder = self._root / str(record.number)
        try:
            folder.mkdir(mode=0o710)
            if limit_bytes:
                _limit(folder, record.project, limit_bytes)
            (folder / "work").mkdir(mode=0o711)
            (folder / "upper").mkdir(mode=0o755)
            self._dress(folder / "upper", chain, owner)
        except BaseException:
            self.remove(key)
            raise
        return self.get(key)

    def _dress(self, upper: Path, chain: str, owner: Callable[[int, int], tuple[int, int]]) -> None:
        """The root directory has the owner and mode of the uppermost layer's."""
        if chain:
            status = os.stat(self._layers.diff(chain))
            os.chown(upper, *owner(status.st_uid, status.st_gid))
            os.chmod(upper, status.st_mode & 0o7777)
        else:
            os.chown(upper, *owner(0, 0))
            os.chmod(upper, 0o755)  # whatever the umask

    def get(self, key: str) -> Overlay:
        """Return the overlay of a prepared snapshot. Raises NotFound."""
        if (record := self._known.get(key)) is None:
            raise NotFound(f"no such snapshot: {key}")
        folder = self._root / str(record.number)
        lower = self._layers.stack(record.chain) or [str(self._empty)]
        return Overlay(lower=lower, upper=str(folder / "upper"), work=str(folder / "work"))

    def chains(self) -> set[str]:
        """The layers that snapshots stand on: in use, never collected."""
        return {one.chain for one in list(self._known.values())}

    def keys(self) -> list[str]:
        """Every key."""
        return list(self._known)

    def remove(self, key: str) -> None:
        """Forget a snapshot; its files go by a rename and are deleted in the background. Idempotent."""
        record = self._known.get(key)
        if record is not None:
            if record.project:
                _forget_limit(self._root, record.project)
            self._trash.throw(self._root / str(record.number))
        self._records.owe(KIND, key, None)
        self._known.pop(key, None)

    def usage(self, key: str) -> int:
        """Bytes of the files in a container's own layer."""
        if key not in self._known:
            return 0
        total = 0
        seen: set[int] = set()
        for base, _, names in os.walk(self.get(key)["upper"]):
            for name in names:
                try:
                    status = os.lstat(os.path.join(base, name))
                except FileNotFoundError:
                    continue
                if status.st_nlink > 1:
                    if status.st_ino in seen:
                        continue
                    seen.add(status.st_ino)
                total += min(status.st_size, status.st_blocks * BLOCK)  # holes take no place
        return total


def _limit(folder: Path, project: int, size_bytes: int) -> None:
    """The project is given first, while the directory is empty: what comes later inherits it."""
    try:
        quota.set_project(str(folder), project)
        quota.set_limit(str(folder), project, size_bytes)
    except KernelError as error:
        raise NotImplementedHere(
            f"--storage-opt size= needs a file system with project quotas below the data root: {error}",
            hint="xfs mounted with pquota, or ext4 made with -O project,quota and mounted with prjquota",
        ) from None


def _forget_limit(root: Path, project: int) -> None:
    try:
        quota.set_limit(str(root), project, 0)
    except KernelError:
        pass  # quotas were switched off meanwhile: the number is free as well
