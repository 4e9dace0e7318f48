"""Namespaces that containers share or keep, and limits the kernel lacks: seen from inside, by the stock CLI and ours."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

pytestmark = [pytest.mark.daemon, pytest.mark.compat]


@pytest.fixture
def donor(daemon) -> Iterator[str]:
    words = ["busybox", "sh", "-c", "echo hi > /dev/shm/f; sleep 600"]
    done = daemon.docker("run", "-d", "--name", "donor", "--ipc", "shareable", *words)
    assert done.returncode == 0, done.stderr
    yield "donor"
    daemon.docker("rm", "-f", "donor")


def namespaces(cli, *flags: str) -> dict[str, str]:
    script = "for n in ipc pid net uts cgroup mnt; do echo $n $(readlink /proc/self/ns/$n); done"
    done = cli("run", "--rm", *flags, "busybox", "sh", "-c", script)
    assert done.returncode == 0, done.stderr
    return dict(line.split() for line in done.stdout.splitlines())


def test_host_modes_are_the_hosts_namespaces(cli) -> None:
    found = namespaces(cli, "--ipc", "host", "--pid", "host", "--uts", "host", "--cgroupns", "host")
    for name in ("ipc", "pid", "uts", "cgroup"):
        assert found[name] == os.readlink(f"/proc/self/ns/{name}"), name
    assert found["mnt"] != os.readlink("/proc/self/ns/mnt")


def test_private_modes_are_their_own(cli) -> None:
    found = namespaces(cli, "--ipc", "private", "--cgroupns", "private")
    for name in ("ipc", "pid", "uts", "net", "cgroup"):
        assert found[name] != os.readlink(f"/proc/self/ns/{name}"), name


def test_another_containers_namespaces_are_joined(cli, daemon, donor: str) -> None:
    pid = daemon.docker("inspect", "-f", "{{.State.Pid}}", donor).stdout.strip()
    flags = [f"--{kind}=container:{donor}" for kind in ("ipc", "pid", "network")]
    found = namespaces(cli, *flags)
    for name in ("ipc", "pid", "net"):
        assert found[name] == os.readlink(f"/proc/{pid}/ns/{name}"), name
    script = "cat /dev/shm/f; echo back > /dev/shm/g; hostname"
    done = cli(
        "run", "--rm", "--ipc=container:donor", "--network=container:donor", "busybox", "sh", "-c", script
    )
    assert done.stdout.split() == ["hi", daemon.docker("exec", donor, "hostname").stdout.strip()], done.stderr
    assert daemon.docker("exec", donor, "cat", "/dev/shm/g").stdout == "back\n"


def test_the_donors_shm_cannot_lead_elsewhere(cli, daemon, donor: str) -> None:
    moved = "umount /dev/shm && rmdir /dev/shm && ln -s /proc/1/root/etc /dev/shm"
    done = daemon.docker("exec", "--privileged", donor, "sh", "-c", moved)
    assert done.returncode == 0, done.stderr
    done = cli("run", "--rm", "--ipc=container:donor", "busybox", "ls", "/dev/shm")
    assert done.returncode != 0 and "dev/shm" in done.stderr


def test_a_donor_must_share_exist_and_run(cli, daemon) -> None:
    daemon.docker("run", "-d", "--name", "closed", "busybox", "sleep", "600")
    try:
        for mode, words in (("closed", "non-shareable IPC"), ("nobody", "No such container: nobody")):
            done = cli("run", "--rm", "--ipc", f"container:{mode}", "busybox", "true")
            assert done.returncode == 125 and words in done.stderr
        daemon.docker("kill", "closed")
        for kind in ("ipc", "pid", "network"):
            done = cli("run", "--rm", f"--{kind}=container:closed", "busybox", "true")
            assert done.returncode == 125 and "running" in done.stderr
    finally:
        daemon.docker("rm", "-f", "closed")


def test_a_donor_is_kept_by_id_when_it_is_renamed(daemon, donor: str) -> None:
    daemon.docker("create", "--name", "follower", "--pid", "container:donor", "busybox", "true")
    try:
        daemon.docker("rename", "donor", "donor-two")
        shown = daemon.docker("inspect", "-f", "{{.HostConfig.PidMode}}", "follower").stdout.strip()
        assert shown == "container:" + daemon.docker("inspect", "-f", "{{.Id}}", "donor-two").stdout.strip()
        assert daemon.docker("start", "-a", "follower").returncode == 0
    finally:
        daemon.docker("rename", "donor-two", "donor")
        daemon.docker("rm", "-f", "follower")


def test_ipc_none_has_no_shared_memory(cli) -> None:
    assert "No such file" in cli("run", "--rm", "--ipc", "none", "busybox", "ls", "/dev/shm").stderr


def test_a_sysctl_reaches_the_containers_own_namespace_only(cli) -> None:
    before = Path("/proc/sys/kernel/msgmax").read_text()
    done = cli("run", "--rm", "--sysctl", "kernel.msgmax=4242", "busybox", "cat", "/proc/sys/kernel/msgmax")
    assert done.stdout == "4242\n"
    assert Path("/proc/sys/kernel/msgmax").read_text() == before
    for flags in (["--ipc", "host"], ["--network", "host", "--sysctl", "net.core.somaxconn=1"]):
        done = cli("run", "--rm", *flags, "--sysctl", "kernel.msgmax=4242", "busybox", "true")
        assert done.returncode == 125 and "namespace" in done.stderr


def test_few_open_files_are_enough_to_start(cli) -> None:
    done = cli("run", "--rm", "--ulimit", "nofile=4:20", "busybox", "sh", "-c", "ulimit -n; ulimit -Hn")
    assert done.stdout.split() == ["4", "20"], done.stderr


def test_bad_words_are_refused_in_dockers_own(cli) -> None:
    for flags, words in (
        (["--stop-signal", "BOGUS"], "Invalid signal: BOGUS"),
        (["--oom-score-adj", "2000"], "range for oom score adj is [-1000, 1000]"),
        (["--isolation", "hyperv"], "linux only supports 'default'"),
        (["--workdir", "rel"], "the working directory 'rel' is invalid"),
        (["--uts", "host", "--hostname", "x"], "conflicting options: hostname and the UTS mode"),
    ):
        done = cli("run", "--rm", *flags, "busybox", "true")
        assert done.returncode == 125 and words in done.stderr, flags


def test_a_warning_says_what_has_no_effect(cli) -> None:
    done = cli("run", "--rm", "--oom-kill-disable", "--security-opt", "label=type:x", "busybox", "true")
    assert done.returncode == 0
    assert "SELinux is not enabled" in done.stderr or Path("/sys/fs/selinux/enforce").exists()
    assert "OOM" in done.stderr.upper()
