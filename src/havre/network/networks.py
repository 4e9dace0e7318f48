"""The networks of one instance: records, addresses, ports and the firewall, changed together. Blocking; the net thread's.

Every change is one step: memory and records first, then the kernel in one nft transaction; a failure undoes all of it.
`get`, `list` and `endpoints` take no lock, so that the event loop may call them.
"""

import builtins
import random
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace

from havre import clock, log
from havre.errors import Conflict, Forbidden, HavreError, InvalidParameter, KernelError, NotFound
from havre.linux.nlsocket import NETLINK_ROUTE, Netlink
from havre.network import bridge as bridges
from havre.network import firewall, repair
from havre.network.create import PREDEFINED, NetworkRequest, make_network
from havre.network.defaults import HOST_IP_OPTION, MTU_OPTION, default_bridge, is_foreign, plain_network
from havre.network.endpoints import Stored, icc, interface_prefix, make_endpoint, redirects_of, zone_of
from havre.network.fading import Fading, exists
from havre.network.ipam import DEFAULT_POOLS, parse_pools
from havre.network.known import Known
from havre.network.ports import Ports
from havre.network.table import Table
from havre.network.watch import Watch
from havre.spec.endpoint import Endpoint, Network, PortRequest, PublishedPort
from havre.store import Records

NO_BRIDGE = "none"  # --bridge none: no default bridge
SETTLE_PAUSE_S = 0.02
SETTLE_TRIES = 30  # how often another daemon may be faster in taking a name or a subnet


class Networks:
    """Everything about networks that lives outside the containers."""

    def __init__(
        self,
        records: Records,
        instance: str,
        *,
        bridge: str = "docker0",
        pools: Iterable[str | tuple[str, int]] = (),
        bip: str = "",
        bridge_options: Mapping[str, str] | None = None,
        fixed_cidr: str = "",
        defaults: Mapping[str, str] | None = None,
        forwards: bool = True,
        reserved: Iterable[str] = (),
    ) -> None:
        """`bridge_options` are the default network's, `defaults` those of networks to come; `forwards`: may set ip_forward.

        `reserved`: names of bridges that another daemon will want.
        """
        self._instance = instance
        self._bridge = bridge
        self._bip = bip
        self._bridge_options = dict(bridge_options or {})
        self._fixed_cidr = fixed_cidr
        self._defaults = dict(defaults or {})
        self._forwards = forwards
        self._reserved = frozenset(reserved)
        self._pools = parse_pools(tuple(pools) or DEFAULT_POOLS)
        self._lock = threading.RLock()
        self._known = Known(records)
        self._foreign: set[str] = set()  # networks on a bridge the user made
        self._down: set[str] = set()  # networks whose bridge could not be made
        self._ports = Ports()
        self._fading = Fading()
        self._table = Table(firewall.table_name(instance), self._known.zones, self._known.redirects)
        self._watch = Watch(self._table.name, self._table.port, self._put_back)

    def start(self) -> None:
        """Bring records, kernel and memory together: after the first start, a crash, or a reboot."""
        with self._lock:
            self._known.load()
            living = [stored for stored in self._known.recorded_endpoints() if self._lives(stored)]
            self._ensure_defaults({stored.endpoint.network_id for stored in living})
            for network in self._known.bridged():
                if network.name != "bridge":
                    self._bring_up(network)
            for stored in living:
                self._take_in(stored)
            self._table.rebuild()
            repair.remove_strays(self._instance, self._known.bridged(), living)
            repair.attach_again(living)
            self._table.warn_of_drops()
            self._watch.start()

    def close(self) -> None:
        """Let go of the ports; everything else stays for the containers that run on."""
        self._watch.close()
        self._fading.close()
        self._ports.close()
        self._table.close()

    def teardown(self) -> None:
        """Instead of `start`, when no container runs: remove bridges and table. The records stay; the next start makes both again."""
        with self._lock:
            self._known.load()
            for network in self._known.bridged():
                self._remove_bridge(network)
            self._table.delete()

    def _put_back(self) -> None:
        with self._lock:
            self._table.rebuild()

    def _lives(self, stored: Stored) -> bool:
        """Say whether to keep a recorded endpoint; one of a container that is gone loses its record here."""
        if stored.endpoint.network_id in self._known.addresses and repair.alive(stored, clock.now_nanos()):
            return True
        self._known.erase(stored)
        log.info("removed the endpoint of a container that is gone", id=stored.container_id[:12])
        return False

    def _take_in(self, stored: Stored) -> None:
        """Give a living endpoint its address and ports again."""
        self._known.addresses[stored.endpoint.network_id].mark(stored.endpoint.ip, stored.container_id)
        self._known.take_in(stored)
        for port in stored.endpoint.ports:
            try:
                self._ports.hold(port, stored.container_id)
            except HavreError as error:
                log.warn("a published port was taken meanwhile; it leads to the container still", error=error)

    def _ensure_defaults(self, busy: set[str]) -> None:
        """Make host, none and the default bridge. A network with running containers is not changed."""
        named = {network.name: network for network in self._known.networks.values()}
        for name, driver in (("host", "host"), ("none", "null")):
            if name not in named:
                self._known.save(plain_network(name, driver))
        recorded = named.get("bridge")
        if recorded is not None and recorded.id in busy:
            self._bring_up(recorded)
            return
        if recorded is not None and (
            self._bridge == NO_BRIDGE or not repair.same_stem(recorded.bridge, self._bridge)
        ):
            self._remove_bridge(recorded)
            self._known.forget(recorded)
            recorded = None
        if self._bridge != NO_BRIDGE:
            self._settle(lambda host: self._default_bridge(recorded, host))

    def _default_bridge(self, recorded: Network | None, host: bridges.Host) -> Network:
        found = default_bridge(
            recorded,
            host,
            instance=self._instance,
            wanted=self._bridge,
            bip=self._bip,
            pools=self._pools,
            taken=self._known.subnets_besides("bridge"),
            options=self._bridge_options,
            fixed_cidr=self._fixed_cidr,
            reserved=self._reserved,
        )
        if is_foreign(host, self._bridge, self._instance, found.id):
            self._foreign.add(found.id)
        return found

    def _settle(self, choose: Callable[[bridges.Host], Network]) -> Network:
        """Choose a network by what the host has, record it and make its bridge; again when another daemon was faster."""
        for tries in range(1, SETTLE_TRIES + 1):
            with Netlink(NETLINK_ROUTE) as kernel:
                network = choose(bridges.survey(kernel))
            with ExitStack() as undo:
                before = self._known.networks.get(network.id)
                undo.callback(self._known.save if before else self._known.forget, before or network)
                self._known.save(network)
                try:
                    self._ensure(network)
                except bridges.Rivalry:
                    if tries == SETTLE_TRIES:
                        raise
                    time.sleep(
                        random.uniform(0, SETTLE_PAUSE_S)
                    )  # two that yield to each other must not meet again
                    continue
                undo.pop_all()
                return network
        raise AssertionError("unreachable: the last try returns or raises")

    def _bring_up(self, network: Network) -> None:
        """Make the bridge of a recorded network; the daemon starts without it when that fails."""
        try:
            self._ensure(network)
        except HavreError as error:
            self._down.add(network.id)
            log.error("could not bring up a network", name=network.name, error=error)

    def _ensure(self, network: Network) -> None:
        with Netlink(NETLINK_ROUTE) as kernel:
            bridges.ensure(
                kernel,
                network,
                self._instance,
                mtu=int(network.options.get(MTU_OPTION) or 0),
                foreign=network.id in self._foreign,
                forwards=self._forwards,
            )

    def _remove_bridge(self, network: Network) -> None:
        with Netlink(NETLINK_ROUTE) as kernel:
            bridges.remove(kernel, network, self._instance)

    def get(self, name_or_id: str) -> Network:
        """Return a network by name, id, or the unique beginning of an id. Raises NotFound, InvalidParameter."""
        networks = builtins.list(self._known.networks.values())
        for network in networks:
            if name_or_id in (network.name, network.id):
                return network
        found = [network for network in networks if name_or_id and network.id.startswith(name_or_id)]
        if len(found) > 1:
            raise InvalidParameter(
                f"network {name_or_id} is ambiguous ({len(found)} matches found on id prefix)"
            )
        if not found:
            raise NotFound(f"network {name_or_id} not found", hint="havre network ls")
        return found[0]

    def list(self) -> list[Network]:
        """Return every network, oldest first."""
        return sorted(
            self._known.networks.values(), key=lambda network: (network.created_nanos, network.name)
        )

    def endpoints(self, network: str) -> dict[str, Endpoint]:
        """Return a network's endpoints by container id. Raises NotFound."""
        return self._known.endpoints(self.get(network).id)

    def create(self, request: NetworkRequest) -> Network:
        """Make a bridge network. Raises InvalidParameter, Conflict, Forbidden, NotFound (driver), NotImplementedHere."""
        request = replace(request, options={**self._defaults, **request.options})
        with self._lock, ExitStack() as undo:
            made = self._settle(lambda host: make_network(request, host, self.list(), self._pools))
            undo.callback(self._known.forget, made)
            undo.callback(self._remove_bridge, made)
            self._table.add_zone(zone_of(made))
            undo.pop_all()
        return made

    def remove(self, name_or_id: str) -> Network:
        """Remove a network that no container is on. Raises NotFound, Forbidden."""
        with self._lock:
            network = self.get(name_or_id)
            if network.name in PREDEFINED:
                raise Forbidden(f"{network.name} is a pre-defined network and cannot be removed")
            if users := self._known.endpoints(network.id):
                words = ", ".join(container_id[:12] for container_id in users)
                raise Forbidden(
                    f"error while removing network: network {network.name} has active endpoints: {words}",
                    hint="havre network disconnect",
                )
            self._known.hide(network)
            try:
                self._table.remove_zone(zone_of(network))
                self._remove_bridge(network)
            except KernelError:
                self._known.show(network)
                raise
            self._known.forget(network)
        return network

    def connect(
        self,
        network: str,
        container_id: str,
        *,
        ports: Sequence[PortRequest] = (),
        mac: str = "",
        ip: str = "",
    ) -> Endpoint:
        """Give a container its place: address, record, published ports. The monitor makes the veth of the result.

        Raises NotFound, Conflict (address or port taken, connected already, no address left), InvalidParameter.
        """
        with self._lock, ExitStack() as undo:
            joined = self.get(network)
            self._check_joinable(joined, container_id)
            self._heal(joined)
            address = self._take_address(joined, container_id, ip, undo)
            published = self._take_ports(joined, container_id, ports, undo)
            endpoint = make_endpoint(
                joined,
                instance=self._instance,
                address=address,
                mac=mac,
                ports=published,
                number=self._free_number(container_id, interface_prefix(joined)),
                default_route=not self._has_default_route(container_id),
                isolated=not icc(joined) and not bridges.filters_bridged(),
            )
            self._keep(Stored(container_id, clock.now_nanos(), endpoint), undo)
            self._table.publish(redirects_of(endpoint))
            undo.pop_all()
        return endpoint

    def _check_joinable(self, network: Network, container_id: str) -> None:
        if network.driver != "bridge":
            raise InvalidParameter(f"container cannot be connected to {network.name} network")
        for present in self._known.of_container(container_id):
            if present.endpoint.network_id != network.id:
                continue
            if exists(present.endpoint.veth["host_name"]):
                raise Conflict(
                    f"container {container_id[:12]} is already connected to network {network.name}"
                )
            self._drop(present)  # a start that never came to its end

    def _heal(self, network: Network) -> None:
        """Make a bridge again that somebody removed, or that could not be made before. Raises Conflict."""
        if network.id in self._down or not exists(network.bridge):
            log.warn("making a bridge again", name=network.bridge, network=network.name)
            self._ensure(network)
            self._down.discard(network.id)
            repair.attach_again(self._known.on_network(network.id))

    def _take_address(self, network: Network, container_id: str, ip: str, undo: ExitStack) -> str:
        addresses = self._known.addresses[network.id]
        address = addresses.take(container_id, ip, self._fading.busy)
        undo.callback(addresses.release, address)
        self._fading.end(address)
        return address

    def _take_ports(
        self, network: Network, container_id: str, requests: Sequence[PortRequest], undo: ExitStack
    ) -> tuple[PublishedPort, ...]:
        """An internal network publishes nothing, as in Docker."""
        if network.internal or not requests:
            return ()
        default_ip = network.options.get(HOST_IP_OPTION, "")
        default_ip = "" if default_ip in ("0.0.0.0", "::") else default_ip
        found = self._ports.take(requests, container_id, ipv4=True, ipv6=False, default_ip=default_ip)
        undo.callback(self._ports.release, found)
        return found

    def _keep(self, stored: Stored, undo: ExitStack) -> None:
        undo.callback(self._known.erase, stored)
        undo.callback(self._known.leave, stored)
        self._known.record(stored)

    def disconnect(self, container_id: str) -> None:
        """Take a container off every network; idempotent. Its veth goes with its namespace.

        A container keeps its addresses while it is down; a disconnect of one that is on no network gives them up.
        """
        with self._lock:
            found = self._known.of_container(container_id)
            for stored in found:
                self._drop(stored)
            if not found:
                for addresses in self._known.addresses.values():
                    addresses.forget(container_id)

    def _drop(self, stored: Stored) -> None:
        """Undo a connect. The record goes last: what a crash leaves is finished by the next start."""
        endpoint = stored.endpoint
        self._known.leave(stored)
        try:
            self._table.unpublish(redirects_of(endpoint))
        except KernelError:
            self._known.take_in(stored)  # still published: the next disconnect tries again
            raise
        self._ports.release(endpoint.ports)
        self._fading.add(endpoint.ip, endpoint.veth["host_name"])
        self._known.addresses[endpoint.network_id].release(endpoint.ip)
        self._known.erase(stored)

    def _free_number(self, container_id: str, prefix: str) -> int:
        used = {each.endpoint.veth["container_name"] for each in self._known.of_container(container_id)}
        return next(number for number in range(len(used) + 1) if f"{prefix}{number}" not in used)

    def _has_default_route(self, container_id: str) -> bool:
        return any(each.endpoint.veth["gateways"] for each in self._known.of_container(container_id))
