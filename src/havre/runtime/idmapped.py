"""User namespaces seen from outside: whose ids they map, and mounts that show files through those maps. Lean; runs in the parent.

A mount is idmapped while it is detached (mount_setattr(2), MOUNT_ATTR_IDMAP): what lies on the disk as uid 0 is the container's
root, without a copy and without a chown.
"""

import os
import stat

from havre.errors import KernelError
from havre.linux import syscalls as sys
from havre.runtime import identity

SIGCHLD = 17
EINVAL, EPERM = 22, 1
TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable


def read_maps(pid: int) -> tuple[str, str]:
    """Return the lines of a process's uid_map and gid_map, seen from here."""
    found = []
    for name in ("uid_map", "gid_map"):
        with open(f"/proc/{pid}/{name}", encoding="ascii") as file:
            found.append("".join(" ".join(line.split()) + "\n" for line in file))
    return found[0], found[1]


def write_maps(pid: int, uid_lines: str, gid_lines: str) -> None:
    """Give a new user namespace its maps, once and for all. Raises KernelError."""
    for name, lines in (("uid_map", uid_lines), ("gid_map", gid_lines)):
        identity.write_file(f"/proc/{pid}/{name}", lines)


def to_host(lines: str, inside: int) -> int:
    """Return the host's number of an id inside, -1 when it has none."""
    for line in lines.splitlines():
        first, outside, size = (int(word) for word in line.split())
        if first <= inside < first + size:
            return outside + inside - first
    return -1


def own_streams(fds: "Iterable[int]", maps: tuple[str, str]) -> None:
    """Pipes and sockets we made for a container are its root's, who must be able to open /dev/stdout again."""
    uid, gid = to_host(maps[0], 0), to_host(maps[1], 0)
    for fd in fds:
        kind = os.fstat(fd).st_mode
        if stat.S_ISFIFO(kind) or stat.S_ISSOCK(kind):
            os.fchown(fd, uid, gid)


def new_namespace(uid_lines: str, gid_lines: str) -> int:
    """Return an fd of a user namespace with these maps, in which nobody lives."""
    ready, leave = os.pipe()
    pid = sys.clone(sys.CLONE_NEWUSER, SIGCHLD)
    if pid == 0:
        os.close(leave)
        os.read(ready, 1)
        os._exit(0)
    try:
        write_maps(pid, uid_lines, gid_lines)
        return os.open(f"/proc/{pid}/ns/user", os.O_RDONLY | os.O_CLOEXEC)
    finally:
        os.close(leave)
        os.close(ready)
        try:
            os.waitpid(pid, 0)
        except ChildProcessError:
            pass  # where SIGCHLD is ignored it has been reaped already


def idmap(tree: int, path: str, userns: int, *, recursive: bool) -> None:
    """Show a detached tree through a user namespace. Raises KernelError naming the file system that cannot."""
    try:
        sys.mount_idmap(tree, path, userns, recursive=recursive)
    except KernelError as error:
        if error.errno not in (EINVAL, EPERM):
            raise
        place, kind = _culprit(path, userns) if recursive else (path, _kind(path))
        raise KernelError("idmap", f"{place} ({kind})", error.errno) from None


def _culprit(path: str, userns: int) -> tuple[str, str]:
    """Find which of the mounts below a path refuses, by trying each alone."""
    real = os.path.realpath(path)
    below = [(place, kind) for _, place, kind in _mounts() if place.startswith(real.rstrip("/") + "/")]
    for place, kind in [(path, _kind(path)), *below]:
        tree = -1
        try:
            tree = sys.open_tree(place, sys.OPEN_TREE_CLONE)
            sys.mount_idmap(tree, place, userns)
        except KernelError:
            return place, kind
        finally:
            if tree >= 0:
                os.close(tree)
    return path, _kind(path)


def _kind(path: str) -> str:
    """Return the type of the file system a path lies on, as mount(8) names it."""
    device = os.stat(path).st_dev
    number = f"{os.major(device)}:{os.minor(device)}"
    return next((kind for found, _, kind in reversed(_mounts()) if found == number), "unknown file system")


def _mounts() -> list[tuple[str, str, str]]:
    """Return (device, mount point, type) of every mount, oldest first (proc_pid_mountinfo(5))."""
    found = []
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
        for line in file:
            words = line.split()
            place = words[4]
            for code, sign in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
                place = place.replace(code, sign)
            found.append((words[2], place, words[words.index("-") + 1]))
    return found
