"""Which host ports a request means and who may have them; sockets in a namespace of the test's own."""

import os
import socket

import pytest

from havre.errors import Conflict, InvalidParameter, NotImplementedHere
from havre.network import ports as ports_room
from havre.network.ports import Ports
from havre.spec.endpoint import PortRequest, PublishedPort

pytestmark = pytest.mark.kernel
BOTH = {"ipv4": True, "ipv6": True}
ONLY4 = {"ipv4": True, "ipv6": False}


def test_every_address_means_both_families_on_one_number(world):
    def body(w):
        ports = Ports()
        w.serve(w.host, 32768, "::1")  # only the IPv6 side of the first number is taken
        found = ports.take([PortRequest(80)], "c1", **BOTH)
        assert [(each.host_ip, each.host_port) for each in found] == [("0.0.0.0", 32769), ("::", 32769)]
        assert ports.take([PortRequest(80)], "c2", **ONLY4) == (PublishedPort(80, "tcp", "0.0.0.0", 32770),)

    world(body)


def test_default_address_stands_in_for_none(world):
    def body(w):
        found = Ports().take([PortRequest(80, host_port=80)], "c1", default_ip="127.0.0.1", **BOTH)
        assert [each.host_ip for each in found] == ["127.0.0.1"]

    world(body)


@pytest.mark.parametrize(
    ("request_", "error", "words"),
    [
        (PortRequest(80, host_ip="::1", host_port=80), NotImplementedHere, "IPv6 loopback"),
        (PortRequest(80, host_ip="fd00::1"), InvalidParameter, "no IPv6"),
        (PortRequest(80, host_ip="junk"), InvalidParameter, "invalid host address 'junk'"),
        (PortRequest(80, proto="icmp"), InvalidParameter, "unknown protocol"),
    ],
)
def test_requests_that_cannot_be_met(request_, error, words):
    with pytest.raises(error, match=words):
        Ports().take([request_], "c1", **ONLY4)


def test_all_or_nothing_when_one_is_taken(world):
    def body(w):
        ports = Ports()
        ports.take([PortRequest(1, host_ip="127.0.0.1", host_port=1001)], "c1aaaaaaaaaaaaaaa", **ONLY4)
        with pytest.raises(Conflict, match="used by container c1aaaaaaaaaa "):
            ports.take([PortRequest(1, host_port=1000), PortRequest(1, host_port=1001)], "c2", **ONLY4)
        ports.take([PortRequest(1, host_port=1000)], "c3", **ONLY4)
        with pytest.raises(Conflict, match="container c3"):
            ports.take([PortRequest(1, host_ip="10.99.0.1", host_port=1000)], "c4", **ONLY4)
        ports.take([PortRequest(1, host_ip="10.99.0.1", host_port=1001)], "c5", **ONLY4)
        ports.take([PortRequest(1, proto="udp", host_port=1000)], "c6", **ONLY4)

    world(body)


def test_the_same_port_twice_in_one_request(world):
    def body(w):
        twice = [PortRequest(80, host_port=1000), PortRequest(81, host_port=1000)]
        with pytest.raises(Conflict, match="already allocated"):
            Ports().take(twice, "c1", **ONLY4)

    world(body)


def test_random_ports_stay_in_the_hosts_range(world):
    def body(w):
        with open(ports_room.EPHEMERAL, "w") as sysctl:
            sysctl.write("40000 40002")
        ports = Ports()
        asked = [PortRequest(80)]
        assert [ports.take(asked, "c", **ONLY4)[0].host_port for _ in range(3)] == [40000, 40001, 40002]
        with pytest.raises(Conflict, match="ephemeral range"):
            ports.take(asked, "c", **ONLY4)
        ports.release([PublishedPort(80, "tcp", "0.0.0.0", 40001)])
        assert ports.take(asked, "c", **ONLY4)[0].host_port == 40001

    world(body)


def test_holder_is_named_when_another_process_has_it(world):
    def body(w):
        held = w.serve(w.host, 1053, proto="udp")
        with pytest.raises(Conflict) as refused:
            Ports().take([PortRequest(53, proto="udp", host_port=1053)], "c1", **ONLY4)
        name = open("/proc/self/comm").read().strip()
        assert (
            f"Bind for 0.0.0.0:1053 failed: port is already allocated: 0.0.0.0:1053/udp is used by {name} (pid {os.getpid()})"
            in str(refused.value)
        )
        assert "1054" in refused.value.hint
        held.close()

    world(body)


def test_held_port_refuses_connections_instead_of_hanging(world):
    def body(w):
        Ports().take([PortRequest(80, host_port=8080)], "c1", **ONLY4)
        held = Ports()
        held.take([PortRequest(80, host_port=8081)], "c1", **ONLY4)
        assert w.reach(w.host, "127.0.0.1", 8081) == "connection refused"
        with pytest.raises(OSError):
            socket.create_server(("0.0.0.0", 8081))
        held.close()
        socket.create_server(("0.0.0.0", 8081)).close()

    world(body)
