"""Which registries must prove who they are, and how: certs.d, insecure-registries, loopback. Blocking where files are read."""

import asyncio
import ipaddress
import socket
import ssl
from collections.abc import Sequence
from pathlib import Path

from havre.errors import InvalidParameter, Unavailable
from havre.registry.origin import Origin

CERTS_DIRS = ("/etc/havre/certs.d", "/etc/docker/certs.d")
Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class Trust:
    """The rules of `insecure-registries` (names, CIDRs) and of certs.d/<host[:port]>/{*.crt, *.cert, *.key}."""

    def __init__(self, insecure: Sequence[str] = (), certs: Sequence[str] = CERTS_DIRS) -> None:
        self._names: frozenset[str] = frozenset()
        self._networks: tuple[Network, ...] = ()
        self.trust(insecure)
        self.certs = tuple(certs)
        self._contexts: dict[tuple[Origin, bool], tuple[object, ssl.SSLContext]] = {}

    def trust(self, insecure: Sequence[str]) -> None:
        """Set which registries need not prove who they are. Raises InvalidParameter, and then nothing is changed."""
        networks = tuple(_network(_bare(one)) for one in insecure if "/" in _bare(one))
        self._names = frozenset(_bare(one) for one in insecure if "/" not in _bare(one))
        self._networks = networks

    async def is_insecure(self, origin: Origin) -> bool:
        """Whether plain http and unproved TLS are fine: named in the configuration, or on this machine with no CA set up for it."""
        if str(origin) in self._names or f"{origin.host}:{origin.port}" in self._names:
            return True
        if origin.host in self._names:
            return True
        addresses = [origin.host]
        if self._networks:
            addresses = await _addresses(origin)
        if any(one in network for one in map(_address, addresses) if one for network in self._networks):
            return True
        return is_loopback(origin.host) and not self._folders(origin)

    def _folders(self, origin: Origin) -> list[Path]:
        names = dict.fromkeys((str(origin), f"{origin.host}:{origin.port}"))
        return [Path(base, name) for base in self.certs for name in names if Path(base, name).is_dir()]

    def context(self, origin: Origin, *, insecure: bool) -> ssl.SSLContext:
        """Return the TLS context for a registry, with certs.d as it is now. Blocking. Raises Unavailable naming a bad file."""
        files = [
            file
            for folder in self._folders(origin)
            for pattern in ("*.crt", "*.cert", "*.key")
            for file in sorted(folder.glob(pattern))
        ]
        state = [(file, file.stat().st_mtime_ns) for file in files]
        known = self._contexts.get((origin, insecure))
        if known is None or known[0] != state:
            known = self._contexts[origin, insecure] = (state, _make(origin, files, insecure=insecure))
        return known[1]

    def ca_place(self, origin: Origin) -> str:
        """Where a CA certificate for a registry belongs; what errors name."""
        return f"{self.certs[-1]}/{origin.host}:{origin.port}/ca.crt"


def _make(origin: Origin, files: Sequence[Path], *, insecure: bool) -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.verify_flags &= (
        ~ssl.VERIFY_X509_STRICT
    )  # Docker (Go) takes a CA without key usage; Python 3.13 would not
    context.verify_flags |= (
        ssl.VERIFY_X509_PARTIAL_CHAIN
    )  # and a server's own certificate as its ca.crt, in every Python
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    if insecure:
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    for file in files:
        try:
            if file.suffix == ".crt":
                context.load_verify_locations(file)
            elif file.suffix == ".cert":
                context.load_cert_chain(file, file.with_suffix(".key"))
        except (OSError, ssl.SSLError) as error:
            raise Unavailable(f"cannot use {file} for {origin}: {error.strerror or error}") from error
    return context


def is_loopback(host: str) -> bool:
    """Whether a host is this machine by its very name."""
    own = _address(host)
    return host == "localhost" or (own is not None and own.is_loopback)


def _bare(entry: str) -> str:
    return entry.strip().lower().removeprefix("http://").removeprefix("https://").rstrip("/")


def _network(text: str) -> Network:
    try:
        return ipaddress.ip_network(text, strict=False)
    except ValueError:
        raise InvalidParameter(
            f"insecure registry {text!r} is not valid", hint="host:port or 10.0.0.0/8"
        ) from None


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None


async def _addresses(origin: Origin) -> list[str]:
    """A CIDR in the configuration also stands for the names that lead into it."""
    try:
        found = await asyncio.get_running_loop().getaddrinfo(
            origin.host, origin.port, type=socket.SOCK_STREAM
        )
    except (OSError, UnicodeError):
        return [origin.host]
    return [str(one[4][0]) for one in found]
