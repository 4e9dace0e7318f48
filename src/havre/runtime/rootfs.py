"""Build the container's root in its own mount namespace. Lean; runs in the child, before pivot_root where it says so.

Nothing inside the root is trusted: every target is opened with openat2(RESOLVE_IN_ROOT | NO_MAGICLINKS) and mounted on through
that very fd, so no symlink the image or a racing neighbour plants can lead a mount elsewhere (CVE-2021-30465 and its kin).
"""

import os
import stat
import sys as python

from havre.errors import KernelError
from havre.linux import syscalls as sys
from havre.runtime import copytree, elsewhere, idmapped, overlay

IN_ROOT = sys.RESOLVE_IN_ROOT | sys.RESOLVE_NO_MAGICLINKS
PATH_FD = os.O_PATH
TYPE_CHECKING = False
if TYPE_CHECKING:
    from havre.runtime.plan import Program


class Outside:
    """What the parent opens on the host before the clone: the root and every bind source, as detached mounts.

    They are opened before the child makes its tree private, so a source keeps its peer group (rshared, rslave); and by the
    parent, so a user namespace needs no rights on the host's directories. What is shown through the namespace's id maps is
    completed when there is one.
    """

    __slots__ = ("box", "nodes", "root", "sources")

    def __init__(self, root: int, sources: dict[int, list[int]], box: int, nodes: list[int]) -> None:
        self.root = root  # -1: an overlay of idmapped layers, see `open_overlay`
        self.sources = sources
        self.box = (
            box  # a tmpfs with the device nodes of a user namespace, which may not make any; -1 without
        )
        self.nodes = nodes  # the same nodes, each as a mount

    def close(self) -> None:
        for fd in (self.root, self.box, *self.nodes, *(fd for fds in self.sources.values() for fd in fds)):
            if fd >= 0:
                os.close(fd)

    def idmap(self, program: "Program", userns: int) -> None:
        """Show bind sources through id maps, their own or those of the container's user namespace (-1: it has none).

        Raises KernelError("idmap", place and file system) when a file system cannot.
        """
        for number, mount in enumerate(program["mounts"]):
            if mount[0] == "bind" and mount[10] is not None:
                _map_source(self.sources[number][0], mount[2], mount[10], userns)

    def own_nodes(self, program: "Program", maps: tuple[str, str]) -> None:
        """The namespace is there: the device nodes get the owners that the config names by their numbers inside."""
        for number, node in enumerate(program["nodes"] if self.box >= 0 else ()):
            owner = [idmapped.to_host(lines, inside) for lines, inside in zip(maps, node[5:7], strict=True)]
            root = [idmapped.to_host(lines, 0) for lines in maps]
            uid, gid = (first if first >= 0 else second for first, second in zip(owner, root, strict=True))
            os.chown(str(number), uid, gid, dir_fd=self.box)

    def open_overlay(self, program: "Program", userns: int) -> int:
        """Return the root over idmapped layers, -1 when it is open already."""
        if self.root >= 0:
            return -1
        _, lower, upper, work = program["root"]
        return overlay.mount_idmapped(lower, upper, work, userns, program["mount_at"])


def _map_source(tree: int, source: str, wanted: tuple[bool, str, str], userns: int) -> None:
    recursive, uid_lines, gid_lines = wanted
    other = idmapped.new_namespace(uid_lines, gid_lines) if uid_lines else -1
    try:
        idmapped.idmap(tree, source, other if uid_lines else userns, recursive=recursive)
    finally:
        if other >= 0:
            os.close(other)


def open_outside(program: "Program") -> Outside:
    """Open root, bind sources and cgroup directories on the host. Raises KernelError naming what is missing."""
    outside = Outside(-1, {}, -1, [])
    try:
        for place, mount in enumerate(program["mounts"]):
            if not _can_wait(program, mount):
                outside.sources[place] = []
                _open_source(mount, outside.sources[place])
        if program["root"][0] != "overlay" or not program["userns"]:
            outside.root = _open_root(program)
        if program["userns"]:
            _open_nodes(program, outside)
        return outside
    except BaseException:
        outside.close()
        raise


def _open_nodes(program: "Program", outside: Outside) -> None:
    """Nodes of the container's own on a tmpfs of the host's; the host's very nodes where that cannot be (no CAP_MKNOD, Linux < 6.15)."""
    try:
        context = sys.fsopen("tmpfs")
        sys.fsconfig_string(context, "source", "tmpfs", "nodes")
        sys.fsconfig_string(context, "mode", "700", "nodes")
        outside.box = sys.fsmount(context, sys.MOUNT_ATTR_NOEXEC, "nodes")
        os.close(context)
        for number, (_, kind, major, minor, mode, _, _) in enumerate(program["nodes"]):
            os.mknod(str(number), _KINDS[kind] | 0o600, os.makedev(major, minor), dir_fd=outside.box)
            os.chmod(str(number), mode, dir_fd=outside.box)
            outside.nodes.append(sys.open_tree(str(number), sys.OPEN_TREE_CLONE, outside.box))
    except (OSError, KernelError):
        for fd in (outside.box, *outside.nodes):
            if fd >= 0:
                os.close(fd)
        outside.box, outside.nodes = -1, []
        for path, kind, major, minor, *_ in program["nodes"]:
            outside.nodes.append(_open_host_node(path, kind, os.makedev(major, minor)))


def _open_host_node(path: str, kind: str, device: int) -> int:
    tree = sys.open_tree(path, sys.OPEN_TREE_CLONE)
    status = os.fstat(tree)
    if status.st_rdev != device or stat.S_IFMT(status.st_mode) != _KINDS[kind]:
        os.close(tree)
        raise KernelError("mknod", path, 1)
    return tree


def open_place(program: "Program") -> int:
    """Open the host directory that the root is put on, in the container's mount namespace, while it may still be reached."""
    return os.open(program["mount_at"], PATH_FD | os.O_DIRECTORY | os.O_CLOEXEC)


def build(program: "Program", outside: Outside, place: int) -> int:
    """In the child: mount everything and return an O_PATH fd of the root. The caller then pivots."""
    sys.mount_propagation(b"/", sys.MS_REC | sys.MS_PRIVATE)
    root = outside.root
    sys.move_mount(root, place, program["mount_at"])
    os.close(place)
    own_dev = False
    for number, mount in enumerate(program["mounts"]):
        if mount[0] == "fs":
            _mount_fs(root, mount)
        elif mount[0] == "bind":
            sources = outside.sources.get(number) or _open_source(mount, [])
            if program["userns"] and mount[8] == sys.MS_SHARED:
                # A namespace with less rights hears of the host's mounts and never adds to them (mount_namespaces(7)).
                sys.mount_setattr(sources[0], mount[2], propagation=sys.MS_SLAVE, recursive=True)
            if number in outside.sources and not program["userns"]:
                sources = [_renew(sources[0], mount[2])]
            _mount_bind(root, mount, sources)
        else:
            _mount_cgroup(root, mount, outside.sources[number])
        if mount[1].rstrip("/") == "/dev":
            own_dev = True
            if mount[0] == "fs":
                _fill_dev(root, program, outside.nodes)
    if not own_dev:
        _fill_dev(root, program, outside.nodes)
    return root


def forbid_imports() -> None:
    """From here on the files are the container's: a module that is not loaded yet would be code of its making, run with our rights."""
    python.meta_path.clear()


def enter(program: "Program", root: int) -> None:
    """pivot_root into `root` and forget the host's tree; then the root's propagation."""
    if program["pivot"]:
        forbid_imports()
        os.fchdir(root)
        sys.pivot_root(b".", b".")
        sys.umount(b".", sys.MNT_DETACH)
    else:
        _move_over(program, root)
    os.chdir("/")
    if program["root_propagation"] != sys.MS_PRIVATE:
        sys.mount_propagation(b"/", program["root_propagation"])


def _move_over(program: "Program", root: int) -> None:
    """--no-pivot: cover the host's root with the container's. A full procfs or sysfs must not stay behind it."""
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
        lines = [line.split(" - ") for line in file]
    for left, right in reversed(lines):
        place = left.split()[4]
        if right.split()[0] in ("proc", "sysfs") and not place.startswith(program["mount_at"] + "/"):
            sys.umount(os.fsencode(place.encode().decode("unicode_escape")), sys.MNT_DETACH)
    forbid_imports()
    above = os.open("/", PATH_FD | os.O_DIRECTORY | os.O_CLOEXEC)
    sys.move_mount(root, above, "/")
    os.close(above)
    os.fchdir(root)
    os.chroot(".")


def seal(program: "Program") -> None:
    """After the pivot: sysctls through a procfs that is checked, then read-only and masked paths, then the root itself."""
    root = os.open("/", PATH_FD | os.O_DIRECTORY | os.O_CLOEXEC)
    _write_sysctls(root, program["sysctl"])
    for path in program["readonly"]:
        _make_readonly(root, path)
    if program["masked"]:
        _mask_all(root, program["masked"])
    if program["root_readonly"]:
        fd = sys.open_tree("/", 0)
        sys.mount_setattr(fd, "/", add=sys.MOUNT_ATTR_RDONLY)
        os.close(fd)
    os.close(root)


def _can_wait(program: "Program", mount: tuple) -> bool:  # type: ignore[type-arg]
    """A private bind may be opened by the child when its turn comes, so that mountinfo shows it in the config's order (the kernel
    lists by age since 6.8). Not when it has a peer group to keep, ids to be mapped, or shows the place the root is mounted on."""
    if (
        mount[0] != "bind"
        or program["userns"]
        or mount[10]
        or mount[8] not in (0, sys.MS_PRIVATE, sys.MS_UNBINDABLE)
    ):
        return False
    if elsewhere.is_elsewhere(mount[2]):
        return False
    source, place = mount[2].rstrip("/") + "/", program["mount_at"] + "/"
    return not source.startswith(place) and not place.startswith(source)


def _open_source(mount: tuple, opened: list[int]) -> list[int]:  # type: ignore[type-arg]
    """Return `opened`, with detached copies of what a mount shows of the host."""
    if mount[0] == "bind":
        open_tree = elsewhere.open_tree if elsewhere.is_elsewhere(mount[2]) else sys.open_tree
        opened.append(open_tree(mount[2], sys.OPEN_TREE_CLONE | (sys.AT_RECURSIVE if mount[3] else 0)))
    elif mount[0] == "cgroup" and not mount[4]:
        for _, path in mount[3]:
            opened.append(sys.open_tree(path, sys.OPEN_TREE_CLONE | sys.AT_RECURSIVE))
    return opened


def _open_root(program: "Program") -> int:
    kind, *rest = program["root"]
    if kind == "overlay":
        return overlay.mount(*rest)
    tree = sys.open_tree(rest[0], sys.OPEN_TREE_CLONE | sys.AT_RECURSIVE)
    kind_of = sys.MS_PRIVATE if program["root_propagation"] == sys.MS_PRIVATE else sys.MS_SLAVE
    sys.mount_setattr(tree, rest[0], propagation=kind_of, recursive=True)
    return tree


def open_in(root: int, path: str, flags: int) -> int:
    """Open a path inside the root; symlinks lead nowhere but inside."""
    return sys.openat2(root, path, flags, resolve=IN_ROOT)


def make_target(root: int, path: str, *, directory: bool) -> int:
    """Return an O_PATH fd of a mount target, making it and its parents when they are missing."""
    try:
        return open_in(root, path, PATH_FD)
    except KernelError as error:
        if error.errno != 2:
            raise
    parent = _make_parents(root, path if directory else os.path.dirname(path))
    if directory:
        return parent
    name = os.path.basename(path)
    try:
        os.close(
            sys.openat2(parent, name, os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, mode=0o755, resolve=IN_ROOT)
        )
    except KernelError as error:
        if error.errno != 17:
            raise
    try:
        return open_in(root, path, PATH_FD)
    finally:
        os.close(parent)


def _make_parents(root: int, path: str) -> int:
    """mkdir -p below the root, one component at a time, each opened in the root again."""
    current = open_in(root, "/", PATH_FD)
    done = ""
    for part in path.split("/"):
        if part in ("", "."):
            continue
        done += "/" + part
        following = _open_or_make(root, current, part, done)
        os.close(current)
        current = following
    return current


def _open_or_make(root: int, parent: int, name: str, path: str) -> int:
    try:
        return open_in(root, path, PATH_FD | os.O_DIRECTORY)
    except KernelError as error:
        if error.errno != 2:
            raise
    try:
        os.mkdir(name, 0o755, dir_fd=parent)
    except FileExistsError:
        pass  # a dangling symlink, or somebody was faster: the next open tells
    except OSError as error:
        raise KernelError("mkdir", path, error.errno or 0) from None
    return open_in(root, path, PATH_FD | os.O_DIRECTORY)


def _mount_fs(root: int, mount: tuple) -> None:  # type: ignore[type-arg]
    _, target, kind, source, attributes, data, propagation = mount
    context = sys.fsopen(kind)
    sys.fsconfig_string(context, "source", source, target)
    copy_up = False
    for key, value in data:
        if key == "tmpcopyup" and value is None:
            copy_up = kind == "tmpfs"
        elif value is None:
            sys.fsconfig_flag(context, key, target)
        else:
            sys.fsconfig_string(context, key, value, target)
    late = attributes & sys.MOUNT_ATTR_RDONLY if copy_up else 0
    tree = sys.fsmount(context, attributes & ~late, target)
    os.close(context)
    if propagation:
        sys.mount_setattr(tree, target, propagation=propagation)
    if copy_up:
        _copy_up(root, target, tree, keep_mode=any(key == "mode" for key, _ in data))
    if late:
        sys.mount_setattr(tree, target, add=late)
    if kind in ("proc", "sysfs"):
        _attach_plain(root, tree, target)
    else:
        _attach(root, tree, target, directory=True)


def _attach_plain(root: int, tree: int, target: str) -> None:
    """procfs and sysfs belong on a plain directory, or masks and read-only paths could be led astray (CVE-2019-19921)."""
    os.close(make_target(root, target, directory=True))
    try:
        place = sys.openat2(root, target, PATH_FD, resolve=IN_ROOT | sys.RESOLVE_NO_SYMLINKS)
    except KernelError as error:
        if error.errno == 40:  # ELOOP
            raise KernelError("mount", f"{target} is a symlink", 20) from None
        raise
    sys.move_mount(tree, place, target)
    os.close(place)
    os.close(tree)


def _copy_up(root: int, target: str, tree: int, *, keep_mode: bool) -> None:
    """tmpcopyup: what the image has there is copied into the new tmpfs."""
    try:
        below = open_in(root, target, os.O_RDONLY | os.O_DIRECTORY)
    except KernelError as error:
        if error.errno in (2, 20):
            return
        raise
    status = os.fstat(below)
    copytree.copy(below, tree)
    os.chown(f"/proc/self/fd/{tree}", status.st_uid, status.st_gid)
    if not keep_mode:
        os.chmod(f"/proc/self/fd/{tree}", stat.S_IMODE(status.st_mode))
    os.close(below)


# What may be laid over a file of procfs: lxcfs does (runc's checkProcMount).
_OVER_PROC = frozenset(
    f"/proc/{name}"
    for name in (
        "cpuinfo diskstats loadavg meminfo net/dev slabinfo stat swaps uptime sys/crypto/fips_enabled sys/kernel/ns_last_pid"
    ).split()
)


def open_terminal(root: int) -> int:
    """Open a new pty of the container's own devpts; nothing else that somebody has put there (CVE-2025-52565)."""
    master = open_in(root, "/dev/pts/ptmx", os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
    if sys.filesystem_magic(master) != sys.DEVPTS_SUPER_MAGIC or os.fstat(master).st_rdev != os.makedev(5, 2):
        os.close(master)
        raise KernelError("open", "/dev/pts/ptmx is not a terminal of the container's own devpts", 22)
    os.set_blocking(master, True)
    return master


def _protect_proc(tree: int, place: int, target: str) -> None:
    """What we and others write to /proc must reach the kernel (CVE-2025-52881): it is a procfs, with nothing laid over it."""
    if target == "/proc" and sys.filesystem_magic(tree) != sys.PROC_SUPER_MAGIC:
        raise KernelError("mount", "/proc: only a procfs can be there", 1)
    if sys.filesystem_magic(place) == sys.PROC_SUPER_MAGIC and target not in _OVER_PROC:
        raise KernelError("mount", f"{target}: nothing can be mounted inside /proc", 1)


def _attach(root: int, tree: int, target: str, *, directory: bool) -> None:
    place = make_target(root, target, directory=directory)
    _protect_proc(tree, place, os.path.normpath(target))
    sys.move_mount(tree, place, target)
    os.close(place)
    os.close(tree)


def _renew(tree: int, source: str) -> int:
    """Return a younger copy of a detached tree, in the same peer groups: mountinfo lists mounts by age (Linux 6.8), and a
    container's are to be in the order of its config. For that the tree is attached for a moment, over a root nobody looks at."""
    above = os.open("/", PATH_FD | os.O_DIRECTORY | os.O_CLOEXEC)
    sys.move_mount(tree, above, source)
    os.close(above)
    copy = sys.open_tree("", sys.OPEN_TREE_CLONE | sys.AT_RECURSIVE | sys.AT_EMPTY_PATH, tree)
    # private first: unmounting a shared tree would take the host's own mounts below it along
    sys.mount_setattr(tree, source, propagation=sys.MS_PRIVATE, recursive=True)
    sys.umount(f"/proc/self/fd/{tree}".encode(), sys.MNT_DETACH)
    os.close(tree)
    return copy


def _mount_bind(root: int, mount: tuple, sources: list[int]) -> None:  # type: ignore[type-arg]
    _, target, source, _, add, clear, deep_add, deep_clear, propagation, deep, _ = mount
    tree = sources[0]
    directory = stat.S_ISDIR(os.fstat(tree).st_mode)
    sys.mount_setattr(
        tree, source, propagation=propagation or sys.MS_PRIVATE, recursive=deep or not propagation
    )
    if add or clear:
        sys.mount_setattr(tree, source, add=add, clear=clear)
    if deep_add or deep_clear:
        sys.mount_setattr(tree, source, add=deep_add, clear=deep_clear, recursive=True)
    _attach(root, tree, target, directory=directory)


def _mount_cgroup(root: int, mount: tuple, sources: list[int]) -> None:  # type: ignore[type-arg]
    """v2: a cgroup2 of the container's own namespace, or its directory. v1: a tmpfs with each controller's own directory."""
    _, target, attributes, views, private = mount
    if private:
        context = sys.fsopen("cgroup2")
        sys.fsconfig_string(context, "source", "cgroup", target)
        tree = sys.fsmount(context, attributes, target)
        os.close(context)
        _attach(root, tree, target, directory=True)
        return
    if views and views[0][0] == "":
        sys.mount_setattr(sources[0], target, add=attributes, propagation=sys.MS_PRIVATE, recursive=True)
        _attach(root, sources[0], target, directory=True)
        return
    context = sys.fsopen("tmpfs")
    sys.fsconfig_string(context, "source", "tmpfs", target)
    sys.fsconfig_string(context, "mode", "755", target)
    tree = sys.fsmount(context, attributes & ~sys.MOUNT_ATTR_RDONLY, target)
    os.close(context)
    place = make_target(root, target, directory=True)
    sys.move_mount(tree, place, target)
    for (name, path), source in zip(views, sources, strict=True):
        sys.mount_setattr(source, path, add=attributes, propagation=sys.MS_PRIVATE, recursive=True)
        os.mkdir(name, 0o555, dir_fd=tree)
        spot = sys.openat2(tree, name, PATH_FD | os.O_DIRECTORY, resolve=sys.RESOLVE_BENEATH)
        sys.move_mount(source, spot, target + "/" + name)
        os.close(spot)
        os.close(source)
    if attributes & sys.MOUNT_ATTR_RDONLY:
        sys.mount_setattr(tree, target, add=sys.MOUNT_ATTR_RDONLY)
    os.close(place)
    os.close(tree)


def _fill_dev(root: int, program: "Program", nodes: list[int]) -> None:
    """Nodes and links in /dev; the cgroup's device rules were written before this process was attached.

    Every step is relative to an fd inside the root, so a symlinked /dev of the image leads nowhere else (CVE-2026-41579).
    """
    os.close(make_target(root, "/dev", directory=True))
    dev = open_in(root, "/dev", PATH_FD | os.O_DIRECTORY)
    for number, (path, kind, major, minor, mode, uid, gid) in enumerate(program["nodes"]):
        if nodes:
            _attach(root, nodes[number], path, directory=False)
        else:
            _make_node(root, path, kind, os.makedev(major, minor), mode, uid, gid)
    for name, target in (
        ("fd", "/proc/self/fd"),
        ("stdin", "/proc/self/fd/0"),
        ("stdout", "/proc/self/fd/1"),
        ("stderr", "/proc/self/fd/2"),
        ("core", "/proc/kcore"),
        ("ptmx", "pts/ptmx"),
    ):
        try:
            os.symlink(target, name, dir_fd=dev)
        except FileExistsError:
            pass  # --device gave a node of that name
    os.close(dev)


_KINDS = {"c": stat.S_IFCHR, "u": stat.S_IFCHR, "b": stat.S_IFBLK, "p": stat.S_IFIFO}


def _make_node(root: int, path: str, kind: str, device: int, mode: int, uid: int, gid: int) -> None:
    parent = _make_parents(root, os.path.dirname(path))
    name = os.path.basename(path)
    try:
        os.mknod(name, mode | _KINDS[kind], device, dir_fd=parent)
        node = sys.openat2(parent, name, PATH_FD | os.O_NOFOLLOW, resolve=sys.RESOLVE_BENEATH)
        os.chmod(f"/proc/self/fd/{node}", mode)
        os.chown(name, uid, gid, dir_fd=parent, follow_symlinks=False)
        os.close(node)
    except FileExistsError:
        status = os.stat(name, dir_fd=parent, follow_symlinks=False)
        if status.st_rdev != device or stat.S_IFMT(status.st_mode) != _KINDS[kind]:
            raise KernelError("mknod", path, 17) from None  # never take the image's word for a device
    except OSError as error:
        raise KernelError("mknod", path, error.errno or 0) from None
    finally:
        os.close(parent)


def _write_sysctls(root: int, sysctls: list[tuple[str, str]]) -> None:
    if not sysctls:
        return
    proc = open_in(root, "/proc/sys", PATH_FD | os.O_DIRECTORY)
    if (
        sys.filesystem_magic(proc) != sys.PROC_SUPER_MAGIC
    ):  # CVE-2025-52881: a fake procfs would take the write elsewhere
        raise KernelError("open", "/proc/sys", 22)
    for path, value in sysctls:
        strict = sys.RESOLVE_BENEATH | sys.RESOLVE_NO_SYMLINKS | sys.RESOLVE_NO_XDEV
        fd = sys.openat2(proc, path, os.O_WRONLY, resolve=strict)
        try:
            os.write(fd, value.encode())
        except OSError as error:
            raise KernelError("write", f"sysctl {path.replace('/', '.')}={value}", error.errno or 0) from None
        finally:
            os.close(fd)
    os.close(proc)


def _make_readonly(root: int, path: str) -> None:
    """Bind a path on itself, read-only; one that is missing needs nothing."""
    try:
        place = open_in(root, path, PATH_FD)
    except KernelError as error:
        if error.errno in (2, 20):
            return
        raise
    tree = sys.open_tree("", sys.OPEN_TREE_CLONE | sys.AT_RECURSIVE | sys.AT_EMPTY_PATH, place)
    sys.mount_setattr(tree, path, add=sys.MOUNT_ATTR_RDONLY, recursive=True)
    sys.move_mount(tree, place, path)
    os.close(tree)
    os.close(place)


def _mask_all(root: int, paths: list[str]) -> None:
    """Cover files with /dev/null and directories with an empty read-only tmpfs."""
    null = open_in(root, "/dev/null", PATH_FD | os.O_NOFOLLOW)
    status = os.fstat(null)
    if not stat.S_ISCHR(status.st_mode) or status.st_rdev != os.makedev(1, 3):  # CVE-2025-31133
        raise KernelError("open", "/dev/null is not the null device", 22)
    empty = -1
    for path in paths:
        try:
            place = open_in(root, path, PATH_FD)
        except KernelError as error:
            if error.errno in (2, 20):
                continue
            raise
        if stat.S_ISDIR(os.fstat(place).st_mode):
            if empty < 0:
                tree = empty = _empty_tmpfs()
            else:  # it is attached by now: a detached mount could not be copied before Linux 6.15
                tree = sys.open_tree("", sys.OPEN_TREE_CLONE | sys.AT_EMPTY_PATH, empty)
        else:
            tree = sys.open_tree("", sys.OPEN_TREE_CLONE | sys.AT_EMPTY_PATH, null)
        sys.move_mount(tree, place, path)
        if tree != empty:
            os.close(tree)
        os.close(place)
    os.close(null)
    if empty >= 0:
        os.close(empty)


def _empty_tmpfs() -> int:
    context = sys.fsopen("tmpfs")
    sys.fsconfig_string(context, "source", "tmpfs", "mask")
    sys.fsconfig_string(context, "size", "0", "mask")
    tree = sys.fsmount(context, sys.MOUNT_ATTR_RDONLY, "mask")
    os.close(context)
    return tree
