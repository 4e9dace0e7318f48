"""Unpack a tar stream into a directory. Blocking; the directory is the caller's and new, so an error leaves nothing else behind.

Every parent is opened by the kernel beneath the root (RESOLVE_IN_ROOT, no magic links); the last component is made with O_EXCL or
after an unlink, never followed. What an earlier entry has planted (a symlink in the way) leads nowhere but inside.
"""

import os
import stat
from collections.abc import Callable

from havre.errors import HavreError, KernelError
from havre.image.tar import reader
from havre.image.tar.reader import BadTar, Entry, Reader
from havre.linux import syscalls as sys

WHITEOUT, OPAQUE = b".wh.", b".wh..wh..opq"
OPAQUE_XATTR = "trusted.overlay.opaque"
IN_ROOT = sys.RESOLVE_IN_ROOT | sys.RESOLVE_NO_MAGICLINKS
CACHED_DIRECTORIES = 64
XATTR_PREFIXES = ("user.", "security.")
NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


class Extractor:
    """Puts entries below one directory; `whiteouts` turns .wh. files into overlay's form (layers), else they are plain files."""

    def __init__(self, root: str, *, whiteouts: bool) -> None:
        self._root = os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        self._whiteouts = whiteouts
        self._parents: dict[bytes, int] = {}
        self._stale: list[int] = []  # fds of directories that may be gone; closed with the next cleaning
        self._times: dict[bytes, int] = {}  # directories get their time at the end
        self.bytes = 0

    def close(self) -> None:
        self._forget()
        os.close(self._root)

    def _forget(self) -> None:
        for fd in (*self._parents.values(), *self._stale):
            os.close(fd)
        self._parents.clear()
        self._stale.clear()

    def run(self, tar: Reader, progress: Callable[[int], None] | None = None) -> None:
        """Unpack everything. Raises BadTar naming the entry."""
        for entry in tar:
            try:
                self._put(entry, tar)
            except BadTar:
                raise
            except (OSError, HavreError) as error:
                if getattr(error, "errno", 0) in (
                    28,
                    30,
                    5,
                    122,
                ):  # ENOSPC, EROFS, EIO, EDQUOT are not the archive's fault
                    raise
                raise BadTar(f"cannot unpack {shown(entry.name)}: {error}") from error
            if progress is not None:
                progress(self.bytes)
        self._set_times()

    def _put(self, entry: Entry, tar: Reader) -> None:
        path = clean(entry.name)
        if not path:
            if entry.kind == reader.DIRECTORY:  # "./": the root itself
                self._dress_directory(path, entry)
            return
        folder, _, name = path.rpartition(b"/")
        parent = self._parent(folder)
        if self._whiteouts and name.startswith(WHITEOUT):
            self._whiteout(parent, name, entry)
            return
        self._make(entry, tar, parent, name, path)

    def _make(self, entry: Entry, tar: Reader, parent: int, name: bytes, path: bytes) -> None:
        kind = entry.kind
        if kind == reader.DIRECTORY:
            self._directory(entry, parent, name, path)
        elif kind == reader.REGULAR:
            self._clear(parent, name)
            self._file(entry, tar, parent, name)
        elif kind == reader.SYMLINK:
            self._clear(parent, name)
            os.symlink(entry.link, name, dir_fd=parent)
            self._dress(entry, parent, name)
        elif kind == reader.LINK:
            self._hardlink(entry, parent, name)
        elif kind in (reader.CHAR, reader.BLOCK_DEVICE, reader.FIFO):
            self._clear(parent, name)
            self._node(entry, parent, name)
        else:
            raise BadTar(f"{shown(entry.name)}: unknown kind of entry {kind!r}")

    def _parent(self, folder: bytes) -> int:
        if (fd := self._parents.get(folder)) is not None:
            return fd
        if len(self._parents) >= CACHED_DIRECTORIES:
            self._forget()
        try:
            fd = sys.openat2(self._root, folder or b".", os.O_PATH | os.O_DIRECTORY, resolve=IN_ROOT)
        except KernelError as error:
            if error.errno != 2:
                raise
            fd = self._make_parents(folder)
        self._parents[folder] = fd
        return fd

    def _make_parents(self, folder: bytes) -> int:
        """An archive may leave its directories out."""
        above, _, name = folder.rpartition(b"/")
        parent = self._parent(above)
        try:
            os.mkdir(name, 0o755, dir_fd=parent)
        except FileExistsError:
            pass
        return sys.openat2(self._root, folder, os.O_PATH | os.O_DIRECTORY, resolve=IN_ROOT)

    def _clear(self, parent: int, name: bytes) -> None:
        """Make room: a later entry replaces an earlier one of the same name."""
        try:
            status = os.lstat(name, dir_fd=parent)
        except FileNotFoundError:
            return
        if stat.S_ISDIR(status.st_mode):
            self._forget_below()
            _remove_tree(parent, name)
        else:
            os.unlink(name, dir_fd=parent)

    def _forget_below(self) -> None:
        """A directory is going away: fds that may be inside it must not be used again. The caller holds `parent` no longer."""
        self._stale += self._parents.values()
        self._parents.clear()

    def _directory(self, entry: Entry, parent: int, name: bytes, path: bytes) -> None:
        try:
            os.mkdir(name, 0o755, dir_fd=parent)
        except FileExistsError:
            if not stat.S_ISDIR(os.lstat(name, dir_fd=parent).st_mode):
                os.unlink(name, dir_fd=parent)
                self._forget_below()
                os.mkdir(name, 0o755, dir_fd=parent)
        self._dress_directory(path, entry)

    def _dress_directory(self, path: bytes, entry: Entry) -> None:
        fd = sys.openat2(self._root, path or b".", os.O_RDONLY | os.O_DIRECTORY, resolve=IN_ROOT)
        try:
            if entry.uid or entry.gid:
                os.fchown(fd, entry.uid, entry.gid)
            os.fchmod(fd, entry.mode)
            self._set_xattrs(fd, entry)
        finally:
            os.close(fd)
        self._times[path] = entry.mtime_ns

    def _file(self, entry: Entry, tar: Reader, parent: int, name: bytes) -> None:
        fd = os.open(name, NEW_FILE, 0o600, dir_fd=parent)
        try:
            if entry.sparse is not None:
                self._sparse(fd, entry, tar)
            else:
                while data := tar.read():
                    self.bytes += len(data)
                    view = memoryview(data)
                    while view:
                        view = view[os.write(fd, view) :]
            if entry.uid or entry.gid:
                os.fchown(fd, entry.uid, entry.gid)
            os.fchmod(fd, entry.mode)
            if entry.xattrs:
                self._set_xattrs(fd, entry)
            os.utime(fd, ns=(entry.mtime_ns, entry.mtime_ns))
        finally:
            os.close(fd)

    def _sparse(self, fd: int, entry: Entry, tar: Reader) -> None:
        os.ftruncate(fd, entry.real_size)
        for offset, length in entry.sparse or []:
            while length:
                data = tar.read(min(length, 1 << 20))
                if not data:
                    raise BadTar(f"{shown(entry.name)}: sparse data is missing")
                os.pwrite(fd, data, offset)
                offset, length = offset + len(data), length - len(data)
                self.bytes += len(data)

    def _hardlink(self, entry: Entry, parent: int, name: bytes) -> None:
        target = clean(entry.link)
        folder, _, source = target.rpartition(b"/")
        if not source:
            raise BadTar(f"{shown(entry.name)}: a hard link to nothing")
        there = sys.openat2(self._root, folder or b".", os.O_PATH | os.O_DIRECTORY, resolve=IN_ROOT)
        try:
            if stat.S_ISDIR(os.lstat(source, dir_fd=there).st_mode):
                raise BadTar(f"{shown(entry.name)}: a hard link to a directory")
            same = os.path.samestat(os.fstat(there), os.fstat(parent)) and source == name
            if not same:
                self._clear(parent, name)
                os.link(source, name, src_dir_fd=there, dst_dir_fd=parent, follow_symlinks=False)
        finally:
            os.close(there)

    def _node(self, entry: Entry, parent: int, name: bytes) -> None:
        kinds = {reader.CHAR: stat.S_IFCHR, reader.BLOCK_DEVICE: stat.S_IFBLK, reader.FIFO: stat.S_IFIFO}
        device = 0 if entry.kind == reader.FIFO else os.makedev(entry.major, entry.minor)
        if entry.kind == reader.CHAR and device == 0:
            raise BadTar(f"{shown(entry.name)}: a 0:0 device would be a whiteout")
        os.mknod(name, kinds[entry.kind] | entry.mode, device, dir_fd=parent)
        self._dress(entry, parent, name)

    def _dress(self, entry: Entry, parent: int, name: bytes) -> None:
        """Owner, mode and time of what has no fd."""
        if entry.uid or entry.gid:
            os.chown(name, entry.uid, entry.gid, dir_fd=parent, follow_symlinks=False)
        if entry.kind != reader.SYMLINK:
            node = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
            os.chmod(f"/proc/self/fd/{node}", entry.mode)
            os.close(node)
        os.utime(name, ns=(entry.mtime_ns, entry.mtime_ns), dir_fd=parent, follow_symlinks=False)

    def _set_xattrs(self, fd: int, entry: Entry) -> None:
        for key, value in entry.xattrs.items():
            if not key.startswith(XATTR_PREFIXES):
                raise BadTar(f"{shown(entry.name)}: extended attribute {key} is not allowed in an image")
            try:
                os.setxattr(fd, key, value)
            except OSError as error:
                if error.errno != 95:  # EOPNOTSUPP: the filesystem has none
                    raise

    def _whiteout(self, parent: int, name: bytes, entry: Entry) -> None:
        if name == OPAQUE:
            os.setxattr(f"/proc/self/fd/{parent}", OPAQUE_XATTR, b"y")
            return
        hidden = name[len(WHITEOUT) :]
        if hidden in (b"", b".", b"..") or hidden.startswith(WHITEOUT):
            raise BadTar(f"{shown(entry.name)}: a whiteout of nothing")
        self._clear(parent, hidden)
        os.mknod(hidden, stat.S_IFCHR, 0, dir_fd=parent)

    def _set_times(self) -> None:
        for path, nanos in self._times.items():
            try:
                fd = sys.openat2(self._root, path or b".", os.O_RDONLY | os.O_DIRECTORY, resolve=IN_ROOT)
            except KernelError:
                continue  # a later entry has replaced it
            os.utime(fd, ns=(nanos, nanos))
            os.close(fd)


def clean(name: bytes) -> bytes:
    """Return the path below the root; a leading slash means the root. Raises BadTar for a way upwards."""
    parts = [part for part in name.split(b"/") if part not in (b"", b".")]
    if b".." in parts:
        raise BadTar(f"{shown(name)}: a path must not lead upwards")
    return b"/".join(parts)


def shown(name: bytes) -> str:
    """A name that is safe to print."""
    text = name[:200].decode("utf-8", "replace")
    return repr(text + ("..." if len(name) > 200 else ""))


def _remove_tree(parent: int, name: bytes) -> None:
    fd = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
    try:
        for inner in os.listdir(fd):
            path = os.fsencode(inner)
            if stat.S_ISDIR(os.lstat(path, dir_fd=fd).st_mode):
                _remove_tree(fd, path)
            else:
                os.unlink(path, dir_fd=fd)
    finally:
        os.close(fd)
    os.rmdir(name, dir_fd=parent)


def extract(
    stream: reader.BinaryIO, root: str, *, whiteouts: bool, progress: Callable[[int], None] | None = None
) -> int:
    """Unpack an uncompressed tar stream below `root`; return the bytes of file data written."""
    extractor = Extractor(root, whiteouts=whiteouts)
    try:
        extractor.run(Reader(stream), progress)
    finally:
        extractor.close()
    return extractor.bytes
