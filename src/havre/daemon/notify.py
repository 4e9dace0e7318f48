"""sd_notify(3): tell systemd how the daemon stands; nothing happens outside a Type=notify unit."""

import os
import socket


def ready() -> None:
    _send(b"READY=1")


def stopping() -> None:
    _send(b"STOPPING=1")


def _send(message: bytes) -> None:
    path = os.environ.get("NOTIFY_SOCKET", "")
    if not path:
        return
    address = "\0" + path[1:] if path.startswith("@") else path
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
        try:
            sock.sendto(message, address)
        except OSError:
            pass  # a supervisor that is gone must not stop the daemon
