"""What a container must not reach or change, and what --security-opt loosens: through the daemon, seen from inside and on the host."""

import io
import json
import os
import shutil
import stat
import tarfile
from pathlib import Path

import pytest

pytestmark = [pytest.mark.daemon, pytest.mark.compat]


def run(cli, *flags: str, script: str):
    return cli("run", "--rm", "--network", "none", *flags, "busybox", "sh", "-c", script)


def image_with(daemon, name: str, **links: str) -> None:
    """Import an image whose files of these paths (with _ for /) are symlinks, beside a busybox."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        data = Path("/bin/busybox").read_bytes()
        for folder in ("bin", "etc", "proc", "sys", "tmp"):
            info = tarfile.TarInfo(folder)
            info.type, info.mode = tarfile.DIRTYPE, 0o755
            tar.addfile(info)
        for path in ("bin/busybox", "bin/sh", "bin/cat", "bin/ls"):
            info = tarfile.TarInfo(path)
            info.size, info.mode = len(data), 0o755
            tar.addfile(info, io.BytesIO(data))
        for path, target in links.items():
            info = tarfile.TarInfo(path.replace("_", "/"))
            info.type, info.linkname = tarfile.SYMTYPE, target
            tar.addfile(info)
    done = daemon.docker("import", "-", name, stdin=out.getvalue())
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("way", ["{}", "/proc/self/root{}", "../../../../../../../..{}"])
def test_the_three_files_as_symlinks_lead_nowhere_outside(daemon, tmp_path, way: str) -> None:
    secret = tmp_path / "secret"
    secret.write_text("host\n")
    target = way.format(secret)
    image_with(daemon, "linked", **{"etc_hosts": target, "etc_resolv.conf": target, "etc_hostname": target})
    done = daemon.docker("run", "--rm", "linked", "sh", "-c", "cat /etc/hosts; echo x > /etc/hosts; true")
    assert "host\n" not in done.stdout.splitlines(keepends=True)
    assert secret.read_text() == "host\n"
    assert str(tmp_path) + "/secret" not in Path("/proc/self/mountinfo").read_text()


@pytest.mark.parametrize("target", ["/tmp", "/proc/self/root/tmp", "../../../../tmp"])
def test_a_linked_pts_or_console_is_no_way_out(daemon, target: str) -> None:
    before = sorted(os.listdir("/dev/pts"))
    image_with(daemon, "linkeddev", dev=target)
    done = daemon.docker("run", "--rm", "-t", "linkeddev", "sh", "-c", "ls -l /dev/console; ls /dev/pts")
    assert sorted(os.listdir("/dev/pts")) == before
    assert done.returncode != 0 or "console" in done.stdout


def test_no_socket_of_ours_is_abstract(daemon) -> None:
    done = daemon.docker("run", "-d", "--name", "sock", "--network", "host", "busybox", "sleep", "600")
    assert done.returncode == 0, done.stderr
    try:
        seen = daemon.docker("exec", "sock", "cat", "/proc/net/unix").stdout
        ours = [line for line in seen.splitlines() if "havre" in line or str(daemon.root) in line]
        assert ours and not any("@" in line.split()[-1] for line in ours)
    finally:
        daemon.docker("rm", "-f", "sock")


def test_the_data_root_is_closed_to_other_users(daemon) -> None:
    """Passing through is all anybody else may do (0711 at most), and not even that below."""
    for name in ("data", "run"):
        for folder in [
            daemon.root / name,
            *(path for path in (daemon.root / name).iterdir() if path.is_dir()),
        ]:
            assert stat.S_IMODE(folder.stat().st_mode) & 0o066 == 0, folder
    database = daemon.root / "data/havre.db"
    assert stat.S_IMODE(database.stat().st_mode) & 0o077 == 0


def test_nothing_of_the_daemon_is_in_the_environment(cli) -> None:
    names = {
        line.partition("=")[0]
        for line in run(cli, script="cat /proc/1/environ | tr '\\0' '\\n'").stdout.splitlines()
    }
    assert names == {"PATH", "HOSTNAME", "HOME"}


def test_a_profile_of_the_callers_own_is_loaded(cli, tmp_path) -> None:
    rules = [
        {"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38},
        {
            "names": ["symlink", "symlinkat"],
            "action": "SCMP_ACT_ERRNO",
            "excludes": {"caps": ["CAP_NET_ADMIN"]},
        },
    ]
    path = tmp_path / "p.json"
    path.write_text(json.dumps({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": rules}))
    script = "mkdir /tmp/d; ln -s x /tmp/l; true"
    found = run(cli, "--security-opt", f"seccomp={path}", script=script).stderr
    assert "not implemented" in found and "not permitted" in found
    found = run(cli, "--security-opt", f"seccomp={path}", "--cap-add", "NET_ADMIN", script=script).stderr
    assert "not implemented" in found and "not permitted" not in found


def test_a_bad_profile_is_refused_at_create(cli, tmp_path) -> None:
    path = tmp_path / "p.json"
    path.write_text('{"defaultAction": "SCMP_ACT_BOGUS"}')
    done = cli("create", "--name", "bad", "--security-opt", f"seccomp={path}", "busybox", "true")
    assert done.returncode == 1 or done.returncode == 125
    assert "SCMP_ACT_BOGUS" in done.stderr
    assert cli("ps", "-aq", "--filter", "name=bad").stdout == ""


def test_no_new_privileges_reach_run_and_exec(cli) -> None:
    flags = ["--security-opt", "no-new-privileges"]
    done = cli("run", "-d", "--name", "nnp", *flags, "busybox", "sleep", "600")
    try:
        assert done.returncode == 0, done.stderr
        for words in (["cat", "/proc/1/status"], ["cat", "/proc/self/status"]):
            shown = cli("exec", "nnp", *words).stdout
            assert "NoNewPrivs:\t1" in shown and "Seccomp:\t2" in shown
    finally:
        cli("rm", "-f", "nnp")


def test_system_paths_are_hidden_unless_unconfined(cli) -> None:
    script = "cat /proc/keys | wc -c; cut -d' ' -f5,6 /proc/self/mountinfo | grep -E '^/proc/' | wc -l"
    hidden = run(cli, script=script).stdout.split()
    assert hidden[0] == "0" and int(hidden[1]) >= 5
    opened = run(cli, "--security-opt", "systempaths=unconfined", script=script).stdout.split()
    assert opened[1] == "0"


def test_cgroups_are_writable_only_when_asked(cli) -> None:
    script = "for d in /sys/fs/cgroup /sys/fs/cgroup/*/; do mkdir $d/x; done"
    assert "Read-only" in run(cli, script=script).stderr
    script = "grep ' /sys/fs/cgroup' /proc/mounts | grep -v tmpfs | cut -d' ' -f4 | cut -d, -f1 | sort -u"
    assert run(cli, "--security-opt", "writable-cgroups=true", script=script).stdout == "rw\n"
    assert run(cli, script=script).stdout == "ro\n"


def test_a_umask_holds_for_run_and_exec(daemon) -> None:
    done = daemon.havre("run", "-d", "--name", "masked", "--umask", "0027", "busybox", "sleep", "600")
    try:
        assert done.returncode == 0, done.stderr
        assert daemon.docker("exec", "masked", "sh", "-c", "umask").stdout == "0027\n"
        assert "Umask:\t0027" in daemon.docker("exec", "masked", "cat", "/proc/1/status").stdout
    finally:
        daemon.docker("rm", "-f", "masked")
    refused = daemon.havre("run", "--rm", "--umask", "9", "busybox", "true")
    assert refused.returncode == 125 and "invalid umask" in refused.stderr


@pytest.mark.parametrize("runtime", ["runc", "crun"])
def test_another_runtime_gives_the_same_container(daemon, runtime: str) -> None:
    if not shutil.which(runtime):
        pytest.skip(f"needs {runtime} (Debian package {runtime})")
    flags = [
        "--memory",
        "64m",
        "--user",
        "33:44",
        "--group-add",
        "5",
        "--hostname",
        "box",
        "--sysctl",
        "net.core.somaxconn=77",
    ]
    script = (
        "id; hostname; cat /proc/sys/net/core/somaxconn; grep -E '^(Cap|NoNew|Seccomp:)' /proc/self/status; "
        "cat /sys/fs/cgroup/memory/memory.limit_in_bytes 2>/dev/null || cat /sys/fs/cgroup/memory.max; ip -o addr show eth0 | wc -l; exit 9"
    )
    done = [
        daemon.docker("run", "--rm", *more, *flags, "busybox", "sh", "-c", script)
        for more in ([], ["--runtime", runtime])
    ]
    if "hybrid" in done[1].stderr:
        pytest.skip(f"this {runtime} does not know hybrid control groups")
    assert (done[1].returncode, done[1].stdout) == (9, done[0].stdout), done[1].stderr
    daemon.docker("run", "-d", "--name", "other", "--runtime", runtime, "busybox", "sleep", "600")
    try:
        assert daemon.docker("exec", "other", "sh", "-c", "echo in; exit 3").returncode == 3
        assert daemon.docker("stop", "-t", "1", "other").returncode == 0
        assert daemon.docker("inspect", "-f", "{{.State.ExitCode}}", "other").stdout == "137\n"
    finally:
        daemon.docker("rm", "-f", "other")
    assert daemon.docker("run", "--rm", "--runtime", runtime, "busybox", "nope").returncode == 127
