"""Proxies from the environment: HTTP_PROXY, HTTPS_PROXY, NO_PROXY, upper or lower case, as Docker's daemon reads them."""

import base64
import ipaddress
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import unquote, urlsplit

from havre.registry.origin import Origin, origin_of


@dataclass(frozen=True, slots=True)
class Proxy:
    """Where requests go instead. repr hides the password."""

    origin: Origin
    authorization: str = field(default="", repr=False)  # Proxy-Authorization, or ""


def proxy_for(origin: Origin, environment: Mapping[str, str] | None = None) -> Proxy | None:
    """Return the proxy for a server, None for a direct way. This machine itself is never asked for through a proxy."""
    environment = os.environ if environment is None else environment
    name = f"{origin.scheme}_proxy"
    url = environment.get(name) or environment.get(name.upper()) or ""
    if not url or _is_local(origin.host):
        return None
    skipped = environment.get("no_proxy") or environment.get("NO_PROXY") or ""
    if any(_covers(entry.strip().lower(), origin) for entry in skipped.split(",") if entry.strip()):
        return None
    url = url if "://" in url else f"http://{url}"
    parts = urlsplit(url)
    authorization = ""
    if parts.username is not None:
        pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        authorization = "Basic " + base64.b64encode(pair.encode()).decode()
    return Proxy(origin_of(url), authorization)


def _is_local(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _covers(entry: str, origin: Origin) -> bool:
    """One word of NO_PROXY: *, a name (with its subdomains), .suffix, an address, a CIDR, each with or without a port."""
    if entry == "*":
        return True
    if "/" in entry:
        try:
            return ipaddress.ip_address(origin.host) in ipaddress.ip_network(entry, strict=False)
        except ValueError:
            return False
    name, colon, port = entry.rpartition(":")
    if colon and port.isdigit() and (name.count(":") == 0 or name.endswith("]")):
        if int(port) != origin.port:
            return False
        entry = name
    entry = entry.strip("[]").removeprefix("*")
    return origin.host == entry.lstrip(".") or origin.host.endswith("." + entry.lstrip("."))
