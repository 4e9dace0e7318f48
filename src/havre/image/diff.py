"""What a container has changed in its image: read from its own layer, beside it only the names it touches. Blocking, mounts nothing.

The rules are Docker's (what it calls ChangesDirs): a thing is changed when its mode, owner, device or capability is another one, a
file also when its size or time is; a directory is listed when something in it is; of a removed directory only its own name is said.
overlayfs marks what is gone with a 0:0 device or with an opaque directory, and a renamed directory with where it was
(Documentation/filesystems/overlayfs.rst).
"""

import errno
import os
import stat
from contextlib import ExitStack
from typing import NamedTuple

from havre.errors import InvalidParameter, KernelError
from havre.image.tar.extract import OPAQUE_XATTR
from havre.image.tree import DIRECTORY
from havre.linux import syscalls as sys
from havre.spec.idmaps import IdMaps
from havre.spec.runplan import Overlay

CHANGED, ADDED, DELETED = 0, 1, 2  # Kind of the Engine API
BENEATH = sys.RESOLVE_BENEATH | sys.RESOLVE_NO_SYMLINKS
MAX_PATH = 4000  # below PATH_MAX (linux/limits.h): Docker, too, goes no deeper
REDIRECT_XATTR = "trusted.overlay.redirect"
CAPABILITY_XATTR = "security.capability"
# What every container gets, whatever its image has: dockerd keeps it in a layer of its own, so it is no change.
GIVEN = {
    b"dev/pts": stat.S_IFDIR, b"dev/shm": stat.S_IFDIR, b"proc": stat.S_IFDIR, b"sys": stat.S_IFDIR, b"dev": stat.S_IFDIR,
    b"etc": stat.S_IFDIR, b"dev/console": stat.S_IFREG, b"etc/resolv.conf": stat.S_IFREG, b"etc/hosts": stat.S_IFREG,
    b"etc/hostname": stat.S_IFREG, b"etc/mtab": stat.S_IFLNK, b".dockerenv": stat.S_IFREG,
}  # fmt: skip


class Change(NamedTuple):
    path: bytes  # begins with a slash
    kind: int


class Place(NamedTuple):
    """Where a directory is, in one layer."""

    top: int  # the open layer
    path: bytes  # below it, "" for the layer itself


Dirs = tuple[Place, ...]  # a merged directory: uppermost first, each hides what is below it


class Entry(NamedTuple):
    """A name as overlayfs shows it: its status, and the directories that make it up."""

    status: os.stat_result
    capability: bytes
    dirs: Dirs
    redirect: bytes = b""
    top: int = -1  # the layer that its status is from


def changes(overlay: Overlay, maps: IdMaps | None = None) -> list[Change]:
    """Return what differs from the image, in the order of paths. Raises InvalidParameter for a path that is too long.

    With the maps of a user namespace the container's own layer holds the host's numbers, its image's the numbers inside.
    """
    with ExitStack() as stack:
        tops = []
        for path in (overlay["upper"], *overlay["lower"]):
            tops.append(os.open(path, DIRECTORY))
            stack.callback(os.close, tops[-1])
        return _Walk(tops[0], tuple(Place(top, b"") for top in tops[1:]), maps).run()


class _Walk:
    """The comparison: `new` is the container's view of a directory, `old` the image's."""

    def __init__(self, upper: int, lower: Dirs, maps: IdMaps | None = None) -> None:
        self._upper, self._lower, self._maps = upper, lower, maps
        self._found: dict[bytes, int] = {}

    def run(self) -> list[Change]:
        waiting: list[tuple[bytes, Dirs, Dirs]] = [
            (b"", (Place(self._upper, b""), *self._lower), self._lower)
        ]
        while waiting:
            path, new, old = waiting.pop()
            if len(path) > MAX_PATH:
                raise InvalidParameter(f"/{os.fsdecode(path[:100])}...: file name too long")
            waiting += self._directory(path, new, old)
        self._add_parents()
        order = sorted(self._found, key=lambda path: path.split(b"/"))
        return [Change(b"/" + path, self._found[path]) for path in order]

    def _differs(self, old: Entry, new: Entry) -> bool:
        a, b = old.status, new.status
        if (a.st_mode, a.st_rdev, self._owner(old)) != (b.st_mode, b.st_rdev, self._owner(new)):
            return True
        if self._capability(old) != self._capability(new):
            return True
        return not stat.S_ISDIR(a.st_mode) and (a.st_mtime_ns, a.st_size) != (b.st_mtime_ns, b.st_size)

    def _owner(self, entry: Entry) -> tuple[int, int]:
        owner = entry.status.st_uid, entry.status.st_gid
        return self._maps.inside(*owner) if self._maps and entry.top == self._upper else owner

    def _capability(self, entry: Entry) -> bytes:
        return self._maps.capability(entry.capability) if self._maps else entry.capability

    def _directory(self, path: bytes, new: Dirs, old: Dirs) -> list[tuple[bytes, Dirs, Dirs]]:
        """Compare the names of one directory; return its directories."""
        with _Opened({*new, *old}) as opened:
            # Where the image's view is the whole rest of the container's, only the container's own layer can differ.
            shown = new[:1] if new[1:] == old else (*new, *old)
            inner = []
            for name in {name for place in shown for name in opened.names(place)}:
                place = path + b"/" + name if path else name
                now, before = self._followed(opened.look(new, name), new[1:]), opened.look(old, name)
                self._compare(place, before, now)
                if now is not None and now.dirs:
                    inner.append((place, now.dirs, before.dirs if before is not None else ()))
            return inner

    def _compare(self, place: bytes, before: Entry | None, now: Entry | None) -> None:
        if now is None:
            if before is not None:
                self._found[place] = DELETED
        elif before is None:
            if not _is_given(place, now):
                self._found[place] = ADDED
        elif self._differs(before, now):
            self._found[place] = CHANGED

    def _followed(self, entry: Entry | None, lower: Dirs) -> Entry | None:
        """A directory of the container's own layer that was renamed has its image part where it came from: at a path in the
        image, or under another name in the image's part of the same directory, `lower`."""
        if entry is None or not entry.redirect:
            return entry
        if entry.redirect.startswith(b"/"):
            lower = self._lower
        for part in entry.redirect.strip(b"/").split(b"/"):
            with _Opened(set(lower)) as opened:
                found = opened.look(lower, part)
            lower = found.dirs if found is not None else ()
        return entry._replace(dirs=(entry.dirs[0], *lower))

    def _add_parents(self) -> None:
        """A directory is changed when something in it is."""
        for path in list(self._found):
            while path := path.rpartition(b"/")[0]:
                if path in self._found:
                    break
                self._found[path] = CHANGED


class _Opened:
    """The directories one merged directory is made of, held open; one that has gone meanwhile is empty."""

    def __init__(self, places: set[Place]) -> None:
        self._places = places
        self._fds: dict[Place, int] = {}

    def __enter__(self) -> "_Opened":
        for place in self._places:
            try:
                # Never through a link: a running container may put one there between two looks.
                self._fds[place] = sys.openat2(place.top, place.path or b".", DIRECTORY, resolve=BENEATH)
            except KernelError as error:
                if error.errno == errno.EMFILE:
                    self.__exit__()
                    raise
        return self

    def __exit__(self, *_: object) -> None:
        for fd in self._fds.values():
            os.close(fd)

    def names(self, place: Place) -> list[bytes]:
        fd = self._fds.get(place, -1)
        return [os.fsencode(name) for name in os.listdir(fd)] if fd >= 0 else []

    def look(self, dirs: Dirs, name: bytes) -> Entry | None:
        """What overlayfs shows under a name; None when there is nothing, or a mark that it is gone."""
        status, capability, redirect, top = None, b"", b"", -1
        found: list[Place] = []
        for place in dirs:
            seen = self._status(place, name)
            if seen is None:
                continue
            if stat.S_ISCHR(seen.st_mode) and seen.st_rdev == 0:
                break
            if status is None:
                status, top = seen, place.top
                capability = self._xattr(place, name, CAPABILITY_XATTR) if stat.S_ISREG(seen.st_mode) else b""
            if not stat.S_ISDIR(seen.st_mode):
                break
            found.append(place._replace(path=place.path + b"/" + name if place.path else name))
            if len(found) == 1:
                redirect = self._xattr(place, name, REDIRECT_XATTR)
            if redirect or self._xattr(place, name, OPAQUE_XATTR) == b"y":
                break
        return None if status is None else Entry(status, capability, tuple(found), redirect, top)

    def _status(self, place: Place, name: bytes) -> os.stat_result | None:
        try:
            return os.lstat(name, dir_fd=self._fds[place])
        except (OSError, KeyError):
            return None

    def _xattr(self, place: Place, name: bytes, key: str) -> bytes:
        try:
            return os.getxattr(b"/proc/self/fd/%d/%s" % (self._fds[place], name), key, follow_symlinks=False)
        except OSError:
            return b""


def _is_given(place: bytes, entry: Entry) -> bool:
    kind = GIVEN.get(place)
    if kind is None or stat.S_IFMT(entry.status.st_mode) != kind:
        return False
    return kind != stat.S_IFREG or entry.status.st_size == 0
