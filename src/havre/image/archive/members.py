"""An archive's members, spooled to files with neutral names and hashed on the way. Blocking."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from havre.errors import InvalidParameter
from havre.image import manifest as manifests
from havre.image.content import Content, write_all
from havre.image.tar import reader
from havre.image.tar.bad import BadTar, clean, shown
from havre.image.tar.compression import kind_of, open_stream

MAX_MEMBERS = 100_000
MAX_LINKS = 8


@dataclass(frozen=True, slots=True)
class Member:
    """One spooled file. `head` are its first bytes, `sha512` is set only for a blob that is named by it."""

    path: Path
    size: int
    digest: str
    head: bytes
    sha512: str = ""


class Members:
    """What an archive holds: member name -> spooled file."""

    def __init__(self) -> None:
        self._files: dict[bytes, Member] = {}
        self._aliases: dict[bytes, bytes] = {}
        self._taken: set[str] = set()

    def add(self, name: bytes, member: Member) -> None:
        self._files[name] = member

    def alias(self, name: bytes, target: bytes) -> None:
        self._aliases[name] = target

    def find(self, name: str) -> Member | None:
        """A member, through links between members; None when the archive does not have it. Raises BadTar for tricks."""
        key = clean(name.encode("utf-8", "surrogateescape"))
        for _ in range(MAX_LINKS):
            if key not in self._aliases:
                return self._files.get(key)
            key = self._aliases[key]
        raise BadTar(f"{shown(key)}: links run in a circle")

    def need(self, name: str) -> Member:
        """A member. Raises InvalidParameter when the archive names what it does not have."""
        if (found := self.find(name)) is None:
            raise InvalidParameter(f"the archive names {name[:200]!r} but does not have it")
        return found

    def text(self, name: str) -> bytes | None:
        """A small member's content, or None."""
        if (found := self.find(name)) is None:
            return None
        if found.size > manifests.MAX_MANIFEST_BYTES:
            raise InvalidParameter(f"{name} is too large: {found.size} bytes")
        return found.path.read_bytes()

    def take(self, content: Content, member: Member, digest: str = "") -> str:
        """Bring a member into the content store; return its digest. Raises BadTar when it is not `digest`."""
        found = member.sha512 if digest.startswith("sha512:") else member.digest
        if digest and found != digest:
            raise BadTar(f"the content of {digest} does not match: it is {found or member.digest}")
        if found not in self._taken:
            self._taken.add(found)
            if not content.has(found):
                content.adopt(member.path, found)
        return found


def spool(stream: BinaryIO, work: Path) -> Members:
    """Write every member below `work`. Raises BadTar, InvalidParameter."""
    members = Members()
    source = open_stream(stream, hashed=False)
    tar = reader.Reader(source)
    for number, entry in enumerate(tar):
        if number > MAX_MEMBERS:
            raise InvalidParameter(f"the archive has more than {MAX_MEMBERS} members: it is no image archive")
        name = clean(entry.name)
        if entry.kind == reader.REGULAR:
            if entry.sparse is not None:
                raise BadTar(f"{shown(entry.name)}: a sparse file does not belong into an image archive")
            members.add(name, _spool(tar, work / str(number), wide=name.startswith(b"blobs/sha512/")))
        elif entry.kind == reader.SYMLINK:
            members.alias(name, inside(name.rpartition(b"/")[0], entry.link))
        elif entry.kind == reader.LINK:
            members.alias(name, inside(b"", entry.link))
        elif entry.kind != reader.DIRECTORY:
            raise BadTar(f"{shown(entry.name)} does not belong into an image archive")
    source.finish()
    return members


def _spool(tar: reader.Reader, path: Path, *, wide: bool) -> Member:
    digest, other = hashlib.sha256(), hashlib.sha512()
    head, size = b"", 0
    with path.open("wb", buffering=0) as file:
        while view := tar.read():
            head = head or bytes(view[:8])
            size += len(view)
            digest.update(view)
            if wide:
                other.update(view)
            write_all(file.fileno(), view, "the archive")
    return Member(
        path, size, f"sha256:{digest.hexdigest()}", head, f"sha512:{other.hexdigest()}" if wide else ""
    )


def inside(folder: bytes, link: bytes) -> bytes:
    """Resolve a link between members as text. Raises BadTar for one that leads out."""
    parts = folder.split(b"/") if folder else []
    for part in link.split(b"/"):
        if part == b"..":
            if not parts:
                raise BadTar(f"{shown(link)}: a link must not lead upwards")
            parts.pop()
        elif part not in (b"", b"."):
            parts.append(part)
    return b"/".join(parts)


def compression(member: Member) -> str:
    """gzip, zstd, bzip2, xz or none."""
    return kind_of(member.head)
