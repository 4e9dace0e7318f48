"""User-defined networks: what is refused, what is decided, and packets on them."""

import os

import pytest

from havre.errors import Conflict, Forbidden, InvalidParameter, NotFound, NotImplementedHere
from havre.network.create import NetworkRequest
from havre.spec.endpoint import PortRequest

pytestmark = pytest.mark.kernel
HOST_IP, NEIGHBOUR_IP = "10.99.0.1", "10.99.0.2"
BRIDGE = "com.docker.network.bridge."


def test_created_network_works_and_leaves_nothing(world):
    def body(w):
        networks = w.networks()
        before = w.snapshot()
        for _ in range(20):
            made = networks.create(NetworkRequest("shop", labels={"a": "b"}))
            assert (made.subnet, made.gateway, made.bridge) == (
                "172.18.0.0/16",
                "172.18.0.1",
                f"br-{made.id[:12]}",
            )
            assert networks.get("shop") == networks.get(made.id[:6]) == made
            assert networks.remove("shop") == made
            assert w.snapshot() == before
        networks.create(NetworkRequest("shop"))
        web = w.container(networks.connect("shop", "c1", ports=[PortRequest(80, host_port=8080)]))
        other = w.container(networks.connect("bridge", "c2"))
        listening = w.serve(web, 80)
        assert w.reach(w.neighbour, HOST_IP, 8080) == ""
        assert listening.accept()[1][0] == NEIGHBOUR_IP
        assert w.dropped(other, "172.18.0.2", 80)
        assert w.reach(other, HOST_IP, 8080) == ""
        with pytest.raises(Forbidden, match="active endpoints: c1"):
            networks.remove("shop")

    world(body)


def test_internal_network_leads_nowhere(world):
    def body(w):
        networks = w.networks()
        networks.create(NetworkRequest("closed", internal=True, subnet="10.8.0.0/24"))
        request = [PortRequest(80, host_port=8080)]
        endpoint = networks.connect("closed", "c1", ports=request)
        assert (endpoint.ports, endpoint.veth["gateways"], endpoint.ip) == ((), [], "10.8.0.2")
        box, friend = w.container(endpoint), w.container(networks.connect("closed", "c2"))
        open_box = w.container(networks.connect("bridge", "c3", ports=request))
        w.serve(box, 80)
        w.serve(open_box, 80)
        w.serve(w.neighbour, 7000)
        from havre.linux.nlsocket import inside

        with inside(box):  # root of the container may try
            os.system("ip route add default via 10.8.0.1")
        with inside(w.neighbour):
            os.system(f"ip route add 10.8.0.0/24 via {HOST_IP}")
        assert w.reach(friend, "10.8.0.2", 80) == ""
        assert w.dropped(box, NEIGHBOUR_IP, 7000)
        assert w.dropped(box, "172.17.0.2", 80)
        assert w.dropped(box, HOST_IP, 8080)  # a published port of another network
        assert w.dropped(w.neighbour, "10.8.0.2", 80)
        assert w.dropped(open_box, "10.8.0.2", 80)

    world(body)


@pytest.mark.parametrize("br_netfilter", [True, False])
def test_icc_off_keeps_neighbours_apart_but_not_published_ports(world, br_netfilter):
    def body(w):
        w.filter_bridged(br_netfilter)
        networks = w.networks()
        networks.create(
            NetworkRequest("apart", subnet="10.8.0.0/24", options={BRIDGE + "enable_icc": "FALSE"})
        )
        one = w.container(networks.connect("apart", "c1", ports=[PortRequest(80, host_port=8080)]))
        two = w.container(networks.connect("apart", "c2"))
        listening = w.serve(one, 80)
        w.serve(w.neighbour, 7000)
        assert w.reach(two, "10.8.0.2", 80, wait_s=0.4) != ""
        assert w.reach(two, HOST_IP, 8080) == ""
        assert listening.accept()
        assert w.reach(two, NEIGHBOUR_IP, 7000) == ""

    world(body)


def test_without_masquerade_the_source_address_stays(world):
    def body(w):
        networks = w.networks()
        networks.create(
            NetworkRequest("plain", subnet="10.8.0.0/24", options={BRIDGE + "enable_ip_masquerade": "false"})
        )
        box = w.container(networks.connect("plain", "c1"))
        listening = w.serve(w.neighbour, 7000)
        from havre.linux.nlsocket import inside

        with inside(w.neighbour):
            os.system(f"ip route add 10.8.0.0/24 via {HOST_IP}")
        assert w.reach(box, NEIGHBOUR_IP, 7000) == ""
        assert listening.accept()[1][0] == "10.8.0.2"

    world(body)


def test_options_reach_the_kernel_and_the_addresses(world):
    def body(w):
        networks = w.networks()
        made = networks.create(
            NetworkRequest(
                "full",
                subnet="10.8.0.0/24",
                gateway="10.8.0.9",
                ip_range="10.8.0.128/25",
                aux_addresses={"printer": "10.8.0.128"},
                options={
                    BRIDGE + "name": "shop0",
                    BRIDGE + "host_binding_ipv4": "127.0.0.1",
                    "com.docker.network.driver.mtu": "1300",
                    "com.docker.network.container_iface_prefix": "net",
                },
            )
        )
        endpoint = networks.connect("full", "c1", ports=[PortRequest(80, host_port=8080)])
        assert endpoint.ip == "10.8.0.129"
        assert [each.host_ip for each in endpoint.ports] == ["127.0.0.1"]
        assert (endpoint.veth["mtu"], endpoint.veth["container_name"]) == (1300, "net0")
        assert (made.bridge, endpoint.gateway) == ("shop0", "10.8.0.9")
        second = networks.connect("bridge", "c1")
        assert (second.veth["container_name"], second.veth["gateways"]) == ("eth0", [])
        with pytest.raises(Conflict, match="auxiliary address printer"):
            networks.connect("full", "c2", ip="10.8.0.128")
        assert "10.8.0.9/24" in w.snapshot()
        networks.close()
        again = w.networks()
        assert again.get("full") == made
        assert again.connect("full", "c2").ip == "10.8.0.130"

    world(body)


def test_requests_that_are_refused_leave_nothing(world):
    def body(w):
        networks = w.networks()
        networks.create(NetworkRequest("there", subnet="10.8.0.0/24"))
        before, known = w.snapshot(), networks.list()
        for changes, error, words in (
            ({"name": ""}, InvalidParameter, "invalid network name"),
            ({"name": "../x"}, InvalidParameter, "invalid network name"),
            ({"name": "host"}, Forbidden, "predefined host"),
            ({"name": "there"}, Conflict, "network with name there already exists"),
            ({"driver": "host"}, Forbidden, "only one instance"),
            ({"driver": "macvlan"}, NotImplementedHere, "macvlan"),
            ({"driver": "weave"}, NotFound, "weave"),
            ({"subnet": "10.8.0.128/25"}, Conflict, "belongs to network there"),
            ({"subnet": "10.99.0.0/16"}, Conflict, "on interface lan0"),
            ({"subnet": "10.9.0.1/24"}, InvalidParameter, "invalid subnet"),
            ({"subnet": "10.9.0.0/31"}, InvalidParameter, "too small"),
            ({"gateway": "10.9.0.1"}, InvalidParameter, "need a subnet"),
            ({"subnet": "10.9.0.0/24", "gateway": "10.9.1.1"}, InvalidParameter, "not an address within"),
            ({"subnet": "10.9.0.0/24", "ip_range": "10.9.1.0/25"}, InvalidParameter, "not within"),
            ({"subnet": "10.9.0.0/24", "aux_addresses": {"a": "10.9.0.255"}}, InvalidParameter, "auxiliary"),
            ({"options": {BRIDGE + "name": "docker0"}}, Conflict, "docker0"),
            ({"options": {BRIDGE + "name": "../../x"}}, InvalidParameter, "bridge name"),
            ({"options": {BRIDGE + "name": "x" * 16}}, InvalidParameter, "bridge name"),
            ({"options": {"com.docker.network.driver.mtu": "65536"}}, InvalidParameter, "mtu"),
            ({"options": {BRIDGE + "enable_icc": "maybe"}}, InvalidParameter, "maybe"),
            ({"options": {BRIDGE + "gateway_mode_ipv4": "routed"}}, NotImplementedHere, "routed"),
        ):
            with pytest.raises(error, match=words):
                networks.create(NetworkRequest(**{"name": "new", **changes}))
        assert (w.snapshot(), networks.list()) == (before, known)
        for name in ("bridge", "host", "none"):
            with pytest.raises(Forbidden, match="pre-defined"):
                networks.remove(name)
        with pytest.raises(NotFound):
            networks.remove("nope")

    world(body)


def test_subnet_within_a_wider_route_is_allowed(world):
    def body(w):
        os.system(f"ip route add 10.0.0.0/8 via {NEIGHBOUR_IP}")
        assert w.networks().create(NetworkRequest("vpn", subnet="10.55.0.0/16")).gateway == "10.55.0.1"

    world(body)


def test_pools_run_out_with_names(world):
    def body(w):
        networks = w.networks(pools=["10.44.0.0/23,24"])
        networks.create(NetworkRequest("one"))
        with pytest.raises(
            Conflict, match=r"10.44.0.0/24 belongs to network bridge; 10.44.1.0/24 belongs to network one"
        ):
            networks.create(NetworkRequest("two"))

    world(body)


def test_bridge_removed_by_others_is_made_again_with_its_containers(world):
    def body(w):
        networks = w.networks()
        web = w.container(networks.connect("bridge", "c1", ports=[PortRequest(80, host_port=8080)]))
        w.serve(web, 80)
        os.system("ip link del docker0")
        networks.connect("bridge", "c2")
        assert w.reach(w.neighbour, HOST_IP, 8080) == ""
        os.system("ip link del docker0")
        networks.close()
        w.networks()
        assert w.reach(w.neighbour, HOST_IP, 8080) == ""

    world(body)


def test_name_taken_meanwhile_keeps_the_network_down(world):
    def body(w):
        networks = w.networks()
        networks.create(NetworkRequest("shop", options={BRIDGE + "name": "shop0"}))
        networks.close()
        os.system("ip link del shop0; ip link add shop0 type bridge")
        again = w.networks()
        with pytest.raises(Conflict, match="shop0 is there already"):
            again.connect("shop", "c1")
        os.system("ip link del shop0")
        assert again.connect("shop", "c1").ip == "172.18.0.2"

    world(body)


def test_users_own_bridge_is_used_and_left(world):
    def body(w):
        os.system(
            "ip link add mine0 type bridge; ip address add 10.77.0.1/24 dev mine0; ip link set mine0 up"
        )
        networks = w.networks(bridge="mine0")
        endpoint = networks.connect("bridge", "c1", ports=[PortRequest(80, host_port=8080)])
        assert (endpoint.ip, endpoint.gateway, endpoint.veth["bridge"]) == ("10.77.0.2", "10.77.0.1", "mine0")
        web = w.container(endpoint)
        w.serve(web, 80)
        assert w.reach(w.neighbour, HOST_IP, 8080) == ""
        assert "docker0" not in w.snapshot()

    world(body)


@pytest.mark.parametrize(
    "made", ["ip link add mine0 type veth peer name mine1", "ip link add mine0 type bridge"]
)
def test_useless_bridge_is_refused(world, made):
    def body(w):
        os.system(made)
        with pytest.raises((Conflict, InvalidParameter), match="mine0"):
            w.networks(bridge="mine0")

    world(body)


def test_other_firewalls_forward_drop_is_told(world, capfd):
    def body(w):
        os.system(
            "nft 'add table ip other; add chain ip other FWD { type filter hook forward priority 0; policy drop; }'"
        )
        w.networks()

    world(body)
    assert "another firewall drops forwarded packets" in capfd.readouterr().err
