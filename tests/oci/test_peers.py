"""The same bundle by runc and by us: the same status, mounts, streams and exit codes; and time namespaces."""

import json
import shutil

import pytest

pytestmark = pytest.mark.kernel


@pytest.fixture
def runc(oci):
    program = shutil.which("runc")
    if not program:
        pytest.skip("needs runc (Debian package runc)")
    import subprocess

    def run(place, name):
        words = [program, "--root", str(oci.folder / "runc"), "run", "-b", str(place), name]
        return subprocess.run(
            words, capture_output=True, text=True, check=False, timeout=60, stdin=subprocess.DEVNULL
        )

    return run


SCRIPTS = {
    "status": "grep -E '^(Uid|Gid|Groups|Cap|NoNew|Seccomp:|Umask)' /proc/self/status",
    "mounts": "cut -d' ' -f2,3 /proc/mounts | grep -v /sys/fs/cgroup/ | sort",
    "options": "grep -vE '/sys/fs/cgroup|/proc/acpi|/sys/firmware| / ' /proc/mounts | cut -d' ' -f2,4 | sort",
    "dev": "ls /dev | grep -v core; ls -l /dev | grep ^c | tr -s ' ' | cut -d' ' -f1,3-6",
    "identity": "id; pwd; hostname; env | sort; umask; ulimit -n; ls /proc/self/fd",
    "controls": "cat /proc/self/cgroup | cut -d: -f3 | sort -u; cat /proc/self/oom_score_adj; cat /proc/sys/net/ipv4/ip_forward",
    "exit": "exit 44",
    "signal": "kill -9 $$",
}


@pytest.mark.parametrize("what", sorted(SCRIPTS))
def test_run_shows_what_runc_shows(oci, runc, what):
    def edit(config):
        config["ociVersion"] = "1.0.2"
        config["linux"]["sysctl"] = {"net.ipv4.ip_forward": "1"}
        config["process"].update(
            oomScoreAdj=300, cwd="/tmp", user={"uid": 1000, "gid": 1001, "additionalGids": [29]}
        )

    place = oci.bundle("sh", "-c", SCRIPTS[what], edit=edit)
    theirs, ours = runc(place, "a"), oci("run", "-b", place, "b")
    assert (ours.returncode, ours.stdout) == (theirs.returncode, theirs.stdout), theirs.stderr


def test_time_namespace_shifts_the_clocks(oci):
    def edit(config):
        config["linux"]["namespaces"].append({"type": "time"})
        config["linux"]["timeOffsets"] = {"boottime": {"secs": 5_000_000}}

    with open("/proc/uptime", encoding="ascii") as file:
        ours = float(file.read().split()[0])
    theirs = float(oci.run("cat", "/proc/uptime", edit=edit).stdout.split()[0])
    assert theirs - ours > 4_999_000


def test_tmpcopyup_keeps_what_the_image_has(oci):
    def prepare(root):
        (root / "tmp/d").mkdir()
        (root / "tmp/d/f").write_text("image\n")
        (root / "tmp/d/l").symlink_to("f")
        shutil.chown(root / "tmp/d", 5, 6)

    mount = {"destination": "/tmp", "type": "tmpfs", "source": "tmpfs", "options": ["tmpcopyup", "ro"]}
    script = "cat /tmp/d/l; stat -c %u:%g /tmp/d; touch /tmp/x"
    done = oci.run("sh", "-c", script, edit=lambda config: config["mounts"].append(mount), prepare=prepare)
    assert done.stdout == "image\n5:6\n" and "Read-only file system" in done.stderr


def test_no_pivot_covers_the_hosts_root(oci):
    place = oci.bundle("sh", "-c", "ls /; cut -d' ' -f2 /proc/mounts | grep -cE '^/(proc|sys)$'; ls /home")
    done = oci("run", "--no-pivot", "-b", place, "np")
    *names, mounts, home = done.stdout.split()
    assert sorted(names) == ["bin", "dev", "etc", "home", "proc", "root", "sys", "tmp"] and (
        mounts,
        home,
    ) == ("2", "ann")


def test_scheduler_and_io_priority_are_set(oci):
    scheduler = {"policy": "SCHED_BATCH", "nice": 7}
    done = oci.run(
        "sh",
        "-c",
        "cut -d' ' -f19,41 /proc/self/stat; ionice -p $$",
        scheduler=scheduler,
        ioPriority={"class": "IOPRIO_CLASS_IDLE", "priority": 3},
    )
    nice_and_policy, io_class = done.stdout.splitlines()
    assert nice_and_policy == "7 3" and io_class.startswith("idle")


def test_network_namespace_is_joined_by_path_and_lo_is_up_in_a_new_one(oci):
    place = oci.create("sleep", "100")
    pid = json.loads(oci("state", place.name).stdout)["pid"]

    def edit(config):
        others = [one for one in config["linux"]["namespaces"] if one["type"] != "network"]
        config["linux"]["namespaces"] = [*others, {"type": "network", "path": f"/proc/{pid}/ns/net"}]

    import os

    assert oci.run("readlink", "/proc/self/ns/net", edit=edit).stdout.strip() == os.readlink(
        f"/proc/{pid}/ns/net"
    )
    assert "LOOPBACK,UP" in oci.run("ip", "link", "show", "lo").stdout


def test_rlimits_that_the_host_refuses_are_lowered_with_one_warning(oci):
    import resource

    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    place = oci.bundle(
        "sh",
        "-c",
        "ulimit -n; ulimit -Hn",
        rlimits=[{"type": "RLIMIT_NOFILE", "soft": most * 2, "hard": most * 2}],
    )
    done = oci("--log", oci.folder / "log", "run", "-b", place, "r")
    if done.stdout.split() == [str(most * 2)] * 2:
        return  # this host lets us
    assert done.stdout.split() == [str(most)] * 2
    assert (oci.folder / "log").read_text().count("level=warning") == 1
