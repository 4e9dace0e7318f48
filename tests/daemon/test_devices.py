"""Devices: nodes, rules, and vendors' descriptions, seen from inside."""

import json
from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.daemon, pytest.mark.compat]


@pytest.fixture
def described(tmp_path: Path, daemon_with) -> Any:
    """A daemon whose CDI directory describes one device, with hooks that leave a trace."""
    root = tmp_path
    (root / "cdi").mkdir()
    hook = root / "hook.sh"
    hook.write_text(f'#!/bin/sh\ncat > {root}/$1.json\n[ -z "$2" ] || cat "$2"\n')
    hook.chmod(0o755)
    names = ("prestart", "createRuntime", "createContainer", "poststart", "poststop")
    edits = {
        "env": ["GIVEN=yes"],
        "deviceNodes": [{"path": "/dev/mine", "hostPath": "/dev/full", "permissions": "rw"}],
        "mounts": [{"hostPath": str(root / "cdi"), "containerPath": "/opt/spec", "options": ["ro", "bind"]}],
        "hooks": [{"hookName": name, "path": str(hook), "args": ["hook.sh", name]} for name in names],
        "additionalGids": [77],
    }
    spec = {
        "cdiVersion": "0.6.0",
        "kind": "vendor.com/class",
        "devices": [{"name": "one", "containerEdits": edits}],
    }
    (root / "cdi/v.json").write_text(json.dumps(spec))
    return daemon_with("--cdi-spec-dir", str(root / "cdi"))


@pytest.mark.parametrize("which", ["docker", "havre"])
def test_a_described_device_brings_all_its_edits(described, which: str) -> None:
    cli = getattr(described, which)
    script = (
        "echo $GIVEN; stat -c %t:%T /dev/mine; ls /opt/spec; id -G; touch /opt/spec/x; echo x > /dev/mine"
    )
    done = cli("run", "--rm", "--device", "vendor.com/class=one", "busybox", "sh", "-c", script)
    assert done.stdout.split() == ["yes", "1:7", "v.json", "0", "77"], done.stderr
    assert "Read-only file system" in done.stderr and "No space left" in done.stderr
    states = {}
    for name in ("prestart", "createRuntime", "createContainer", "poststart", "poststop"):
        states[name] = json.loads((described.root / f"{name}.json").read_text())
    assert [states[name]["status"] for name in ("createContainer", "poststart", "poststop")] == [
        "creating",
        "running",
        "stopped",
    ]
    assert states["poststart"]["bundle"].startswith(str(described.root))


def test_a_failing_hook_fails_the_start_and_leaves_nothing(described) -> None:
    path = described.root / "cdi/v.json"
    path.write_text(path.read_text().replace('"hook.sh", "poststart"', '"hook.sh", "poststart", "/no/such"'))
    done = described.docker(
        "run", "--name", "failed", "--device", "vendor.com/class=one", "busybox", "sleep", "60"
    )
    assert done.returncode != 0 and "poststart hook" in done.stderr
    shown = described.docker("inspect", "-f", "{{.State.Running}}", "failed").stdout
    assert shown == "false\n"
    described.docker("rm", "-f", "failed")


def test_an_unknown_device_is_refused_by_name(cli) -> None:
    done = cli("run", "--rm", "--device", "vendor.com/class=none", "busybox", "true")
    assert done.returncode == 125
    assert "unresolvable CDI devices vendor.com/class=none" in done.stderr
    assert cli("ps", "-aq").stdout == ""


def test_a_size_for_the_root_is_enforced_or_refused_with_the_reason(cli) -> None:
    write = ["busybox", "sh", "-c", "dd if=/dev/zero of=/f bs=1M count=8 2>&1; ls -l /f"]
    done = cli("run", "--rm", "--storage-opt", "size=2m", *write)
    if done.returncode == 125:
        assert "project quotas" in done.stderr
    else:
        assert "No space left" in done.stdout or "quota" in done.stdout.lower()
    done = cli("run", "--rm", "--storage-opt", "colour=red", "busybox", "true")
    assert done.returncode == 125 and "unknown option colour" in done.stderr


def test_a_device_rule_opens_what_a_mknod_makes(cli) -> None:
    script = "mknod /tmp/mem c 1 1 && head -c 1 /tmp/mem | wc -c"
    flags = ["--rm", "--cap-add", "SYS_RAWIO"]
    assert "not permitted" in cli("run", *flags, "busybox", "sh", "-c", script).stderr
    done = cli("run", *flags, "--device-cgroup-rule", "c 1:1 rm", "busybox", "sh", "-c", script)
    assert "not permitted" not in done.stderr or Path("/sys/kernel/security/lockdown").exists()


def test_a_directory_gives_all_its_nodes(cli, tmp_path) -> None:
    import os

    (tmp_path / "deep").mkdir()
    os.mknod(tmp_path / "deep/zero", 0o666 | 0o020000, os.makedev(1, 5))
    done = cli(
        "run",
        "--rm",
        "--device",
        f"{tmp_path}:/dev/mine",
        "busybox",
        "head",
        "-c",
        "3",
        "/dev/mine/deep/zero",
    )
    assert done.stdout == "\0\0\0", done.stderr
