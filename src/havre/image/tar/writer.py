"""Write tar: the same tree gives the same bytes. Blocking; what is read is opened without following links.

pax, as Docker's archives: only what does not fit into the ustar header is in a pax record. Sorted names, hard links to the
first name, no times of now, no names of users.
"""

import errno
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, BinaryIO

from havre.errors import InvalidParameter
from havre.image.tar import reader
from havre.image.tar.bad import shown
from havre.image.tar.extract import OPAQUE, OPAQUE_XATTR, WHITEOUT
from havre.image.tree import DIRECTORY

if TYPE_CHECKING:
    from havre.spec.idmaps import IdMaps  # the export helper must not load msgspec

BLOCK = 512
STEP_BYTES = 1 << 20
CAPABILITY = "security.capability"
_KEPT_XATTRS = ("user.", CAPABILITY)
_PARTIAL = ("trusted.overlay.redirect", "trusted.overlay.metacopy")
_END = bytes(2 * BLOCK)


@dataclass(frozen=True, slots=True)
class Traits:
    """What a member has beside its data."""

    mode: int = 0o644
    owner: tuple[int, int] = (0, 0)
    mtime_ns: int = 0
    xattrs: Mapping[str, bytes] = field(default_factory=dict)


PLAIN = Traits()


class Writer:
    """Appends members to a stream; `finish` ends the archive, closing the stream is the caller's."""

    def __init__(self, out: BinaryIO) -> None:
        self._out = out

    def finish(self) -> None:
        self._out.write(_END)

    def header(
        self,
        name: bytes,
        kind: bytes = reader.REGULAR,
        *,
        size: int = 0,
        link: bytes = b"",
        device: tuple[int, int] = (0, 0),
        traits: Traits = PLAIN,
    ) -> None:
        """Begin a member; `size` bytes of data follow by `copy`."""
        mode, owner, mtime_ns, xattrs = traits.mode, traits.owner, traits.mtime_ns, traits.xattrs
        pax: dict[bytes, bytes] = {}
        prefix, short = _split(name)
        if short is None:
            pax[b"path"], prefix, short = name, b"", name[:100]
        if len(link) > 100:
            pax[b"linkpath"] = link
        seconds, fraction = divmod(mtime_ns, 1_000_000_000)
        if fraction or not 0 <= seconds < 8**11:
            pax[b"mtime"] = _time(mtime_ns)
        for key, value, limit in ((b"size", size, 8**11), (b"uid", owner[0], 8**7), (b"gid", owner[1], 8**7)):
            if value >= limit:
                pax[key] = b"%d" % value
        for attribute in sorted(xattrs):
            pax[b"SCHILY.xattr." + os.fsencode(attribute)] = xattrs[attribute]
        if pax:
            records = b"".join(_record(key, pax[key]) for key in sorted(pax))
            self._out.write(_block(b"PaxHeaders/" + short[:80], b"x", len(records), 0o644, (0, 0), 0))
            self.data(records)
        fields = (0 if b"size" in pax else size, mode, owner, seconds if 0 <= seconds < 8**11 else 0)
        self._out.write(_block(short, kind, *fields, link=link[:100], prefix=prefix, device=device))

    def data(self, content: bytes) -> None:
        """A member's whole data, padded."""
        self._out.write(content + bytes(-len(content) % BLOCK))

    def file(self, name: bytes, content: bytes, mode: int = 0o644) -> None:
        """A small regular file."""
        self.header(name, size=len(content), traits=Traits(mode))
        self.data(content)

    def copy(self, source: BinaryIO, size: int) -> None:
        """A member's data from a file of exactly `size` bytes; one that shrinks or grows meanwhile is padded or cut."""
        left = size
        while left and (chunk := source.read(min(STEP_BYTES, left))):
            self._out.write(chunk)
            left -= len(chunk)
        while left:
            step = min(STEP_BYTES, left)
            self._out.write(bytes(step))
            left -= step
        self._out.write(bytes(-size % BLOCK))


def write_tree(out: BinaryIO, root: str | int, *, live: bool = False) -> None:
    """Write a directory tree (a path, or an open directory) as it is; in a `live` one things may vanish under our hands."""
    _Walk(Writer(out), whiteouts=False, live=live).run(root)


def write_layer(out: BinaryIO, upper: str, maps: "IdMaps | None" = None) -> None:
    """Write an overlay's upper directory as an OCI layer: 0:0 devices become .wh. files, opaque directories get .wh..wh..opq.

    With the maps of a user namespace the directory holds the host's numbers, and the layer gets those inside.
    """
    _Walk(Writer(out), whiteouts=True, maps=maps).run(upper)


class _Walk:
    """One tree on its way into an archive. Every directory is opened below its parent's fd, never through a link."""

    def __init__(
        self, writer: Writer, *, whiteouts: bool, live: bool = False, maps: "IdMaps | None" = None
    ) -> None:
        self._writer, self._whiteouts = writer, whiteouts
        self._live, self._maps = live, maps
        self._links: dict[tuple[int, int], bytes] = {}

    def run(self, root: str | int) -> None:
        top = os.open(root, DIRECTORY) if isinstance(root, str) else os.open(".", DIRECTORY, dir_fd=root)
        try:
            waiting = self._directory(top, b"")
            while waiting:  # depth first, in the order of names
                path = waiting.pop()
                try:
                    fd = _open_below(top, path)
                except OSError as error:
                    if self._has_vanished(error):
                        continue
                    raise
                try:
                    waiting += self._directory(fd, path)
                finally:
                    os.close(fd)
        finally:
            os.close(top)
        self._writer.finish()

    def _directory(self, fd: int, path: bytes) -> list[bytes]:
        """Write a directory and its files; return its directories, last first."""
        if self._whiteouts:
            _check_whole(fd, path)
        if path:
            self._writer.header(path + b"/", reader.DIRECTORY, traits=self._traits(os.fstat(fd), fd))
        if self._whiteouts and _is_opaque(fd):
            self._writer.file((path + b"/" if path else b"") + OPAQUE, b"", 0)
        folders = []
        for name in sorted(os.fsencode(one) for one in os.listdir(fd)):
            place = path + b"/" + name if path else name
            try:
                status = os.lstat(name, dir_fd=fd)
                if stat.S_ISDIR(status.st_mode):
                    folders.append(place)
                else:
                    self._member(fd, name, place, status)
            except OSError as error:
                if not self._has_vanished(error):
                    raise
        return folders[::-1]

    def _has_vanished(self, error: OSError) -> bool:
        """Whether the container has removed or replaced what was there a moment ago."""
        return self._live and error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ESTALE)

    def _member(self, parent: int, name: bytes, place: bytes, status: os.stat_result) -> None:
        if self._whiteouts and stat.S_ISCHR(status.st_mode) and status.st_rdev == 0:
            folder, slash, last = place.rpartition(b"/")
            self._writer.file(folder + slash + WHITEOUT + last, b"", 0)
            return
        if self._whiteouts and name.startswith(WHITEOUT):
            raise InvalidParameter(f"{shown(place)}: a file of this name cannot be in a layer")
        key = (status.st_dev, status.st_ino)
        if key in self._links:
            self._writer.header(place, reader.LINK, link=self._links[key], traits=self._traits(status, -1))
            return
        if stat.S_ISREG(status.st_mode):
            self._file(parent, name, place)
        elif stat.S_ISLNK(status.st_mode):
            target = os.fsencode(os.readlink(name, dir_fd=parent))
            self._writer.header(place, reader.SYMLINK, link=target, traits=self._traits(status, -1))
        elif kind := _NODES.get(stat.S_IFMT(status.st_mode)):
            device = (os.major(status.st_rdev), os.minor(status.st_rdev))
            self._writer.header(place, kind, device=device, traits=self._traits(status, -1))
        else:
            return  # a socket has no form in an archive and no use without its process
        if status.st_nlink > 1:
            self._links[key] = place

    def _traits(self, status: os.stat_result, fd: int) -> Traits:
        """Owner, mode and time; the attributes an image may have of what is open."""
        xattrs, owner = {}, (status.st_uid, status.st_gid)
        if fd >= 0:
            xattrs = {key: os.getxattr(fd, key) for key in os.listxattr(fd) if key.startswith(_KEPT_XATTRS)}
        if self._maps is not None:
            owner = self._maps.inside(*owner)
            xattrs = {
                key: self._maps.capability(value) if key == CAPABILITY else value
                for key, value in xattrs.items()
            }
        return Traits(stat.S_IMODE(status.st_mode), owner, status.st_mtime_ns, xattrs)

    def _file(self, parent: int, name: bytes, place: bytes) -> None:
        fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=parent)
        with open(fd, "rb", buffering=0) as file:
            if self._whiteouts:
                _check_whole(fd, place)
            status = os.fstat(fd)
            self._writer.header(place, size=status.st_size, traits=self._traits(status, fd))
            self._writer.copy(file, status.st_size)


_NODES = {stat.S_IFCHR: reader.CHAR, stat.S_IFBLK: reader.BLOCK_DEVICE, stat.S_IFIFO: reader.FIFO}


def _open_below(top: int, path: bytes) -> int:
    """Open a directory step by step: no link is followed, and a path may be longer than the kernel takes at once."""
    fd = os.dup(top)
    for part in path.split(b"/"):
        try:
            inner = os.open(part, DIRECTORY, dir_fd=fd)
        finally:
            os.close(fd)
        fd = inner
    return fd


def _check_whole(fd: int, path: bytes) -> None:
    """With redirect_dir or metacopy an upper directory holds only a part of its files (overlayfs.rst). Raises InvalidParameter."""
    for key in os.listxattr(fd):
        if key in _PARTIAL:
            raise InvalidParameter(f"{shown(path)}: its content is in another layer ({key})")


def _is_opaque(fd: int) -> bool:
    try:
        return os.getxattr(fd, OPAQUE_XATTR) == b"y"
    except OSError:
        return False


def _split(name: bytes) -> tuple[bytes, bytes | None]:
    """ustar's prefix and name; None when they do not fit or are not ASCII."""
    if not name.isascii():
        return b"", None
    if len(name) <= 100:
        return b"", name
    cut = name.rfind(b"/", 0, 156)
    if cut <= 0 or not 0 < len(name) - cut - 1 <= 100:
        return b"", None
    return name[:cut], name[cut + 1 :]


def _time(nanos: int) -> bytes:
    sign, value = ("-", -nanos) if nanos < 0 else ("", nanos)
    return f"{sign}{value // 1_000_000_000}.{value % 1_000_000_000:09}".rstrip("0").rstrip(".").encode()


def _record(key: bytes, value: bytes) -> bytes:
    """A pax record: its length counts its own digits."""
    bare = len(key) + len(value) + 3
    length = bare + len(str(bare))
    length = bare + len(str(length))
    return b"%d %s=%s\n" % (length, key, value)


def _block(
    name: bytes,
    kind: bytes,
    size: int,
    mode: int,
    owner: tuple[int, int],
    seconds: int,
    *,
    link: bytes = b"",
    prefix: bytes = b"",
    device: tuple[int, int] = (0, 0),
) -> bytes:
    uid, gid = (value if value < 8**7 else 0 for value in owner)
    head = name.ljust(100, b"\0") + b"%07o\0%07o\0%07o\0%011o\0%011o\0" % (mode, uid, gid, size, seconds)
    tail = kind + link.ljust(100, b"\0") + b"ustar\x0000" + bytes(64)
    tail += b"%07o\0%07o\0" % device + prefix.ljust(155, b"\0") + bytes(12)
    checksum = sum(head) + sum(tail) + 8 * 32
    return head + b"%06o\0 " % checksum + tail
