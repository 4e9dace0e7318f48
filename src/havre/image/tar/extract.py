"""Unpack a tar stream into a directory. Blocking; the directory is the caller's and new, so an error leaves nothing else behind.

Every parent is opened by the kernel beneath the root (RESOLVE_IN_ROOT, no magic links); the last component is made with O_EXCL or
after an unlink, never followed. What an earlier entry has planted (a symlink in the way) leads nowhere but inside. Directories
get their owner, mode and time at the end, so that neither a setgid bit nor a later file changes them.
"""

import errno
import os
import stat
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from havre.errors import HavreError, KernelError, Unavailable
from havre.image.tar import reader
from havre.image.tar.bad import BadTar, clean, shown
from havre.image.tar.reader import Entry, Reader, Source
from havre.image.tree import remove_tree
from havre.linux import syscalls as sys

WHITEOUT, OPAQUE, META = b".wh.", b".wh..wh..opq", b".wh..wh."
OPAQUE_XATTR = "trusted.overlay.opaque"
IN_ROOT = sys.RESOLVE_IN_ROOT | sys.RESOLVE_NO_MAGICLINKS
PATH_DIRECTORY = os.O_PATH | os.O_DIRECTORY
CACHED_DIRECTORIES = 64
NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
REPORT_BYTES = 1 << 20
REFUSED_XATTRS = ("trusted.", "user.overlay.")  # overlayfs reads its own orders there
_HOST_ERRORS = frozenset(
    (errno.ENOSPC, errno.EROFS, errno.EIO, errno.EDQUOT, errno.EMFILE, errno.ENFILE, errno.ENOMEM)
)


@dataclass(slots=True)
class _Directory:
    """What a directory gets at the end."""

    mode: int
    uid: int
    gid: int
    mtime_ns: int
    xattrs: dict[str, bytes] = field(default_factory=dict)


class Extractor:
    """Puts entries below one directory; in a layer `.wh.` files become overlayfs' whiteouts and opaque directories."""

    def __init__(self, root: str, lower: Sequence[str] = (), *, whiteouts: bool = True) -> None:
        self._root = os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        self._lower, self._whiteouts = lower, whiteouts
        self._parents: dict[bytes, int] = {}
        self._directories: dict[bytes, _Directory | None] = {}  # None: the archive has left it out
        self._owner = (os.geteuid(), os.getegid())
        self.bytes = 0

    def close(self) -> None:
        self._forget()
        os.close(self._root)

    def _forget(self, keep: int = -1) -> None:
        """A directory or link has gone: what was found through it must be looked up anew."""
        kept = {}
        for path, fd in self._parents.items():
            if fd == keep:
                kept[path] = fd
            else:
                os.close(fd)
        self._parents = kept

    def run(self, tar: Reader, progress: Callable[[int], None] | None = None) -> None:
        """Unpack everything. Raises BadTar naming the entry; Unavailable when the host has no room."""
        said = 0
        for entry in tar:
            try:
                self._put(entry, tar)
            except BadTar:
                raise
            except (OSError, HavreError) as error:
                raise _blamed(error, entry.name) from error
            if progress is not None and self.bytes - said >= REPORT_BYTES:
                said = self.bytes
                progress(said)
        self._dress_directories()

    def _put(self, entry: Entry, tar: Reader) -> None:
        path = clean(entry.name)
        if not path:
            if entry.kind == reader.DIRECTORY:  # "./": the root itself
                self._note(path, entry)
                return
            raise BadTar(f"{shown(entry.name)}: not a directory, but it stands for the root")
        if self._whiteouts and path.startswith(META) and path != OPAQUE:
            return  # aufs' own bookkeeping in old images
        folder, _, name = path.rpartition(b"/")
        parent = self._parents.get(folder)
        if parent is None:
            parent = self._parent(folder)
        if self._whiteouts and name.startswith(WHITEOUT):
            self._whiteout(parent, name, entry)
            return
        self._make(entry, tar, parent, name, path)

    def _make(self, entry: Entry, tar: Reader, parent: int, name: bytes, path: bytes) -> None:
        kind = entry.kind
        if kind == reader.REGULAR:
            self._file(entry, tar, parent, name)
        elif kind == reader.DIRECTORY:
            self._directory(parent, name)
            self._note(path, entry)
        elif kind == reader.SYMLINK:
            self._clear(parent, name)
            os.symlink(entry.link, name, dir_fd=parent)
            self._dress(entry, parent, name)
        elif kind == reader.LINK:
            self._hardlink(entry, parent, name)
        elif kind in (reader.CHAR, reader.BLOCK_DEVICE, reader.FIFO):
            self._node(entry, parent, name)
        else:
            raise BadTar(f"{shown(entry.name)}: unknown kind of entry {kind!r}")

    def _parent(self, folder: bytes) -> int:
        if len(self._parents) >= CACHED_DIRECTORIES:
            self._forget()
        try:
            fd = sys.openat2(self._root, folder or b".", PATH_DIRECTORY, resolve=IN_ROOT)
        except KernelError as error:
            if error.errno not in (errno.ENOENT, errno.ENOTDIR):
                raise
            self._make_parents(folder)
            fd = sys.openat2(self._root, folder, PATH_DIRECTORY, resolve=IN_ROOT)
        self._parents[folder] = fd
        return fd

    def _make_parents(self, folder: bytes) -> None:
        """An archive may leave its directories out. A whiteout in the way gives way; another file does not."""
        parts = folder.split(b"/")
        for count in range(1, len(parts) + 1):
            path = b"/".join(parts[:count])
            above = sys.openat2(
                self._root, b"/".join(parts[: count - 1]) or b".", PATH_DIRECTORY, resolve=IN_ROOT
            )
            try:
                name = parts[count - 1]
                try:
                    os.mkdir(name, 0o755, dir_fd=above)
                except FileExistsError:
                    if not _is_whiteout(os.lstat(name, dir_fd=above)):
                        continue
                    self._directory(above, name)
                self._directories.setdefault(path, None)
            finally:
                os.close(above)

    def _clear(self, parent: int, name: bytes) -> None:
        """Make room: a later entry replaces an earlier one of the same name."""
        try:
            status = os.lstat(name, dir_fd=parent)
        except FileNotFoundError:
            return
        if stat.S_ISDIR(status.st_mode):
            self._forget(parent)
            remove_tree(parent, name)
        else:
            if stat.S_ISLNK(status.st_mode):
                self._forget(parent)
            os.unlink(name, dir_fd=parent)

    def _directory(self, parent: int, name: bytes) -> None:
        try:
            os.mkdir(name, 0o755, dir_fd=parent)
            return
        except FileExistsError:
            status = os.lstat(name, dir_fd=parent)
        if stat.S_ISDIR(status.st_mode):
            return
        self._clear(parent, name)
        os.mkdir(name, 0o755, dir_fd=parent)
        if _is_whiteout(status):  # hidden below and new here: nothing from below may shine through
            _set_opaque(parent, name)

    def _note(self, path: bytes, entry: Entry) -> None:
        _check_xattrs(entry)
        self._directories[path] = _Directory(entry.mode, entry.uid, entry.gid, entry.mtime_ns, entry.xattrs)

    def _file(self, entry: Entry, tar: Reader, parent: int, name: bytes) -> None:
        try:
            fd = os.open(name, NEW_FILE, 0o600, dir_fd=parent)
        except FileExistsError:
            self._clear(parent, name)
            fd = os.open(name, NEW_FILE, 0o600, dir_fd=parent)
        try:
            if entry.sparse is not None:
                self._sparse(fd, entry, tar)
            else:
                while view := tar.read():
                    self.bytes += len(view)
                    while view:
                        view = view[os.write(fd, view) :]
            if (entry.uid, entry.gid) != self._owner:
                os.fchown(fd, entry.uid, entry.gid)
            os.fchmod(fd, entry.mode)
            if entry.xattrs:
                _check_xattrs(entry)
                _set_xattrs(fd, entry.xattrs)
            os.utime(fd, ns=(entry.mtime_ns, entry.mtime_ns))
        finally:
            os.close(fd)

    def _sparse(self, fd: int, entry: Entry, tar: Reader) -> None:
        os.ftruncate(fd, entry.real_size)
        for offset, length in entry.sparse or []:
            while length:
                view = tar.read(length)
                if not view:
                    raise BadTar(f"{shown(entry.name)}: sparse data is missing")
                done = os.pwrite(fd, view, offset)
                while done < len(view):
                    done += os.pwrite(fd, view[done:], offset + done)
                offset, length = offset + done, length - done
                self.bytes += done

    def _hardlink(self, entry: Entry, parent: int, name: bytes) -> None:
        folder, _, source = clean(entry.link).rpartition(b"/")
        if not source:
            raise BadTar(f"{shown(entry.name)}: a hard link to nothing")
        there = sys.openat2(self._root, folder or b".", PATH_DIRECTORY, resolve=IN_ROOT)
        try:
            if stat.S_ISDIR(os.lstat(source, dir_fd=there).st_mode):
                raise BadTar(f"{shown(entry.name)}: a hard link to a directory")
            if os.path.samestat(os.fstat(there), os.fstat(parent)) and source == name:
                return
            self._clear(parent, name)
            os.link(source, name, src_dir_fd=there, dst_dir_fd=parent, follow_symlinks=False)
        finally:
            os.close(there)

    def _node(self, entry: Entry, parent: int, name: bytes) -> None:
        kinds = {reader.CHAR: stat.S_IFCHR, reader.BLOCK_DEVICE: stat.S_IFBLK, reader.FIFO: stat.S_IFIFO}
        device = 0 if entry.kind == reader.FIFO else os.makedev(entry.major, entry.minor)
        if entry.kind == reader.CHAR and device == 0:
            raise BadTar(f"{shown(entry.name)}: a 0:0 device would be a whiteout")
        self._clear(parent, name)
        os.mknod(name, kinds[entry.kind] | 0o600, device, dir_fd=parent)
        self._dress(entry, parent, name)

    def _dress(self, entry: Entry, parent: int, name: bytes) -> None:
        """Owner, mode, attributes and time of what cannot be opened."""
        node = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
        try:
            os.chown(name, entry.uid, entry.gid, dir_fd=parent, follow_symlinks=False)
            if entry.kind != reader.SYMLINK:
                os.chmod(f"/proc/self/fd/{node}", entry.mode)
        finally:
            os.close(node)
        if entry.xattrs:
            _check_xattrs(entry)
            place = os.fsencode(f"/proc/self/fd/{parent}/") + name
            _set_xattrs(place, entry.xattrs)
        os.utime(name, ns=(entry.mtime_ns, entry.mtime_ns), dir_fd=parent, follow_symlinks=False)

    def _whiteout(self, parent: int, name: bytes, entry: Entry) -> None:
        if name == OPAQUE:
            _set_opaque(parent, b".")
            return
        hidden = name[len(WHITEOUT) :]
        if hidden in (b"", b".", b"..") or hidden.startswith(WHITEOUT):
            raise BadTar(f"{shown(entry.name)}: a whiteout of nothing")
        try:
            os.mknod(hidden, stat.S_IFCHR, 0, dir_fd=parent)
        except FileExistsError:  # this layer has one of its own: it stays, only what is below goes
            if stat.S_ISDIR(os.lstat(hidden, dir_fd=parent).st_mode):
                _set_opaque(parent, hidden)

    def _dress_directories(self) -> None:
        """Deepest first, so that the times stay."""
        for path in sorted(self._directories, reverse=True):
            try:
                fd = sys.openat2(
                    self._root, path or b".", os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, resolve=IN_ROOT
                )
            except KernelError:
                continue  # a later entry has replaced it
            try:
                self._dress_directory(fd, self._directories[path] or self._from_below(path))
            except OSError as error:
                raise _blamed(error, path) from error
            finally:
                os.close(fd)

    def _dress_directory(self, fd: int, wanted: _Directory | None) -> None:
        if wanted is None:
            os.fchmod(fd, 0o755)  # whatever the umask
        else:
            if (wanted.uid, wanted.gid) != self._owner:
                os.fchown(fd, wanted.uid, wanted.gid)
            os.fchmod(fd, wanted.mode)
            _set_xattrs(fd, wanted.xattrs)
            os.utime(fd, ns=(wanted.mtime_ns, wanted.mtime_ns))

    def _from_below(self, path: bytes) -> _Directory | None:
        """A directory that the archive leaves out looks as in the layers below: /tmp stays open to all."""
        for folder in self._lower:
            root = os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                fd = sys.openat2(root, path, PATH_DIRECTORY, resolve=IN_ROOT | sys.RESOLVE_NO_SYMLINKS)
            except KernelError:
                continue
            finally:
                os.close(root)
            status = os.fstat(fd)
            os.close(fd)
            return _Directory(stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid, status.st_mtime_ns)
        return None


def _is_whiteout(status: os.stat_result) -> bool:
    return stat.S_ISCHR(status.st_mode) and status.st_rdev == 0


def _set_opaque(parent: int, name: bytes) -> None:
    fd = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
    try:
        os.setxattr(fd, OPAQUE_XATTR, b"y")
    finally:
        os.close(fd)


def _check_xattrs(entry: Entry) -> None:
    for key in entry.xattrs:
        if key.startswith(REFUSED_XATTRS) or not key or "\0" in key:
            raise BadTar(f"{shown(entry.name)}: extended attribute {key[:200]!r} is not allowed in an image")


def _set_xattrs(place: int | bytes, xattrs: dict[str, bytes]) -> None:
    """Where the filesystem has no such kind of attribute, it is left out, as containerd does."""
    for key, value in xattrs.items():
        try:
            if isinstance(place, int):
                os.setxattr(place, key, value)
            else:
                os.setxattr(place, key, value, follow_symlinks=False)
        except OSError as error:
            if error.errno != errno.EOPNOTSUPP and not (
                error.errno == errno.EPERM and key.startswith("user.")
            ):
                raise


def _blamed(error: OSError | HavreError, name: bytes) -> HavreError:
    """A full disk is not the archive's fault."""
    why = os.strerror(error.errno or 0).lower() if isinstance(error, OSError) else str(error)
    if getattr(error, "errno", 0) in _HOST_ERRORS:
        return Unavailable(f"cannot unpack {shown(name)}: {why}", hint="free some disk space: df -h, df -i")
    return BadTar(f"cannot unpack {shown(name)}: {why}")


def extract(
    source: Source,
    root: str,
    *,
    lower: Sequence[str] = (),
    whiteouts: bool = True,
    progress: Callable[[int], None] | None = None,
) -> int:
    """Unpack an uncompressed tar stream below `root`; return the bytes of file data written.

    `lower` are the layers below, uppermost first: directories that the archive leaves out look as there. Without `whiteouts`
    the archive is no layer, and its `.wh.` names are names like others.
    """
    extractor = Extractor(root, lower, whiteouts=whiteouts)
    try:
        extractor.run(Reader(source), progress)
    finally:
        extractor.close()
    return extractor.bytes
