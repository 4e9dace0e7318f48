"""User namespaces through a daemon: --userns-remap by the stock CLI, --userns by ours; who is who on the host, and what is left behind."""

import contextlib
import io
import json
import os
import shutil
import signal
import struct
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from havre.errors import KernelError
from havre.runtime import idmapped

from .conftest import DOCKER, Daemon, rootfs, why_not

pytestmark = [pytest.mark.kernel, pytest.mark.daemon, pytest.mark.compat]
START, SIZE = 700000, 65536


def why_not_idmapped(folder: Path) -> str:
    """Why files in a folder cannot be shown through id maps, "" when they can."""
    if reason := why_not():
        return reason
    if DOCKER is None:
        return "needs the stock docker CLI"
    line = f"0 {START} {SIZE}\n"
    try:
        userns = idmapped.new_namespace(line, line)
        tree = idmapped.sys.open_tree(str(folder), idmapped.sys.OPEN_TREE_CLONE)
        idmapped.idmap(tree, str(folder), userns, recursive=False)
    except KernelError as error:
        return f"no idmapped mounts here: {error}"
    return ""


class OwnEtc(Daemon):
    """A daemon that sees account files of its own on /etc."""

    def __init__(self, root: Path, *flags: str) -> None:
        self.etc = root / "etc"
        shutil.copytree("/etc", self.etc, symlinks=True, ignore_dangling_symlinks=True)
        for name in ("subuid", "subgid"):
            (self.etc / name).write_text("")
        super().__init__(root, *flags)

    def inside(self) -> list[str]:
        script = f'mount --bind {self.etc} /etc && exec "$@"'
        return [*super().inside(), "unshare", "-m", "sh", "-c", script, "sh"]


def opened(root: Path, *flags: str, lines: str = "") -> Iterator[OwnEtc]:
    if reason := why_not_idmapped(root):
        pytest.skip(reason)
    one = OwnEtc(root, *flags)
    for name in ("subuid", "subgid"):
        (one.etc / name).write_text(lines)
    try:
        one.start()
        done = one.docker("import", "-c", 'CMD ["sh"]', "-", "busybox", stdin=rootfs())
        assert done.returncode == 0, done.stderr
        yield one
    finally:
        one.close()


@pytest.fixture(scope="module")
def remapped(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OwnEtc]:
    """--userns-remap=default, for which the daemon has to make the user."""
    yield from opened(
        tmp_path_factory.mktemp("remap"), "--userns-remap", "default", lines=f"ann:{START - 1}:1\n"
    )


@pytest.fixture
def open_folder(tmp_path: Path) -> Path:
    """A folder that everybody reaches and writes to."""
    for parent in (tmp_path, tmp_path.parent, tmp_path.parent.parent):
        parent.chmod(0o755)
    folder = tmp_path / "shared"
    folder.mkdir()
    folder.chmod(0o777)
    return folder


def out(done: "subprocess.CompletedProcess[str]") -> str:
    assert done.returncode == 0, done.stderr
    return done.stdout


@contextlib.contextmanager
def running(daemon: Daemon, *flags: str) -> Iterator[tuple[str, int]]:
    """A sleeping container: its id and pid."""
    ref = out(daemon.havre("run", "-d", *flags, "busybox", "sleep", "1000")).strip()
    try:
        yield ref, int(out(daemon.docker("inspect", "-f", "{{.State.Pid}}", ref)))
    finally:
        daemon.docker("rm", "-f", ref)


def host_ids(pid: int) -> tuple[list[str], list[str]]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    uids, gids = (
        next(line for line in lines if line.startswith(name)).split()[1:] for name in ("Uid:", "Gid:")
    )
    return uids, gids


def span(daemon: Daemon, ref: str) -> tuple[int, int]:
    """The first line of a container's uid_map, outside."""
    words = out(daemon.havre("exec", ref, "cat", "/proc/self/uid_map")).split()
    return int(words[1]), int(words[2])


# the daemon-wide range


def test_info_and_inspect_show_it_and_the_user_was_made(remapped):
    assert "name=userns" in out(remapped.docker("info", "-f", "{{.SecurityOptions}}"))
    assert (remapped.etc / "subuid").read_text() == f"ann:{START - 1}:1\ndockremap:{START}:65536\n"
    with running(remapped) as (ref, pid):
        assert out(remapped.docker("inspect", "-f", "<{{.HostConfig.UsernsMode}}>", ref)) == "<>\n"
        assert host_ids(pid) == ([str(START)] * 4, [str(START)] * 4)
        assert out(remapped.docker("exec", ref, "id", "-u")) == "0\n"
        script = "grep -E '^(Cap|Seccomp:|NoNew)' /proc/self/status"
        plain = remapped.docker("run", "--rm", "--userns", "host", "busybox", "sh", "-c", script)
        assert out(remapped.docker("run", "--rm", "busybox", "sh", "-c", script)) == out(plain)


def test_bind_is_as_in_docker_unless_idmap_is_asked_for(remapped, open_folder):
    bind = f"{open_folder}:/mnt"
    out(remapped.docker("run", "--rm", "-v", bind, "busybox", "touch", "/mnt/raw"))
    out(remapped.docker("run", "--rm", "-v", f"{bind}:idmap", "busybox", "touch", "/mnt/mapped"))
    assert (open_folder / "raw").stat().st_uid == START and (open_folder / "mapped").stat().st_uid == 0
    (open_folder / "secret").write_text("root's\n")
    (open_folder / "secret").chmod(0o600)
    refused = remapped.docker("run", "--rm", "-v", bind, "busybox", "cat", "/mnt/secret")
    assert refused.returncode == 1 and "Permission denied" in refused.stderr


def test_missing_source_is_made_for_root_inside(remapped, open_folder):
    out(remapped.docker("run", "--rm", "-v", f"{open_folder}/new/deep:/mnt", "busybox", "touch", "/mnt/f"))
    for name in ("new", "new/deep", "new/deep/f"):
        status = (open_folder / name).stat()
        assert (status.st_uid, status.st_gid) == (START, START)


def test_host_namespace_on_request_by_stock_clients(remapped):
    import docker

    words = [
        "run",
        "--rm",
        "--userns",
        "host",
        "--privileged",
        "--pid",
        "host",
        "--network",
        "host",
        "busybox",
    ]
    assert out(remapped.docker(*words, "cat", "/proc/self/uid_map")).split() == ["0", "0", "4294967295"]
    client = docker.DockerClient(base_url=remapped.url)
    try:
        told = client.containers.run("busybox", "cat /proc/self/uid_map", userns_mode="host", remove=True)
        assert told.split() == [b"0", b"0", b"4294967295"]
        assert (
            client.containers.run("busybox", "cat /proc/self/uid_map", remove=True).split()[1]
            == str(START).encode()
        )
    finally:
        client.close()


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--privileged"], "privileged mode is incompatible with user namespaces"),
        (["--pid", "host"], "cannot share the host PID namespace when user namespaces are enabled"),
        (["--ipc", "host"], "cannot share the host's IPC namespace when user namespaces are enabled"),
        (["--network", "host"], "cannot share the host's network namespace when user namespaces are enabled"),
    ],
)
def test_what_docker_refuses_is_refused(remapped, flags, said):
    done = remapped.docker("run", "--rm", *flags, "busybox", "true")
    assert done.returncode == 125 and said in done.stderr
    assert out(remapped.docker("ps", "-aq")) == ""


def test_network_of_a_container_is_shared_with_its_user_namespace(remapped):
    with running(remapped) as (ref, pid):
        script = "readlink /proc/self/ns/user; readlink /proc/self/ns/net; ip addr show eth0 | grep -c inet"
        told = out(
            remapped.docker("run", "--rm", "--network", f"container:{ref}", "busybox", "sh", "-c", script)
        ).split()
        assert told == [os.readlink(f"/proc/{pid}/ns/user"), os.readlink(f"/proc/{pid}/ns/net"), "1"]


def test_users_setuid_and_chown_work_inside(remapped):
    with running(remapped) as (ref, _):

        def run(user, script):
            return remapped.docker("exec", "-u", user, ref, "sh", "-c", script)

        assert out(run("0", "touch /tmp/f; chown 33:44 /tmp/f; stat -c %u:%g /tmp/f")) == "33:44\n"
        assert out(run("0", "su -s /bin/sh www -c 'id -u; id -G; touch /tmp/own; stat -c %u /tmp/own'")).split() == [
            "33", "33", "44", "33",
        ]  # fmt: skip
        assert out(run("www", "id -u; id -g; id -G; echo ok > /dev/stdout")).split() == [
            "33",
            "33",
            "33",
            "44",
            "ok",
        ]
        out(run("0", "sed -i 's/root:x:/root::/' /etc/passwd && chmod u+s /bin/busybox"))
        assert out(run("www", "su -c 'id -u'")) == "0\n"
        denied = run("www", "echo x > /etc/passwd")
        assert denied.returncode != 0 and "Permission denied" in denied.stderr


def test_user_without_an_id_inside_is_refused_by_name(remapped):
    with running(remapped) as (ref, _):
        done = remapped.docker("exec", "-u", "70000", ref, "true")
        unknown = remapped.docker("exec", "-u", "stranger", ref, "true")
    assert unknown.returncode == 126 and "unable to find user stranger" in unknown.stderr + unknown.stdout
    assert done.returncode == 126 and "70000:0: the user or group has no id" in done.stderr + done.stdout


def test_etc_files_and_terminal_belong_to_root_inside(remapped):
    script = "stat -c %u:%g /etc/hosts /etc/hostname /etc/resolv.conf /dev/pts/0; echo more >> /etc/hosts; tail -n1 /etc/hosts"
    told = out(remapped.docker("run", "--rm", "-t", "busybox", "sh", "-c", script)).split()
    assert told == ["0:0", "0:0", "0:0", "0:5", "more"]


def test_devices_masks_and_shared_memory(remapped):
    script = (
        "stat -c '%u:%g %t:%T' /dev/null /dev/mynull; echo x > /dev/mynull; cat /proc/kcore | wc -c; ls /sys/firmware | wc -l;"
        "df -h /dev/shm | tail -1 | cut -d' ' -f1; mknod /tmp/n c 1 3 2>/dev/null || echo no; stat -c %u /dev/mqueue"
    )
    told = out(
        remapped.docker("run", "--rm", "--device", "/dev/null:/dev/mynull", "busybox", "sh", "-c", script)
    ).split()
    assert told == ["0:0", "1:3", "0:0", "1:3", "0", "0", "shm", "no", "0"]


def test_sysctls_belong_to_the_containers_network(remapped):
    script = "cat /proc/sys/net/ipv4/ping_group_range /proc/sys/net/ipv4/ip_unprivileged_port_start /proc/sys/net/ipv4/ip_forward"
    words = [
        "run",
        "--rm",
        "--sysctl",
        "net.ipv4.ip_forward=0",
        "-u",
        "www",
        "--cap-drop",
        "ALL",
        "busybox",
        "sh",
        "-c",
        script,
    ]
    assert out(remapped.docker(*words)).split() == ["0", "65535", "0", "0"]


def test_data_root_is_unreachable_for_the_mapped_root(remapped):
    with running(remapped) as (ref, pid):
        inside = [
            remapped.root / "data",
            remapped.root / "data/containers" / ref,
            remapped.root / "data/image/layers",
        ]
        snapshot = Path(out(remapped.docker("inspect", "-f", "{{.GraphDriver.Data.UpperDir}}", ref)).strip())
        for parent in (remapped.root, remapped.root.parent, remapped.root.parent.parent):
            parent.chmod(0o755)
        for path in (*inside, snapshot, remapped.root / "run", remapped.root / "run/containers" / ref):
            assert path.is_dir()
            for word in (f"{path}", f"{path}/."):
                code = f"import os; os.setgroups([]); os.setgid({START}); os.setuid({START}); os.listdir({word!r})"
                done = subprocess.run(["python3", "-c", code], capture_output=True, text=True, check=False)
                assert "PermissionError" in done.stderr, (word, done.stderr)
        assert Path(f"/proc/{pid}/root/proc").stat().st_uid != START  # the root itself shows nothing of it
        assert str(remapped.root / "data") not in out(
            remapped.docker("exec", ref, "sh", "-c", "cut -d' ' -f1,2 /proc/mounts")
        )


def test_daemon_refuses_a_remap_user_without_ranges(tmp_path):
    if reason := why_not_idmapped(tmp_path):
        pytest.skip(reason)
    one = OwnEtc(tmp_path, "--userns-remap", "daemon")
    try:
        words = [
            "-m",
            "havre.daemon",
            "--data-root",
            str(tmp_path / "data"),
            "--exec-root",
            str(tmp_path / "run"),
            "-H",
            one.url,
        ]
        done = one._run([sys.executable, *words, "--userns-remap", "daemon"], None, 20)
        assert done.returncode == 1 and 'no subuid ranges found for user "daemon"' in done.stderr
        assert "echo daemon:100000:65536 | tee -a /etc/subuid /etc/subgid" in done.stderr
    finally:
        one.close()


# ranges of their own


@pytest.fixture
def small(tmp_path: Path) -> Iterator[OwnEtc]:
    """Two ranges of 65536 ids for --userns auto, and no more."""
    yield from opened(tmp_path, lines=f"havre:{START}:{2 * SIZE}\n")


def test_auto_ranges_run_out_with_their_holders_named_and_are_given_back(small):
    with (
        running(small, "--userns", "auto", "--name", "web") as (web, pid),
        running(small, "--userns", "private", "--name", "db") as (db, _),
    ):
        spans = sorted([span(small, web), span(small, db)])
        assert spans == [(START, SIZE), (START + SIZE, SIZE)]
        assert host_ids(pid)[0] == [str(span(small, web)[0])] * 4
        assert out(small.docker("inspect", "-f", "{{.HostConfig.UsernsMode}}", web)) == "auto\n"
        host = json.loads(out(small.docker("inspect", web)))[0]["HostConfig"]
        assert (
            host["IDMappings"]["UidMap"]
            == host["IDMappings"]["GidMap"]
            == [f"0:{span(small, web)[0]}:{SIZE}"]
        )
        done = small.havre("create", "--userns", "auto", "busybox")
        first, last = span(small, web)[0], span(small, web)[0] + SIZE - 1
        assert done.returncode != 0 and f"web has {first}-{last}" in done.stderr and "db has " in done.stderr
        before = os.listdir(small.root / "data/containers")
        assert sorted(before) == sorted([web, db])
        small.docker("rm", "-f", web)
        again = out(
            small.havre("run", "--rm", "--userns", "auto", "busybox", "cat", "/proc/self/uid_map")
        ).split()
        assert again[1] == str(first)


def test_auto_ranges_survive_kill_9_of_the_daemon(small):
    with running(small, "--userns", "auto") as (ref, pid):
        mine = span(small, ref)
        small.end(signal.SIGKILL)
        small.start()
        assert span(small, ref) == mine and host_ids(pid)[0] == [str(mine[0])] * 4
        other = out(
            small.havre("run", "--rm", "--userns", "auto", "busybox", "cat", "/proc/self/uid_map")
        ).split()
        assert int(other[1]) != mine[0]
        small.docker("restart", "-t", "0", ref)
        assert span(small, ref) == mine


def test_creates_at_once_never_share_a_range(small):
    def create(number: int) -> "subprocess.CompletedProcess[str]":
        return small.havre(
            "create",
            "--userns",
            "auto:size=8192",
            "--name",
            f"c{number:02}",
            "busybox",
            "cat",
            "/proc/self/uid_map",
        )

    with ThreadPoolExecutor(6) as pool:
        made = list(pool.map(create, range(18)))
    assert sorted(done.returncode for done in made) == [0] * 16 + [1] * 2  # there is room for sixteen
    starts = []
    for done in made:
        if done.returncode == 0:
            starts.append(int(out(small.havre("start", "-a", done.stdout.strip())).split()[1]))
    assert sorted(starts) == list(range(START, START + 2 * SIZE, 8192))


def test_failing_starts_and_creates_hold_no_range(small):
    for _ in range(3):
        assert small.havre("run", "--rm", "--userns", "auto", "busybox", "/nope").returncode == 127
        assert (
            small.havre("run", "--rm", "--userns", "auto", "-u", "70000", "busybox", "true").returncode == 125
        )
        assert small.havre("create", "--userns", "auto", "-v", "/nope:/x:bogus", "busybox").returncode != 0
        assert (
            small.havre(
                "create", "--userns", "auto", "--mount", "type=bind,src=/no/such,dst=/x", "busybox"
            ).returncode
            != 0
        )
    with running(small, "--userns", "auto"), running(small, "--userns", "auto"):
        pass
    left = [
        os.listdir(small.root / folder)
        for folder in ("data/containers", "run/containers", "data/image/snapshots")
    ]
    assert left == [[], [], []]


def test_auto_shows_roots_files_as_roots_and_noidmap_as_nobodys(small, open_folder):
    (open_folder / "old").write_text("x")
    script = "stat -c %u:%g /mnt/old; touch /mnt/$$ && stat -c %u /mnt/$$; rm -f /mnt/$$"
    told = {
        word: out(
            small.havre(
                "run",
                "--rm",
                "--userns",
                "auto",
                "-v",
                f"{open_folder}:/mnt{word}",
                "busybox",
                "sh",
                "-c",
                script,
            )
        ).split()
        for word in ("", ":noidmap")
    }
    assert told == {"": ["0:0", "0"], ":noidmap": ["65534:65534", "0"]}
    flags = ["--mount", f"type=bind,src={open_folder},dst=/mnt,noidmap"]
    assert (
        out(small.havre("run", "--rm", "--userns", "auto", *flags, "busybox", "stat", "-c", "%u", "/mnt/old"))
        == "65534\n"
    )


def test_keep_id_writes_as_the_user_who_asked(small, open_folder):
    os.chown(open_folder, 1234, 1235)
    open_folder.chmod(0o700)
    words = ["--userns", "keep-id:host-uid=1234,host-gid=1235", "-v", f"{open_folder}:/mnt", "busybox"]
    assert out(small.havre("run", "--rm", *words, "sh", "-c", "id -u; id -g; touch /mnt/f")).split() == [
        "1234",
        "1235",
    ]
    status = (open_folder / "f").stat()
    assert (status.st_uid, status.st_gid) == (1234, 1235)
    words[1] += ",uid=33,gid=33"
    assert out(
        small.havre("run", "--rm", *words, "sh", "-c", "id -un; stat -c %u /mnt/f; touch /mnt/g")
    ).split() == ["www", "33"]
    assert (open_folder / "g").stat().st_uid == 1234


def test_cli_says_who_keeps_the_ids(small):
    done = small.havre("run", "--rm", "--userns", "keep-id", "busybox", "true")
    assert (
        done.returncode == 125 and "keeps the ids of a user who is not root" in done.stderr
    )  # the tests run as root


def test_namespaces_are_shared_with_the_user_namespace_only(small):
    with running(small, "--userns", "auto", "--name", "first") as (_, pid):
        words = ["run", "--rm", "--network", "container:first", "--pid", "container:first"]
        done = small.havre(*words, "--userns", "auto", "busybox", "true")
        assert (
            done.returncode == 125
            and "it has another user namespace" in done.stderr
            and "--userns container:first" in done.stderr
        )
        script = "readlink /proc/self/ns/user; ps | grep -c '[s]leep 1000'; touch /f; stat -c %u /f"
        told = out(small.havre(*words, "--userns", "container:first", "busybox", "sh", "-c", script)).split()
        assert told == [os.readlink(f"/proc/{pid}/ns/user"), "1", "0"]


def test_export_has_the_numbers_inside(small):
    with running(small, "--userns", "auto", "-u", "0") as (ref, _):
        out(
            small.havre(
                "exec",
                ref,
                "sh",
                "-c",
                "echo x > /tmp/f; chown 33:44 /tmp/f; mkdir /tmp/d; mv /etc/group /etc/moved",
            )
        )
        target = small.root / "out.tar"
        out(small.docker("export", "-o", str(target), ref))
    with tarfile.open(target) as tar:
        owners = {one.name: (one.uid, one.gid) for one in tar}
    wanted = {
        "tmp/f": (33, 44),
        "tmp/d": (0, 0),
        "etc/moved": (0, 0),
        "bin/busybox": (0, 0),
        "etc/passwd": (0, 0),
    }
    assert {name: owners.get(name) for name in wanted} == wanted and "etc/group" not in owners
    assert {owner for owner in owners.values() if owner != (33, 44)} == {(0, 0)}


def test_commit_has_the_numbers_inside_and_diff_says_what_changed_only(small):
    with running(small, "--userns", "auto", "-w", "/var") as (ref, _):
        assert out(small.docker("diff", ref)) == ""
        script = "echo x > /tmp/f; chown 33:44 /tmp/f; rm /etc/group; touch -d @0 /tmp; chmod 755 /tmp; chmod 1777 /tmp"
        out(small.havre("exec", ref, "sh", "-c", script))
        assert set(out(small.docker("diff", ref)).splitlines()) == {
            "C /etc",
            "D /etc/group",
            "C /tmp",
            "A /tmp/f",
        }
        out(small.docker("commit", ref, "made"))
    look = "stat -c '%u:%g %n' /tmp/f /tmp /bin/busybox; ls /etc/group"
    for mode in ("host", "auto"):
        done = small.havre("run", "--rm", "--userns", mode, "made", "sh", "-c", look)
        assert (
            done.stdout.splitlines() == ["33:44 /tmp/f", "0:0 /tmp", "0:0 /bin/busybox"]
            and "No such file" in done.stderr
        )


def test_volume_is_shared_by_containers_with_other_ranges(small):
    words = ["run", "--rm", "--userns", "auto", "-v", "data:/data"]
    with running(small, "--userns", "auto", "-v", "data:/data") as (ref, _):
        out(small.havre("exec", ref, "sh", "-c", "echo mine > /data/f; chmod 600 /data/f; chown 33 /data/f"))
        assert (
            out(
                small.havre(
                    *words, "busybox", "sh", "-c", "cat /data/f; stat -c %u /data/f; echo more >> /data/f"
                )
            )
            == "mine\n33\n"
        )
        assert out(small.havre("exec", ref, "cat", "/data/f")) == "mine\nmore\n"
    folder = Path(out(small.docker("volume", "inspect", "-f", "{{.Mountpoint}}", "data")).strip())
    assert (folder / "f").stat().st_uid == 33


def test_file_capability_of_an_image_counts_inside(small):
    """A v2 capability (vfs_cap_data without a root id) belongs to the root of the namespace that the layer is mapped to."""
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w", format=tarfile.PAX_FORMAT) as tar:
        info, program = tarfile.TarInfo("bin/reader"), Path("/bin/busybox").read_bytes()
        info.size, info.mode = len(program), 0o755
        read_search = struct.pack("<5I", 0x02000001, 1 << 2, 0, 0, 0)  # CAP_DAC_READ_SEARCH, effective
        info.pax_headers = {
            "SCHILY.xattr.security.capability": read_search.decode("utf-8", "surrogateescape")
        }
        tar.addfile(info, io.BytesIO(program))
        for name, link in (("bin/sh", "/bin/reader"), ("bin/cat", "/bin/reader")):
            info = tarfile.TarInfo(name)
            info.type, info.linkname = tarfile.SYMTYPE, link
            tar.addfile(info)
        secret = tarfile.TarInfo("secret")
        secret.size, secret.mode = 4, 0o600
        tar.addfile(secret, io.BytesIO(b"read"))
        tar.addfile(tarfile.TarInfo("plain"), io.BytesIO())
    out(small.docker("import", "-", "capable", stdin=data.getvalue()))
    words = ["run", "--rm", "--userns", "auto", "-u", "33", "--cap-add", "DAC_READ_SEARCH"]
    assert out(small.havre(*words, "capable", "/bin/cat", "/secret")) == "read"
    assert small.havre(*words[:-2], "capable", "/bin/cat", "/secret").returncode != 0


def test_images_container_and_ps_work_on_what_was_written_inside(small):
    with running(small, "--userns", "auto") as (ref, _):
        out(small.havre("exec", ref, "sh", "-c", "echo x > /tmp/f; chown 33 /tmp/f"))
        assert "A /tmp/f" in out(small.docker("diff", ref))
        assert json.loads(out(small.docker("inspect", "-s", ref)))[0]["SizeRw"] >= 2
        assert "sleep 1000" in out(small.docker("top", ref))
