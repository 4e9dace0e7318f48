"""The overlay a container's root is: its layers below, its own upper directory above. Lean; runs in the parent, mounts nothing visible."""

import os

from havre.errors import KernelError
from havre.linux import syscalls as sys
from havre.runtime import idmapped

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

EINVAL = 22
LAYER_BY_LAYER = (6, 7)  # the first Linux whose overlayfs takes "lowerdir+"; Debian 12 has 6.1
VALUE_BYTES = 255  # what fsconfig(2) takes as one string


def mount(lower: list[str], upper: str, work: str) -> int:
    """Return a detached overlay. Raises KernelError."""
    return _mount(lower, [("upperdir", upper), ("workdir", work)], [])


def mount_readonly(layers: list[str]) -> int:
    """Return a detached overlay of layers to read, uppermost first. Raises KernelError.

    The upper directory of a container may be among them, also while it runs: without an index the kernel only warns of that.
    """
    return _mount(layers, [], [("index", "off")])


def _mount(lower: list[str], above: "list[tuple[str, str]]", options: "list[tuple[str, str]]") -> int:
    if _linux() >= LAYER_BY_LAYER:
        layers = [("lowerdir+", layer) for layer in lower]  # no limit by the size of a string
        return _configure([*layers, *above, *options])
    try:
        return _mount_numbered(lower, above, lambda numbered: _configure([*numbered, *options]))
    except _TooLong:
        with _OwnNamespace():  # where a mount may be seen
            return _mount_numbered(
                lower, above, lambda numbered: _mount_once([*numbered, *options], lower[0])
            )


class _TooLong(Exception):
    """More layers than one string has room for."""


def _linux() -> tuple[int, ...]:
    return tuple(int(number) for number in os.uname().release.split("-")[0].split(".")[:2])


def _configure(options: "list[tuple[str, str]]") -> int:
    if any(len(value) > VALUE_BYTES for key, value in options if key == "lowerdir"):
        raise _TooLong
    context = sys.fsopen("overlay")
    try:
        for key, value in [("source", "overlay"), *options]:
            sys.fsconfig_string(context, key, value, "overlay")
        return sys.fsmount(context, 0, "overlay")
    finally:
        os.close(context)


def _mount_once(options: "list[tuple[str, str]]", place: str) -> int:
    sys.mount("overlay", place, "overlay", 0, ",".join(f"{key}={value}" for key, value in options))
    return sys.open_tree(place, sys.OPEN_TREE_CLONE)


def _mount_numbered(
    lower: list[str], above: "list[tuple[str, str]]", make: "Callable[[list[tuple[str, str]]], int]"
) -> int:
    """Every directory is opened and named by its number, seen from /proc/self/fd: the shortest names there are."""
    flags = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC
    opened: list[int] = []
    try:
        for path in (".", *(path for _, path in above), *lower):
            opened.append(_open(path, flags))
        here, numbers = opened[0], [str(fd) for fd in opened[1:]]
        own = [(key, numbers.pop(0)) for key, _ in above]
        os.chdir("/proc/self/fd")
        try:
            return make([("lowerdir", ":".join(numbers)), *own])
        finally:
            os.fchdir(here)
    finally:
        for fd in opened:
            os.close(fd)


def _open(path: str, flags: int) -> int:
    try:
        return os.open(path, flags)
    except OSError as error:
        raise KernelError("open", path, error.errno or 0) from None


class _OwnNamespace:
    """A mount namespace that lasts no longer than its block: nothing mounted in it is seen outside."""

    def __enter__(self) -> None:
        self._own = os.open("/proc/self/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
        self._back = [os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC) for path in ("/", ".")]
        sys.unshare(sys.CLONE_NEWNS)
        sys.mount_propagation(b"/", sys.MS_REC | sys.MS_PRIVATE)

    def __exit__(self, *_: object) -> None:
        sys.setns(self._own, sys.CLONE_NEWNS)  # which leads to the namespace's root: go back to ours
        os.fchdir(self._back[0])
        os.chroot(".")
        os.fchdir(self._back[1])
        for fd in (self._own, *self._back):
            os.close(fd)


def mount_idmapped(lower: list[str], upper: str, work: str, userns: int, place: str) -> int:
    """The same over layers that are shown through a user namespace's id maps; the upper directory holds the host's numbers.

    Since Linux 6.15 overlayfs takes detached layers. Before, they must be attached somewhere: on `place`, in a mount namespace
    that lasts no longer than this call.
    """
    layers = _map_layers(lower, userns)
    try:
        try:
            return mount([f"/proc/self/fd/{fd}" for fd in layers], upper, work)
        except KernelError as error:
            if error.errno != EINVAL:
                raise
        return _mount_attached(layers, upper, work, place)
    finally:
        for fd in layers:
            os.close(fd)


def cover(path: str, maps: tuple[str, str]) -> None:
    """Show a directory through id maps where it lies, in a mount namespace that is the caller's own already."""
    userns = idmapped.new_namespace(*maps)
    tree = sys.open_tree(path, sys.OPEN_TREE_CLONE)
    place = _open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        idmapped.idmap(tree, path, userns, recursive=False)
        sys.move_mount(tree, place, path)
    finally:
        for fd in (userns, tree, place):
            os.close(fd)


def _map_layers(lower: list[str], userns: int) -> list[int]:
    opened: list[int] = []
    try:
        for path in lower:
            opened.append(sys.open_tree(path, sys.OPEN_TREE_CLONE))
            idmapped.idmap(opened[-1], path, userns, recursive=False)
    except BaseException:
        for fd in opened:
            os.close(fd)
        raise
    return opened


def _mount_attached(layers: list[int], upper: str, work: str, place: str) -> int:
    with _OwnNamespace():
        context = sys.fsopen("tmpfs")
        shelf = sys.fsmount(context, 0, "layers")
        spot = os.open(place, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        sys.move_mount(shelf, spot, place)
        for number, layer in enumerate(layers):
            os.mkdir(str(number), 0o700, dir_fd=shelf)
            board = os.open(str(number), os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=shelf)
            sys.move_mount(layer, board, "layer")
            os.close(board)
        for fd in (context, spot, shelf):
            os.close(fd)
        return mount([f"{place}/{number}" for number in range(len(layers))], upper, work)
