"""compile_plan: everything wrong in a config is refused before the first side effect, everything right is a plain value."""

import copy
import marshal

import pytest

from havre.errors import InvalidParameter
from havre.linux import syscalls as sys
from havre.oci import describe
from havre.runtime import hooks, idmap, mountopts, scheduling
from havre.runtime import plan as planning
from havre.runtime.cgroup.layout import Layout

HYBRID = Layout({"memory": "/cg/memory", "pids": "/cg/pids", "devices": "/cg/devices"}, "", frozenset())
ALLOW = {"defaultAction": "SCMP_ACT_ALLOW"}
UNIFIED = Layout({}, "/cg", frozenset(("memory", "pids")))


def run_plan(config, **changes):
    plan = {
        "id": "web",
        "config": config,
        "overlay": None,
        "veths": [],
        "user": "",
        "group_add": [],
        "init": False,
        "join_netns": "",
        "run_dir": "/run/web",
        "tty_size": (0, 0),
    }
    return {**plan, **changes}


def compiled(change=None, layout=HYBRID, **changes):
    config = copy.deepcopy(describe.example())
    config["root"]["path"] = "/b/rootfs"
    if change:
        change(config)
    return planning.compile_plan(run_plan(config, **changes), layout)


def test_a_program_survives_marshal():
    program = compiled()
    assert marshal.loads(marshal.dumps(program)) == program


def test_overlay_and_bind_roots():
    overlay = {"lower": ["/l1", "/l2"], "upper": "/u", "work": "/w"}
    assert compiled(overlay=overlay)["root"] == ["overlay", ["/l1", "/l2"], "/u", "/w"]
    assert compiled()["root"] == ["bind", "/b/rootfs"]


def test_namespaces_become_clone_flags_and_joins():
    def change(config):
        config["linux"]["namespaces"] = [
            {"type": "mount"},
            {"type": "network", "path": "/proc/7/ns/net"},
            {"type": "time"},
            {"type": "cgroup"},
        ]

    program = compiled(change)
    assert program["flags"] == sys.CLONE_NEWNS | sys.CLONE_NEWCGROUP and program["own_time"]
    assert program["joins"] == [("network", sys.CLONE_NEWNET, "/proc/7/ns/net")]


def test_join_netns_is_used_when_the_config_names_no_path():
    program = compiled(lambda config: config["linux"]["namespaces"].pop(1), join_netns="/n")
    assert ("network", sys.CLONE_NEWNET, "/n") in program["joins"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda c: c["linux"].update(namespaces=[]), "mount namespace of its own"),
        (lambda c: c["linux"]["namespaces"].append({"type": "pid"}), "listed twice"),
        (lambda c: c["linux"]["namespaces"].append({"type": "moon"}), "unknown namespace type 'moon'"),
        (lambda c: c["linux"]["namespaces"].append({"type": "user"}), "needs linux.uidMappings"),
        (lambda c: c["linux"]["namespaces"].append({"type": "time", "path": "x"}), "not an absolute path"),
        (lambda c: c["process"].update(args=[]), "process.args is empty"),
        (lambda c: c["process"].update(args=["a\0b"]), "zero byte"),
        (lambda c: c["process"].update(cwd="relative"), "not an absolute path"),
        (
            lambda c: c["process"].update(rlimits=[{"type": "RLIMIT_X", "soft": 1, "hard": 1}]),
            "invalid ulimit type: x",
        ),
        (
            lambda c: c["process"].update(rlimits=[{"type": "RLIMIT_CORE", "soft": 2, "hard": 1}]),
            "above the hard",
        ),
        (lambda c: c["mounts"].append({"destination": "x"}), "not an absolute path"),
        (lambda c: c["linux"].update(maskedPaths=["proc"]), "not an absolute path"),
        (lambda c: c["linux"].update(rootfsPropagation="rnone"), "invalid propagation"),
        (lambda c: c["linux"].update(cgroupsPath="/../x"), "invalid cgroup path"),
        (lambda c: c["linux"].update(devices=[{"path": "/dev/x", "type": "z"}]), "unknown device type"),
        (
            lambda c: c["linux"].update(sysctl={"kernel.core_pattern": "x"}),
            "not in a separate kernel namespace",
        ),
        (lambda c: c["linux"].update(sysctl={"net/../kernel/x": "x"}), "not in a separate kernel namespace"),
        (lambda c: c.update(hooks={"prestart": [{"path": "rel"}]}), "hooks.prestart"),
        (lambda c: c.update(hooks={"poststop": [{"path": "/x", "timeout": 0}]}), "above zero"),
        (lambda c: c["process"].update(scheduler={"policy": "SCHED_MAGIC"}), "process.scheduler"),
        (
            lambda c: c["process"].update(ioPriority={"class": "IOPRIO_CLASS_BE", "priority": 8}),
            "from 0 to 7",
        ),
        (lambda c: c["linux"].update(personality={"domain": "BSD"}), "linux.personality"),
        (
            lambda c: c["linux"].update(seccomp={**ALLOW, "flags": ["SECCOMP_FILTER_FLAG_X"]}),
            "seccomp flag 'SECCOMP_FILTER_FLAG_X'",
        ),
        (lambda c: c["linux"].update(timeOffsets={"realtime": {"secs": 1}}), "unknown clock"),
    ],
)
def test_a_wrong_config_is_refused_and_the_place_is_named(change, said):
    with pytest.raises(InvalidParameter, match=said):
        compiled(change)


def test_sysctls_are_refused_in_a_shared_namespace():
    def change(config):
        config["linux"]["namespaces"] = [{"type": "mount"}]
        config["linux"]["sysctl"] = {"net.ipv4.ip_forward": "1"}

    with pytest.raises(InvalidParameter, match="host's network namespace"):
        compiled(change)


def test_infinite_rlimits_of_go_are_infinite():
    largest = 2**64 - 1
    limits = [{"type": "RLIMIT_CORE", "soft": largest, "hard": largest}]
    assert compiled(lambda c: c["process"].update(rlimits=limits))["process"]["rlimits"] == [
        (4, "core", -1, -1)
    ]


def test_state_head_is_completed_to_json():
    import json

    program = compiled(lambda c: c.update(annotations={'a"b': "c"}))
    found = json.loads(hooks.state_json(program["state"], "creating", 7))
    assert (
        found["pid"] == 7
        and found["status"] == "creating"
        and found["annotations"] == {'a"b': "c"}
        and found["id"] == "web"
    )
    assert "pid" not in json.loads(hooks.state_json(program["state"], "stopped", 0))


def test_cgroup_mount_shows_the_containers_own_directories():
    mount = next(one for one in compiled()["mounts"] if one[0] == "cgroup")
    assert mount[3] == [
        ("memory", "/cg/memory/havre/web"),
        ("pids", "/cg/pids/havre/web"),
        ("devices", "/cg/devices/havre/web"),
    ]
    mount = next(one for one in compiled(layout=UNIFIED)["mounts"] if one[0] == "cgroup")
    assert mount[3] == [("", "/cg/havre/web")] and mount[4] is True


@pytest.mark.parametrize(
    ("words", "add", "clear"),
    [
        (["ro"], 1, 0),
        (["ro", "rw"], 0, 1),
        (["nosuid", "nodev", "noexec", "suid"], 12, 2),
        (["noatime", "relatime"], 0, 0x70),
        (["strictatime"], 0x20, 0x70),
    ],
)
def test_mount_options_later_ones_win(words, add, clear):
    found = mountopts.read(words)
    assert (found.add, found.clear & ~0x70 if clear != 0x70 else found.clear) == (add, clear)


def test_mount_options_recursive_words_and_data():
    found = mountopts.read(["rbind", "rro", "rnosuid", "rsuid", "rslave", "mode=755", "tmpcopyup", "size=1k"])
    assert found.bind and found.bind_recursive and (found.recursive_add, found.recursive_clear) == (1, 2)
    assert found.propagation == sys.MS_SLAVE and found.propagation_recursive
    assert found.data == (("mode", "755"), ("tmpcopyup", None), ("size", "1k"))


@pytest.mark.parametrize(
    "entry",
    [
        {"containerID": 0, "hostID": 0, "size": 0},
        {"containerID": -1, "hostID": 0, "size": 1},
        {"containerID": 0, "hostID": 4294967295, "size": 1},
        {"containerID": 4294967290, "hostID": 0, "size": 6},
    ],
)
def test_map_lines_refuses_what_leaves_the_range(entry):
    with pytest.raises(InvalidParameter, match="out of range"):
        idmap.map_lines("uidMappings", [entry])


def test_map_lines_and_time_lines_are_the_kernels():
    entries = [
        {"containerID": 0, "hostID": 1000, "size": 1},
        {"containerID": 1, "hostID": 100000, "size": 10},
    ]
    assert idmap.map_lines("gidMappings", entries) == "0 1000 1\n1 100000 10\n"
    assert (
        idmap.time_lines({"boottime": {"secs": 5}, "monotonic": {"secs": -1, "nanosecs": 7}})
        == "boottime 5 0\nmonotonic -1 7\n"
    )
    with pytest.raises(InvalidParameter, match="more than 340"):
        idmap.map_lines("uidMappings", [entries[0]] * 341)


def test_scheduling_values():
    wanted = {
        "policy": "SCHED_DEADLINE",
        "flags": ["SCHED_FLAG_RESET_ON_FORK"],
        "runtime": 1,
        "deadline": 2,
        "period": 3,
    }
    assert scheduling.scheduler(wanted) == (6, 1, 0, 0, 1, 2, 3)
    assert scheduling.io_priority({"class": "IOPRIO_CLASS_RT", "priority": 4}) == 1 << 13 | 4
    assert scheduling.personality({"domain": "LINUX32"}) == 8
    assert (scheduling.scheduler(None)[0], scheduling.io_priority(None), scheduling.personality(None)) == (
        -1,
        -1,
        -1,
    )
