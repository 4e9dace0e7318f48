"""Start the zygote with what it needs of other rooms put in: siblings only meet here. Imported bare."""

from typing import TYPE_CHECKING

from havre.logs.open import open_log
from havre.runtime import export, populate, selfexec, zygote

if TYPE_CHECKING:
    import socket
    from typing import Any


def launch() -> "socket.socket":
    """Fork the zygote; return the daemon's end of its socket. The daemon goes on from a read-only mount of its interpreter."""
    selfexec.protect(b"havred")
    return zygote.launch(open_log, {"export": _export, "populate": populate.run})


def _export(message: "tuple[Any, ...]", fds: list[int]) -> None:
    from havre.image.tar.writer import write_tree  # in the helper only: the zygote stays lean

    export.run(message, fds, write_tree)
