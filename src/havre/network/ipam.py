"""Address management: pools of networks, addresses within one network. Pure."""

from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Network, ip_address, ip_network

from havre.errors import Conflict, InvalidParameter

# moby daemon/libnetwork/ipamutils: the local-scope default pools, (base, prefix of each network)
DEFAULT_POOLS = (
    *((f"172.{second}.0.0/16", 16) for second in (17, 18, 19)),
    *((f"172.{second}.0.0/14", 16) for second in (20, 24, 28)),
    ("192.168.0.0/16", 20),
)
GATEWAY, AUXILIARY = "the gateway", "auxiliary address "  # owners that are not containers
MAX_REMEMBERED = 4096  # addresses kept for containers that are down; the oldest is forgotten first

Used = tuple[IPv4Network, str]  # a prefix that is taken, and who holds it in words


def parse_pools(pools: Iterable[str | tuple[str, int]]) -> tuple[tuple[IPv4Network, int], ...]:
    """Return (base, prefix) of pools given as ("10.0.0.0/8", 24) or "10.0.0.0/8,24". Raises InvalidParameter."""
    found = []
    for pool in pools:
        base, size = pool if isinstance(pool, tuple) else pool.rpartition(",")[::2]
        try:
            network, prefix = IPv4Network(base), int(size)
        except ValueError as error:
            raise InvalidParameter(f"invalid address pool '{base},{size}': {error}") from None
        if not network.prefixlen <= prefix <= 30:
            raise InvalidParameter(
                f"invalid address pool '{base},{size}': a network of it needs a prefix from {network.prefixlen} to 30"
            )
        found.append((network, prefix))
    return tuple(found)


def choose_subnet(pools: Sequence[tuple[IPv4Network, int]], used: Sequence[Used]) -> IPv4Network:
    """Return the first network of the pools that overlaps nothing. Raises Conflict saying who holds what."""
    holders: dict[str, None] = {}
    for candidate, holder in _candidates(pools, used):
        if not holder:
            return candidate
        holders[holder] = None
    held = "; ".join(holders) or "no pools"
    raise Conflict(
        f"all predefined address pools have been fully subnetted: {held}",
        hint="havre network prune, or give one with --subnet, or more with --default-address-pool",
    )


def _candidates(
    pools: Sequence[tuple[IPv4Network, int]], used: Sequence[Used]
) -> Iterator[tuple[IPv4Network, str]]:
    """Yield networks with the one who holds each; steps over a whole prefix that is taken at once."""
    for base, prefix in pools:
        step = 1 << (32 - prefix)
        number, end = int(base.network_address), int(base.broadcast_address)
        while number <= end:
            candidate = IPv4Network((number, prefix))
            network, holder = overlapping(candidate, used) or (candidate, "")
            yield candidate, holder
            number = max(number + step, (int(network.broadcast_address) + step) // step * step)


def overlapping(subnet: IPv4Network, used: Sequence[Used]) -> Used | None:
    """Return the first taken prefix that shares an address with `subnet`."""
    return next((each for each in used if each[0].overlaps(subnet)), None)


def parse_subnet(text: str) -> IPv4Network:
    """Return a network given as 10.1.0.0/24 (host bits are an error, as in Docker). Raises InvalidParameter."""
    try:
        found = ip_network(text)
    except ValueError as error:
        raise InvalidParameter(f"invalid subnet {text}: {error}") from None
    if isinstance(found, IPv6Network):
        raise InvalidParameter(f"invalid subnet {text}: it is not IPv4")
    return found


class Addresses:
    """The IPv4 addresses of one network: who has which, and which container had which while it is down."""

    def __init__(self, subnet: str, gateway: str, ip_range: str = "") -> None:
        self.subnet = IPv4Network(subnet)
        inside = IPv4Network(ip_range) if ip_range else self.subnet
        self._first = max(int(inside.network_address), int(self.subnet.network_address) + 1)
        self._last = min(int(inside.broadcast_address), int(self.subnet.broadcast_address) - 1)
        self._next = self._first  # nothing below it is free
        self._taken: dict[int, str] = {}
        self._remembered: OrderedDict[str, int] = OrderedDict()
        self._kept: dict[int, str] = {}  # the same, by number
        if gateway:
            self._taken[int(IPv4Address(gateway))] = GATEWAY

    def take(self, owner: str, wanted: str = "", busy: Callable[[str], bool] = lambda _: False) -> str:
        """Give `owner` the wanted address, the one it had before, or the lowest free one, in this order.

        `busy` says that an address has just been given back and its last interface is not gone yet.
        Raises InvalidParameter for an address outside the network, Conflict when taken or when none is left.
        """
        number = self._wanted(wanted) if wanted else self._usual(owner, busy)
        self._taken[number] = owner
        self.forget(owner)
        self.forget(self._kept.get(number, ""))
        return str(IPv4Address(number))

    def _wanted(self, wanted: str) -> int:
        number = self._parse(wanted)
        holder = self._taken.get(number)
        if holder is not None:
            held = holder if holder.startswith(("the ", AUXILIARY)) else f"container {holder[:12]}"
            raise Conflict(f"address already in use: {wanted} belongs to {held}")
        return number

    def _parse(self, wanted: str) -> int:
        try:
            address = ip_address(wanted)
        except ValueError:
            raise InvalidParameter(f"invalid IPv4 address: {wanted}") from None
        number = int(address)
        low, high = int(self.subnet.network_address), int(self.subnet.broadcast_address)
        if not isinstance(address, IPv4Address) or not low < number < high:
            raise InvalidParameter(
                f"no configured subnet contains IP address {wanted}", hint=f"one of {self.subnet}"
            )
        return number

    def _usual(self, owner: str, busy: Callable[[str], bool]) -> int:
        before = self._remembered.get(owner)
        if before is not None and before not in self._taken:
            return before
        for number in self._free():
            if number not in self._kept and not busy(str(IPv4Address(number))):
                return number
        for number in self._remembered.values():  # the one down for longest loses its address first
            if number not in self._taken:
                return number
        for number in self._free():
            return number
        raise Conflict(
            f"no available IPv4 addresses on this network: {len(self._taken)} of {self.subnet} are in use",
            hint="a network with a wider --subnet",
        )

    def _free(self) -> Iterator[int]:
        number = self._next
        low = True
        while number <= self._last:
            if number not in self._taken:
                if low:
                    self._next, low = number, False
                yield number
            number += 1

    def mark(self, address: str, owner: str) -> None:
        """Record an address that is in use already."""
        self._taken[int(IPv4Address(address))] = owner

    def release(self, address: str) -> None:
        """Give an address back; its owner gets it again unless the network runs out of others. Idempotent."""
        number = int(IPv4Address(address))
        owner = self._taken.get(number)
        if owner is None or owner == GATEWAY:
            return
        del self._taken[number]
        self._next = min(self._next, max(number, self._first))
        self.forget(owner)
        self._remembered[owner] = number
        self._kept[number] = owner
        if len(self._remembered) > MAX_REMEMBERED:
            self.forget(next(iter(self._remembered)))

    def forget(self, owner: str) -> None:
        """The container is gone for good."""
        number = self._remembered.pop(owner, None)
        if number is not None:
            del self._kept[number]


def mac_of(address: str) -> str:
    """Return the MAC that belongs to an address: nobody's neighbour table is wrong when the address is used again."""
    return "02:42:" + ":".join(f"{byte:02x}" for byte in IPv4Address(address).packed)
