"""nftables transactions against the kernel, and read back by the nft tool, which nobody here wrote."""

import errno
import shutil
import socket
import subprocess

import pytest

from havre.errors import KernelError
from havre.linux import nft
from havre.linux.nft import Chain, Change, Element, Set
from havre.linux.nlsocket import NETLINK_NETFILTER, Netlink

pytestmark = pytest.mark.kernel
PORTS = Set("ports", (nft.TYPE_IPV4, nft.TYPE_PROTO, nft.TYPE_PORT), (nft.TYPE_IPV4, nft.TYPE_PORT))


def ip(address):
    return socket.inet_pton(socket.AF_INET, address)


def element(port, to="172.17.0.2"):
    return Element(ip("127.0.0.1") + nft.port_key(6, port), ip(to) + nft.port_value(80))


def listed():
    if shutil.which("nft") is None:
        pytest.skip("needs the nft tool")
    return " ".join(
        subprocess.run(["nft", "list", "ruleset"], check=True, capture_output=True, text=True).stdout.split()
    )


def with_ports():
    change = Change("t")
    change.replace_table()
    change.add_set(PORTS)
    return change


def test_table_reads_as_it_was_meant(in_netns):
    def body():
        change = with_ports()
        change.add_set(Set("bridges", (nft.TYPE_IFNAME,)))
        change.add_set(Set("sources", (nft.TYPE_IPV4,), "verdict", interval=True))
        change.add_chain(Chain("inner"))
        change.add_chain(Chain("pre", "prerouting", nft.PRIORITY_DSTNAT, "nat"))
        change.add_rule(
            "pre",
            nft.meta(nft.META_NFPROTO),
            nft.compare(nft.EQ, b"\2"),
            nft.payload(nft.NETWORK_HEADER, 16, 4, 8),
            nft.meta(nft.META_L4PROTO, 9),
            nft.payload(nft.TRANSPORT_HEADER, 2, 2, 10),
            nft.lookup("ports", into=8),
            nft.dnat(nft.NFPROTO_IPV4, 8, 9),
        )
        change.add_rule(
            "inner", nft.meta(nft.META_IIFNAME), nft.lookup("bridges", invert=True), nft.verdict(nft.NF_DROP)
        )
        change.add_rule(
            "inner", *nft.ct_has(nft.CT_STATE, nft.CT_ESTABLISHED_RELATED), nft.verdict(nft.NF_ACCEPT)
        )
        change.add_elements("ports", [element(8080)])
        change.add_elements("bridges", [Element(nft.interface_name("docker0"))])
        change.add_elements(
            "sources", [Element(ip("10.0.0.0"), (nft.NFT_JUMP, "inner")), Element(ip("10.1.0.0"), end=True)]
        )
        with Netlink(NETLINK_NETFILTER) as kernel:
            change.commit(kernel)
        shown = listed()
        assert "127.0.0.1 . tcp . 8080 : 172.17.0.2 . 80" in shown
        assert (
            "type nat hook prerouting priority dstnat; policy accept; dnat ip to ip daddr . meta l4proto . th dport map @ports"
            in shown
        )
        assert 'elements = { "docker0" }' in shown
        assert "10.0.0.0/16 : jump inner" in shown
        assert "iifname != @bridges drop ct state established,related accept" in shown

    in_netns(body)


def test_all_or_nothing(in_netns):
    def body():
        with Netlink(NETLINK_NETFILTER) as kernel:
            with_ports().commit(kernel)
            change = Change("t")
            change.add_elements("ports", [element(1)])
            change.add_elements("nowhere", [element(2)])
            with pytest.raises(KernelError) as refused:
                change.commit(kernel)
            assert (refused.value.call, refused.value.target, refused.value.errno) == (
                "nft newelement",
                "nowhere",
                errno.ENOENT,
            )
            assert nft.elements(kernel, "t", "ports") == {}

    in_netns(body)


def test_other_value_for_a_key_is_refused(in_netns):
    def body():
        with Netlink(NETLINK_NETFILTER) as kernel:
            change = with_ports()
            change.add_elements("ports", [element(1)])
            change.commit(kernel)
            again, other = Change("t"), Change("t")
            again.add_elements("ports", [element(1)])
            again.commit(kernel)
            other.add_elements("ports", [element(1, "172.17.0.3")])
            with pytest.raises(KernelError) as refused:
                other.commit(kernel)
            assert refused.value.errno == errno.EEXIST

    in_netns(body)


def test_thousands_of_elements_in_one_change(in_netns):
    def body():
        with Netlink(NETLINK_NETFILTER) as kernel:
            change = with_ports()
            change.add_elements("ports", [element(port) for port in range(1, 6001)])
            change.commit(kernel)
            less = Change("t")
            less.delete_elements("ports", [element(port) for port in range(1, 6000)])
            less.commit(kernel)  # fails as a whole when a single one is missing
            assert nft.elements(kernel, "t", "ports") == {element(6000).key: element(6000).value}

    in_netns(body)


def test_generation_that_is_over_is_refused(in_netns):
    def body():
        with Netlink(NETLINK_NETFILTER) as kernel:
            seen = nft.generation(kernel)
            with_ports().commit(kernel, seen)
            change = Change("t")
            change.add_elements("ports", [element(1)])
            with pytest.raises(KernelError) as refused:
                change.commit(kernel, seen)
            assert refused.value.errno == errno.ERESTART
            change.commit(kernel, nft.generation(kernel))
            assert len(nft.elements(kernel, "t", "ports")) == 1

    in_netns(body)


def test_dumps_see_only_what_is_there(in_netns):
    def body():
        with Netlink(NETLINK_NETFILTER) as kernel:
            assert nft.tables(kernel) == []
            assert nft.elements(kernel, "t", "ports") == {}
            change = with_ports()
            change.add_chain(Chain("fw", "forward"))
            change.commit(kernel)
            assert nft.tables(kernel) == [(nft.NFPROTO_INET, "t")]
            assert [(each.name, each.hook, each.policy) for each in nft.base_chains(kernel)] == [
                ("fw", 2, nft.NF_ACCEPT)
            ]
            gone = Change("t")
            gone.delete_table()
            gone.commit(kernel)
            assert nft.tables(kernel) == []
            with pytest.raises(KernelError):
                gone.commit(kernel)

    in_netns(body)


def test_empty_change_asks_nothing():
    Change("t").commit(None)
