"""Keeping the kernel's table equal to what this instance knows. Blocking."""

import errno
from collections.abc import Callable, Sequence

from havre import log
from havre.errors import KernelError
from havre.linux import nft
from havre.linux.conntrack import forget_flows
from havre.linux.nft import NFPROTO_INET, NFPROTO_IPV4, PROTOCOLS, Change
from havre.linux.nlsocket import NETLINK_NETFILTER, Netlink
from havre.network import firewall
from havre.network.firewall import Redirect, Zone

_ROUTING_FAMILIES = (NFPROTO_INET, NFPROTO_IPV4)
_TORN = (
    errno.ENOENT,
    errno.EEXIST,
)  # somebody else flushed or filled the table: it no longer is what we think


class Table:
    """One nftables table. `zones` and `redirects` say what must be in it after the change that is being made."""

    def __init__(
        self, name: str, zones: Callable[[], Sequence[Zone]], redirects: Callable[[], Sequence[Redirect]]
    ) -> None:
        self.name = name
        self._zones = zones
        self._redirects = redirects
        self._socket: Netlink | None = None

    def rebuild(self) -> None:
        """Replace the whole table in one transaction."""
        firewall.whole(self.name, self._zones(), self._redirects()).commit(self._netlink())

    def publish(self, redirects: Sequence[Redirect]) -> None:
        if redirects:
            change = Change(self.name)
            firewall.publish(change, redirects)
            self._commit(change)
            self._forget_flows(redirects)

    def unpublish(self, redirects: Sequence[Redirect]) -> None:
        if redirects:
            change = Change(self.name)
            firewall.unpublish(change, redirects)
            self._commit(change)
            self._forget_flows(redirects)

    def add_zone(self, zone: Zone) -> None:
        change = Change(self.name)
        firewall.add_zone(change, zone)
        self._commit(change)

    def remove_zone(self, zone: Zone) -> None:
        change = Change(self.name)
        firewall.remove_zone(change, zone)
        self._commit(change)

    def delete(self) -> None:
        """Remove the table, if it is there."""
        change = Change(self.name)
        change.add_table()
        change.delete_table()
        change.commit(self._netlink())

    def port(self) -> int:
        """How the kernel names the socket our changes come from."""
        return self._netlink().port()

    def warn_of_drops(self) -> None:
        """Say when another table drops forwarded packets: an accept in ours cannot undo that."""
        for chain in nft.base_chains(self._netlink()):
            forwards = chain.hook == nft.HOOKS["forward"] and chain.family in _ROUTING_FAMILIES
            if forwards and chain.policy == nft.NF_DROP:
                log.warn(
                    "another firewall drops forwarded packets, so containers may not reach beyond the host",
                    table=chain.table,
                    chain=chain.name,
                    hint="accept what comes from and goes to the bridges there",
                )

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _commit(self, change: Change) -> None:
        try:
            change.commit(self._netlink())
        except KernelError as error:
            if error.errno not in _TORN:
                raise
            log.warn(
                "the firewall table was changed by another program; making it again",
                table=self.name,
                error=error,
            )
            self.rebuild()

    def _forget_flows(self, redirects: Sequence[Redirect]) -> None:
        """UDP flows keep their translation while packets come: end those to ports that lead elsewhere now."""
        ports = {redirect.port.host_port for redirect in redirects if redirect.port.proto == "udp"}
        if ports:
            try:
                forget_flows(self._netlink(), PROTOCOLS["udp"], ports)
            except KernelError as error:
                log.warn("could not end old UDP flows to published ports", error=error)

    def _netlink(self) -> Netlink:
        if self._socket is None:
            self._socket = Netlink(NETLINK_NETFILTER)
        return self._socket
