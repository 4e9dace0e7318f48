"""rtnetlink against the kernel, in a forked child's own namespaces; the wire shapes by themselves."""

import errno
import os
import subprocess
import sys

import pytest

from havre.errors import KernelError
from havre.linux import interfaces, netlink, nlsocket
from havre.linux.nlsocket import NETLINK_ROUTE, Netlink, attr, attrs, each_attr, inside, nest
from havre.linux.syscalls import CLONE_NEWNET, unshare

PLAN = {
    "bridge": "br0",
    "host_name": "vethtest1",
    "container_name": "eth0",
    "mac": "02:42:ac:11:00:02",
    "mtu": 1400,
    "addresses": ["172.17.0.2/16"],
    "gateways": ["172.17.0.1"],
    "hairpin": True,
    "isolated": True,
}


def test_attributes_are_padded_and_found_again():
    data = attr(1, b"abc") + nest(2, attr(7, b"x"))
    assert len(data) % 4 == 0
    assert attrs(data) == {1: b"abc", 2: attr(7, b"x")}


@pytest.mark.parametrize("data", [b"\x03\x00\x01\x00", b"\xff\x00\x01\x00abc", b"\x05\x00", b""])
def test_malformed_attributes_end_the_walk(data):
    assert list(each_attr(data)) == []


def test_attribute_that_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="too long"):
        attr(1, bytes(0x10000))


@pytest.mark.parametrize("mac", ["", "02:42", "02:42:ac:11:00:zz", "02:42:ac:11:00:02:03"])
def test_bad_mac_is_refused(mac):
    with pytest.raises(KernelError):
        netlink.mac_bytes(mac)


def test_netlink_starts_bare():
    """The monitor is forked from a process that has nothing more than this."""
    code = (
        "import sys, os, ctypes, _socket; sys.path.insert(0, sys.argv[1]); before = set(sys.modules);"
        "import havre.linux.netlink; print(*sorted(set(sys.modules) - before))"
    )
    source = os.path.dirname(os.path.dirname(os.path.dirname(netlink.__file__)))
    shown = subprocess.run([sys.executable, "-ISc", code, source], check=True, capture_output=True, text=True)
    own = {
        "havre",
        "havre.errors",
        "havre.linux",
        "havre.linux.netlink",
        "havre.linux.nlsocket",
        "havre.linux.syscalls",
    }
    assert set(shown.stdout.split()) - own <= {"__future__", "errno"}


def bridge(kernel):
    kernel.request(*netlink.new_bridge("br0", mac="02:42:00:00:00:01", mtu=1400, alias="a mark"))
    index = netlink.index_of(kernel, "br0")
    kernel.request(netlink.new_address(index, "172.17.0.1/16", "br0"), netlink.set_up(index, "br0", mtu=1400))
    return index


def namespace():
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    with inside(home):
        unshare(CLONE_NEWNET)
        return os.open("/proc/thread-self/ns/net", os.O_RDONLY)


@pytest.mark.kernel
def test_veth_is_complete_on_both_sides(in_netns):
    def body():
        box = namespace()
        home = os.readlink("/proc/thread-self/ns/net")
        with Netlink(NETLINK_ROUTE) as kernel:
            index = bridge(kernel)
            netlink.apply_veth(PLAN, box)
            port = interfaces.link_by_name(kernel, "vethtest1")
            assert (port.kind, port.master, port.up, port.mtu) == ("veth", index, True, 1400)
            assert interfaces.link_by_name(kernel, "br0").alias == "a mark"
        shown = subprocess.run(
            "ip -d link show vethtest1", check=True, shell=True, capture_output=True, text=True
        ).stdout
        assert "hairpin on" in shown and "isolated on" in shown
        with Netlink(NETLINK_ROUTE, box) as inner:
            eth0 = interfaces.link_by_name(inner, "eth0")
            assert (eth0.mac, eth0.mtu, eth0.up) == ("02:42:ac:11:00:02", 1400, True)
            assert interfaces.link_by_name(inner, "lo").up
            found = {(each.address, each.prefix) for each in interfaces.addresses(inner)}
            assert found == {
                ("127.0.0.1", 8),
                ("::1", 128),
                ("172.17.0.2", 16),
            }  # no IPv6 on eth0: none was given
            defaults = [each for each in interfaces.routes(inner) if each.prefix == 0]
            assert [(each.gateway, each.index) for each in defaults] == [("172.17.0.1", eth0.index)]
        assert os.readlink("/proc/thread-self/ns/net") == home

    in_netns(body)


@pytest.mark.kernel
def test_ipv6_address_is_usable_at_once(in_netns):
    def body():
        box = namespace()
        with Netlink(NETLINK_ROUTE) as kernel:
            index = bridge(kernel)
            kernel.request(netlink.new_address(index, "fd00::1/64", "br0"))
        both = {"addresses": ["172.17.0.2/16", "fd00::2/64"], "gateways": ["172.17.0.1", "fd00::1"]}
        netlink.apply_veth({**PLAN, **both}, box)
        with inside(box):
            shown = subprocess.run(
                "ip -6 address show dev eth0 scope global; ip -6 route",
                check=True,
                shell=True,
                capture_output=True,
                text=True,
            )
            assert open("/proc/sys/net/ipv6/conf/eth0/accept_ra").read() == "0\n"
        assert "fd00::2/64" in shown.stdout and "default via fd00::1" in shown.stdout
        assert "tentative" not in shown.stdout and "dadfailed" not in shown.stdout

    in_netns(body)


@pytest.mark.kernel
def test_refusals_name_the_thing(in_netns):
    def body():
        box = namespace()
        with pytest.raises(KernelError) as refused:
            netlink.apply_veth(PLAN, box)
        assert (refused.value.call, refused.value.target) == ("netlink getlink", "br0")
        assert refused.value.errno == errno.ENODEV
        with Netlink(NETLINK_ROUTE) as kernel:
            bridge(kernel)
            netlink.apply_veth(PLAN, box)
            with pytest.raises(KernelError) as refused:
                netlink.apply_veth(PLAN, namespace())
            assert (refused.value.target, refused.value.errno) == ("vethtest1", errno.EEXIST)
            with pytest.raises(KernelError) as refused:
                unreachable = {**PLAN, "host_name": "vethtest2", "gateways": ["10.9.9.9"]}
                netlink.apply_veth(unreachable, namespace())
            assert refused.value.errno == errno.ENETUNREACH
            assert "gateway" in refused.value.hint.lower()  # the kernel's own sentence
            with pytest.raises(KernelError):
                interfaces.link_by_name(kernel, "x" * 16)
        with pytest.raises(KernelError):
            netlink.apply_veth(PLAN, os.open("/", os.O_RDONLY))

    in_netns(body)


@pytest.mark.kernel
def test_first_failure_of_several_is_told(in_netns):
    def body():
        with Netlink(NETLINK_ROUTE) as kernel:
            index = bridge(kernel)
            good = netlink.new_address(index, "10.0.0.1/24", "br0")
            with pytest.raises(KernelError) as refused:
                kernel.request(good, good, netlink.new_address(99, "10.0.1.1/24", "none"))
            assert refused.value.errno == errno.EEXIST
            assert refused.value.target == "10.0.0.1/24 on br0"
            kernel.request(netlink.del_address(index, "10.0.0.1/24", "br0"))  # the socket is in step again

    in_netns(body)


@pytest.mark.kernel
def test_long_dumps_are_whole(in_netns):
    def body():
        with Netlink(NETLINK_ROUTE) as kernel:
            for number in range(300):
                name = f"br{number}"
                kernel.request(
                    netlink.new_bridge(
                        name, mac=f"02:42:00:00:{number // 256:02x}:{number % 256:02x}", mtu=1500, alias=""
                    )[0]
                )
            found = interfaces.links(kernel)
            assert {each.name for each in found} >= {f"br{number}" for number in range(300)}
            interfaces.delete_links(kernel, found[-1:])
            interfaces.delete_links(kernel, found[-1:])  # gone already: fine

    in_netns(body)


@pytest.mark.kernel
def test_loopback_up_in_another_namespace(in_netns):
    def body():
        box = namespace()
        netlink.loopback_up(box)
        with Netlink(NETLINK_ROUTE, box) as inner, Netlink(NETLINK_ROUTE) as outer:
            assert interfaces.link_by_name(inner, "lo").up
            assert not interfaces.link_by_name(outer, "lo").up

    in_netns(body)


def test_socket_protocols_are_numbers_of_linux_netlink_h():
    assert (nlsocket.NETLINK_ROUTE, nlsocket.NETLINK_SOCK_DIAG, nlsocket.NETLINK_NETFILTER) == (0, 4, 12)
