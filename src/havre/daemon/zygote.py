"""Start the zygote with the log writer put in: runtime and logs are siblings and only meet here. Imported bare."""

from typing import TYPE_CHECKING

from havre.logs.open import open_log
from havre.runtime import selfexec, zygote

if TYPE_CHECKING:
    import socket


def launch() -> "socket.socket":
    """Fork the zygote; return the daemon's end of its socket. The daemon goes on from a read-only mount of its interpreter."""
    selfexec.protect(b"havred")
    return zygote.launch(open_log)
