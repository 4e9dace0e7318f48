"""Mount options of an OCI mount, read into attributes, propagation and filesystem data. Pure. mount(8), runtime-spec "mounts"."""

from collections.abc import Sequence
from dataclasses import dataclass

from havre.linux import syscalls as sys

_ATTRIBUTES = {
    "ro": (sys.MOUNT_ATTR_RDONLY, 0),
    "rw": (0, sys.MOUNT_ATTR_RDONLY),
    "nosuid": (sys.MOUNT_ATTR_NOSUID, 0),
    "suid": (0, sys.MOUNT_ATTR_NOSUID),
    "nodev": (sys.MOUNT_ATTR_NODEV, 0),
    "dev": (0, sys.MOUNT_ATTR_NODEV),
    "noexec": (sys.MOUNT_ATTR_NOEXEC, 0),
    "exec": (0, sys.MOUNT_ATTR_NOEXEC),
    "nodiratime": (sys.MOUNT_ATTR_NODIRATIME, 0),
    "diratime": (0, sys.MOUNT_ATTR_NODIRATIME),
    "noatime": (sys.MOUNT_ATTR_NOATIME, sys.MOUNT_ATTR__ATIME),
    "strictatime": (sys.MOUNT_ATTR_STRICTATIME, sys.MOUNT_ATTR__ATIME),
    "nosymfollow": (sys.MOUNT_ATTR_NOSYMFOLLOW, 0),
    "symfollow": (0, sys.MOUNT_ATTR_NOSYMFOLLOW),
    "relatime": (0, sys.MOUNT_ATTR__ATIME),
}
PROPAGATION = {
    "private": sys.MS_PRIVATE,
    "slave": sys.MS_SLAVE,
    "shared": sys.MS_SHARED,
    "unbindable": sys.MS_UNBINDABLE,
}
_NO_EFFECT = frozenset(
    "async atime defaults norelatime nostrictatime nomand mand dirsync sync silent loud auto noauto user nouser iversion "
    "noiversion remount copy-symlink src-nofollow dest-nofollow".split()
)


@dataclass(frozen=True, slots=True)
class Options:
    """What the words of one mount mean."""

    add: int  # MOUNT_ATTR_* to set
    clear: int  # MOUNT_ATTR_* to clear first
    recursive_add: int  # the same for the whole tree (rro, rnosuid, ...)
    recursive_clear: int
    propagation: int  # MS_*; 0 leaves it
    propagation_recursive: bool
    bind: bool
    bind_recursive: bool
    idmap: str  # "idmap", "ridmap" (with all below), or ""
    data: tuple[tuple[str, str | None], ...]  # for fsconfig


def read(words: Sequence[str]) -> Options:
    """Return the meaning of option words; later ones win. Unknown words go to the filesystem as data."""
    add = clear = recursive = recursive_clear = propagation = 0
    deep = bind = rbind = False
    idmap = ""
    data: list[tuple[str, str | None]] = []
    for word in words:
        if word in _ATTRIBUTES:
            on, off = _ATTRIBUTES[word]
            add, clear = (add & ~off) | on, (clear & ~on) | off
        elif word.startswith("r") and word[1:] in _ATTRIBUTES and word not in ("ro", "rw"):
            on, off = _ATTRIBUTES[word[1:]]
            recursive, recursive_clear = (recursive & ~off) | on, (recursive_clear & ~on) | off
        elif word.removeprefix("r") in PROPAGATION:
            propagation, deep = PROPAGATION[word.removeprefix("r")], word not in PROPAGATION
        elif word in ("bind", "rbind"):
            bind, rbind = True, word == "rbind"
        elif word in ("idmap", "ridmap"):
            idmap = word
        elif word not in _NO_EFFECT:
            key, equals, value = word.partition("=")
            data.append((key, value if equals else None))
    return Options(add, clear, recursive, recursive_clear, propagation, deep, bind, rbind, idmap, tuple(data))


def known_words() -> set[str]:
    """Return every option word with a meaning of its own, for `features`."""
    recursive = {f"r{word}" for word in (*_ATTRIBUTES, *PROPAGATION)}
    return {
        *_ATTRIBUTES,
        *PROPAGATION,
        *_NO_EFFECT,
        *recursive,
        "bind",
        "rbind",
        "idmap",
        "ridmap",
        "tmpcopyup",
    }
