"""Where requests go: scheme, host and port of a URL. Pure."""

from dataclasses import dataclass
from urllib.parse import quote, urljoin, urlsplit

from havre.errors import Unavailable

PORTS = {"http": 80, "https": 443}
MAX_URL_LENGTH = 16_384


@dataclass(frozen=True, slots=True)
class Origin:
    """One server's door; credentials and tokens belong to exactly one."""

    scheme: str
    host: str  # lower case, an IPv6 address without brackets
    port: int

    def __str__(self) -> str:
        """host, or host:port when the port is not the scheme's own; as in a Host header."""
        shown = f"[{self.host}]" if ":" in self.host else self.host
        return shown if self.port == PORTS[self.scheme] else f"{shown}:{self.port}"

    @property
    def url(self) -> str:
        return f"{self.scheme}://{self}"


def origin_of(url: str) -> Origin:
    """Return a URL's origin. Raises Unavailable for what is no http(s) URL."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = None, None
    if len(url) > MAX_URL_LENGTH or not host or parts.scheme not in PORTS or not _is_host(host):
        raise Unavailable(f"not an http or https address: {url[:200]!r}")
    return Origin(parts.scheme, host, port or PORTS[parts.scheme])


def _is_host(host: str) -> bool:
    return host.isascii() and all(char.isalnum() or char in "-._:%" for char in host)


def target_of(url: str) -> str:
    """Return what stands in the request line: path and query, nothing a line could be broken with."""
    parts = urlsplit(url)
    query = f"?{quote(parts.query, safe=_SAFE + '?')}" if parts.query else ""
    return (quote(parts.path, safe=_SAFE) or "/") + query


_SAFE = "/%:@!$&'()*+,;=~-._"


def join(base: str, location: str) -> str:
    """Return a Location header's URL. Raises Unavailable when it makes no sense."""
    try:
        return urljoin(base, location)
    except ValueError:
        raise Unavailable(f"{origin_of(base)} sent a senseless Location: {location[:200]!r}") from None
