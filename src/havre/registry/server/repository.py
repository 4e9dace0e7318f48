"""Manifests, tags and referrers of one repository, on the storage. Blocking; changes of one repository are made one at a time."""

import json
import os
from dataclasses import dataclass
from typing import Any

from havre.registry.server import manifest as reading
from havre.registry.server.manifest import Manifest
from havre.registry.server.names import Digest, is_tag, parse_digest
from havre.registry.server.refusal import Refused
from havre.registry.server.storage import (
    Storage,
    links_below,
    read_link,
    remove_link,
    remove_tree,
    write_atomic,
)


@dataclass(frozen=True, slots=True)
class Stored:
    """A manifest as it was pushed."""

    digest: Digest
    data: bytes
    media_type: str


class Repository:
    """One name's content."""

    def __init__(self, storage: Storage, name: str) -> None:
        self._storage = storage
        self._layout = storage.layout
        self.name = name

    # manifests

    def resolve(self, reference: str) -> Digest:
        """Return the digest a tag or digest names. Raises Refused MANIFEST_UNKNOWN."""
        digest = parse_digest(reference)
        if digest is None and is_tag(reference):
            digest = read_link(self._layout.tag(self.name, reference))
        if digest is None or not self._layout.revision(self.name, digest).exists():
            raise self._unknown(reference)
        return digest

    def _unknown(self, reference: str) -> Refused:
        detail = {"name": self.name, "reference": reference[:200]}
        return Refused("MANIFEST_UNKNOWN", "manifest unknown", detail)

    def get(self, reference: str) -> Stored:
        """Return a manifest byte for byte. Raises Refused MANIFEST_UNKNOWN."""
        digest = self.resolve(reference)
        try:
            data = self._storage.read(digest)
        except Refused:
            raise self._unknown(reference) from None
        return Stored(digest, data, reading.read(data).media_type)

    def touch(self, digest: Digest) -> None:
        """Somebody has asked for a manifest: it is young again."""
        try:
            os.utime(self._layout.revision(self.name, digest))
        except FileNotFoundError:
            pass  # it was deleted meanwhile

    def put(self, digest: Digest, data: bytes, manifest: Manifest, tags: list[str], *, check: bool) -> None:
        """Keep a manifest whose digest was checked, and name it. Raises Refused MANIFEST_BLOB_UNKNOWN when `check` finds a part missing."""
        if check:
            self._check_parts(manifest)
        self._storage.put(digest, data)
        write_atomic(self._layout.revision(self.name, digest), str(digest).encode())
        if manifest.subject:
            write_atomic(self._referrer(manifest.subject, digest), str(digest).encode())
        for tag in tags:
            write_atomic(self._layout.tag_index(self.name, tag, digest), str(digest).encode())
            write_atomic(self._layout.tag(self.name, tag), str(digest).encode())

    def _check_parts(self, manifest: Manifest) -> None:
        missing = [one for one in manifest.blobs if not self._storage.touch(self.name, one)]
        missing += [one for one in manifest.children if not self._layout.revision(self.name, one).exists()]
        if missing:
            detail = [{"digest": str(one)} for one in missing]
            raise Refused(
                "MANIFEST_BLOB_UNKNOWN", "manifest references a manifest or blob that is not here", detail
            )

    def delete(self, digest: Digest) -> None:
        """Remove a manifest, with the tags that name it. Raises Refused MANIFEST_UNKNOWN."""
        stored = self.get(str(digest))
        for tag in self.tags():
            if read_link(self._layout.tag(self.name, tag)) == digest:
                remove_tree(self._layout.tags(self.name) / tag)
        subject = reading.read(stored.data).subject
        if subject:
            remove_link(self._referrer(subject, digest))
        remove_link(self._layout.revision(self.name, digest))

    def manifests(self) -> list[Digest]:
        return links_below(self._layout.revisions(self.name))

    # tags

    def tags(self) -> list[str]:
        """Return all tags, in order."""
        try:
            names = [entry.name for entry in os.scandir(self._layout.tags(self.name)) if is_tag(entry.name)]
        except FileNotFoundError:
            return []
        return sorted(name for name in names if self._layout.tag(self.name, name).exists())

    def untag(self, tag: str) -> None:
        """Remove a tag; its manifest stays. Raises Refused MANIFEST_UNKNOWN."""
        if not self._layout.tag(self.name, tag).exists():
            raise self._unknown(tag)
        self._layout.tag(self.name, tag).unlink(missing_ok=True)  # from here on it is gone
        remove_tree(self._layout.tags(self.name) / tag)

    # referrers

    def _referrer(self, subject: Digest, digest: Digest) -> Any:
        return self._layout.referrers(self.name, subject) / digest.algorithm / digest.hex / "link"

    def referrers(self, subject: Digest) -> list[dict[str, Any]]:
        """Return descriptors of what refers to a manifest: by `subject`, or by a client's fallback tag from before."""
        found = {}
        for digest in [*links_below(self._layout.referrers(self.name, subject)), *self._by_tag(subject)]:
            if str(digest) not in found and (one := self._describe(digest, subject)) is not None:
                found[str(digest)] = one
        return list(found.values())

    def _by_tag(self, subject: Digest) -> list[Digest]:
        """The referrers tag schema: an index under the tag algorithm-hex, at most 64 letters of it."""
        try:
            value = json.loads(self.get(f"{subject.algorithm}-{subject.hex[:64]}").data)
        except Refused:
            return []
        digests = [parse_digest(str(one.get("digest"))) for one in value.get("manifests") or []]
        return [digest for digest in digests if digest is not None]

    def _describe(self, digest: Digest, subject: Digest) -> dict[str, Any] | None:
        try:
            stored = self.get(str(digest))
        except Refused:
            return None
        manifest = reading.read(stored.data)
        if manifest.subject != subject:
            return None
        one: dict[str, Any] = {
            "mediaType": manifest.media_type,
            "digest": str(digest),
            "size": len(stored.data),
        }
        if manifest.artifact_type:
            one["artifactType"] = manifest.artifact_type
        return {**one, "annotations": manifest.annotations} if manifest.annotations else one
