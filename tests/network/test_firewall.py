"""The table as a value, read back by the nft tool."""

import shutil
import subprocess

import pytest

from havre.linux.nft import Change
from havre.linux.nlsocket import NETLINK_NETFILTER, Netlink
from havre.network import firewall
from havre.network.firewall import Redirect, Zone
from havre.spec.endpoint import PublishedPort

pytestmark = pytest.mark.kernel
PLAIN = Zone("docker0", ("172.17.0.0/16", "fd00::/64"))
CLOSED = Zone("br-closed", ("10.9.0.0/16",), masquerade=False, icc=False, internal=True)
REDIRECTS = [
    Redirect(PublishedPort(80, "tcp", "0.0.0.0", 8080), "172.17.0.2"),
    Redirect(PublishedPort(53, "udp", "127.0.0.1", 5353), "172.17.0.2"),
    Redirect(PublishedPort(80, "tcp", "::", 8080), "fd00::2"),
    Redirect(PublishedPort(9, "sctp", "fd99::1", 9), "fd00::2"),
]


def ruleset(world):
    if shutil.which("nft") is None:
        pytest.skip("needs the nft tool")
    return world.snapshot().partition("table")[2]


def test_nft_reads_the_table_and_takes_it_back(world, tmp_path):
    def body(w):
        with Netlink(NETLINK_NETFILTER) as kernel:
            firewall.whole("havre_x", [PLAIN, CLOSED], REDIRECTS).commit(kernel)
            text = "table" + ruleset(w)
            for expected in (
                "tcp . 8080 : 172.17.0.2 . 80",
                "127.0.0.1 . udp . 5353 : 172.17.0.2 . 53",
                "tcp . 8080 : fd00::2 . 80",
                "fd99::1 . sctp . 9 : fd00::2 . 9",
                '"br-closed" : jump exit_br-closed',
            ):
                assert expected in text
            (tmp_path / "saved").write_text("flush ruleset\n" + text)
            subprocess.run(["nft", "-f", str(tmp_path / "saved")], check=True)
            assert "table" + ruleset(w) == text

    world(body)


def test_zones_come_and_go_without_a_trace(world):
    def body(w):
        with Netlink(NETLINK_NETFILTER) as kernel:
            firewall.whole("havre_x", [PLAIN], REDIRECTS).commit(kernel)
            before = ruleset(w)
            for zone in (CLOSED, Zone("br0", ("0.0.0.0/1",)), Zone("br1", ("255.255.0.0/16",))):
                change = Change("havre_x")
                firewall.add_zone(change, zone)
                change.commit(kernel)
                assert zone.bridge in ruleset(w)
                change = Change("havre_x")
                firewall.remove_zone(change, zone)
                change.commit(kernel)
                assert ruleset(w) == before
            change = Change("havre_x")
            firewall.unpublish(change, REDIRECTS)
            change.commit(kernel)
            assert "8080" not in ruleset(w)

    world(body)
