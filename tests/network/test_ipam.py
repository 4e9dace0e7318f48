"""Address pools and addresses, with properties checked by hypothesis."""

from ipaddress import IPv4Address, IPv4Network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from havre.errors import Conflict, InvalidParameter
from havre.network.ipam import (
    DEFAULT_POOLS,
    Addresses,
    choose_subnet,
    mac_of,
    overlapping,
    parse_pools,
    parse_subnet,
)

POOLS = parse_pools(DEFAULT_POOLS)


def used(*prefixes):
    return [(IPv4Network(each), f"{each} is somebody's") for each in prefixes]


def test_pools_come_in_dockers_order():
    taken = []
    for _ in range(31):
        taken += used(str(choose_subnet(POOLS, taken)))
    found = [str(each[0]) for each in taken]
    assert found[:3] == ["172.17.0.0/16", "172.18.0.0/16", "172.19.0.0/16"]
    assert found[14:17] == ["172.31.0.0/16", "192.168.0.0/20", "192.168.16.0/20"]
    with pytest.raises(Conflict, match=r"fully subnetted.*172.17.0.0/16 is somebody's.*192.168.240.0/20"):
        choose_subnet(POOLS, taken)


@pytest.mark.parametrize(
    ("taken", "expected"),
    [
        (["172.16.0.0/12"], "192.168.0.0/20"),
        (["172.17.5.0/24"], "172.18.0.0/16"),
        (["172.16.0.0/12", "192.168.1.0/24", "192.168.17.8/32"], "192.168.32.0/20"),
    ],
)
def test_overlaps_are_stepped_over(taken, expected):
    assert str(choose_subnet(POOLS, used(*taken))) == expected


def test_large_pool_of_small_networks_is_quick_to_step_over():
    pools = parse_pools(["10.0.0.0/8,30", "11.0.0.0/24,28"])
    assert str(choose_subnet(pools, used("10.0.0.0/8"))) == "11.0.0.0/28"


@given(
    st.lists(st.integers(0, 2**32 - 1).map(lambda number: IPv4Network((number & ~0xFFF, 20))), max_size=20)
)
def test_chosen_subnet_never_overlaps(taken):
    found = [(each, "x") for each in taken]
    try:
        chosen = choose_subnet(POOLS, found)
    except Conflict:
        return
    assert overlapping(chosen, found) is None


@pytest.mark.parametrize(
    "pool", ["10.0.0.0/8", "10.0.0.1/8,24", "10.0.0.0/24,16", "10.0.0.0/8,31", "fd00::/8,64", "x,y"]
)
def test_bad_pools_are_refused(pool):
    with pytest.raises(InvalidParameter, match="pool"):
        parse_pools([pool])


@pytest.mark.parametrize("text", ["10.0.0.1/24", "fd00::/64", "x", "10.0.0.0/33"])
def test_bad_subnets_are_refused(text):
    with pytest.raises(InvalidParameter, match="subnet"):
        parse_subnet(text)


def test_lowest_address_first_and_gateway_kept():
    addresses = Addresses("10.0.0.0/29", "10.0.0.2")
    assert [addresses.take(name) for name in "abcde"] == [f"10.0.0.{last}" for last in (1, 3, 4, 5, 6)]
    with pytest.raises(Conflict, match="no available IPv4 addresses"):
        addresses.take("f")


def test_down_containers_lose_addresses_only_when_nothing_else_is_left():
    addresses = Addresses("10.0.0.0/29", "10.0.0.1")
    mine = {name: addresses.take(name) for name in "ab"}
    addresses.release(mine["a"])
    addresses.release(mine["b"])
    assert [addresses.take(name) for name in "cde"] == ["10.0.0.4", "10.0.0.5", "10.0.0.6"]
    assert addresses.take("b") == mine["b"]
    assert addresses.take("f") == mine["a"]
    addresses.release(mine["b"])
    assert addresses.take("a") == mine["b"]  # its own is somebody else's now


def test_wanted_address():
    addresses = Addresses("10.0.0.0/24", "10.0.0.1")
    assert addresses.take("a", "10.0.0.9") == "10.0.0.9"
    with pytest.raises(Conflict, match="belongs to container a"):
        addresses.take("b", "10.0.0.9")
    for bad in ("10.0.1.9", "10.0.0.0", "10.0.0.255", "::1", "nonsense"):
        with pytest.raises(InvalidParameter):
            addresses.take("b", bad)


def test_busy_address_is_left_until_its_interface_is_gone():
    addresses = Addresses("10.0.0.0/24", "10.0.0.1")
    assert addresses.take("a", busy=lambda address: address == "10.0.0.2") == "10.0.0.3"
    assert addresses.take("b") == "10.0.0.2"


def test_range_limits_what_is_given_but_not_what_may_be_asked():
    addresses = Addresses("10.0.0.0/24", "10.0.0.1", "10.0.0.128/30")
    assert [addresses.take(name) for name in "abcd"] == [f"10.0.0.{last}" for last in (128, 129, 130, 131)]
    assert addresses.take("e", "10.0.0.7") == "10.0.0.7"


def test_gateway_cannot_be_given_back():
    addresses = Addresses("10.0.0.0/24", "10.0.0.1")
    addresses.release("10.0.0.1")
    assert addresses.take("a") == "10.0.0.2"


@given(st.lists(st.tuples(st.sampled_from("abcdefgh"), st.booleans()), max_size=60))
def test_no_two_owners_ever_share_an_address(steps):
    addresses = Addresses("10.0.0.0/28", "10.0.0.1")
    held = {}
    for owner, take in steps:
        if take and owner not in held:
            held[owner] = addresses.take(owner)
        elif not take and owner in held:
            addresses.release(held.pop(owner))
            addresses.release("10.0.0.1")  # the gateway cannot be given back
        assert len(set(held.values())) == len(held)
        assert "10.0.0.1" not in held.values()


def test_mac_follows_the_address():
    assert mac_of("172.17.0.2") == "02:42:ac:11:00:02"
    assert mac_of(str(IPv4Address("10.255.0.1"))) == "02:42:0a:ff:00:01"
