"""What --health-http and --health-tcp name: an address inside the container. Pure."""

import ipaddress
from typing import NamedTuple
from urllib.parse import urlsplit

from havre.errors import InvalidParameter

_LOCAL = ("127.0.0.1", "::1")  # tried in this order for localhost


class Target(NamedTuple):
    """Where a probe without a process connects to; `path` and `host` are for HTTP."""

    addresses: tuple[str, ...]
    port: int
    host: str = ""
    path: str = ""
    tls: bool = False


def parse_port(text: str) -> Target:
    """Return the target of "80", "localhost:80", "127.0.0.2:80" or "[::1]:80". Raises InvalidParameter."""
    host, _, port = text.rpartition(":")
    if not (port.isascii() and port.isdigit() and 0 < int(port) < 65536):
        raise InvalidParameter(f"invalid port of a health check: {text!r}", hint="80, or 127.0.0.1:80")
    return Target(_addresses(host or "localhost", text), int(port))


def parse_url(text: str) -> Target:
    """Return the target of "http://localhost:8080/health". Raises InvalidParameter."""
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError as error:
        raise InvalidParameter(f"invalid URL of a health check: {text!r}: {error}") from None
    clean = text.isascii() and text.isprintable() and " " not in text
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username is not None or not clean:
        raise InvalidParameter(
            f"invalid URL of a health check: {text!r}", hint="http://localhost:8080/health"
        )
    tls = parts.scheme == "https"
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    addresses = _addresses(parts.hostname, text)
    return Target(addresses, port or (443 if tls else 80), parts.netloc, path, tls)


def _addresses(host: str, whole: str) -> tuple[str, ...]:
    """A name would need a resolver inside the container, and its answer would be the container's: only addresses and localhost."""
    if host.lower() == "localhost":
        return _LOCAL
    try:
        return (str(ipaddress.ip_address(host.strip("[]"))),)
    except ValueError:
        raise InvalidParameter(
            f"a health check connects to localhost or to an address, not to {host!r}: {whole!r}"
        ) from None
