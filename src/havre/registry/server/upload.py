"""One blob on its way in. Blocking; the handlers serialise calls of one upload.

The bytes go to a file of the repository, hashed as they come. The running hash lives in memory: after a restart the file is read again.
"""

import hashlib
import os
import time
import uuid
from pathlib import Path

from havre.registry.server.names import Digest
from havre.registry.server.refusal import Refused
from havre.registry.server.storage import Storage, hash_file, make_folders, remove_tree


class Upload:
    """An upload session; `size` bytes are in the file `data`."""

    def __init__(self, storage: Storage, name: str, key: str, size: int) -> None:
        self.name = name
        self.key = key
        self.size = size
        self._storage = storage
        self._folder = storage.layout.upload(name, key)
        self.data = self._folder / "data"
        self._hash = hashlib.sha256() if not size else None  # None: only the file knows

    def append(self, data: bytes) -> None:
        """Write at the end. Raises OSError; what was not written whole does not count."""
        with self.data.open("r+b") as file:
            file.seek(self.size)
            file.truncate()
            file.write(data)
        if self._hash is not None:
            self._hash.update(data)
        self.size += len(data)

    def cut(self, size: int) -> None:
        """Forget what came behind `size`."""
        if size != self.size:
            os.truncate(self.data, size)
            self.size, self._hash = size, None

    def commit(self, digest: Digest) -> None:
        """Make it a blob of its repository. Raises Refused DIGEST_INVALID, and is gone then."""
        found = self._digest(digest.algorithm)
        if found != digest.hex:
            self.cancel()
            detail = {"digest": str(digest), "received": f"{digest.algorithm}:{found}", "size": self.size}
            raise Refused("DIGEST_INVALID", "provided digest did not match uploaded content", detail)
        with self.data.open("rb+") as file:
            os.fsync(file.fileno())
        self._storage.adopt(self.name, self.data, digest)
        self.cancel()

    def _digest(self, algorithm: str) -> str:
        if self._hash is not None and algorithm == "sha256":
            return self._hash.hexdigest()
        return hash_file(self.data, algorithm)

    def cancel(self) -> None:
        remove_tree(self._folder)


def begin(storage: Storage, name: str) -> Upload:
    """Start an upload."""
    upload = Upload(storage, name, str(uuid.uuid4()), 0)
    folder = storage.layout.upload(name, upload.key)
    make_folders(folder)
    (folder / "startedat").write_text(time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()))
    (folder / "data").touch()
    return upload


def resume(storage: Storage, name: str, key: str) -> Upload:
    """Find an upload of an earlier process again. Raises Refused BLOB_UPLOAD_UNKNOWN."""
    data: Path = storage.layout.upload(name, key) / "data"
    try:
        return Upload(storage, name, key, os.stat(data).st_size)
    except FileNotFoundError:
        raise Refused("BLOB_UPLOAD_UNKNOWN", "blob upload unknown to registry", {"uuid": key}) from None
