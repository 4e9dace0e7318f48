"""Write a container's files as a tar into a pipe, in a helper of the zygote: its own mount namespace, nothing mounted on the host. Lean.

What is read is an overlay of the container's own layer and its image's, mounted detached and to be read only: it is there for a
running container as well as for one that is down, has none of what is mounted inside, and leaves no trace in the layers.
"""

import gc
import io
import os
import socket

from havre.errors import KernelError
from havre.linux import syscalls as sys
from havre.runtime import overlay, wire
from havre.runtime.failure import as_failure

BUFFER_BYTES = 1 << 18
TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    WriteTree = Callable[..., None]


def run(message: "tuple[Any, ...]", fds: list[int], write_tree: "WriteTree") -> None:
    """Serve ("export", layers, maps) with fds [control, pipe]: say "ready" once the tree is there, "done" behind its last byte.

    With maps, lines of uid_map and gid_map, the uppermost layer belongs to a user namespace: they lead back to the numbers inside.
    """
    _, layers, maps = message
    control, out = socket.socket(fileno=fds[0]), fds[1]
    gc.enable()
    os.setsid()
    sys.set_name(b"havre-export")
    try:
        sys.unshare(sys.CLONE_NEWNS)
        sys.mount_propagation(b"/", sys.MS_REC | sys.MS_PRIVATE)
        if maps:
            overlay.cover(layers[0], maps)
        root = overlay.mount_readonly(layers)
        wire.send(control, ("ready",))
        with io.BufferedWriter(io.FileIO(out, "w"), BUFFER_BYTES) as file:
            write_tree(file, root, live=True)
        wire.send(control, ("done",))
    except BrokenPipeError:
        pass  # the client has left, or the daemon
    except (KernelError, OSError, ValueError) as error:
        wire.send(control, ("failed", *as_failure(error)))
