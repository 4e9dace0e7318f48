"""What is written where, on v1, v2 and hybrid hosts: no host is touched."""

import json
import marshal

import pytest

from havre.errors import InvalidParameter
from havre.runtime.cgroup.layout import Layout, parse
from havre.runtime.cgroup.plan import make_plan, weight_of_shares

V1_NAMES = "memory cpu cpuacct cpuset pids blkio devices freezer hugetlb".split()
V1 = Layout(v1={name: f"/cg/{name}" for name in V1_NAMES})
V2 = Layout(v2="/cg", v2_controllers=frozenset("memory cpu cpuset pids io hugetlb".split()))
HYBRID = Layout(
    v1={name: f"/cg/{name}" for name in V1_NAMES if name != "hugetlb"},
    v2="/cg/unified",
    v2_controllers=frozenset(["hugetlb"]),
)
HUGE = {"hugepageLimits": [{"pageSize": "2MB", "limit": 4096}]}


def writes(layout, resources, folder="/a/b"):
    """File names below the container's directory -> value."""
    found = make_plan(layout, "/a/b", resources)["writes"]
    return {file.partition(folder + "/")[2]: value for file, value, _ in found}


MOUNTINFO = """\
31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:4 - cgroup cgroup rw,cpu,cpuacct
33 31 0:30 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
40 31 0:37 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,xattr,name=systemd
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
42 31 0:38 / /other rw,relatime - cgroup2 cgroup2 rw
"""


def test_layout_of_a_hybrid_host():
    found = parse(MOUNTINFO, "hugetlb misc\n")
    assert found.v1 == {
        "cpu": "/sys/fs/cgroup/cpu,cpuacct",
        "cpuacct": "/sys/fs/cgroup/cpu,cpuacct",
        "memory": "/sys/fs/cgroup/memory",
    }
    assert (found.v2, found.v2_controllers, found.unified) == (
        "/sys/fs/cgroup/unified",
        {"hugetlb", "misc"},
        False,
    )


def test_layout_of_a_v2_host():
    found = parse("30 23 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw,nsdelegate\n", "cpu memory")
    assert found.unified
    assert found.v2 == "/sys/fs/cgroup"


def test_plan_can_be_marshalled_and_written_as_json():
    plan = make_plan(V2, "/a/b", {"devices": [{"allow": False}], "blockIO": {"weight": 10}})
    assert marshal.loads(marshal.dumps(plan)) == plan
    assert json.loads(json.dumps(plan))["devices"] == plan["devices"] != ""


def test_directories_on_v1_one_for_each_hierarchy():
    shared = Layout(v1={"cpu": "/cg/cpu", "cpuacct": "/cg/cpu", "memory": "/cg/memory"})
    plan = make_plan(shared, "/a/b", {})
    assert plan["directories"] == ["/cg/cpu/a/b", "/cg/memory/a/b"]
    assert plan["parents"] == ["/cg/cpu/a", "/cg/memory/a"]
    assert plan["subtree"] == []


def test_directories_on_v2_with_delegation_from_the_root_down():
    plan = make_plan(V2, "/a/b/c", {})
    wanted = "+cpu +cpuset +io +memory +pids +hugetlb"
    assert plan["directories"] == ["/cg/a/b/c"]
    assert plan["parents"] == ["/cg/a", "/cg/a/b"]
    assert plan["subtree"] == [(f"/cg{place}/cgroup.subtree_control", wanted) for place in ("", "/a", "/a/b")]
    assert plan["freezer"] == "/cg/a/b/c/cgroup.freeze"
    assert plan["oom"] == "/cg/a/b/c/memory.events"


def test_hybrid_uses_the_v2_tree_only_when_asked():
    assert "/cg/unified/a/b" not in make_plan(HYBRID, "/a/b", {"memory": {"limit": 1 << 20}})["directories"]
    plan = make_plan(HYBRID, "/a/b", HUGE)
    assert plan["directories"][-1] == "/cg/unified/a/b"
    assert plan["subtree"] == [
        ("/cg/unified/cgroup.subtree_control", "+hugetlb"),
        ("/cg/unified/a/cgroup.subtree_control", "+hugetlb"),
    ]
    assert ("/cg/unified/a/b/hugetlb.2MB.max", "4096", False) in plan["writes"]
    assert plan["freezer"] == "/cg/freezer/a/b/freezer.state"
    assert plan["oom"] == "/cg/memory/a/b/memory.oom_control"


def test_hybrid_without_a_v1_freezer_freezes_in_v2():
    plan = make_plan(Layout(v1={"memory": "/cg/memory"}, v2="/cg/unified"), "/a/b", {})
    assert plan["directories"] == ["/cg/memory/a/b", "/cg/unified/a/b"]
    assert plan["freezer"] == "/cg/unified/a/b/cgroup.freeze"


def test_cpuset_is_copied_from_the_parents_on_v1():
    copied = make_plan(Layout(v1={"cpuset": "/cg/cpuset"}), "/a/b", {})["copied"]
    assert copied == [
        ("/cg/cpuset/cpuset.cpus", "/cg/cpuset/a/cpuset.cpus"),
        ("/cg/cpuset/cpuset.mems", "/cg/cpuset/a/cpuset.mems"),
        ("/cg/cpuset/a/cpuset.cpus", "/cg/cpuset/a/b/cpuset.cpus"),
        ("/cg/cpuset/a/cpuset.mems", "/cg/cpuset/a/b/cpuset.mems"),
    ]


@pytest.mark.parametrize(
    ("memory", "v1", "v2"),
    [
        ({"limit": 100}, {"memory.limit_in_bytes": "100"}, {"memory.max": "100"}),
        ({"limit": -1}, {"memory.limit_in_bytes": "-1"}, {"memory.max": "max", "memory.swap.max": "max"}),
        (
            {"limit": 100, "swap": 300},
            {"memory.limit_in_bytes": "100", "memory.memsw.limit_in_bytes": "300"},
            {"memory.max": "100", "memory.swap.max": "200"},
        ),
        (
            {"limit": 100, "swap": 100},
            {"memory.limit_in_bytes": "100", "memory.memsw.limit_in_bytes": "100"},
            {"memory.max": "100", "memory.swap.max": "0"},
        ),
        (
            {"limit": 100, "swap": -1},
            {"memory.limit_in_bytes": "100", "memory.memsw.limit_in_bytes": "-1"},
            {"memory.max": "100", "memory.swap.max": "max"},
        ),
        ({"reservation": 50}, {"memory.soft_limit_in_bytes": "50"}, {"memory.low": "50"}),
        ({"swappiness": 0}, {"memory.swappiness": "0"}, {}),
        ({"disableOOMKiller": True}, {"memory.oom_control": "1"}, {}),
        ({"kernelTCP": 7}, {"memory.kmem.tcp.limit_in_bytes": "7"}, {}),
        ({"limit": 0, "swap": 0}, {}, {}),
    ],
)
def test_memory(memory, v1, v2):
    assert writes(V1, {"memory": memory}) == v1
    assert writes(V2, {"memory": memory}) == v2


@pytest.mark.parametrize("memory", [{"limit": 100, "swap": 99}, {"swap": 100}, {"limit": -1, "swap": 5}])
def test_swap_that_makes_no_sense_on_v2_is_refused(memory):
    with pytest.raises(InvalidParameter, match="swap"):
        make_plan(V2, "/a", {"memory": memory})


@pytest.mark.parametrize(
    ("cpu", "v1", "v2"),
    [
        ({"shares": 1024}, {"cpu.shares": "1024"}, {"cpu.weight": "39"}),
        (
            {"quota": 50000, "period": 100000},
            {"cpu.cfs_period_us": "100000", "cpu.cfs_quota_us": "50000"},
            {"cpu.max": "50000 100000"},
        ),
        ({"quota": 50000}, {"cpu.cfs_quota_us": "50000"}, {"cpu.max": "50000 100000"}),
        ({"quota": -1}, {"cpu.cfs_quota_us": "-1"}, {"cpu.max": "max 100000"}),
        ({"period": 20000}, {"cpu.cfs_period_us": "20000"}, {"cpu.max": "max 20000"}),
        (
            {"cpus": "0-1", "mems": "0"},
            {"cpuset.cpus": "0-1", "cpuset.mems": "0"},
            {"cpuset.cpus": "0-1", "cpuset.mems": "0"},
        ),
        ({"burst": 10}, {"cpu.cfs_burst_us": "10"}, {"cpu.max.burst": "10"}),
        ({"idle": 1}, {"cpu.idle": "1"}, {"cpu.idle": "1"}),
    ],
)
def test_cpu(cpu, v1, v2):
    assert writes(V1, {"cpu": cpu}) == v1
    assert writes(V2, {"cpu": cpu}) == v2


@pytest.mark.parametrize(
    ("shares", "weight"), [(0, 1), (2, 1), (1024, 39), (2048, 79), (262144, 10000), (1 << 30, 10000)]
)
def test_shares_become_weights(shares, weight):
    assert weight_of_shares(shares) == weight


@pytest.mark.parametrize(("limit", "value"), [(100, "100"), (-1, "max")])
def test_pids(limit, value):
    assert (
        writes(V1, {"pids": {"limit": limit}})
        == writes(V2, {"pids": {"limit": limit}})
        == {"pids.max": value}
    )


def test_block_io():
    rate = {"major": 8, "minor": 16, "rate": 1000}
    asked = {
        "throttleReadBpsDevice": [rate],
        "throttleWriteIOPSDevice": [rate],
        "weightDevice": [{"major": 8, "minor": 0, "weight": 200}],
    }
    assert writes(V1, {"blockIO": asked}) == {
        "blkio.bfq.weight_device": "8:0 200",
        "blkio.throttle.read_bps_device": "8:16 1000",
        "blkio.throttle.write_iops_device": "8:16 1000",
    }
    found = make_plan(V2, "/a/b", {"blockIO": asked})["writes"]
    assert [value for _, value, _ in found] == ["8:0 200", "8:16 rbps=1000", "8:16 wiops=1000"]


def test_block_io_weight_has_a_general_form_on_v2():
    plan = make_plan(V2, "/a/b", {"blockIO": {"weight": 1000}})
    assert plan["instead"] == {"/cg/a/b/io.bfq.weight": ("/cg/a/b/io.weight", "default 10000")}


def test_unified_is_written_last_and_must_exist():
    plan = make_plan(V2, "/a/b", {"memory": {"limit": 5}, "unified": {"memory.high": "4"}})
    assert plan["writes"] == [("/cg/a/b/memory.max", "5", False), ("/cg/a/b/memory.high", "4", True)]
    assert "unified" in make_plan(V1, "/a/b", {"unified": {"memory.high": "4"}})["warnings"][0]


@pytest.mark.parametrize("key", ["../x", "a/b", ""])
def test_unified_keys_stay_in_the_directory(key):
    with pytest.raises(InvalidParameter):
        make_plan(V2, "/a", {"unified": {key: "1"}})


def test_missing_controller_is_one_warning():
    bare = Layout(v1={"memory": "/cg/memory"})
    plan = make_plan(bare, "/a", {"pids": {"limit": 5}, "cpu": {"shares": 5, "quota": 9}})
    assert plan["writes"] == []
    assert plan["warnings"] == [
        f"this kernel has no {name} controller: its limits are discarded" for name in ("cpu", "pids")
    ]
    assert make_plan(bare, "/a", {})["warnings"] == []


@pytest.mark.parametrize(
    ("path", "clean"),
    [
        ("/a/b", "/a/b"),
        ("a//b/", "/a/b"),
        ("system.slice:docker:abc", "/system.slice/docker-abc.scope"),
        (":docker:abc", "/system.slice/docker-abc.scope"),
        ("a-b-c.slice:cri:x", "/a.slice/a-b.slice/a-b-c.slice/cri-x.scope"),
        ("-.slice:cri:x", "/cri-x.scope"),
        ("user.slice::x.slice", "/user.slice/x.slice"),
    ],
)
def test_paths(path, clean):
    assert make_plan(Layout(v1={"pids": "/cg"}), path, {})["directories"] == ["/cg" + clean]


@pytest.mark.parametrize(
    "path", ["", "/", "/a/../../b", "..", "a\0b", "../x:y:z", "a--b.slice:p:n", "noslice:p:n"]
)
def test_paths_that_climb_or_mean_nothing_are_refused(path):
    with pytest.raises(InvalidParameter):
        make_plan(V1, path, {})
