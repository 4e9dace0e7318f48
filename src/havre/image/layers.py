"""Unpacked layers, by chain id: layers/<n>/diff with short numeric names. A layer is whole or not there. Blocking."""

import hashlib
import os
import shutil
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import BinaryIO

import msgspec

from havre.errors import InvalidParameter, NotFound
from havre.image.content import DigestMismatch
from havre.image.tar.compression import open_stream
from havre.image.tar.extract import extract
from havre.store import Records

KIND = "layer"
MAX_DEPTH = 127  # Docker's limit; overlayfs itself takes 500


class LayerRecord(msgspec.Struct):
    """Kind "layer", by chain id."""

    number: int
    parent: str  # chain id below, "" for a base layer
    diff_id: str
    size_bytes: int


def chain_id(parent: str, diff_id: str) -> str:
    """Return the chain id of a layer on top of `parent` (OCI image-spec, "Layer ChainID")."""
    if not parent:
        return diff_id
    return f"sha256:{hashlib.sha256(f'{parent} {diff_id}'.encode()).hexdigest()}"


def chain_ids(diff_ids: Sequence[str]) -> list[str]:
    """Return the chain ids of all layers, base first. Raises InvalidParameter past MAX_DEPTH."""
    if len(diff_ids) > MAX_DEPTH:
        raise InvalidParameter(
            f"the image has {len(diff_ids)} layers, at most {MAX_DEPTH} can be stacked", hint="squash it"
        )
    found: list[str] = []
    for diff_id in diff_ids:
        found.append(chain_id(found[-1] if found else "", diff_id))
    return found


class Layers:
    """root/layers/<n>/diff; what has no record is swept at start."""

    def __init__(self, root: Path, records: Records) -> None:
        self._root = root / "layers"
        self._root.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._records = records
        self._lock = threading.Lock()
        self._known = {key: msgspec.json.decode(doc, type=LayerRecord) for key, doc in records.all(KIND)}
        self._next = 1 + max([0, *(one.number for one in self._known.values()), *self._sweep()])

    def _sweep(self) -> list[int]:
        """Remove directories without a record; return the numbers seen."""
        wanted = {str(one.number) for one in self._known.values()}
        for name in os.listdir(self._root):
            if name not in wanted:
                shutil.rmtree(self._root / name, ignore_errors=True)
        return [int(name) for name in wanted]

    def has(self, chain: str) -> bool:
        return chain in self._known

    def diff(self, chain: str) -> Path:
        """The directory of one layer. Raises NotFound."""
        if chain not in self._known:
            raise NotFound(f"no such layer: {chain}")
        return self._root / str(self._known[chain].number) / "diff"

    def stack(self, chain: str) -> list[str]:
        """Directories for overlay's lowerdir, uppermost first."""
        found = []
        while chain:
            found.append(str(self.diff(chain)))
            chain = self._known[chain].parent
        return found

    def size(self, chain: str) -> int:
        """Bytes of one layer and all below it."""
        total = 0
        while chain:
            one = self._known.get(chain)
            if one is None:
                return total
            total, chain = total + one.size_bytes, one.parent
        return total

    def unpack(
        self, stream: BinaryIO, parent: str, diff_id: str = "", progress: Callable[[int], None] | None = None
    ) -> tuple[str, str]:
        """Unpack a layer archive of any compression on top of `parent`; return (chain id, diff id).

        Raises BadTar for a hostile archive, DigestMismatch when it is not `diff_id`; nothing is left then.
        """
        if parent and parent not in self._known:
            raise NotFound(f"no such layer: {parent}")
        with self._lock:
            number = self._next
            self._next += 1
        folder = self._root / str(number)
        (folder / "diff").mkdir(parents=True)
        (folder / "diff").chmod(0o755)
        try:
            source = open_stream(stream)
            size = extract(source, str(folder / "diff"), whiteouts=True, progress=progress)  # type: ignore[arg-type]
            found = source.finish()
            if diff_id and found != diff_id:
                raise DigestMismatch(f"the layer's content is {found}, not {diff_id} as the image says")
            chain = chain_id(parent, found)
            self._add(chain, LayerRecord(number, parent, found, size))
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        return chain, found

    def _add(self, chain: str, record: LayerRecord) -> None:
        with self._lock:
            if chain in self._known:  # somebody unpacked the same layer meanwhile
                shutil.rmtree(self._root / str(record.number), ignore_errors=True)
                return
            self._records.put(KIND, chain, msgspec.json.encode(record))
            self._known[chain] = record

    def remove_except(self, wanted: set[str]) -> int:
        """Remove every layer that is not `wanted` nor below one; return the bytes freed."""
        kept: set[str] = set()
        for chain in wanted:
            while chain and chain not in kept and chain in self._known:
                kept.add(chain)
                chain = self._known[chain].parent
        freed = 0
        for chain in set(self._known) - kept:
            record = self._known.pop(chain)
            self._records.delete(KIND, chain)
            shutil.rmtree(self._root / str(record.number), ignore_errors=True)
            freed += record.size_bytes
        return freed
