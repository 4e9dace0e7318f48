"""Containers' own writable layers: snapshots/<n>/{upper,work}. Mounts nothing: an Overlay value is handed out. Blocking."""

import os
from collections.abc import Callable
from pathlib import Path

import msgspec

from havre.errors import Conflict, NotFound
from havre.image.layers import Layers
from havre.image.tree import Trash
from havre.spec.runplan import Overlay
from havre.store import Records

BLOCK = 512  # the unit of st_blocks (stat(2))
KIND = "snapshot"


class SnapshotRecord(msgspec.Struct):
    """Kind "snapshot", by key (a container id)."""

    number: int
    chain: str


class Snapshots:
    """Prepared by key; removal is by rename into the trash, which is emptied apart, so that `rm` is fast."""

    def __init__(self, root: Path, records: Records, layers: Layers, trash: Trash) -> None:
        self._root, self._empty, self._trash = root / "snapshots", root / "empty", trash
        for path in (self._root, self._empty):
            path.mkdir(parents=True, exist_ok=True, mode=0o710)
        self._records, self._layers = records, layers
        self._known = {key: msgspec.json.decode(doc, type=SnapshotRecord) for key, doc in records.all(KIND)}
        self._next = 1 + max([0, *(one.number for one in self._known.values())])
        for name in set(os.listdir(self._root)) - {str(one.number) for one in self._known.values()}:
            self._trash.throw(self._root / name)

    def prepare(
        self, chain: str, key: str, owner: Callable[[int, int], tuple[int, int]] = lambda uid, gid: (uid, gid)
    ) -> Overlay:
        """Make a fresh upper layer over the image's; `owner` says who an owner in the image is on the host (user namespaces).

        Raises NotFound when a layer is missing, Conflict when the key is taken."""
        with self._layers.lock:  # from here on the layers are in use
            if key in self._known:
                raise Conflict(f"snapshot {key} is already there")
            self._layers.stack(chain)
            record = SnapshotRecord(self._next, chain)
            self._next += 1
            self._records.put(KIND, key, msgspec.json.encode(record))
            self._known[key] = record
        folder = self._root / str(record.number)
        try:
            folder.mkdir(mode=0o710)
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
            self._trash.throw(self._root / str(record.number))
        self._records.delete(KIND, key)
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
