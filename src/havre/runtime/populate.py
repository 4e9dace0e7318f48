"""Copy what an image has at a path into an empty volume, in a helper of the zygote with its own mount namespace. Lean.

The volume is filled aside and put in place by one rename, so that it is empty or whole whenever this ends.
"""

import gc
import os
import shutil
import socket

from havre.errors import KernelError
from havre.linux import syscalls as sys
from havre.runtime import copytree, overlay, rootfs, wire
from havre.runtime.failure import as_failure

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def run(message: "tuple[Any, ...]", fds: list[int]) -> None:
    """Serve ("populate", lower directories, path in the image, volume's directory) with fds [control]; say "done"."""
    _, lower, path, volume = message
    control = socket.socket(fileno=fds[0])
    gc.enable()
    os.setsid()
    sys.set_name(b"havre-populate")
    try:
        sys.unshare(sys.CLONE_NEWNS)
        sys.mount_propagation(b"/", sys.MS_REC | sys.MS_PRIVATE)
        _populate(lower, path, volume)
        wire.send(control, ("done",))
    except BrokenPipeError:
        pass  # the daemon has gone
    except (KernelError, OSError, ValueError) as error:
        wire.send(control, ("failed", *as_failure(error)))


def _populate(lower: list[str], path: str, volume: str) -> None:
    if os.listdir(volume):
        return
    # An overlay to read needs two layers at least; one alone is what it is.
    root = overlay.mount_readonly(lower) if len(lower) > 1 else sys.open_tree(lower[0], sys.OPEN_TREE_CLONE)
    try:
        source = rootfs.open_in(root, path, os.O_RDONLY | os.O_DIRECTORY)
    except KernelError as error:
        if error.errno in (2, 20):
            return  # the image has nothing there
        raise
    aside = f"{volume}.new"
    shutil.rmtree(aside, ignore_errors=True)  # of a helper that was killed
    os.mkdir(aside, 0o700)
    target = os.open(aside, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        copytree.copy(source, target)
        status = os.fstat(source)
        os.fchown(target, status.st_uid, status.st_gid)
        os.fchmod(target, status.st_mode & 0o7777)
        os.rename(aside, volume)
    except FileExistsError:
        pass
    except OSError as error:
        if error.errno != 39:  # ENOTEMPTY: somebody else was first
            raise
    finally:
        os.close(target)
        shutil.rmtree(aside, ignore_errors=True)
