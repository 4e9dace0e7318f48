"""The overlay a container's root is: its layers below, its own upper directory above. Lean; runs in the parent, mounts nothing visible."""

import os

from havre.errors import KernelError
from havre.linux import syscalls as sys
from havre.runtime import idmapped

EINVAL = 22


def mount(lower: list[str], upper: str, work: str) -> int:
    """Return a detached overlay. Raises KernelError."""
    return _mount(lower, (("upperdir", upper), ("workdir", work)))


def mount_readonly(layers: list[str]) -> int:
    """Return a detached overlay of layers to read, uppermost first. Raises KernelError.

    The upper directory of a container may be among them, also while it runs: without an index the kernel only warns of that.
    """
    return _mount(layers, (("index", "off"),))


def _mount(lower: list[str], options: "tuple[tuple[str, str], ...]") -> int:
    context = _open()
    try:
        try:
            for layer in lower:  # one call a layer: no limit by the size of an option page (Linux 6.5)
                sys.fsconfig_string(context, "lowerdir+", layer, "overlay")
        except KernelError:
            os.close(context)
            context = _open()
            sys.fsconfig_string(context, "lowerdir", ":".join(lower), "overlay")
        for key, value in options:
            sys.fsconfig_string(context, key, value, "overlay")
        return sys.fsmount(context, 0, "overlay")
    finally:
        os.close(context)


def _open() -> int:
    context = sys.fsopen("overlay")
    sys.fsconfig_string(context, "source", "overlay", "overlay")
    return context


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
    own = os.open("/proc/self/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
    back = [os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC) for path in ("/", ".")]
    sys.unshare(sys.CLONE_NEWNS)
    try:
        sys.mount_propagation(b"/", sys.MS_REC | sys.MS_PRIVATE)
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
        return mount([f"/proc/self/fd/{fd}" for fd in layers], upper, work)
    finally:
        sys.setns(own, sys.CLONE_NEWNS)  # which leads to the namespace's root: go back to ours
        os.fchdir(back[0])
        os.chroot(".")
        os.fchdir(back[1])
        for fd in (own, *back):
            os.close(fd)
