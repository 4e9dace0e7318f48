"""What all handlers share: the storage, who may do what, one lock a repository, the uploads under way."""

import asyncio
import contextlib
from collections import OrderedDict
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from havre.http.server import Request
from havre.registry.server.proxy import Upstream
from havre.registry.server.repository import Repository
from havre.registry.server.storage import Storage
from havre.registry.server.upload import Upload

UPLOADS_KEPT = 10_000  # sessions whose running hash is in memory; older ones are read again


class Access(Protocol):
    """Who may do what; htpasswd, tokens, or everybody."""

    async def check(self, request: Request, name: str, actions: Sequence[str]) -> None:
        """Raise Refused UNAUTHORIZED with its challenge, or DENIED. `name` "" is the registry itself."""

    async def may(self, request: Request, name: str, action: str) -> bool:
        """Whether it would be allowed, without a challenge."""


@dataclass(frozen=True, slots=True)
class Rules:
    """What config.yml decides about content."""

    delete: bool = True
    read_only: bool = False
    check_parts: bool = True  # a manifest's blobs must be here before it
    quota_bytes: int = 0  # of one repository; 0: none


@dataclass(frozen=True, slots=True)
class Service:
    """One registry."""

    storage: Storage
    access: Access
    rules: Rules = Rules()
    upstream: Upstream | None = None  # this is a pull-through cache
    _locks: dict[str, tuple[asyncio.Lock, int]] = field(default_factory=dict)
    uploads: "OrderedDict[str, tuple[Upload, asyncio.Lock]]" = field(default_factory=OrderedDict)

    def repository(self, name: str) -> Repository:
        return Repository(self.storage, name)

    @contextlib.asynccontextmanager
    async def changing(self, name: str) -> AsyncIterator[Repository]:
        """Hold a repository's lock: manifests and tags of one name change one after the other."""
        lock, users = self._locks.get(name, (asyncio.Lock(), 0))
        self._locks[name] = (lock, users + 1)
        try:
            async with lock:
                yield self.repository(name)
        finally:
            lock, users = self._locks.pop(name)
            if users > 1:
                self._locks[name] = (lock, users - 1)

    def remember(self, upload: Upload) -> asyncio.Lock:
        """Keep a session's running hash; return the lock under which it is written."""
        lock = asyncio.Lock()
        self.uploads[upload.key] = (upload, lock)
        while len(self.uploads) > UPLOADS_KEPT:
            self.uploads.popitem(last=False)
        return lock

    def forget(self, upload: Upload) -> None:
        self.uploads.pop(upload.key, None)
