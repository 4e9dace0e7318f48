"""After a crash: which endpoints still live, and which interfaces nobody knows any more. Blocking."""

from collections.abc import Iterable

from havre import log
from havre.linux import interfaces, netlink
from havre.linux.nlsocket import NETLINK_ROUTE, Netlink
from havre.network.endpoints import Stored, veth_prefix
from havre.network.fading import exists
from havre.spec.endpoint import Network

YOUNG_NANOS = 30 * 1_000_000_000  # a monitor may be making the veth of an endpoint this young right now


def alive(stored: Stored, now_nanos: int) -> bool:
    """Say whether the endpoint's container may live: its veth is there, or is perhaps being made."""
    age = now_nanos - stored.created_nanos
    return exists(stored.endpoint.veth["host_name"]) or 0 <= age < YOUNG_NANOS


def same_stem(name: str, wanted: str) -> bool:
    """Say whether a bridge may be the wanted one under its next free number: docker1 for docker0."""
    return name.rstrip("0123456789") == wanted.rstrip("0123456789")


def attach_again(known: Iterable[Stored]) -> None:
    """Put veths back on their bridge, when the bridge had gone and was made again."""
    with Netlink(NETLINK_ROUTE) as kernel:
        masters = {link.name: link.master for link in interfaces.links(kernel)}
        for stored in known:
            veth = stored.endpoint.veth
            if masters.get(veth["host_name"]) == 0:
                netlink.attach_port(kernel, veth)
                log.info(
                    "put a container on its bridge again", id=stored.container_id[:12], name=veth["bridge"]
                )


def remove_strays(instance: str, networks: Iterable[Network], known: Iterable[Stored]) -> None:
    """Delete veths on our bridges, with our name, that belong to no endpoint."""
    names = {stored.endpoint.veth["host_name"] for stored in known}
    with Netlink(NETLINK_ROUTE) as kernel:
        links = interfaces.links(kernel)
        bridges = {network.bridge for network in networks}
        indexes = {link.index for link in links if link.name in bridges}
        strays = [
            link
            for link in links
            if link.master in indexes
            and link.name.startswith(veth_prefix(instance))
            and link.name not in names
        ]
        interfaces.delete_links(kernel, strays)
    for link in strays:
        log.info("removed an interface that a crash had left", name=link.name)
