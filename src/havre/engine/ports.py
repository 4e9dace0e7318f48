"""Published and exposed ports: from Docker's maps to requests for the network room. Pure."""

import ipaddress

from havre.errors import InvalidParameter
from havre.spec.endpoint import PortRequest, PublishedPort
from havre.spec.engine import ContainerConfig, HostConfig

_PROTOCOLS = ("tcp", "udp", "sctp")


def parse_requests(config: ContainerConfig, host: HostConfig) -> tuple[PortRequest, ...]:
    """Return every port to publish. Raises InvalidParameter naming the port."""
    found: list[PortRequest] = []
    for key, bindings in (host.port_bindings or {}).items():
        port, proto = parse_port(key)
        for binding in bindings or []:
            first, last = _host_range(binding.host_port or "", key)
            found.append(PortRequest(port, proto, _address(binding.host_ip or "", key), first, last))
    if host.publish_all_ports:
        bound = {(request.container_port, request.proto) for request in found}
        exposed = [parse_port(key) for key in config.exposed_ports or {}]
        found += [PortRequest(port, proto) for port, proto in exposed if (port, proto) not in bound]
    return tuple(found)


def parse_port(text: str) -> tuple[int, str]:
    """Return (80, "tcp") of "80/tcp" or "80"."""
    number, _, proto = text.partition("/")
    proto = (proto or "tcp").lower()
    if proto not in _PROTOCOLS:
        raise InvalidParameter(
            f"invalid port specification: '{text}': unknown protocol", hint="tcp, udp or sctp"
        )
    return _number(number, text), proto


def _number(text: str, whole: str) -> int:
    if not text.isascii() or not text.isdigit() or not 0 < int(text) < 65536:
        raise InvalidParameter(f"invalid port specification: '{whole}'", hint="a number from 1 to 65535")
    return int(text)


def _host_range(text: str, whole: str) -> tuple[int, int]:
    if text in ("", "0"):
        return 0, 0
    first, dash, last = text.partition("-")
    low = _number(first, f"{text}:{whole}")
    high = _number(last, f"{text}:{whole}") if dash else low
    if high < low:
        raise InvalidParameter(
            f"invalid port specification: '{text}:{whole}': the range ends before it starts"
        )
    return low, high


def _address(text: str, whole: str) -> str:
    if not text:
        return ""
    try:
        return str(ipaddress.ip_address(text.strip("[]")))
    except ValueError:
        raise InvalidParameter(f"invalid IP address '{text}' for port {whole}") from None


def port_map(
    ports: tuple[PublishedPort, ...], config: ContainerConfig
) -> dict[str, list[dict[str, str]] | None]:
    """Return NetworkSettings.Ports: published ports with their bindings, exposed ones with null."""
    found: dict[str, list[dict[str, str]] | None] = dict.fromkeys(config.exposed_ports or {})
    for port in ports:
        key = f"{port.container_port}/{port.proto}"
        binding = {"HostIp": port.host_ip, "HostPort": str(port.host_port)}
        found[key] = [*(found.get(key) or []), binding]
    return found


def port_list(ports: tuple[PublishedPort, ...], config: ContainerConfig) -> list[dict[str, object]]:
    """Return the Ports of a list entry."""
    published = {(port.container_port, port.proto) for port in ports}
    found: list[dict[str, object]] = [
        {
            "IP": port.host_ip,
            "PrivatePort": port.container_port,
            "PublicPort": port.host_port,
            "Type": port.proto,
        }
        for port in ports
    ]
    for key in config.exposed_ports or {}:
        number, proto = parse_port(key)
        if (number, proto) not in published:
            found.append({"PrivatePort": number, "Type": proto})
    return found
