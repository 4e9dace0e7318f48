"""create, start, kill, delete, run: states, exit codes, hooks in order, and nothing left behind."""

import json
import os
import signal
import time

import pytest

from havre.errors import InvalidParameter
from havre.oci import lifecycle

pytestmark = pytest.mark.kernel


def wait_for(oci, name, status):
    deadline = time.monotonic() + 20
    while oci.status(name) != status:
        assert time.monotonic() < deadline, f"{name} did not become {status}"


def test_run_returns_the_exit_code_of_its_process(oci):
    done = oci.run("sh", "-c", "echo out; echo err >&2; exit 7")
    assert (done.returncode, done.stdout, done.stderr) == (7, "out\n", "err\n")


def test_run_returns_128_and_the_signal_when_it_was_killed(oci):
    assert oci.run("sh", "-c", "sleep 9 & kill -9 $!; wait $!; exit $?").returncode == 137


def test_states_follow_each_other_when_created_started_and_ended(oci):
    place = oci.create("sh", "-c", "echo ran > /tmp/ran; read x < /tmp/fifo")
    os.mkfifo(place / "rootfs/tmp/fifo")
    name = place.name
    assert oci.status(name) == "created"
    assert not (place / "rootfs/tmp/ran").exists()
    assert oci("start", name).returncode == 0
    assert oci.status(name) == "running"
    again = oci("start", name)
    assert again.returncode == 1 and "cannot start an already running container" in again.stderr
    refused = oci("delete", name)
    assert refused.returncode == 1 and "is not stopped: running" in refused.stderr
    (place / "rootfs/tmp/fifo").write_text("go\n")
    wait_for(oci, name, "stopped")
    assert (place / "rootfs/tmp/ran").read_text() == "ran\n"
    ended = oci("kill", name, "KILL")
    assert ended.returncode == 1 and "container not running" in ended.stderr
    assert oci("delete", name).returncode == 0
    gone = oci("state", name)
    assert gone.returncode == 1 and "does not exist" in gone.stderr


def test_create_conflicts_when_the_id_is_taken(oci):
    place = oci.create("true")
    again = oci("create", "-b", place, place.name)
    assert again.returncode == 1 and "already exists" in again.stderr
    assert oci.status(place.name) == "created"


def test_create_fails_at_once_when_the_command_is_not_there(oci):
    done = oci("create", "-b", oci.bundle("nope"), "x")
    assert done.returncode == 1
    assert 'exec: \\"nope\\": executable file not found in $PATH' in done.stderr
    assert oci("state", "x").returncode == 1


def test_create_fails_at_once_when_the_command_is_a_directory(oci):
    done = oci("create", "-b", oci.bundle("/etc"), "x")
    assert done.returncode == 1 and "permission denied" in done.stderr


def test_create_writes_the_pid_file_and_the_state_has_the_specs_keys(oci):
    place = oci.bundle("true", edit=lambda config: config.update(annotations={"a.b": "c"}))
    assert oci("create", "-b", place, "--pid-file", place / "pid", "p", capture_output=False).returncode == 0
    state = json.loads(oci("state", "p").stdout)
    assert state["pid"] == int((place / "pid").read_text())
    assert state["bundle"] == str(place) and state["annotations"] == {"a.b": "c"} and state["id"] == "p"


def test_kill_sends_the_asked_signal_when_running(oci):
    place = oci.create("sh", "-c", "trap 'exit 5' USR1; touch /tmp/ready; while :; do sleep 0.05; done")
    oci("start", place.name)
    deadline = time.monotonic() + 10
    while not (place / "rootfs/tmp/ready").exists():
        assert time.monotonic() < deadline
    assert oci("kill", place.name, "USR1").returncode == 0
    wait_for(oci, place.name, "stopped")


def test_delete_with_force_ends_a_running_container_and_its_group(oci):
    place = oci.create("sh", "-c", "sleep 100 & sleep 100")
    oci("start", place.name)
    pid = json.loads(oci("state", place.name).stdout)["pid"]
    assert oci("delete", "--force", place.name).returncode == 0
    assert not os.path.exists(f"/proc/{pid}/exe")
    assert oci.left() == []
    assert oci("delete", "--force", place.name).returncode == 0


def test_kill_all_reaches_processes_without_a_pid_namespace(oci):
    def share_pids(config):
        config["linux"]["namespaces"] = [one for one in config["linux"]["namespaces"] if one["type"] != "pid"]

    place = oci.create("sh", "-c", "sleep 100 & exec sleep 100", edit=share_pids)
    oci("start", place.name)
    assert oci("kill", "--all", place.name, "KILL").returncode == 0
    wait_for(oci, place.name, "stopped")
    assert oci("delete", place.name).returncode == 0


def hook(log, word, more=""):
    return {"path": "/bin/sh", "args": ["sh", "-c", f"cat >> {log}; echo ' {word}' >> {log}; {more}"]}


def test_hooks_run_in_the_specs_order_with_the_state_on_stdin(oci):
    log = oci.folder / "log"

    def edit(config):
        outside = ("prestart", "createRuntime", "createContainer", "poststart", "poststop")
        config["hooks"] = {kind: [hook(log, kind)] for kind in outside}
        config["hooks"]["startContainer"] = [
            {"path": "/bin/sh", "args": ["sh", "-c", "cat > /tmp/state; hostname > /tmp/host"]}
        ]

    place = oci.bundle("sh", "-c", "echo process >> /tmp/state", edit=edit)
    assert oci("run", "-b", place, "hooked").returncode == 0
    lines = [line.rsplit(" ", 1) for line in log.read_text().splitlines()]
    states = [(word, json.loads(state)["status"]) for state, word in lines]
    assert states == [
        ("prestart", "creating"),
        ("createRuntime", "creating"),
        ("createContainer", "creating"),
        ("poststart", "running"),
        ("poststop", "stopped"),
    ]
    assert json.loads(lines[0][0])["bundle"] == str(place)
    inside, process = (place / "rootfs/tmp/state").read_text().rsplit("}", 1)
    assert json.loads(inside + "}")["status"] == "created" and process.strip() == "process"
    assert (place / "rootfs/tmp/host").read_text() == "havre\n"


def test_create_runtime_hook_sees_the_network_namespace_of_the_container(oci):
    log = oci.folder / "net"
    script = f"pid=$(sed 's/.*\"pid\":\\([0-9]*\\).*/\\1/'); readlink /proc/$pid/ns/net > {log}"

    def edit(config):
        config.update(hooks={"createRuntime": [{"path": "/bin/sh", "args": ["sh", "-c", script]}]})

    assert oci.run("true", edit=edit).returncode == 0
    assert log.read_text().startswith("net:[") and log.read_text().strip() != os.readlink("/proc/self/ns/net")


@pytest.mark.parametrize("kind", ["prestart", "createRuntime", "createContainer"])
def test_create_fails_and_poststop_runs_when_a_hook_fails(oci, kind):
    log = oci.folder / "log"

    def edit(config):
        config.update(hooks={kind: [hook(log, kind, "exit 3")], "poststop": [hook(log, "poststop")]})

    done = oci("create", "-b", oci.bundle("true", edit=edit), "x")
    assert done.returncode == 1 and f"error running {kind} hook #0: exit status 3" in done.stderr
    assert [line.rsplit(" ", 1)[1] for line in log.read_text().splitlines()] == [kind, "poststop"]
    assert oci("state", "x").returncode == 1


def test_create_fails_when_a_hook_takes_longer_than_its_timeout(oci):
    slow = {"path": "/bin/sleep", "args": ["sleep", "60"], "timeout": 1}
    begun = time.monotonic()
    done = oci(
        "create", "-b", oci.bundle("true", edit=lambda config: config.update(hooks={"prestart": [slow]})), "x"
    )
    assert done.returncode == 1 and "context deadline exceeded" in done.stderr
    assert time.monotonic() - begun < 20


def test_poststop_goes_on_when_one_hook_fails(oci):
    log = oci.folder / "log"

    def edit(config):
        config.update(hooks={"poststop": [hook(log, "a", "exit 1"), hook(log, "b")]})

    assert oci.run("true", edit=edit).returncode == 0
    assert [line.rsplit(" ", 1)[1] for line in log.read_text().splitlines()] == ["a", "b"]


def test_start_tells_why_when_the_command_has_gone_since_create(oci):
    place = oci.bundle("/tmp/prog")
    (place / "rootfs/tmp/prog").write_text("#!/bin/sh\n")
    (place / "rootfs/tmp/prog").chmod(0o755)
    assert oci("create", "-b", place, "x", capture_output=False).returncode == 0
    (place / "rootfs/tmp/prog").unlink()
    done = oci("start", "x")
    assert done.returncode == 1 and "no such file or directory" in done.stderr
    wait_for(oci, "x", "stopped")


def test_parse_signal_takes_names_and_numbers():
    assert [lifecycle.parse_signal(word) for word in ("9", "KILL", "sigterm", "RTMIN+1")] == [
        9,
        9,
        15,
        signal.SIGRTMIN + 1,
    ]


@pytest.mark.parametrize("word", ["0", "65", "NOPE", "", "RTMIN+x", "-9"])
def test_parse_signal_refuses_what_is_none(word):
    with pytest.raises(InvalidParameter, match="unknown signal"):
        lifecycle.parse_signal(word)
