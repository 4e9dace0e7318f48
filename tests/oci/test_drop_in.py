"""`havre oci` under a podman that nobody here wrote: `--runtime` on our program, nothing else changed."""

import glob
import os
import shutil
import subprocess
import sys
import tempfile
import time

import pytest

pytestmark = [pytest.mark.kernel, pytest.mark.compat]


def remove_when_empty(path):
    deadline = time.monotonic() + 20
    while True:
        try:
            return os.rmdir(path)
        except OSError:
            assert time.monotonic() < deadline, f"a conmon does not leave {path}"


@pytest.fixture
def podman(oci):
    """A podman with storage of its own that runs everything by our program."""
    if not shutil.which("podman") or not shutil.which("conmon"):
        pytest.skip("needs podman (Debian package podman)")
    wrapper = oci.folder / "havre-oci"
    wrapper.write_text(
        f'#!/bin/sh\nPYTHONPATH={oci.env["PYTHONPATH"]} exec {sys.executable} -m havre.oci --root {oci.root} "$@"\n'
    )
    wrapper.chmod(0o755)
    short = tempfile.mkdtemp(prefix="hv-pod-")  # podman takes no runroot of more than 50 characters
    places = ["--root", f"{short}/r", "--runroot", f"{short}/n", "--tmpdir", f"{short}/t"]
    words = ["podman", *map(str, places), "--storage-driver", "vfs", "--cgroup-manager", "cgroupfs"]
    words += ["--events-backend", "none", "--runtime", str(wrapper)]
    root = oci.bundle("true") / "rootfs"
    made = ["--network", "none", "--cgroup-parent", f"/{oci.group}", "--rootfs", str(root)]

    def call(verb, *args):
        base = made if verb in ("run", "create") else []
        at = [word for word in args if word.startswith("--")]
        rest = [word for word in args if not word.startswith("--")]
        line = [*words, verb, *at, *base, *rest]
        return subprocess.run(line, capture_output=True, text=True, timeout=120, check=False)

    yield call
    call("rm", "--all", "--force")
    for path in glob.glob(
        f"/sys/fs/cgroup/**/{oci.group}/conmon", recursive=True
    ):  # podman's own, it leaves them
        remove_when_empty(path)
    shutil.rmtree(short)


def test_run_has_the_output_and_exit_codes_podman_expects(podman):
    done = podman("run", "--rm", "sh", "-c", "echo $(id -u) $(hostname | wc -c); exit 5")
    assert (done.returncode, done.stdout) == (5, "0 13\n"), done.stderr
    assert podman("run", "--rm", "nope").returncode == 127
    assert podman("run", "--rm", "/etc").returncode == 126


def test_a_detached_container_is_listed_entered_paused_stopped_and_removed(podman):
    script = "trap 'exit 9' TERM; echo up; while :; do sleep 0.05; done"
    assert podman("run", "--detach", "--name=one", "sh", "-c", script).returncode == 0
    done = podman("exec", "--user=1000", "one", "sh", "-c", "id -u; exit 4")
    assert (done.returncode, done.stdout) == (4, "1000\n"), done.stderr
    assert podman("exec", "one", "nope").returncode == 127
    assert podman("pause", "one").returncode == 0
    assert podman("inspect", "--format={{.State.Status}}", "one").stdout == "paused\n"
    assert podman("unpause", "one").returncode == 0
    assert podman("stop", "one").returncode == 0
    assert podman("inspect", "--format={{.State.ExitCode}}", "one").stdout == "9\n"
    assert podman("logs", "one").stdout == "up\n"
    assert podman("rm", "one").returncode == 0


def test_a_terminal_and_limits_reach_the_container(podman):
    done = podman(
        "run",
        "--rm",
        "--tty",
        "--memory=40m",
        "--pids-limit=30",
        "--read-only",
        "sh",
        "-c",
        "tty; cat /proc/self/oom_score_adj",
    )
    assert done.stdout.split() == ["/dev/pts/0", "0"], done.stderr
    if os.path.isdir("/sys/fs/cgroup/pids"):
        done = podman("run", "--rm", "--pids-limit=30", "cat", "/sys/fs/cgroup/pids/pids.max")
        assert done.stdout == "30\n"
