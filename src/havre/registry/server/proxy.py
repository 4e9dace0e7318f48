"""proxy: a pull-through cache of another registry. What is asked for comes from there once; what was there stays when it cannot be reached.

Manifests are asked for anew by tag (one HEAD, which does not count for rate limits), by digest once. A blob is sent on while it arrives.
"""

import asyncio
from collections.abc import AsyncIterator
from typing import BinaryIO
from urllib.parse import urlsplit

from havre import log, tasks
from havre.errors import HavreError, NotFound
from havre.registry.auth import Credentials
from havre.registry.client import Client
from havre.registry.server import manifest as reading
from havre.registry.server import upload as session
from havre.registry.server.collect import GRACE_S, collect
from havre.registry.server.config import ProxyConfig
from havre.registry.server.names import Digest, digest_of, parse_digest
from havre.registry.server.refusal import Refused
from havre.registry.server.repository import Repository
from havre.registry.server.storage import Storage, age_s, links_below, remove_link
from havre.registry.server.upload import Upload
from havre.spec.reference import Reference
from havre.tasks import in_disk_thread

HUB = ("registry-1.docker.io", "index.docker.io", "docker.io")
BATCH_BYTES = 1 << 20
EXPIRE_EVERY_S = 3600.0


class Fetch:
    """A blob on its way from upstream; whoever asks for it meanwhile reads the same file."""

    def __init__(self, upload: Upload, digest: Digest) -> None:
        self.upload = upload
        self.digest = digest
        self.done = False
        self.error: BaseException | None = None
        self._more = asyncio.Condition()

    async def grown(self) -> None:
        """Wake the readers."""
        async with self._more:
            self._more.notify_all()

    async def finished(self) -> None:
        """Wait until the blob is here. Raises what the download ended with."""
        async with self._more:
            await self._more.wait_for(lambda: self.done)
        if self.error is not None:
            raise self.error

    async def chunks(self, file: BinaryIO) -> AsyncIterator[bytes]:
        """Yield the bytes of the upload's open file as they come. Raises like `finished`: only then nothing was wrong."""
        offset = 0
        while offset < self.upload.size or not self.done:
            async with self._more:
                while not self.done and self.upload.size <= offset:
                    await self._more.wait()
            while offset < self.upload.size:
                data = await in_disk_thread(file.read, min(BATCH_BYTES, self.upload.size - offset))
                offset += len(data)
                yield data
        await self.finished()


class Upstream:
    """The registry this one stands in front of."""

    def __init__(self, storage: Storage, config: ProxyConfig) -> None:
        self._storage = storage
        self._ttl_s = config.ttl_s
        place = urlsplit(config.remote_url)
        self._domain = "docker.io" if place.netloc in HUB else place.netloc
        self._client = Client(insecure_registries=[place.netloc] if place.scheme == "http" else [])
        self._credentials = Credentials(config.username, config.password) if config.username else None
        self._fetches: dict[tuple[str, Digest], asyncio.Future[Fetch]] = {}
        if config.ttl_s:
            tasks.spawn("expire proxied content", self._expire(), _report)

    def close(self) -> None:
        self._client.close()

    def _reference(self, name: str, tag: str = "", digest: str = "") -> Reference:
        return Reference(self._domain, name, tag, digest)

    # manifests

    async def bring_manifest(self, name: str, reference: str) -> None:
        """See that the newest of `reference` is here. Raises Refused UNAVAILABLE only when there is nothing to fall back on."""
        repository = Repository(self._storage, name)
        try:
            here: Digest | None = await in_disk_thread(repository.resolve, reference)
        except Refused:
            here = None
        wanted = parse_digest(reference)
        if here is not None:
            await in_disk_thread(repository.touch, here)
            if wanted is not None:
                return
        try:
            await self._update(repository, reference, wanted, here)
        except NotFound:
            if here is not None and wanted is None:
                await in_disk_thread(repository.untag, reference)
        except HavreError as error:
            if here is None:
                raise Refused("UNAVAILABLE", f"upstream: {error}") from error
            log.warn(
                "upstream cannot be asked: what is here is served",
                name=name,
                reference=reference,
                why=str(error),
            )

    async def _update(
        self, repository: Repository, reference: str, wanted: Digest | None, here: Digest | None
    ) -> None:
        asked = self._reference(repository.name, "" if wanted else reference, reference if wanted else "")
        if here is not None and await self._client.head(asked, self._credentials) == str(here):
            return
        found = await self._client.manifest(asked, self._credentials)
        manifest = reading.read(found.data, found.media_type)
        digest = wanted or digest_of(found.data)
        tags = [] if wanted else [reference]
        await in_disk_thread(repository.put, digest, found.data, manifest, tags, check=False)

    async def tags(self, name: str) -> list[str]:
        """Return upstream's tags, or those that are here when it cannot be reached."""
        try:
            return sorted(await self._client.tags(self._reference(name), self._credentials))
        except HavreError as error:
            log.warn("upstream cannot be asked: what is here is listed", name=name, why=str(error))
            return await in_disk_thread(Repository(self._storage, name).tags)

    # blobs

    async def fetch(self, name: str, digest: Digest) -> Fetch | None:
        """Begin to bring a blob, or join who does; None when it is here. Raises Refused BLOB_UNKNOWN, UNAVAILABLE."""
        if await in_disk_thread(self._storage.touch, name, digest):
            return None
        if (name, digest) not in self._fetches:
            self._fetches[name, digest] = tasks.spawn("ask upstream", self._begin(name, digest), _told)
        return await asyncio.shield(self._fetches[name, digest])

    async def _begin(self, name: str, digest: Digest) -> Fetch:
        """Ask upstream; the first of those who want a blob does it for all."""
        try:
            _, chunks = await self._client.blob(self._reference(name), str(digest), self._credentials)
            fetch = Fetch(await in_disk_thread(session.begin, self._storage, name), digest)
        except BaseException as error:
            del self._fetches[name, digest]
            if isinstance(error, NotFound):
                raise Refused("BLOB_UNKNOWN", "blob unknown to registry", {"digest": str(digest)}) from None
            if isinstance(error, HavreError):
                raise Refused("UNAVAILABLE", f"upstream: {error}") from error
            raise
        tasks.spawn(f"fetch {digest}", self._bring(fetch, chunks), _report)
        return fetch

    async def _bring(self, fetch: Fetch, chunks: AsyncIterator[bytes]) -> None:
        """Write, check and keep a blob. However it ends, its readers are told."""
        try:
            held = bytearray()
            async for chunk in chunks:
                held += chunk
                if len(held) >= BATCH_BYTES:
                    await in_disk_thread(fetch.upload.append, bytes(held))
                    held.clear()
                    await fetch.grown()
            await in_disk_thread(fetch.upload.append, bytes(held))
            await in_disk_thread(fetch.upload.commit, fetch.digest)
        except BaseException as error:
            fetch.error = error if isinstance(error, Exception) else ConnectionError("the registry stops")
            await in_disk_thread(fetch.upload.cancel)
            if not isinstance(error, (HavreError, OSError)):
                raise
            log.warn(
                "a blob did not come whole", name=fetch.upload.name, digest=str(fetch.digest), why=str(error)
            )
        finally:
            fetch.done = True
            del self._fetches[fetch.upload.name, fetch.digest]
            await fetch.grown()

    # expiry

    async def _expire(self) -> None:
        while True:
            await asyncio.sleep(min(EXPIRE_EVERY_S, self._ttl_s))
            await in_disk_thread(expire, self._storage, self._ttl_s)


def expire(storage: Storage, ttl_s: float) -> None:
    """Forget what nobody has asked for within `ttl_s`, and collect what it held. Blocking."""
    for name in list(storage.repositories()):
        repository = Repository(storage, name)
        for digest in repository.manifests():
            if age_s(storage.layout.revision(name, digest)) >= ttl_s:
                repository.delete(digest)
        for digest in links_below(storage.layout.repository(name) / "_layers"):
            link = storage.layout.layer(name, digest)
            if age_s(link) >= ttl_s:
                remove_link(link)
    collect(storage, grace_s=min(GRACE_S, ttl_s))


def _told(name: str, error: BaseException) -> None:
    """Whoever waits for it says it."""


def _report(name: str, error: BaseException) -> None:
    log.error("background task failed", task=name, error=repr(error))
