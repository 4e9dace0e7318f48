"""exec: inside the same namespaces, with its own user, limits and errors; and pause, update, ps, list, events."""

import json
import os
import shutil
import time

import pytest

pytestmark = pytest.mark.kernel


@pytest.fixture
def running(oci):
    """A running container; returns its bundle folder."""
    place = oci.create("sh", "-c", "echo $$ > /tmp/me; exec sleep 1000")
    assert oci("start", place.name).returncode == 0
    return place


def test_exec_returns_the_exit_code_and_streams(oci, running):
    done = oci("exec", running.name, "sh", "-c", "echo out; echo err >&2; exit 9")
    assert (done.returncode, done.stdout, done.stderr) == (9, "out\n", "err\n")


def test_exec_runs_in_every_namespace_of_the_container(oci, running):
    pid = json.loads(oci("state", running.name).stdout)["pid"]
    kinds = ("mnt", "pid", "net", "ipc", "uts", "cgroup")
    shown = oci(
        "exec",
        running.name,
        "sh",
        "-c",
        "for n in " + " ".join(kinds) + "; do readlink /proc/self/ns/$n; done",
    ).stdout
    assert shown.split() == [os.readlink(f"/proc/{pid}/ns/{kind}") for kind in kinds]
    group = oci("exec", running.name, "cat", "/proc/self/cgroup").stdout
    assert {line.split(":")[2] for line in group.splitlines() if ":pids:" in line} == {"/"}


def test_exec_takes_user_cwd_and_environment(oci, running):
    words = ("--user", "1000:1001", "-g", "29,30", "--cwd", "/tmp", "-e", "A=b c")
    done = oci("exec", *words, running.name, "sh", "-c", 'id -u; id -g; id -G; pwd; echo "$A"; echo $HOME')
    assert done.stdout.splitlines() == ["1000", "1001", "1001 29 30", "/tmp", "b c", "/home/ann"]


def test_exec_takes_a_process_file(oci, running):
    process = {"args": ["id", "-u"], "cwd": "/", "user": {"uid": 5, "gid": 6}, "env": ["PATH=/bin"]}
    (running / "p.json").write_text(json.dumps(process))
    assert oci("exec", "--process", running / "p.json", running.name).stdout == "5\n"


def test_exec_detached_writes_its_pid(oci, running):
    words = ("exec", "-d", "--pid-file", running / "pid", running.name, "sh", "-c", "echo done > /tmp/done")
    assert oci(*words, capture_output=False).returncode == 0
    assert int((running / "pid").read_text()) > 1
    deadline = time.monotonic() + 10
    while not (running / "rootfs/tmp/done").exists():
        assert time.monotonic() < deadline


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["nope"], "executable file not found in $PATH"),
        (["/etc/passwd"], "permission denied"),
        (["--cwd", "/nope", "NAME", "true"], "chdir /nope: no such file or directory"),
        (["--user", "4294967297", "NAME", "id"], "is not an id"),
        (["--user", "root", "NAME", "id"], "is not an id"),
        (["--cap", "CAP_NOPE", "NAME", "id"], "unknown capability"),
        (["NAME"], "process args cannot be empty"),
    ],
)
def test_exec_fails_with_255_and_says_why(oci, running, words, said):
    given = [running.name if word == "NAME" else word for word in words]
    given = given if running.name in given else [running.name, *given]
    done = oci("exec", *given)
    assert done.returncode == 255 and said in done.stderr
    assert not os.path.exists(running / "rootfs/nope")


def test_exec_keeps_the_seccomp_and_capabilities_of_the_container(oci):
    def edit(config):
        config["process"]["noNewPrivileges"] = True
        rule = {"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO"}
        config["linux"]["seccomp"] = {
            "defaultAction": "SCMP_ACT_ALLOW",
            "flags": ["SECCOMP_FILTER_FLAG_LOG"],
            "syscalls": [rule],
        }

    place = oci.create("sleep", "1000", edit=edit)
    oci("start", place.name)
    done = oci(
        "exec",
        place.name,
        "sh",
        "-c",
        "grep -E '^(CapEff|CapInh|CapAmb|NoNewPrivs|Seccomp):' /proc/self/status; mkdir /tmp/x",
    )
    assert done.returncode == 1 and "not permitted" in done.stderr.lower()
    values = dict(line.split(":\t") for line in done.stdout.splitlines())
    assert values == {
        "CapInh": "0000000000000000",
        "CapEff": "0000000020000420",
        "CapAmb": "0000000000000000",
        "NoNewPrivs": "1",
        "Seccomp": "2",
    }


def test_pause_freezes_and_resume_goes_on(oci, running):
    assert oci("pause", running.name).returncode == 0
    assert oci.status(running.name) == "paused"
    refused = oci("exec", running.name, "true")
    assert refused.returncode == 255 and "paused container" in refused.stderr
    assert oci("resume", running.name).returncode == 0
    assert oci.status(running.name) == "running"
    again = oci("resume", running.name)
    assert again.returncode == 1 and "not paused" in again.stderr


def test_kill_reaches_a_paused_container(oci, running):
    oci("pause", running.name)
    assert oci("kill", running.name, "KILL").returncode == 0
    deadline = time.monotonic() + 10
    while oci.status(running.name) != "stopped":
        assert time.monotonic() < deadline


def test_update_changes_limits_and_events_show_them(oci, running):
    assert oci("update", "--pids-limit", "33", "--memory", "64m", running.name).returncode == 0
    data = json.loads(oci("events", "--stats", running.name).stdout)["data"]
    assert data["pids"]["limit"] == 33 and data["memory"]["usage"]["limit"] == 64 << 20
    (running / "r.json").write_text(json.dumps({"pids": {"limit": 44}}))
    assert oci("update", "--resources", running / "r.json", running.name).returncode == 0
    assert json.loads(oci("events", "--stats", running.name).stdout)["data"]["pids"]["limit"] == 44


@pytest.mark.skipif(not shutil.which("ps"), reason="needs ps (Debian package procps)")
def test_ps_shows_the_processes_of_the_container_only(oci, running):
    pid = json.loads(oci("state", running.name).stdout)["pid"]
    assert json.loads(oci("ps", "--format", "json", running.name).stdout) == [pid]
    table = oci("ps", running.name).stdout.splitlines()
    assert len(table) == 2 and str(pid) in table[1].split()


def test_list_shows_containers_as_table_json_and_ids(oci, running):
    assert oci("list", "-q").stdout == f"{running.name}\n"
    assert [one["id"] for one in json.loads(oci("list", "-f", "json").stdout)] == [running.name]
    head, row = oci("list").stdout.splitlines()
    assert (
        head.split() == ["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"] and row.split()[2] == "running"
    )
