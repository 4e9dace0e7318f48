"""Unpacked layers, by chain id: layers/<n>/diff with short numeric names. A layer is whole or not there. Blocking."""

import hashlib
import os
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import BinaryIO

import msgspec

from havre.errors import InvalidParameter, NotFound
from havre.image.content import DigestMismatch
from havre.image.tar.compression import Ahead, open_stream
from havre.image.tar.extract import OPAQUE_XATTR, extract
from havre.image.tree import Trash, remove_tree
from havre.store import Records

KIND = "layer"
MAX_DEPTH = 127  # Docker's limit; overlayfs itself takes 500


class LayerRecord(msgspec.Struct):
    """Kind "layer", by chain id."""

    number: int
    parent: str  # chain id below, "" for a base layer
    diff_id: str
    size_bytes: int
    opaque: bool = False  # its root directory hides all layers below, which overlayfs does not look at


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
    """root/layers/<n>/diff; what has no record is swept at start, and a record without its directory is dropped."""

    def __init__(self, root: Path, records: Records, trash: Trash) -> None:
        self._root, self._trash, self._records = root / "layers", trash, records
        self._root.mkdir(parents=True, exist_ok=True, mode=0o710)
        self.lock = threading.RLock()  # held while what is in use is decided
        self._known = dict(records.load(KIND, msgspec.json.Decoder(LayerRecord).decode))
        self._next = 1 + max([0, *(one.number for one in self._known.values())])
        self.sweep()

    def sweep(self) -> None:
        """While nobody is at work: make records and directories agree."""
        present = set(os.listdir(self._root))
        for chain, one in list(self._known.items()):
            if str(one.number) not in present:
                self._records.owe(KIND, chain, None)
                del self._known[chain]
        for name in present - {str(one.number) for one in self._known.values()}:
            self._trash.throw(self._root / name)

    def has(self, chain: str) -> bool:
        return chain in self._known

    def diff(self, chain: str) -> Path:
        """The directory of one layer. Raises NotFound."""
        if (one := self._known.get(chain)) is None:
            raise NotFound(f"no such layer: {chain}", hint="havre pull or load the image again")
        return self._root / str(one.number) / "diff"

    def stack(self, chain: str) -> list[str]:
        """Directories for overlay's lowerdir, uppermost first. Raises NotFound."""
        found = []
        while chain:
            found.append(str(self.diff(chain)))
            one = self._known[chain]
            chain = "" if one.opaque else one.parent
        return found

    def size(self, chain: str) -> int:
        """Bytes of one layer and all below it."""
        total = 0
        while chain and (one := self._known.get(chain)) is not None:
            total, chain = total + one.size_bytes, one.parent
        return total

    def own_size(self, chain: str) -> int:
        """Bytes of one layer alone; 0 when it is not here."""
        one = self._known.get(chain)
        return one.size_bytes if one else 0

    def usage(self) -> int:
        """Bytes of all layers, each counted once."""
        return sum(one.size_bytes for one in list(self._known.values()))

    def unpack(
        self,
        stream: BinaryIO,
        parent: str,
        diff_id: str = "",
        progress: Callable[[int], None] | None = None,
        *,
        hashed: bool = True,
    ) -> tuple[str, str]:
        """Unpack a layer archive of any compression on top of `parent`; return (chain id, diff id).

        `hashed=False` trusts `diff_id`: the stream is an uncompressed blob whose digest was checked when it came.
        Raises BadTar for a hostile archive, DigestMismatch when it is not `diff_id`; nothing is left then.
        """
        lower = self.stack(parent)
        if len(lower) >= MAX_DEPTH:
            raise InvalidParameter(f"at most {MAX_DEPTH} layers can be stacked", hint="squash the image")
        with self.lock:
            number = self._next
            self._next += 1
        folder = self._root / str(number)
        try:
            (folder / "diff").mkdir(parents=True, mode=0o755)
            found, record = self._fill(folder / "diff", stream, lower, hashed=hashed, progress=progress)
            found = found or diff_id
            if diff_id and found != diff_id:
                raise DigestMismatch(f"the layer's content is {found}, not {diff_id} as the image says")
            chain = chain_id(parent, found)
            record.number, record.parent, record.diff_id = number, parent, found
            self._add(chain, record)
        except BaseException:
            remove_tree(None, str(folder))
            raise
        return chain, found

    @staticmethod
    def _fill(
        diff: Path,
        stream: BinaryIO,
        lower: Sequence[str],
        *,
        hashed: bool,
        progress: Callable[[int], None] | None,
    ) -> tuple[str, LayerRecord]:
        diff.chmod(0o755)
        with Ahead(open_stream(stream, hashed=hashed)) as source:
            size = extract(source, str(diff), lower=lower, progress=progress)
            found = source.finish()
        return found, LayerRecord(0, "", found, size, OPAQUE_XATTR in os.listxattr(diff))

    def _add(self, chain: str, record: LayerRecord) -> None:
        with self.lock:
            if chain in self._known:  # somebody unpacked the same layer meanwhile
                self._trash.throw(self._root / str(record.number))
                return
            self._records.put(KIND, chain, msgspec.json.encode(record))
            self._known[chain] = record

    def remove_except(self, wanted: set[str]) -> int:
        """Remove every layer that is not `wanted` nor below one; return the bytes freed. The caller holds `lock`."""
        kept: set[str] = set()
        for chain in wanted:
            while chain and chain not in kept and chain in self._known:
                kept.add(chain)
                chain = self._known[chain].parent
        freed = 0
        for chain in set(self._known) - kept:
            record = self._known.pop(chain)
            self._records.owe(KIND, chain, None)
            self._trash.throw(self._root / str(record.number))
            freed += record.size_bytes
        return freed
