"""Collect garbage while serving: blobs no manifest refers to, uploads nobody continues. Blocking.

Mark and sweep by file age: what a client just pushed, linked, asked for with HEAD or referred to is younger than `grace_s` and stays,
so nothing need stop for it.
"""

from dataclasses import dataclass
from pathlib import Path

from havre import log
from havre.errors import HavreError
from havre.registry.server import manifest as reading
from havre.registry.server.names import Digest, parse_digest
from havre.registry.server.repository import Repository
from havre.registry.server.storage import Storage, age_s, links_below, remove_link, remove_tree

GRACE_S = 3600.0  # between a blob's upload and its manifest; docker push takes minutes at most


@dataclass(frozen=True, slots=True)
class Collected:
    """What a collection removed."""

    blobs: int
    bytes: int
    manifests: int


def collect(
    storage: Storage, *, grace_s: float = GRACE_S, untagged: bool = False, dry_run: bool = False
) -> Collected:
    """Remove what nothing refers to; with `untagged` also manifests without a tag that nothing refers to."""
    manifests = 0
    kept: set[Digest] = set()
    for name in list(storage.repositories()):
        repository = Repository(storage, name)
        if untagged:
            manifests += _drop_untagged(storage, repository, grace_s, dry_run=dry_run)
        own = _referred(storage, repository)
        kept |= own
        if not dry_run:
            _unlink_layers(storage, name, own, grace_s)
    blobs, size = _sweep(storage, kept, grace_s, dry_run=dry_run)
    log.info("collected", blobs=blobs, bytes=size, manifests=manifests, dry_run=dry_run)
    return Collected(blobs, size, manifests)


def _referred(storage: Storage, repository: Repository) -> set[Digest]:
    """The repository's manifests and their blobs."""
    found: set[Digest] = set()
    for digest in repository.manifests():
        found.add(digest)
        try:
            found.update(reading.read(storage.read(digest)).blobs)
        except HavreError as error:
            log.warn("unreadable manifest", repository=repository.name, digest=str(digest), error=str(error))
    return found


def _drop_untagged(storage: Storage, repository: Repository, grace_s: float, *, dry_run: bool) -> int:
    """Remove manifests that no tag, no kept index and no kept subject needs; return how many."""
    kept = _needed(repository, [repository.resolve(tag) for tag in repository.tags()])
    gone = 0
    for digest in repository.manifests():
        young = age_s(storage.layout.revision(repository.name, digest)) < grace_s
        if digest not in kept and not young:
            gone += 1
            if not dry_run:
                repository.delete(digest)
    return gone


def _needed(repository: Repository, roots: list[Digest]) -> set[Digest]:
    """Roots, their children, and what refers to any of them."""
    kept: set[Digest] = set()
    while roots:
        digest = roots.pop()
        if digest in kept:
            continue
        kept.add(digest)
        try:
            roots += reading.read(repository.get(str(digest)).data).children
        except HavreError:
            continue  # an index may name what was never pushed
        roots += [found for one in repository.referrers(digest) if (found := parse_digest(one["digest"]))]
    return kept


def _unlink_layers(storage: Storage, name: str, kept: set[Digest], grace_s: float) -> None:
    folder = storage.layout.repository(name) / "_layers"
    for digest in links_below(folder):
        link = storage.layout.layer(name, digest)
        if digest not in kept and age_s(link) >= grace_s:
            with storage.lock:
                if age_s(link) >= grace_s:
                    remove_link(link)


def _sweep(storage: Storage, kept: set[Digest], grace_s: float, *, dry_run: bool) -> tuple[int, int]:
    count = size = 0
    for data in storage.layout.root.glob("blobs/*/*/*/data"):
        digest = parse_digest(f"{data.parent.parent.parent.name}:{data.parent.name}")
        if digest is None or digest in kept:
            continue
        with storage.lock:  # whoever links it now has touched it
            if age_s(data) < grace_s:
                continue
            count, size = count + 1, size + data.stat().st_size
            if not dry_run:
                remove_link(data)
    return count, size


def purge_uploads(storage: Storage, age: float) -> int:
    """Remove uploads that nobody has written to for `age` seconds; return how many."""
    count = 0
    for name in list(storage.repositories("_uploads")):
        for folder in storage.layout.uploads(name).iterdir():
            if _idle_s(folder) >= age:
                remove_tree(folder)
                count += 1
    return count


def _idle_s(folder: Path) -> float:
    return min(age_s(folder / "data") or age_s(folder), age_s(folder))
