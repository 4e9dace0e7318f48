"""Attacks on the runtime from inside an image or a shared volume: the checklist of known runtime CVEs, with real namespaces."""

import ctypes
import json
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from havre.runtime import selfexec

pytestmark = pytest.mark.kernel


def replace_by_link(root, name, target):
    path = root / name
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    path.symlink_to(target)


def snapshot(folder):
    """Names, modes and sizes below a folder: what must not change."""
    return sorted((str(path), path.lstat().st_mode, path.lstat().st_size) for path in Path(folder).rglob("*"))


@pytest.fixture
def outside(oci):
    """A directory of the host that attacks aim at; it must be the same afterwards."""
    folder = oci.folder / "outside"
    folder.mkdir()
    (folder / "secret").write_text("host\n")
    before = snapshot(folder)
    yield folder
    assert snapshot(folder) == before
    mounts = Path("/proc/self/mountinfo").read_text()
    assert str(folder) not in mounts


@pytest.mark.parametrize("name", ["proc", "sys"])
def test_run_refuses_when_proc_or_sys_of_the_image_is_a_symlink(oci, outside, name):
    done = oci.run("true", prepare=lambda root: replace_by_link(root, name, "/tmp"))
    assert done.returncode == 1 and f"/{name} is a symlink" in done.stderr


@pytest.mark.parametrize(
    "target", ["ABSOLUTE", "../../../../../../../../OUTSIDE", "/proc/self/root", "/proc/1/root/tmp"]
)
@pytest.mark.parametrize("name", ["dev", "etc", "run"])
def test_run_never_leaves_the_root_when_a_directory_is_a_symlink(oci, outside, name, target):
    where = target.replace("ABSOLUTE", str(outside)).replace("/OUTSIDE", str(outside))

    def edit(config):
        config["mounts"].append(
            {"destination": "/etc/hosts", "type": "bind", "source": "/etc/hosts", "options": ["bind"]}
        )
        config["mounts"].append({"destination": "/run/x", "type": "tmpfs", "source": "tmpfs", "options": []})

    oci.run("true", edit=edit, prepare=lambda root: replace_by_link(root, name, where))


def test_mount_target_symlink_leads_inside_only(oci, outside):
    mine = oci.folder / "mine"
    mine.mkdir()
    (mine / "f").write_text("volume\n")

    def prepare(root):
        (root / str(outside).lstrip("/")).mkdir(parents=True)
        (root / "data").symlink_to(outside)

    mount = {"destination": "/data", "type": "bind", "source": str(mine), "options": ["bind", "rprivate"]}
    done = oci.run(
        "cat", "/data/f", f"{outside}/f", edit=lambda config: config["mounts"].append(mount), prepare=prepare
    )
    assert done.stdout == "volume\nvolume\n"


def exchange(one, two):
    """renameat2(RENAME_EXCHANGE)."""
    libc = ctypes.CDLL(None)
    libc.renameat2(-100, os.fsencode(one), -100, os.fsencode(two), 2)


def test_run_never_mounts_outside_while_a_neighbour_swaps_a_symlink(oci, outside):
    volume = oci.folder / "volume"
    (volume / "dir/sub").mkdir(parents=True)
    (volume / "link").symlink_to(outside)
    mounts = [
        {"destination": "/v", "type": "bind", "source": str(volume), "options": ["bind", "rprivate"]},
        {"destination": "/v/dir/sub/deep", "type": "tmpfs", "source": "tmpfs", "options": []},
    ]
    stop = threading.Event()

    def swap():
        while not stop.is_set():
            exchange(volume / "dir", volume / "link")

    thread = threading.Thread(target=swap)
    thread.start()
    try:
        for _ in range(8):
            oci.run("true", edit=lambda config: config["mounts"].extend(mounts))
    finally:
        stop.set()
        thread.join()


@pytest.mark.parametrize("kind", ["file", "link", "fifo", "wrong device"])
def test_run_refuses_a_null_device_of_the_images_own(oci, outside, kind):
    def edit(config):
        config["mounts"] = [
            mount for mount in config["mounts"] if not mount["destination"].startswith("/dev")
        ]

    def prepare(root):
        null = root / "dev/null"
        if kind == "file":
            null.write_text("x")
        elif kind == "link":
            null.symlink_to(outside / "secret")
        elif kind == "fifo":
            os.mkfifo(null)
        else:
            os.mknod(null, 0o666 | 0o020000, os.makedev(1, 5))

    done = oci.run("true", edit=edit, prepare=prepare)
    assert done.returncode == 1 and "mknod /dev/null: file exists" in done.stderr


def test_masked_paths_are_the_null_device_and_empty_directories(oci):
    script = "cat /proc/keys | wc -c; ls /sys/firmware | wc -l; touch /sys/firmware/x; echo 1 > /proc/sys/kernel/panic; true"
    done = oci.run("sh", "-c", script)
    assert done.stdout.split() == ["0", "0"]
    assert done.stderr.count("Read-only file system") == 2


def test_sysctl_is_refused_when_proc_is_not_a_procfs(oci):
    def edit(config):
        for mount in config["mounts"]:
            if mount["destination"] == "/proc":
                mount.update(type="tmpfs", source="tmpfs", options=["mode=755"])
        config["linux"]["sysctl"] = {"net.ipv4.ip_forward": "1"}
        config["linux"]["readonlyPaths"] = config["linux"]["maskedPaths"] = []

    def prepare(root):
        (root / "proc/sys").mkdir()

    done = oci.run("true", edit=edit, prepare=prepare)
    assert done.returncode == 1 and "/proc: only a procfs can be there" in done.stderr


def test_sysctl_is_refused_when_a_bind_stands_in_for_proc(oci, outside):
    fake = outside / "sys/net/ipv4"
    mount = {"destination": "/proc", "type": "bind", "source": str(oci.folder / "fake"), "options": ["bind"]}
    (oci.folder / "fake/sys/net/ipv4").mkdir(parents=True)
    (oci.folder / "fake/sys/net/ipv4/ip_forward").write_text("0")

    def edit(config):
        config["mounts"] = [mount, *config["mounts"][1:]]
        config["linux"].update(sysctl={"net.ipv4.ip_forward": "1"}, readonlyPaths=[], maskedPaths=[])

    done = oci.run("true", edit=edit)
    assert done.returncode == 1 and (oci.folder / "fake/sys/net/ipv4/ip_forward").read_text() == "0"
    assert not fake.exists()


@pytest.mark.parametrize("number", range(3, 12))
def test_run_refuses_a_leaked_descriptor_as_cwd(oci, number):
    done = oci.run("cat", "etc/hostname", cwd=f"/proc/self/fd/{number}")
    assert done.returncode == 1 and done.stdout == ""


def test_exec_refuses_a_leaked_descriptor_as_cwd(oci):
    place = oci.create("sleep", "100")
    oci("start", place.name)
    for number in range(3, 12):
        done = oci("exec", "--cwd", f"/proc/self/fd/{number}", place.name, "pwd")
        assert done.returncode == 255 and done.stdout == ""
    assert oci("exec", "--cwd", "/proc/1/cwd", place.name, "pwd").returncode == 255


@pytest.mark.parametrize("how", ["path", "symlink", "script", "script of a symlink"])
def test_the_hosts_python_is_never_executed_inside(oci, how):
    def prepare(root):
        (root / "tmp/link").symlink_to("/proc/self/exe")
        target = {"script": "/proc/self/exe", "script of a symlink": "/tmp/link"}.get(how, "/bin/sh")
        (root / "tmp/script").write_text(f"#!{target}\n")
        (root / "tmp/script").chmod(0o755)

    word = {"path": "/proc/self/exe", "symlink": "/tmp/link"}.get(how, "/tmp/script")
    done = oci.run(word, "-c", "print('host')", prepare=prepare)
    assert done.returncode == 1 and done.stdout == "" and "permission denied" in done.stderr
    place = oci.bundle("sleep", "100")
    prepare(place / "rootfs")
    oci("run", "-d", "-b", place, "victim", capture_output=False, stdout=subprocess.DEVNULL)
    done = oci("exec", "victim", word, "-c", "print('host')")
    assert done.returncode == 255 and done.stdout == ""


def test_the_interpreter_is_on_a_read_only_mount_when_protected():
    code = (
        "from havre.runtime import selfexec\n"
        "assert selfexec.protect(b'shown')\n"
        "import os\n"
        "print(open('/proc/self/comm').read().strip())\n"
        "try: os.open('/proc/self/exe', os.O_WRONLY)\n"
        "except OSError as error: print(error.errno)\n"
        "print('HAVRE_SELF_READ_ONLY' in os.environ)\n"
    )
    env = {**os.environ, "PYTHONPATH": os.path.dirname(os.path.dirname(os.path.dirname(selfexec.__file__)))}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=env, check=True)
    name, error, marked = done.stdout.split()
    assert name == "shown" and int(error) in (26, 30) and marked == "False"  # ETXTBSY or EROFS


def test_init_cannot_be_read_from_inside_while_it_waits_at_its_gate(oci):
    place = oci.create("true")
    pid = json.loads(oci("state", place.name).stdout)["pid"]
    assert Path(f"/proc/{pid}/environ").stat().st_uid == 0
    looker = oci(
        "exec",
        place.name,
        "sh",
        "-c",
        "cat /proc/1/environ; cat /proc/1/exe; cat /proc/1/fd/0; cat /proc/1/maps",
    )
    assert looker.stdout == "" and looker.stderr.lower().count("permission denied") == 4


def test_no_descriptor_above_two_is_inherited_by_run_and_exec(oci):
    reading, writing = os.pipe()
    os.set_inheritable(writing, True)
    script = "ls /proc/self/fd"
    place = oci.bundle("sh", "-c", f"{script}; sleep 100 >/dev/null 2>&1")
    done = oci("run", "-b", oci.bundle("sh", "-c", script), "one", pass_fds=[writing])
    os.close(reading)
    os.close(writing)
    assert done.stdout.split() == ["0", "1", "2", "3"]  # 3 is the directory that ls reads
    oci("run", "-d", "-b", place, "two", capture_output=False, stdout=subprocess.DEVNULL)
    assert oci("exec", "two", "sh", "-c", script).stdout.split() == ["0", "1", "2", "3"]


def test_preserve_fds_hands_on_exactly_the_asked_ones(oci):
    reading, writing = os.pipe()
    place = oci.bundle("sh", "-c", "echo kept >&3; ls /proc/self/fd")
    done = oci(
        "run",
        "--preserve-fds",
        "1",
        "-b",
        place,
        "kept",
        close_fds=False,
        preexec_fn=lambda: os.dup2(writing, 3),
    )
    assert done.stdout.split() == ["0", "1", "2", "3", "4"], done.stderr  # 4 is the directory that ls reads
    assert os.read(reading, 100) == b"kept\n"
    os.close(reading)
    os.close(writing)
    refused = oci("run", "--preserve-fds", "40", "-b", oci.bundle("true"), "x")
    assert refused.returncode == 1 and "preserved file descriptor" in refused.stderr


def test_environment_is_the_configs_alone(oci):
    oci.env["SECRET_OF_THE_CALLER"] = "x"
    done = oci.run("sh", "-c", "tr '\\0' '\\n' < /proc/1/environ; env")
    assert "SECRET" not in done.stdout and "PYTHON" not in done.stdout


def test_capabilities_are_the_configs_and_nothing_is_inheritable(oci):
    done = oci.run("grep", "Cap", "/proc/self/status")
    values = {line.split(":\t")[0]: int(line.split(":\t")[1], 16) for line in done.stdout.splitlines()}
    few = 1 << 29 | 1 << 5 | 1 << 10
    assert values == {"CapInh": 0, "CapPrm": few, "CapEff": few, "CapBnd": few, "CapAmb": 0}


def test_a_user_that_is_not_root_has_no_capability_but_the_bounding_set(oci):
    done = oci.run("grep", "Cap", "/proc/self/status", user={"uid": 1000, "gid": 1000})
    values = {line.split(":\t")[0]: int(line.split(":\t")[1], 16) for line in done.stdout.splitlines()}
    assert (values["CapPrm"], values["CapEff"], values["CapInh"], values["CapAmb"]) == (0, 0, 0, 0)


def test_ambient_capabilities_are_given_when_the_config_asks(oci):
    names = {
        kind: ["CAP_NET_BIND_SERVICE"]
        for kind in ("bounding", "effective", "permitted", "inheritable", "ambient")
    }
    done = oci.run("grep", "CapEff", "/proc/self/status", user={"uid": 1000, "gid": 1000}, capabilities=names)
    assert int(done.stdout.split()[1], 16) == 1 << 10


def test_supplementary_groups_are_the_configs_alone(oci):
    assert oci.run("id", "-G").stdout.split() == ["0"]
    done = oci.run("id", "-G", user={"uid": 1000, "gid": 1001, "additionalGids": [29, 44]})
    assert sorted(done.stdout.split()) == ["1001", "29", "44"]


def test_process_user_is_taken_as_numbers_whatever_passwd_says(oci):
    def prepare(root):
        (root / "etc/passwd").write_text("1000:x:0:0::/:/bin/sh\nroot:x:1000:1000::/:/bin/sh\n")

    assert (
        oci.run("sh", "-c", "id -u; id -g", user={"uid": 1000, "gid": 5}, prepare=prepare).stdout
        == "1000\n5\n"
    )


def test_host_controls_cannot_be_written_inside(oci):
    script = """
        echo x > /proc/sys/kernel/core_pattern
        echo b > /proc/sysrq-trigger
        for f in /sys/fs/cgroup/*/release_agent /sys/fs/cgroup/*/cgroup.procs; do echo 1 > $f; done
        echo 1 > /sys/kernel/profiling
        echo finished
    """
    done = oci.run("sh", "-c", script)
    assert done.stdout == "finished\n"
    assert done.stderr.count("Read-only file system") + done.stderr.count("nonexistent") >= 4


def test_session_keyring_is_its_own(oci):
    own = oci.run("sh", "-c", "grep -c . /proc/keys; exit 0")
    assert own.stdout.strip() == "0"  # masked, and the session is new


def test_terminal_is_of_the_containers_own_devpts(oci):
    pty = os.openpty()
    place = oci.bundle("sh", "-c", "tty; stat -c %t:%T /dev/console; ls /dev/pts", terminal=True)
    child = subprocess.Popen(
        [*oci.program, "run", "-b", str(place), "tty"],
        stdin=pty[1],
        stdout=pty[1],
        stderr=pty[1],
        env=oci.env,
        start_new_session=True,
    )
    os.close(pty[1])
    said = b""
    try:
        while chunk := os.read(pty[0], 1024):
            said += chunk
    except OSError:
        pass  # EIO: the last holder of the terminal has gone
    os.close(pty[0])
    assert child.wait(20) == 0
    assert said.decode().split() == ["/dev/pts/0", "88:0", "0", "ptmx"]


def test_read_only_binds_are_recursively_read_only(oci):
    volume = oci.folder / "volume"
    (volume / "below").mkdir(parents=True)
    script = (
        f"mount --make-rprivate / && mount -t tmpfs tmpfs {volume}/below && touch {volume}/below/there && "
        + " ".join(oci.program)
        + " run -b BUNDLE rro"
    )
    mount = {
        "destination": "/v",
        "type": "bind",
        "source": str(volume),
        "options": ["rbind", "rprivate", "rro"],
    }
    place = oci.bundle(
        "sh", "-c", "ls /v/below; touch /v/x /v/below/x", edit=lambda config: config["mounts"].append(mount)
    )
    words = ["unshare", "-m", "sh", "-c", script.replace("BUNDLE", str(place))]
    done = subprocess.run(words, capture_output=True, text=True, env=oci.env, check=False, timeout=60)
    assert done.stdout == "there\n" and done.stderr.count("Read-only file system") == 2


def test_shared_bind_propagates_both_ways_and_a_private_one_does_not(oci):
    volume = oci.folder / "volume"
    volume.mkdir()
    script = (
        f"mount --make-rprivate / && mount -t tmpfs tmpfs {volume} && mount --make-shared {volume} && mkdir {volume}/in {volume}/no && "
        + " ".join(oci.program)
        + f" run -b BUNDLE prop; grep -c '{volume}/in ' /proc/self/mountinfo; grep -c '{volume}/no ' /proc/self/mountinfo"
    )

    def edit(config):
        bind = {"type": "bind", "source": str(volume)}
        config["mounts"].append({**bind, "destination": "/shared", "options": ["rbind", "rshared"]})
        config["mounts"].append({**bind, "destination": "/private", "options": ["rbind", "rprivate"]})
        config["linux"]["rootfsPropagation"] = "rshared"
        caps = config["process"]["capabilities"]
        config["process"]["capabilities"] = {kind: [*names, "CAP_SYS_ADMIN"] for kind, names in caps.items()}

    command = "mount -t tmpfs x /shared/in; mount -t tmpfs x /private/no"
    place = oci.bundle("sh", "-c", command, edit=edit)
    words = ["unshare", "-m", "sh", "-c", script.replace("BUNDLE", str(place))]
    done = subprocess.run(words, capture_output=True, text=True, env=oci.env, check=False, timeout=60)
    assert done.stdout == "1\n0\n", done.stderr


@pytest.mark.parametrize("source", ["missing", "socket", "/"])
def test_bind_source_that_is_odd_fails_clearly_or_works(oci, source):
    import socket

    path = {"missing": oci.folder / "nope", "socket": oci.folder / "s", "/": "/"}[source]
    if source == "socket":
        with socket.socket(socket.AF_UNIX) as sock:
            sock.bind(str(path))
    mount = {"destination": "/x", "type": "bind", "source": str(path), "options": ["rbind", "ro"]}
    done = oci.run("stat", "-c", "%F", "/x", edit=lambda config: config["mounts"].append(mount))
    if source == "missing":
        assert done.returncode == 1 and f"open_tree {path}: no such file or directory" in done.stderr
    else:
        assert done.stdout.strip() == {"socket": "socket", "/": "directory"}[source]


def run_on_pty(oci, place, name):
    """Run a bundle with a terminal on a pty of ours; return (code, what it said)."""
    pty = os.openpty()
    child = subprocess.Popen(
        [*oci.program, "run", "-b", str(place), name],
        stdin=pty[1],
        stdout=pty[1],
        stderr=pty[1],
        env=oci.env,
        start_new_session=True,
    )
    os.close(pty[1])
    said = b""
    try:
        while chunk := os.read(pty[0], 1024):
            said += chunk
    except OSError:
        pass  # EIO: the last holder of the terminal has gone
    os.close(pty[0])
    return child.wait(20), said.decode()


@pytest.mark.parametrize("kind", ["file", "fifo", "link", "null", "ptmx elsewhere"])
def test_console_is_never_what_the_image_calls_ptmx(oci, outside, kind):
    def edit(config):
        config["mounts"] = [
            mount for mount in config["mounts"] if not mount["destination"].startswith("/dev")
        ]

    place = oci.bundle("true", edit=edit, terminal=True)
    folder = place / "rootfs/dev/pts"
    folder.mkdir()
    ptmx = folder / "ptmx"
    if kind == "file":
        ptmx.write_text("x")
    elif kind == "fifo":
        os.mkfifo(ptmx)
    elif kind == "link":
        ptmx.symlink_to(outside / "secret")
    elif kind == "null":
        os.mknod(ptmx, 0o666 | 0o020000, os.makedev(1, 3))
    else:
        os.mknod(ptmx, 0o666 | 0o020000, os.makedev(5, 2))  # finds the devpts beside it: there is none
    code, said = run_on_pty(oci, place, "console")
    assert code == 1 and "/dev/pts/ptmx" in said


@pytest.mark.parametrize("kind", ["bind", "tmpfs"])
@pytest.mark.parametrize("target", ["/proc/self/attr", "/proc/sys", "/proc/1/../sys/kernel", "/proc"])
def test_nothing_is_laid_over_proc(oci, outside, kind, target):
    options = ["bind"] if kind == "bind" else []
    mount = {"destination": target, "type": kind, "source": str(outside), "options": options}
    done = oci.run("true", edit=lambda config: config["mounts"].append(mount))
    assert done.returncode == 1 and "operation not permitted" in done.stderr and "/proc" in done.stderr


def test_files_that_lxcfs_covers_can_be_covered(oci):
    (oci.folder / "uptime").write_text("covered\n")
    mount = {
        "destination": "/proc/uptime",
        "type": "bind",
        "source": str(oci.folder / "uptime"),
        "options": ["bind"],
    }
    assert (
        oci.run("cat", "/proc/uptime", edit=lambda config: config["mounts"].append(mount)).stdout
        == "covered\n"
    )


def test_nothing_is_imported_once_the_files_are_the_containers():
    """A module that is first needed behind the pivot would be looked for in the container, and run with our rights."""
    code = (
        "from havre.runtime import rootfs, spawn, init, foreign\n"
        "rootfs.forbid_imports()\n"
        "import os, fcntl, resource, signal\n"  # loaded already
        "try:\n import colorsys\nexcept ImportError:\n print('forbidden')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout == "forbidden\n", done.stderr


def test_a_shared_bind_keeps_the_configs_order_and_the_hosts_own_mounts(oci):
    volume = oci.folder / "volume"
    (volume / "deep").mkdir(parents=True)
    (oci.folder / "plain").mkdir()

    def edit(config):
        binds = [
            ("/mnt/one", "plain", "private"),
            ("/mnt/two", "volume", "rshared"),
            ("/mnt/three", "volume", "rslave"),
        ]
        for target, name, kind in binds:
            source = str(oci.folder / name)
            options = ["rbind", kind]
            config["mounts"].append(
                {"destination": target, "type": "bind", "source": source, "options": options}
            )
        config["mounts"].append(
            {"destination": "/mnt/four", "type": "tmpfs", "source": "tmpfs", "options": []}
        )
        config["linux"]["rootfsPropagation"] = "rshared"

    place = oci.bundle("sh", "-c", "cut -d' ' -f5 /proc/self/mountinfo | grep /mnt/", edit=edit)
    script = (
        f"mount --make-rprivate / && mount -t tmpfs tmpfs {volume} && mount --make-shared {volume} && mkdir {volume}/deep && "
        f"mount -t tmpfs tmpfs {volume}/deep && " + " ".join(oci.program) + f" run -b {place} order; "
        f"grep -c '{volume}/deep ' /proc/self/mountinfo"
    )
    words = ["unshare", "-m", "sh", "-c", script]
    done = subprocess.run(words, capture_output=True, text=True, env=oci.env, check=False, timeout=60)
    found = done.stdout.split()
    assert found.pop() == "1", "the host's own mount below the shared one is gone"
    assert [name for name in found if "deep" not in name] == [
        "/mnt/one",
        "/mnt/two",
        "/mnt/three",
        "/mnt/four",
    ], done.stderr
