"""Keep web pages out of a tcp door: a page in a browser on this network could otherwise become root here.

Two ways lead there. A page of another site sends requests across origins: browsers add an Origin header then. Or its own name
is pointed at our address (DNS rebinding): then Host is that name. No Engine API client sends Origin.
"""

import ipaddress
import socket

from havre.errors import Forbidden
from havre.http.head import Head


def check_origin(head: Head, *, plain: bool) -> None:
    """Raise Forbidden for a request that a foreign web page may have sent.

    `plain` is tcp without TLS; with TLS a browser has checked the name against our certificate.
    """
    host = head.header("host")
    origin = head.header("origin")
    if origin and origin.partition("://")[2] != host:
        raise Forbidden(f"requests of web pages from {origin[:200]!r} are refused")
    if plain and not _is_ours(_name(host)):
        raise Forbidden(
            f"the name {host[:200]!r} could be a web page's",
            hint="the IP address, this machine's host name, or TLS",
        )


def _name(host: str) -> str:
    """The host without its port, in lower case."""
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.rpartition(":")[0].lower() if host.count(":") == 1 else host.lower()


def _is_ours(name: str) -> bool:
    """Addresses, names without a dot (localhost, a container's name), local zones, and this machine under any domain.

    A page's author would have to own the name: none of these can be registered, and the host's name is not known to him.
    """
    try:
        ipaddress.ip_address(name)
        return True
    except ValueError:
        pass
    labels = name.rstrip(".").split(".")
    own = socket.gethostname().lower().split(".")[0]
    return len(labels) == 1 or labels[-1] in ("localhost", "local", "internal", "lan") or labels[0] == own
