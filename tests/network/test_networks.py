"""Packets that pass and packets that do not, between real network namespaces."""

import errno
import os
import socket
from concurrent.futures import ThreadPoolExecutor

import pytest

from havre.errors import Conflict, InvalidParameter, KernelError, NotFound
from havre.linux.nlsocket import inside
from havre.network.create import NetworkRequest
from havre.spec.endpoint import PortRequest

pytestmark = pytest.mark.kernel
HOST_IP, NEIGHBOUR_IP = "10.99.0.1", "10.99.0.2"


def test_container_reaches_lan_masqueraded(world):
    def body(w):
        networks = w.networks()
        endpoint = networks.connect("bridge", "c1")
        assert (endpoint.ip, endpoint.prefix, endpoint.gateway) == ("172.17.0.2", 16, "172.17.0.1")
        box = w.container(endpoint)
        listening = w.serve(w.neighbour, 7000)
        assert w.reach(box, NEIGHBOUR_IP, 7000) == ""
        assert listening.accept()[1][0] == HOST_IP

    world(body)


@pytest.mark.parametrize("br_netfilter", [True, False])
def test_published_port_reached_from_everywhere(world, br_netfilter):
    def body(w):
        w.filter_bridged(br_netfilter)
        networks = w.networks()
        endpoint = networks.connect("bridge", "c1", ports=[PortRequest(80, host_port=8080)])
        assert [(p.host_ip, p.host_port) for p in endpoint.ports] == [("0.0.0.0", 8080)]
        web = w.container(endpoint)
        other = w.container(networks.connect("bridge", "c2"))
        listening = w.serve(web, 80)
        for start, address, seen in (
            (w.neighbour, HOST_IP, NEIGHBOUR_IP),  # the source address is kept for remote clients
            (w.host, "127.0.0.1", "172.17.0.1"),
            (w.host, HOST_IP, HOST_IP),
            (w.host, "172.17.0.1", "172.17.0.1"),
            (web, HOST_IP, "172.17.0.1"),  # itself, by the host's address
            (other, HOST_IP, "172.17.0.1"),
            (other, "172.17.0.1", "172.17.0.1"),
            (other, "172.17.0.2", None),  # wrong port: the container's own is 80
        ):
            failed = w.reach(start, address, 8080)
            if seen is None:
                assert failed == "connection refused"
                continue
            assert failed == "", (address, failed)
            assert listening.accept()[1][0] == seen, address
        networks.disconnect("c1")
        assert w.reach(w.neighbour, HOST_IP, 8080) == "connection refused"
        assert w.reach(w.host, "127.0.0.1", 8080) == "connection refused"

    world(body)


@pytest.mark.parametrize("br_netfilter", [True, False])
def test_neighbour_is_kept_out_of_what_is_not_published_to_it(world, br_netfilter):
    def body(w):
        w.filter_bridged(br_netfilter)
        networks = w.networks()
        local = PortRequest(80, host_ip="127.0.0.1", host_port=8080)
        web = w.container(networks.connect("bridge", "c1", ports=[local]))
        w.serve(web, 80)
        secret = w.serve(w.host, 9000, "127.0.0.1")
        with inside(w.neighbour):
            os.system(f"ip route add 172.17.0.0/16 via {HOST_IP}; ip route add 127.0.0.9/32 via {HOST_IP}")
            os.system(
                "ip address del 127.0.0.1/8 dev lo; echo 1 > /proc/sys/net/ipv4/conf/all/route_localnet"
            )
            os.system(f"ip route add 127.0.0.1/32 via {HOST_IP} src {NEIGHBOUR_IP}")
        assert w.reach(w.host, "127.0.0.1", 8080) == ""
        assert w.reach(w.neighbour, HOST_IP, 8080) == "connection refused"
        assert w.dropped(w.neighbour, "172.17.0.2", 80)  # direct routing
        assert w.dropped(w.neighbour, "127.0.0.1", 8080)
        with inside(web):
            os.system(
                "ip address del 127.0.0.1/8 dev lo; echo 1 > /proc/sys/net/ipv4/conf/all/route_localnet"
            )
            os.system("ip route add 127.0.0.1/32 via 172.17.0.1 src 172.17.0.2")
        assert w.dropped(web, "127.0.0.1", 9000)  # the host's own loopback services
        secret.close()

    world(body)


@pytest.mark.parametrize("br_netfilter", [True, False])
def test_bridges_are_isolated_and_instances_live_side_by_side(world, br_netfilter):
    def body(w):
        w.filter_bridged(br_netfilter)
        first, second = w.networks("aaaa0000"), w.networks("bbbb0000")
        one = first.connect("bridge", "c1", ports=[PortRequest(80, host_port=8081)])
        two = second.connect("bridge", "c2")
        assert (one.veth["bridge"], two.veth["bridge"]) == ("docker0", "docker1")
        assert two.ip == "172.18.0.2"
        box1, box2 = w.container(one), w.container(two)
        w.serve(box1, 80)
        w.serve(box2, 80)
        assert w.dropped(box2, "172.17.0.2", 80)
        assert w.dropped(box1, "172.18.0.2", 80)
        assert w.reach(box2, HOST_IP, 8081) == ""  # published: as from anywhere
        assert w.reach(w.host, "172.18.0.2", 80) == ""
        with pytest.raises(Conflict, match=r"Bind for 0.0.0.0:8081 failed: port is already allocated.*pid"):
            second.connect("bridge", "c3", ports=[PortRequest(80, host_port=8081)])
        assert second.endpoints("bridge").keys() == {"c2"}

    world(body)


def test_udp_is_published_and_old_flows_follow(world):
    def body(w):
        networks = w.networks()
        client = w.serve(w.neighbour, 5001, proto="udp")
        client.sendto(b"early", (HOST_IP, 5353))  # leaves a flow behind that is not translated
        request = PortRequest(53, proto="udp", host_port=5353)
        for name in ("c1", "c2"):
            endpoint = networks.connect("bridge", name, ports=[request])
            box = w.container(endpoint)
            listening = w.serve(box, 53, proto="udp")
            client.sendto(name.encode(), (HOST_IP, 5353))
            assert listening.recvfrom(100) == (name.encode(), (NEIGHBOUR_IP, 5001))
            listening.sendto(b"answer", (NEIGHBOUR_IP, 5001))
            assert client.recvfrom(100) == (b"answer", (HOST_IP, 5353))
            networks.disconnect(name)

    world(body)


def test_conflict_names_the_process_and_leaves_nothing(world):
    def body(w):
        networks = w.networks()
        before = w.snapshot()
        held = w.serve(w.host, 8080)
        ports = [PortRequest(80, host_port=8079), PortRequest(81, host_port=8080)]
        with pytest.raises(Conflict, match=rf"Bind for 0.0.0.0:8080 failed.* \(pid {os.getpid()}\)"):
            networks.connect("bridge", "c1", ports=ports)
        assert w.snapshot() == before
        held.close()
        networks.connect("bridge", "c1", ports=ports)
        with pytest.raises(Conflict, match="container c1"):
            networks.connect("bridge", "c2", ports=[PortRequest(80, host_ip="127.0.0.1", host_port=8080)])
        other = socket.socket()
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        with pytest.raises(OSError) as refused:
            other.bind(("", 8080))
        assert refused.value.errno == errno.EADDRINUSE

    world(body)


def test_port_of_ended_connections_can_be_published(world):
    def body(w):
        networks = w.networks()
        listening = w.serve(w.host, 8080)
        client = socket.create_connection(("127.0.0.1", 8080))
        accepted, _ = listening.accept()
        accepted.close()  # this side closes first: it keeps port 8080 in TIME_WAIT
        client.close()
        listening.close()
        networks.connect("bridge", "c1", ports=[PortRequest(80, host_port=8080)])
        intruder = socket.socket()
        intruder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        with pytest.raises(OSError):
            intruder.bind(("", 8080))
            intruder.listen()

    world(body)


def test_random_ports_and_ranges(world):
    def body(w):
        networks = w.networks()
        ports = [PortRequest(80), PortRequest(81), PortRequest(82, host_port=9000, host_port_end=9001)]
        first = networks.connect("bridge", "c1", ports=ports).ports
        assert [each.host_port for each in first] == [32768, 32769, 9000]
        second = networks.connect("bridge", "c2", ports=ports).ports
        assert [each.host_port for each in second] == [32770, 32771, 9001]
        with pytest.raises(Conflict, match="9000-9001"):
            networks.connect("bridge", "c3", ports=ports)
        networks.disconnect("c1")
        third = networks.connect("bridge", "c3", ports=ports).ports
        assert [each.host_port for each in third][2] == 9000

    world(body)


def test_table_flushed_by_others_is_made_again(world):
    def body(w):
        networks = w.networks()
        web = w.container(networks.connect("bridge", "c1", ports=[PortRequest(80, host_port=8080)]))
        w.serve(web, 80)
        os.system("nft flush ruleset")
        networks.connect("bridge", "c2", ports=[PortRequest(80, host_port=8081)])
        assert w.reach(w.neighbour, HOST_IP, 8080) == ""
        os.system("nft flush ruleset")
        networks.disconnect("c2")
        assert w.reach(w.neighbour, HOST_IP, 8080) == ""

    world(body)


@pytest.mark.parametrize(
    "harm",
    [
        "nft flush ruleset",
        "nft delete table inet havre_abcd1234",
        "nft flush chain inet havre_abcd1234 publish",
        "nft flush map inet havre_abcd1234 any4",
    ],
)
def test_table_comes_back_by_itself(world, harm):
    def body(w):
        networks = w.networks()
        web = w.container(networks.connect("bridge", "c1", ports=[PortRequest(80, host_port=8080)]))
        w.serve(web, 80)
        whole = w.snapshot()
        for _ in range(3):
            os.system(harm)
            w.settled(whole)
        assert w.reach(w.neighbour, HOST_IP, 8080) == ""
        networks.close()
        os.system("nft flush ruleset")
        assert "havre" not in w.snapshot()

    world(body)


def test_own_changes_are_not_taken_for_harm(world, capfd):
    def body(w):
        networks = w.networks()
        for number in range(50):
            networks.connect("bridge", f"c{number}", ports=[PortRequest(80)])
        os.system("nft add table ip other; nft delete table ip other")
        networks.close()

    world(body)
    assert "put back" not in capfd.readouterr().err


def test_restart_keeps_the_living_and_removes_the_dead(world, monkeypatch):
    monkeypatch.setattr("havre.network.repair.YOUNG_NANOS", 0)

    def body(w):
        networks = w.networks()
        alive = networks.connect("bridge", "c1", ports=[PortRequest(80, host_port=8080)])
        networks.connect("bridge", "c2", ports=[PortRequest(80, host_port=8081)])  # never gets its veth
        web = w.container(alive)
        w.serve(web, 80)
        networks.close()  # kill -9 of the daemon, as far as sockets go
        os.system("nft flush ruleset")
        os.system(
            "ip link add vethabcdstray12 type veth peer name straypeer; ip link set vethabcdstray12 master docker0"
        )
        again = w.networks()
        assert again.endpoints("bridge") == {"c1": alive}
        assert again.get("bridge").id == alive.network_id
        assert w.reach(w.neighbour, HOST_IP, 8080) == ""
        assert "vethabcdstray12" not in os.popen("ip -o link").read()
        with pytest.raises(Conflict):
            again.connect("bridge", "c3", ports=[PortRequest(80, host_port=8080)])
        assert again.connect("bridge", "c3", ports=[PortRequest(80, host_port=8081)]).ip == "172.17.0.3"

    world(body)


def test_addresses_come_back_to_a_restarted_container(world):
    def body(w):
        networks = w.networks()
        first, second = networks.connect("bridge", "c1").ip, networks.connect("bridge", "c2").ip
        networks.disconnect("c1")
        networks.disconnect("c2")
        assert networks.connect("bridge", "c3").ip == "172.17.0.4"
        assert networks.connect("bridge", "c2").ip == second
        assert networks.connect("bridge", "c1").ip == first
        networks.disconnect("c1")
        networks.disconnect("c1")  # removed: gives its address up
        assert networks.connect("bridge", "c4").ip == first

    world(body)


def test_wishes_that_cannot_be_met(world):
    def body(w):
        networks = w.networks()
        before = w.snapshot()
        for request, error, words in (
            ({"network": "nope"}, NotFound, "network nope not found"),
            ({"network": "host"}, InvalidParameter, "host network"),
            ({"ip": "172.18.0.9"}, InvalidParameter, "no configured subnet"),
            ({"ip": "172.17.0.1"}, Conflict, "the gateway"),
            ({"ports": [PortRequest(80, host_ip="::", host_port=80)]}, InvalidParameter, "no IPv6"),
            (
                {"ports": [PortRequest(80, host_ip="10.1.1.1", host_port=80)]},
                InvalidParameter,
                "cannot assign",
            ),
        ):
            with pytest.raises(error, match=words):
                networks.connect(**{"network": "bridge", "container_id": "c1", **request})
        assert w.snapshot() == before
        assert networks.endpoints("bridge") == {}
        assert (
            networks.connect("bridge", "c1", ip="172.17.3.4", mac="02:00:00:00:00:07").mac
            == "02:00:00:00:00:07"
        )

    world(body)


def test_fifty_endpoints_at_once(world):
    def body(w):
        networks = w.networks()
        numbers = range(50)

        def one(number):
            return networks.connect("bridge", f"c{number}", ports=[PortRequest(80)])

        with ThreadPoolExecutor(8) as pool:
            found = list(pool.map(one, numbers))
        assert len({each.ip for each in found}) == 50
        assert len({each.ports[0].host_port for each in found}) == 50
        boxes = [w.container(each) for each in found]
        servers = [w.serve(box, 80) for box in boxes]
        for each in found:
            assert w.reach(w.neighbour, HOST_IP, each.ports[0].host_port) == ""
        assert all(server.accept() for server in servers)

    world(body)


def test_nothing_is_left_after_many_cycles(world):
    def body(w):
        networks = w.networks()
        before = w.snapshot()
        descriptors = len(os.listdir("/proc/self/fd"))
        held = w.serve(w.host, 8080)
        for number in range(200):
            name = f"c{number}"
            box = w.container(
                networks.connect("bridge", name, ports=[PortRequest(80), PortRequest(81, host_port=7777)])
            )
            with pytest.raises(Conflict):
                networks.connect(
                    "bridge", f"f{number}", ports=[PortRequest(80), PortRequest(81, host_port=8080)]
                )
            networks.disconnect(name)
            networks.disconnect(name)
            os.close(box)  # the last reference: the namespace goes, and its veth with it
        held.close()
        networks._fading.sweep()
        w.settled(before)
        assert networks.endpoints("bridge") == {}
        assert len(os.listdir("/proc/self/fd")) <= descriptors + 3  # netlink sockets that stay open

    world(body)


def test_bridge_of_others_is_left_alone(world):
    def body(w):
        os.system(
            "ip link add docker0 type bridge; ip address add 172.17.0.1/16 dev docker0; ip link set docker0 up"
        )
        os.system("ip route add 172.19.0.0/16 via 10.99.0.2")
        networks = w.networks()
        found = networks.get("bridge")
        assert (found.bridge, found.subnet) == ("docker1", "172.18.0.0/16")
        assert w.networks("bbbb0000").get("bridge").subnet == "172.20.0.0/16"

    world(body)


def test_bip_sets_the_address(world):
    def body(w):
        first = w.networks(bip="10.42.0.5/24")
        first.close()
        found = first.get("bridge")
        assert (found.subnet, found.gateway) == ("10.42.0.0/24", "10.42.0.5")
        assert "10.42.0.5/24" in w.snapshot()
        again = w.networks(bip="10.43.0.1/24").get("bridge")
        assert again.subnet == "10.43.0.0/24"
        assert "10.42.0.5" not in w.snapshot()

    world(body)


@pytest.mark.parametrize("bip", ["10.99.0.7/24", "10.42.0.0/24", "10.42.0.1/31", "fd00::1/64", "x"])
def test_bad_bip_is_refused(world, bip):
    def body(w):
        before = w.snapshot()
        with pytest.raises((InvalidParameter, Conflict), match="--bip"):
            w.networks(bip=bip)
        assert w.snapshot() == before

    world(body)


def test_none_makes_no_bridge(world):
    def body(w):
        networks = w.networks(bridge="none")
        assert [each.name for each in networks.list()] == ["host", "none"]
        assert "docker0" not in w.snapshot()

    world(body)


def test_kernel_refusal_undoes_the_connect(world):
    def body(w):
        networks = w.networks()
        before = w.snapshot()
        real = networks._table.publish

        def refuse(redirects):
            raise KernelError("nft", "newelement", errno.ENOBUFS)

        networks._table.publish = refuse
        with pytest.raises(KernelError):
            networks.connect("bridge", "c1", ports=[PortRequest(80, host_port=8080)])
        networks._table.publish = real
        assert w.snapshot() == before
        assert (
            networks.connect("bridge", "c2", ports=[PortRequest(80, host_port=8080)]).ports[0].host_port
            == 8080
        )

    world(body)


def test_daemons_that_start_at_once_do_not_share(world):
    def body(w):
        instances = [f"{letter}000{letter}000" for letter in "abcdef"]
        pids = []
        for instance in instances:
            pid = os.fork()
            if pid == 0:
                code = 1
                try:
                    w.networks(instance).create(NetworkRequest("shop"))
                    code = 0
                finally:
                    os._exit(code)
            pids.append(pid)
        assert [os.waitpid(pid, 0)[1] for pid in pids] == [0] * len(pids)
        found = [w.networks(instance).get(name) for instance in instances for name in ("bridge", "shop")]
        assert len({each.subnet for each in found}) == len({each.bridge for each in found}) == 12

    world(body)


def test_settings_change_only_without_running_containers(world):
    def body(w):
        networks = w.networks()
        web = w.container(networks.connect("bridge", "c1", ports=[PortRequest(80, host_port=8080)]))
        w.serve(web, 80)
        networks.close()
        os.system("ip route add 172.17.8.0/24 via 10.99.0.2")  # would be a reason to choose again
        kept = w.networks(bip="10.42.0.1/24", bridge="other0")
        assert (kept.get("bridge").subnet, kept.get("bridge").bridge) == ("172.17.0.0/16", "docker0")
        assert w.reach(w.neighbour, HOST_IP, 8080) == ""
        kept.disconnect("c1")
        kept.close()
        third = w.networks(bip="10.42.0.1/24", bridge="other0")
        third.close()
        changed = third.get("bridge")
        assert (changed.subnet, changed.bridge) == ("10.42.0.0/24", "other0")
        assert "docker0" not in w.snapshot()
        w.networks(bridge="none")
        assert "other0" not in w.snapshot()

    world(body)


def sysctls():
    """Every readable IPv4 and IPv6 switch of the namespace."""
    found = {}
    for base in ("/proc/sys/net/ipv4", "/proc/sys/net/ipv6", "/proc/sys/net/bridge"):
        for folder, _, names in os.walk(base):
            for name in names:
                try:
                    found[f"{folder}/{name}"] = open(f"{folder}/{name}").read()
                except (OSError, UnicodeDecodeError):
                    continue
    return found


def test_nothing_else_of_the_host_is_changed(world):
    def body(w):
        os.system(
            "nft 'add table ip mine; add chain ip mine c { type filter hook forward priority 0; policy accept; }'"
        )
        os.system("nft 'add rule ip mine c ip saddr 10.1.1.1 drop'; ip route add 10.7.0.0/16 via 10.99.0.2")
        os.system(
            "echo 1 > /proc/sys/net/ipv4/ip_forward"
        )  # when it is 0, switching it on is the one thing changed
        others, before = w.snapshot(), sysctls()
        networks = w.networks()
        networks.create(NetworkRequest("shop"))
        networks.connect("shop", "c1", ports=[PortRequest(80)])
        changed = {name for name, value in sysctls().items() if before.get(name, value) != value}
        volatile = {name for name in changed if name.endswith(("nr_entries", "_count", "/stat"))}
        assert changed - volatile == set()
        for bridge in ("docker0", networks.get("shop").bridge):
            assert (
                sysctls()[f"/proc/sys/net/ipv6/conf/{bridge}/accept_ra"] == "0\n"
            )  # a container cannot route the host
        networks.disconnect("c1")
        networks.remove("shop")
        mine = w.snapshot()
        assert all(line in mine for line in others.splitlines() if line.strip())
        networks.close()
        os.system("ip link del docker0; nft delete table inet havre_abcd1234")
        assert w.snapshot() == others

    world(body)
