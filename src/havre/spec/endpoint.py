"""Networks, endpoints and published ports as values."""

from dataclasses import dataclass, field

from havre.spec.runplan import VethPlan


@dataclass(frozen=True, slots=True)
class PortRequest:
    """One -p: host_port 0 means any free port; host_port_end gives a range to pick from."""

    container_port: int
    proto: str = "tcp"  # tcp, udp, sctp
    host_ip: str = ""  # "" = every address, v4 and v6
    host_port: int = 0
    host_port_end: int = 0


@dataclass(frozen=True, slots=True)
class PublishedPort:
    """A port that is open on the host."""

    container_port: int
    proto: str
    host_ip: str  # "0.0.0.0", "::" or one address
    host_port: int


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A container's place on one network."""

    network: str
    network_id: str
    endpoint_id: str
    ip: str  # "172.17.0.2"
    prefix: int  # 16
    gateway: str
    ip6: str
    prefix6: int
    gateway6: str
    mac: str
    dns: tuple[str, ...]  # name servers for resolv.conf; empty: the host's own
    aliases: tuple[str, ...]
    ports: tuple[PublishedPort, ...]
    veth: VethPlan


@dataclass(frozen=True, slots=True)
class Network:
    """A network record."""

    id: str
    name: str
    driver: str  # bridge, host, null
    created_nanos: int
    subnet: str  # "172.17.0.0/16"; "" for host and none
    gateway: str
    bridge: str  # interface name
    internal: bool = False
    enable_ipv6: bool = False
    options: dict[str, str] = field(default_factory=dict)
    labels: dict[str, str] = field(default_factory=dict)
    ip_range: str = ""  # addresses are given from this part of the subnet; "" = all of it
    aux_addresses: dict[str, str] = field(
        default_factory=dict
    )  # never given to a container; by the caller's names
    attachable: bool = False
