"""What this instance knows: networks, their addresses, their endpoints; in memory and as records. No kernel here.

Networks are replaced as a whole dict, never changed in place, so that readers need no lock.
"""

from ipaddress import IPv4Network

import msgspec

from havre.network.create import PREDEFINED
from havre.network.endpoints import Stored, redirects_of, zone_of
from havre.network.firewall import Redirect, Zone
from havre.network.ipam import AUXILIARY, Addresses, Used
from havre.spec.endpoint import Endpoint, Network
from havre.store import Records

NETWORK, ENDPOINT = "network", "endpoint"  # kinds of records


class Known:
    """Networks by id, and per network the addresses and the endpoints by container id."""

    def __init__(self, records: Records) -> None:
        self._records = records
        self.networks: dict[str, Network] = {}
        self.addresses: dict[str, Addresses] = {}
        self._endpoints: dict[str, dict[str, Stored]] = {}

    def load(self) -> None:
        """Read the networks."""
        for _, network in self._records.load(NETWORK, msgspec.json.Decoder(Network).decode):
            self._put(network)

    def recorded_endpoints(self) -> list[Stored]:
        """Read the endpoints, without taking them in."""
        return [stored for _, stored in self._records.load(ENDPOINT, msgspec.json.Decoder(Stored).decode)]

    def save(self, network: Network) -> None:
        """Record a network; its endpoints stay, its addresses start anew when the subnet is another."""
        write = (
            self._records.owe if network.name in PREDEFINED else self._records.put
        )  # those are made at every start
        write(NETWORK, network.id, msgspec.json.encode(network))
        self._put(network)

    def _put(self, network: Network) -> None:
        self.networks = {**self.networks, network.id: network}
        self._endpoints.setdefault(network.id, {})
        if not network.subnet:
            return
        addresses = Addresses(network.subnet, network.gateway, network.ip_range)
        for name, address in network.aux_addresses.items():
            addresses.mark(address, f"{AUXILIARY}{name}")
        self.addresses[network.id] = addresses

    def hide(self, network: Network) -> None:
        """Take a network out of sight while it is being removed; its record stays."""
        self.networks = {key: each for key, each in self.networks.items() if key != network.id}

    def show(self, network: Network) -> None:
        """The removal failed."""
        self.networks = {**self.networks, network.id: network}

    def forget(self, network: Network) -> None:
        """Remove a network and everything about it."""
        self.hide(network)
        self.addresses.pop(network.id, None)
        self._endpoints.pop(network.id, None)
        self._records.owe(NETWORK, network.id, None)

    def bridged(self) -> list[Network]:
        return [network for network in self.networks.values() if network.driver == "bridge"]

    def zones(self) -> list[Zone]:
        return [zone_of(network) for network in self.bridged()]

    def subnets_besides(self, name: str) -> list[Used]:
        """The subnets of the other networks, which are taken even while their bridges are not there."""
        return [
            (IPv4Network(network.subnet), f"{network.subnet} belongs to network {network.name}")
            for network in self.bridged()
            if network.name != name
        ]

    def endpoints(self, network_id: str) -> dict[str, Endpoint]:
        """A copy, by container id."""
        found = self._endpoints.get(network_id, {}).copy()
        return {container_id: stored.endpoint for container_id, stored in found.items()}

    def stored(self) -> list[Stored]:
        """Every endpoint."""
        return [stored for each in self._endpoints.values() for stored in each.values()]

    def on_network(self, network_id: str) -> list[Stored]:
        return list(self._endpoints[network_id].values())

    def of_container(self, container_id: str) -> list[Stored]:
        return [each[container_id] for each in self._endpoints.values() if container_id in each]

    def redirects(self) -> list[Redirect]:
        """Every published port."""
        return [redirect for stored in self.stored() for redirect in redirects_of(stored.endpoint)]

    def record(self, stored: Stored) -> None:
        """Keep a new endpoint, before anything of it is in the kernel."""
        self._records.put(ENDPOINT, stored.key, msgspec.json.encode(stored))
        self.take_in(stored)

    def take_in(self, stored: Stored) -> None:
        """An endpoint that is recorded already."""
        self._endpoints[stored.endpoint.network_id][stored.container_id] = stored

    def leave(self, stored: Stored) -> None:
        """The endpoint is no more; its record stays until `erase`."""
        self._endpoints[stored.endpoint.network_id].pop(stored.container_id, None)

    def erase(self, stored: Stored) -> None:
        self._records.owe(ENDPOINT, stored.key, None)
