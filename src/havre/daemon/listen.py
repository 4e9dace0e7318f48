"""Open the doors: unix, tcp, fd:// (systemd), with TLS where asked for."""

import os
from collections.abc import Awaitable, Callable
from typing import Protocol

from havre import log
from havre.api.server import COMMON_HEADERS
from havre.daemon.config import Config
from havre.errors import InvalidParameter
from havre.http import server as http
from havre.http import tls

Handler = Callable[[http.Request], Awaitable[None]]
DEFAULT_PORT, DEFAULT_TLS_PORT = 2375, 2376


class Listening(Protocol):
    """An open door."""

    async def close(self) -> None: ...


async def open_host(host: str, config: Config, handler: Handler) -> Listening:
    """Listen on one -H. Raises InvalidParameter for a word that is none, Conflict when somebody else listens there."""
    kind, _, rest = host.partition("://")
    if kind == "unix":
        os.makedirs(os.path.dirname(rest) or "/", exist_ok=True)
        return await http.listen_unix(rest, handler, group=config.group, common=COMMON_HEADERS)
    if kind == "fd":
        return await http.listen_fds(handler, common=COMMON_HEADERS)
    if kind == "tcp":
        return await _tcp(rest, config, handler)
    raise InvalidParameter(f"cannot listen on {host}", hint="unix:///path, tcp://address:port or fd://")


async def _tcp(rest: str, config: Config, handler: Handler) -> Listening:
    address, _, port = rest.rpartition(":") if ":" in rest.rpartition("]")[2] else (rest, "", "")
    number = port or str(DEFAULT_TLS_PORT if config.tls else DEFAULT_PORT)
    if not number.isdigit():
        raise InvalidParameter(f"invalid port in tcp://{rest}")
    context = None
    if config.tls:
        context = tls.server_context(
            config.tls_cert, config.tls_key, config.tls_ca if config.tls_verify else ""
        )
    else:
        log.warn(
            "the API is open to everyone who can reach this address; they become root",
            address=f"tcp://{rest}",
        )
    return await http.listen_tcp(
        address.strip("[]") or "127.0.0.1", int(number), handler, tls=context, common=COMMON_HEADERS
    )
