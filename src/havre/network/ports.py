"""Published ports: which are asked, which are free, and holding them against every other program.

A port is held by a socket that is bound but never listens, so that another program's bind fails as it would beside any
server, and a connection that no rule redirects is refused. There is no database: the kernel's answer to bind decides.

IPv6: a port is published on IPv6 only when the container has an IPv6 address, because nat cannot translate between the two.
`[::1]` cannot be redirected by nat at all (the kernel has no route_localnet for IPv6) and needs a relay, which is not there yet.
"""

import errno
import socket
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from ipaddress import ip_address
from itertools import chain
from pathlib import Path

from havre.errors import Conflict, InvalidParameter, KernelError, NotImplementedHere
from havre.linux.nft import PROTOCOLS
from havre.linux.sockdiag import find_holder
from havre.spec.endpoint import PortRequest, PublishedPort

EPHEMERAL = Path("/proc/sys/net/ipv4/ip_local_port_range")  # Docker takes random ports from it, lowest first
EPHEMERAL_DEFAULT = (49153, 65535)
SO_SMALLEST_BUFFER = 1  # the kernel raises it to its own minimum
_KINDS = {"tcp": socket.SOCK_STREAM, "udp": socket.SOCK_DGRAM, "sctp": socket.SOCK_STREAM}
_NO_PROTOCOL = (errno.EPROTONOSUPPORT, errno.EAFNOSUPPORT, errno.ESOCKTNOSUPPORT)

_EVERY = ("0.0.0.0", "::")

Number = tuple[str, bool, int]  # protocol, is it IPv6, port


class Ports:
    """The ports this daemon holds on the host. Blocking, not thread safe."""

    def __init__(self) -> None:
        self._held: dict[
            Number, dict[str, tuple[str, socket.socket | None]]
        ] = {}  # then by address: owner, socket
        self._last = 0  # the random port given last

    def take(
        self, requests: Sequence[PortRequest], owner: str, *, ipv4: bool, ipv6: bool, default_ip: str = ""
    ) -> tuple[PublishedPort, ...]:
        """Hold every requested port, or none. Raises Conflict naming who has a port, InvalidParameter for an address."""
        with ExitStack() as undo:
            found: list[PublishedPort] = []
            for request in requests:
                for port in self._one(request, owner, _addresses(request, default_ip, ipv4=ipv4, ipv6=ipv6)):
                    undo.callback(self.release, [port])
                    found.append(port)
            undo.pop_all()
        return tuple(found)

    def _one(self, request: PortRequest, owner: str, addresses: Sequence[str]) -> list[PublishedPort]:
        """Hold one host port on all its addresses: the first number on which every one is free."""
        refusal: Conflict | None = None
        for number in self._numbers(request):
            try:
                self._all(request.proto, addresses, number, owner)
            except Conflict as error:
                refusal = refusal or error
                continue
            if not request.host_port:
                self._last = number
            return [PublishedPort(request.container_port, request.proto, each, number) for each in addresses]
        if request.host_port and not request.host_port_end > request.host_port:
            raise refusal or Conflict(f"port {request.host_port} is not free")
        words = f"{request.host_port}-{request.host_port_end}" if request.host_port else "the ephemeral range"
        raise Conflict(
            f"all ports are allocated: {words} on {addresses[0]}, wanted for {request.container_port}/{request.proto}"
        )

    def _numbers(self, request: PortRequest) -> Iterable[int]:
        if request.host_port:
            return range(request.host_port, max(request.host_port, request.host_port_end) + 1)
        first, last = ephemeral_range()
        start = self._last + 1 if first <= self._last < last else first
        return chain(range(start, last + 1), range(first, start))

    def _all(self, proto: str, addresses: Sequence[str], number: int, owner: str) -> None:
        with ExitStack() as undo:
            for address in addresses:
                self.hold(PublishedPort(0, proto, address, number), owner)
                undo.callback(self.release, [PublishedPort(0, proto, address, number)])
            undo.pop_all()

    def hold(self, port: PublishedPort, owner: str) -> None:
        """Hold one port. Raises Conflict."""
        beside = self._held.get(_number(port), {})
        wide = port.host_ip in _EVERY
        for address, (holder, _) in beside.items():
            if wide or address in (port.host_ip, *_EVERY):
                raise taken(port, f"container {holder[:12]}")
        bound = _bind(port)
        self._held.setdefault(_number(port), {})[port.host_ip] = (owner, bound)

    def release(self, ports: Sequence[PublishedPort]) -> None:
        """Let go of ports; those not held are fine."""
        for port in ports:
            beside = self._held.get(_number(port), {})
            _, bound = beside.pop(port.host_ip, ("", None))
            if bound is not None:
                bound.close()
            if not beside:
                self._held.pop(_number(port), None)

    def close(self) -> None:
        for beside in self._held.values():
            for _, bound in beside.values():
                if bound is not None:
                    bound.close()
        self._held.clear()


def _number(port: PublishedPort) -> Number:
    return port.proto, ":" in port.host_ip, port.host_port


def _addresses(request: PortRequest, default_ip: str, *, ipv4: bool, ipv6: bool) -> list[str]:
    """The host addresses a request means: all of each family the container has, or the one it names."""
    words = f"{request.container_port}/{request.proto}"
    if request.proto not in PROTOCOLS:
        raise InvalidParameter(f"unknown protocol for port {words}", hint="tcp, udp or sctp")
    asked = request.host_ip or default_ip
    if not asked:
        return ["0.0.0.0"] * ipv4 + ["::"] * ipv6
    try:
        address = ip_address(asked.strip("[]"))
    except ValueError:
        raise InvalidParameter(f"invalid host address '{asked}' for port {words}") from None
    if address.version == 6 and address.is_loopback:
        raise NotImplementedHere(
            f"cannot publish {words} on [::1]: the kernel does not redirect IPv6 loopback",
            hint=f"-p 127.0.0.1:{request.host_port or ''}:{words}",
        )
    if not (ipv6 if address.version == 6 else ipv4):
        family = f"IPv{address.version}"
        raise InvalidParameter(
            f"cannot publish {words} on {address}: the container has no {family} address",
            hint=f"a network with {family}",
        )
    return [str(address)]


def ephemeral_range() -> tuple[int, int]:
    """Return the first and last port a random choice may give."""
    try:
        first, last = EPHEMERAL.read_text().split()
        return int(first), int(last)
    except (OSError, ValueError):
        return EPHEMERAL_DEFAULT


def _bind(port: PublishedPort) -> socket.socket | None:
    """Return a bound socket; None when the kernel cannot do this protocol by itself (it still forwards it)."""
    family = socket.AF_INET6 if ":" in port.host_ip else socket.AF_INET
    try:
        made = socket.socket(family, _KINDS[port.proto], PROTOCOLS[port.proto])
    except OSError as error:
        if error.errno in _NO_PROTOCOL:
            return None
        raise KernelError("socket", port.proto, error.errno or errno.EIO) from None
    with ExitStack() as undo:
        undo.callback(made.close)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SO_SMALLEST_BUFFER)
        if family == socket.AF_INET6:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        _bind_to(made, port)
        undo.pop_all()
    return made


def _bind_to(made: socket.socket, port: PublishedPort) -> None:
    """Bind strictly; when only connections that wait out their end are in the way, share with them but with nobody else.

    UDP has no such connections, and sharing would succeed beside any server that allows it.
    """
    for reuse in (False,) if port.proto == "udp" else (False, True):
        _reuse(made, on=reuse)
        try:
            made.bind((port.host_ip, port.host_port))
        except OSError as error:
            refused = error
            if error.errno != errno.EADDRINUSE:
                raise _cannot(port, error) from None
        else:
            _reuse(made, on=False)
            return
    raise taken(port, _holder_words(port)) from refused


def _reuse(made: socket.socket, *, on: bool) -> None:
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, int(on))


def _cannot(port: PublishedPort, error: OSError) -> Exception:
    where = f"{_bracketed(port.host_ip)}:{port.host_port}"
    if error.errno == errno.EADDRNOTAVAIL:
        return InvalidParameter(
            f"failed to bind host port for {where}/{port.proto}: cannot assign requested address",
            hint="an address of this host, as `ip address` shows them",
        )
    return KernelError("bind", f"{where}/{port.proto}", error.errno or errno.EIO)


def _holder_words(port: PublishedPort) -> str:
    found = find_holder(PROTOCOLS[port.proto], port.host_ip, port.host_port)
    return f"{found[1]} (pid {found[0]})" if found else "another program"


def taken(port: PublishedPort, holder: str) -> Conflict:
    """Docker's words, and who it is."""
    where = f"{_bracketed(port.host_ip)}:{port.host_port}"
    return Conflict(
        f"Bind for {where} failed: port is already allocated: {where}/{port.proto} is used by {holder}",
        hint=f"-p {port.host_port + 1 if port.host_port < 65535 else 0}:... for the next port",
    )


def _bracketed(address: str) -> str:
    return f"[{address}]" if ":" in address else address
