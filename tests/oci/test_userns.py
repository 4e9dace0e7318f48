"""User namespaces of a bundle: new ones, joined ones, and mounts shown through id maps; beside runc on the same bundle."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

pytestmark = pytest.mark.kernel
BASE = 200000
MAPS = [{"containerID": 0, "hostID": BASE, "size": 65536}]


def in_userns(config):
    config["ociVersion"] = "1.0.2"
    config["linux"]["namespaces"].append({"type": "user"})
    config["linux"]["uidMappings"] = config["linux"]["gidMappings"] = MAPS


def open_up(oci):
    """The root of a user namespace must reach the rootfs, as for every OCI runtime."""
    for parent in (oci.folder, oci.folder.parent, oci.folder.parent.parent):
        parent.chmod(0o755)


def give(root):
    """A bundle's root belongs to the mapped root, says the specification."""
    for folder, _, names in os.walk(root):
        for path in (folder, *(os.path.join(folder, name) for name in names)):
            status = os.lstat(path)
            if status.st_nlink == 1 or os.path.isdir(path):
                os.lchown(path, BASE + status.st_uid, BASE + status.st_gid)


@pytest.fixture
def bundle(oci):
    open_up(oci)

    def make(*args, edit=lambda config: None, **process):
        place = oci.bundle(*args, edit=lambda config: (in_userns(config), edit(config)), **process)
        (place / "rootfs/tmp").chmod(0o777)
        give(place / "rootfs")
        return place

    return make


SCRIPTS = {
    "ids": "id; cat /proc/self/uid_map /proc/self/gid_map",
    "status": "grep -E '^(Uid|Gid|Groups|Cap|NoNew|Seccomp:|Umask)' /proc/self/status",
    "mounts": "cut -d' ' -f2 /proc/mounts | grep -v /sys/fs/cgroup/ | grep -vE '^/dev/(null|zero|full|tty|random|urandom)$' | sort",
    "dev": "ls /dev | grep -v core; for n in null zero full; do head -c 1 /dev/$n | wc -c; done; echo x > /dev/null && echo written",
    "files": "touch /tmp/f /root/g; stat -c '%u:%g %n' /tmp/f /root/g /etc/passwd",
    "hidden": "cat /proc/kcore; cat /proc/timer_list; ls /sys/firmware; echo x > /proc/sys/kernel/core_pattern; echo $?",
    "controls": "cat /proc/self/cgroup | cut -d: -f3 | sort -u; cat /proc/self/oom_score_adj; ulimit -n",
}


@pytest.mark.parametrize("what", sorted(SCRIPTS))
def test_run_in_a_user_namespace_shows_what_runc_shows(oci, bundle, what):
    program = shutil.which("runc")
    if not program:
        pytest.skip("needs runc (Debian package runc)")
    limits = [{"type": "RLIMIT_NOFILE", "soft": 77, "hard": 99}]
    place = bundle("sh", "-c", SCRIPTS[what], oomScoreAdj=300, rlimits=limits)
    words = [program, "--root", str(oci.folder / "runc"), "run", "-b", str(place), "a"]
    theirs = subprocess.run(
        words, capture_output=True, text=True, check=False, timeout=60, stdin=subprocess.DEVNULL
    )
    ours = oci("run", "-b", place, "b")
    assert (ours.returncode, ours.stdout) == (theirs.returncode, theirs.stdout), (ours.stderr, theirs.stderr)


def test_root_inside_is_an_unprivileged_user_outside(oci, bundle):
    place = bundle("sleep", "100")
    assert oci("run", "-d", "-b", place, "u", capture_output=False).returncode == 0
    pid = json.loads(oci("state", "u").stdout)["pid"]
    status = Path(f"/proc/{pid}/status").read_text()
    assert f"Uid:\t{BASE}\t{BASE}\t{BASE}\t{BASE}\n" in status and f"Gid:\t{BASE}\t" in status
    uid, namespace = oci("exec", "u", "sh", "-c", "id -u; readlink /proc/self/ns/user").stdout.split()
    assert uid == "0" and namespace == os.readlink(f"/proc/{pid}/ns/user") != os.readlink(
        "/proc/self/ns/user"
    )
    assert oci("exec", "--user", "1000:1001", "u", "touch", "/tmp/made").returncode == 0
    made = (place / "rootfs/tmp/made").stat()
    assert (made.st_uid, made.st_gid) == (BASE + 1000, BASE + 1001)


def test_device_nodes_are_the_containers_own(oci, bundle):
    def edit(config):
        node = {
            "path": "/dev/deep/zero",
            "type": "c",
            "major": 1,
            "minor": 5,
            "fileMode": 0o644,
            "uid": 3,
            "gid": 4,
        }
        config["linux"]["devices"] = [node]

    script = "stat -c '%u:%g %a' /dev/null /dev/deep/zero; head -c 3 /dev/deep/zero | wc -c"
    done = oci("run", "-b", bundle("sh", "-c", script, edit=edit), "d")
    assert done.stdout.splitlines() == ["0:0 666", "3:4 644", "3"], done.stderr
    before = os.stat("/dev/null").st_mode
    oci("run", "-b", bundle("chmod", "000", "/dev/null"), "e")
    assert os.stat("/dev/null").st_mode == before


def bind(source, *options, **more):
    return {
        "destination": "/mnt",
        "type": "bind",
        "source": str(source),
        "options": ["rbind", *options],
        **more,
    }


def folder_of_root(oci):
    folder = oci.folder / "shared"
    folder.mkdir(mode=0o755)
    (folder / "old").write_text("old\n")
    (folder / "old").chmod(0o600)
    return folder


@pytest.mark.parametrize("word", ["idmap", "ridmap"])
def test_idmapped_bind_shows_roots_files_as_roots(oci, bundle, word):
    folder = folder_of_root(oci)
    script = "stat -c %u:%g /mnt/old; cat /mnt/old; touch /mnt/new; stat -c %u /mnt/new"
    place = bundle("sh", "-c", script, edit=lambda config: config["mounts"].append(bind(folder, word)))
    assert oci("run", "-b", place, "m").stdout.split() == ["0:0", "old", "0"]
    assert (folder / "new").stat().st_uid == 0


def test_plain_bind_shows_roots_files_as_nobodys(oci, bundle):
    folder = folder_of_root(oci)
    (folder / "drop").mkdir()
    (folder / "drop").chmod(0o777)
    script = "stat -c %u:%g /mnt/old; cat /mnt/old || echo refused; touch /mnt/drop/new"
    place = bundle("sh", "-c", script, edit=lambda config: config["mounts"].append(bind(folder)))
    assert oci("run", "-b", place, "m").stdout.split() == ["65534:65534", "refused"]
    assert (folder / "drop/new").stat().st_uid == BASE


def test_mount_with_maps_of_its_own_needs_no_user_namespace(oci):
    folder = folder_of_root(oci)
    maps = [{"containerID": 0, "hostID": 1000, "size": 10}]
    mount = bind(folder, "idmap", uidMappings=maps, gidMappings=maps)
    script = "stat -c %u:%g /mnt/old; touch /mnt/new; echo $?"
    done = oci.run(
        "sh",
        "-c",
        script,
        edit=lambda config: config["mounts"].append(mount),
        user={"uid": 1000, "gid": 1000},
    )
    assert done.stdout.split() == ["1000:1000", "0"], done.stderr
    assert (folder / "new").stat().st_uid == 0


def test_idmapped_tree_names_the_file_system_that_cannot(oci, bundle):
    folder = folder_of_root(oci)
    (folder / "proc").mkdir()
    place = bundle("true", edit=lambda config: config["mounts"].append(bind(folder, "ridmap")))
    script = f"mount -t proc proc {folder}/proc && exec {' '.join(oci.program)} run -b {place} r"
    done = subprocess.run(
        ["unshare", "-m", "sh", "-c", script], capture_output=True, text=True, env=oci.env, check=False
    )
    assert done.returncode == 1 and f"{folder}/proc (proc): this file system cannot be shown" in done.stderr


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            lambda c: c["mounts"].append(bind("/tmp", "idmap")),
            "needs uidMappings and gidMappings, or a user namespace",
        ),
        (lambda c: c["mounts"].append(bind("/tmp", uidMappings=MAPS)), "needs linux.gidMappings"),
        (lambda c: c["linux"].update(uidMappings=MAPS), "id mappings without a user namespace"),
        (lambda c: c["mounts"][1]["options"].append("idmap"), "only bind mounts can be idmapped"),
        (lambda c: c["linux"]["namespaces"].append({"type": "user"}), "needs linux.uidMappings"),
    ],
)
def test_run_refuses_maps_that_lack_a_part(oci, change, said):
    done = oci.run("true", edit=change)
    assert done.returncode == 1 and said in done.stderr


def test_user_namespace_is_joined_by_path_and_its_network_with_it(oci, bundle):
    place = bundle("sleep", "100")
    assert oci("run", "-d", "-b", place, "first", capture_output=False).returncode == 0
    pid = json.loads(oci("state", "first").stdout)["pid"]

    def edit(config):
        joined = {"user": "user", "network": "net", "ipc": "ipc", "uts": "uts", "pid": "pid"}
        config.pop("hostname")
        config["linux"]["uidMappings"] = config["linux"]["gidMappings"] = []
        config["linux"]["namespaces"] = [{"type": kind} for kind in ("mount", "cgroup")] + [
            {"type": kind, "path": f"/proc/{pid}/ns/{name}"} for kind, name in joined.items()
        ]

    script = "for n in user net ipc uts; do readlink /proc/self/ns/$n; done; id -u; ps | grep -c '[s]leep 100'; touch /tmp/f"
    second = bundle("sh", "-c", script, edit=edit)
    *links, uid, seen = oci("run", "-b", second, "second").stdout.split()
    assert links == [os.readlink(f"/proc/{pid}/ns/{name}") for name in ("user", "net", "ipc", "uts")]
    assert (uid, seen) == ("0", "1") and (second / "rootfs/tmp/f").stat().st_uid == BASE


def test_joined_user_namespace_with_other_maps_is_refused(oci, bundle):
    assert oci("run", "-d", "-b", bundle("sleep", "100"), "first", capture_output=False).returncode == 0
    pid = json.loads(oci("state", "first").stdout)["pid"]

    def edit(config):
        config["linux"]["namespaces"][-1]["path"] = f"/proc/{pid}/ns/user"
        config["linux"]["uidMappings"] = [{"containerID": 0, "hostID": 5, "size": 1}]

    done = oci("run", "-b", bundle("true", edit=edit), "second")
    assert done.returncode == 1 and "has other id maps than" in done.stderr


def test_network_of_the_host_kind_is_joined_from_a_new_user_namespace(oci, bundle):
    plain = oci.create("sleep", "100")
    pid = json.loads(oci("state", plain.name).stdout)["pid"]

    def edit(config):
        others = [one for one in config["linux"]["namespaces"] if one["type"] != "network"]
        config["linux"]["namespaces"] = [*others, {"type": "network", "path": f"/proc/{pid}/ns/net"}]
        config["mounts"] = [one for one in config["mounts"] if not one["destination"].startswith("/sys")]

    done = oci("run", "-b", bundle("readlink", "/proc/self/ns/net", edit=edit), "n")
    assert done.stdout.strip() == os.readlink(f"/proc/{pid}/ns/net"), done.stderr


def test_clocks_are_shifted_in_a_user_namespace_too(oci, bundle):
    def edit(config):
        config["linux"]["namespaces"].append({"type": "time"})
        config["linux"]["timeOffsets"] = {"boottime": {"secs": 5_000_000}}

    done = oci("run", "-b", bundle("cat", "/proc/uptime", edit=edit), "t")
    assert float(done.stdout.split()[0]) > 5_000_000, done.stderr


def test_user_outside_the_map_is_refused_by_name(oci, bundle):
    done = oci("run", "-b", bundle("true", user={"uid": 70000, "gid": 0}), "x")
    assert (
        done.returncode == 1
        and "70000:0: the user or group has no id in the container's user namespace" in done.stderr
    )


def test_shared_bind_brings_the_hosts_mounts_and_never_leads_out(oci, bundle):
    volume = oci.folder / "volume"
    volume.mkdir()
    run = " ".join(oci.program) + " run -b BUNDLE prop"
    script = (
        f"mount --make-rprivate / && mount -t tmpfs tmpfs {volume} && mount --make-shared {volume} && mkdir {volume}/in && "
        f"chmod 777 {volume} && {run}; grep -c '{volume}/in ' /proc/self/mountinfo"
    )

    def edit(config):
        config["mounts"].append({**bind(volume, "rshared"), "destination": "/shared"})
        config["linux"]["rootfsPropagation"] = "rshared"
        caps = config["process"]["capabilities"]
        config["process"]["capabilities"] = {kind: [*names, "CAP_SYS_ADMIN"] for kind, names in caps.items()}

    command = (
        "mount -t tmpfs x /shared/in && echo mounted; grep ' /shared ' /proc/self/mountinfo | grep -c master:"
    )
    place = bundle("sh", "-c", command, edit=edit)
    words = ["unshare", "-m", "sh", "-c", script.replace("BUNDLE", str(place))]
    done = subprocess.run(words, capture_output=True, text=True, env=oci.env, check=False, timeout=60)
    assert done.stdout.split() == ["mounted", "1", "0"], done.stderr


@pytest.mark.parametrize("own", [False, True], ids=["the container's maps", "maps of its own"])
def test_idmapped_bind_shows_what_crun_shows(oci, bundle, own):
    program = shutil.which("crun")
    if not program:
        pytest.skip("needs crun (Debian package crun)")
    folder = folder_of_root(oci)
    os.chown(folder / "old", 3, 4)
    maps = [{"containerID": 0, "hostID": BASE + 10, "size": 100}]
    more = {"uidMappings": maps, "gidMappings": maps} if own else {}
    place = bundle(
        "stat",
        "-c",
        "%u:%g",
        "/mnt/old",
        edit=lambda config: config["mounts"].append(bind(folder, "idmap", **more)),
    )
    hide = 'if [ -d /sys/fs/cgroup/unified ]; then umount /sys/fs/cgroup/unified; fi && exec "$@"'  # it refuses hybrid hosts
    words = [
        "unshare",
        "--mount",
        "sh",
        "-c",
        hide,
        "sh",
        program,
        "--root",
        str(oci.folder / "crun"),
        "run",
        "-b",
        str(place),
        "a",
    ]
    theirs = subprocess.run(
        words, capture_output=True, text=True, check=False, timeout=60, stdin=subprocess.DEVNULL
    )
    ours = oci("run", "-b", place, "b")
    assert (ours.returncode, ours.stdout) == (theirs.returncode, theirs.stdout), (ours.stderr, theirs.stderr)
    assert ours.stdout == ("13:14\n" if own else "3:4\n")


def test_features_say_that_mounts_can_be_idmapped(oci):
    assert json.loads(oci("features").stdout)["linux"]["mountExtensions"] == {"idmap": {"enabled": True}}
