"""--userns: words, maps, what it cannot be combined with, and which mounts are idmapped."""

import pytest

from havre.engine import userns
from havre.engine.container import ContainerRecord, MountPoint
from havre.engine.ranges import Free
from havre.errors import Conflict, InvalidParameter
from havre.spec.engine import ContainerConfig, HostConfig
from havre.spec.idmaps import IdMap, IdMaps, chained, oci, one

POOL = ((100000, 200000),)
REMAP = one(500000, 65536)


def decide(text, remap=None, other=None):
    return userns.decide(userns.parse(text), remap, Free(POOL, 0, []), lambda ref: other)


def record(mode="", maps=None, name="web"):
    return ContainerRecord(
        id="x" * 64,
        name=name,
        created_nanos=0,
        image="i",
        image_id="i",
        manifest_digest="",
        chain_id="",
        platform="linux",
        config=ContainerConfig(),
        host_config=HostConfig(userns_mode=mode),
        path="sh",
        args=[],
        id_maps=maps,
    )


@pytest.mark.parametrize(
    ("mode", "remap", "wanted"),
    [
        ("", None, None),
        ("host", REMAP, None),
        ("", REMAP, REMAP),
        ("private", REMAP, REMAP),
        ("private", None, one(100000, 65536)),
        ("auto", REMAP, one(100000, 65536)),
        ("auto:size=5", None, one(100000, 5)),
    ],
)
def test_decide_gives_the_daemons_range_or_one_of_its_own(mode, remap, wanted):
    assert decide(mode, remap) == wanted


def test_container_shares_the_namespace_of_another():
    assert decide("container:db", REMAP, one(7, 8)) == one(7, 8) and decide("container:db", REMAP) is None


def test_keep_id_puts_the_user_into_the_range():
    maps = decide("keep-id:host-uid=1000,host-gid=1001")
    assert maps == IdMaps(
        (IdMap(0, 100000, 1000), IdMap(1000, 1000, 1), IdMap(1001, 101001, 64535)),
        (IdMap(0, 100000, 1001), IdMap(1001, 1001, 1), IdMap(1002, 101002, 64534)),
    )


@pytest.mark.parametrize(
    ("options", "uids"),
    [
        ("uid=0", [(0, 1000, 1), (1, 100001, 65535)]),
        ("uid=33", [(0, 100000, 33), (33, 1000, 1), (34, 100034, 65502)]),
        ("uid=9,size=10", [(0, 100000, 9), (9, 1000, 1)]),
        ("uid=500000", [(0, 100000, 65536), (500000, 1000, 1)]),
    ],
)
def test_keep_id_under_another_number(options, uids):
    maps = decide(f"keep-id:host-uid=1000,host-gid=1000,{options}")
    assert maps is not None and [(each.inside, each.outside, each.size) for each in maps.uids] == uids


@pytest.mark.parametrize("words", ["", ":uid=5", ":host-uid=0,host-gid=0", ":host-uid=1000"])
def test_keep_id_needs_to_know_whose_and_not_roots(words):
    with pytest.raises(InvalidParameter, match="it is not known whose"):
        decide(f"keep-id{words}")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("bogus", "invalid user namespace mode: bogus"),
        ("host:1", "invalid user namespace mode"),
        ("container:", "invalid user namespace mode"),
        ("private:size=3", "invalid user namespace mode"),
        ("auto:uid=3", "unknown option 'uid'"),
        ("auto:size=0", "is not a number from 1"),
        ("auto:size=-1", "is not a number"),
        ("auto:size=4294967296", "is not a number"),
        ("auto:size=٣", "is not a number"),
        ("keep-id:uid=root", "is not a number from 0"),
    ],
)
def test_parse_refuses(text, said):
    with pytest.raises(InvalidParameter, match=said):
        userns.parse(text)


@pytest.mark.parametrize(
    ("host", "said"),
    [
        (HostConfig(privileged=True), "privileged mode is incompatible with user namespaces"),
        (HostConfig(network_mode="host"), "cannot share the host's network namespace"),
        (HostConfig(pid_mode="host"), "cannot share the host PID namespace"),
        (HostConfig(ipc_mode="host"), "cannot share the host's IPC namespace"),
        (HostConfig(runtime="runc"), "needs Havre's own runtime, not runc"),
    ],
)
def test_check_refuses_what_docker_refuses_unless_the_hosts_namespace_is_asked_for(host, said):
    userns.check(host, False)
    with pytest.raises(InvalidParameter, match=said) as caught:
        userns.check(host, True)
    assert "--userns host" in caught.value.hint
    host.userns_mode = "host"
    userns.check(host, True)
    host.userns_mode = "auto"
    with pytest.raises(InvalidParameter, match=said):
        userns.check(host, False)


@pytest.mark.parametrize(
    ("mode", "bind", "volume"),
    [
        ("", False, True),
        ("keep-id", False, True),
        ("auto", True, True),
        ("private", True, True),
        ("container:x", True, True),
    ],
)
def test_binds_are_idmapped_where_only_that_makes_them_usable(mode, bind, volume):
    one_record = record(mode, REMAP)
    for kind, wanted in (("bind", bind), ("volume", volume)):
        point = MountPoint(type=kind, source="/s", destination="/d")
        assert userns.is_idmapped(point, one_record) is wanted
        assert userns.source_owner(point, one_record) == ((0, 0) if wanted else (500000, 500000))
        for word, answer in (("1", True), ("0", False)):
            asked = MountPoint(type=kind, source="/s", destination="/d", options={"idmap": word})
            assert userns.is_idmapped(asked, one_record) is answer
        assert not userns.is_idmapped(point, record())


def test_check_joined_wants_the_same_user_namespace():
    userns.check_joined(record(), "network", record(maps=REMAP))
    userns.check_joined(record(maps=REMAP), "network", record(maps=REMAP))
    with pytest.raises(Conflict, match="another user namespace") as caught:
        userns.check_joined(record(maps=one(1, 2)), "network", record(maps=REMAP, name="db"))
    assert caught.value.hint == "--userns container:db"
    with pytest.raises(Conflict):
        userns.check_joined(record(maps=one(1, 2)), "pid", record())


def test_default_user_is_the_kept_one_only():
    assert userns.default_user(HostConfig(userns_mode="keep-id:host-uid=1000,host-gid=1001")) == "1000:1001"
    assert (
        userns.default_user(HostConfig(userns_mode="keep-id:uid=3,gid=4,host-uid=1000,host-gid=1001"))
        == "3:4"
    )
    assert userns.default_user(HostConfig(userns_mode="auto")) == ""


def test_last_group_ends_at_the_first_hole():
    maps = chained([(10, 5)], [(10, 5), (100, 7)])
    assert userns.last_group(maps) == 11 and userns.has_group(maps, 5) and not userns.has_group(maps, 12)
    assert userns.last_group(IdMaps((), (IdMap(0, 9, 3), IdMap(5, 50, 3)))) == 2


def test_maps_know_who_is_who():
    maps = chained([(10, 5), (100, 5)], [(20, 5)])
    assert maps.root == (10, 20) and maps.owner(6, 1) == (101, 21) and maps.owner(99, 99) == (10, 20)
    assert oci(maps.uids) == [
        {"containerID": 0, "hostID": 10, "size": 5},
        {"containerID": 5, "hostID": 100, "size": 5},
    ]


def test_numbers_and_capabilities_have_a_way_back():
    maps = chained([(10, 5), (100, 5)], [(20, 5)])
    assert maps.inside(101, 21) == (6, 1) and maps.inside(0, 0) == (65534, 65534)
    version_3 = bytes.fromhex("01000003 04000000 00000000 00000000 00000000 0a000000")
    assert maps.capability(version_3) == bytes.fromhex("01000002 04000000 00000000 00000000 00000000")
    assert maps.capability(version_3[:20]) == version_3[:20] and maps.capability(b"") == b""
