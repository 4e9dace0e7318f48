"""Users and groups from a container's own files, which may be anything."""

import os

import pytest

from havre.errors import KernelError
from havre.linux import syscalls as sys
from havre.runtime import identity

pytestmark = pytest.mark.kernel
PASSWD = "root:x:0:0:root:/root:/bin/sh\nann:x:1000:1001:Ann:/home/ann:/bin/sh\n1:x:0:0:evil::\n"
GROUP = "root:x:0:\nann:x:1001:\naudio:x:29:ann,bob\nvideo:x:44:ann\n7:x:0:\n"


@pytest.fixture
def inside(tmp_path):
    """Call something in a fork whose root is a folder with /etc; returns its value or raises its error."""
    if os.geteuid() != 0:
        pytest.skip("needs root")
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/passwd").write_text(PASSWD)
    (tmp_path / "etc/group").write_text(GROUP)

    def call(function, *args):
        import pickle

        reading, writing = os.pipe()
        pid = os.fork()
        if pid == 0:
            try:
                os.chroot(tmp_path)
                os.chdir("/")
                answer = (True, function(*args))
            except BaseException as error:
                answer = (False, (type(error).__name__, str(error)))
            os.write(writing, pickle.dumps(answer))
            os._exit(0)
        os.close(writing)
        with os.fdopen(reading, "rb") as file:
            data = file.read()
        assert os.waitpid(pid, 0)[1] == 0
        good, value = pickle.loads(data)
        if not good and value[0] == "UnknownUser":
            raise identity.UnknownUser(value[1])
        assert good, value
        return value

    call.etc = tmp_path / "etc"
    return call


@pytest.mark.parametrize(
    ("user", "add", "expected"),
    [
        ("", [], (0, 0, [], "/root")),
        ("ann", [], (1000, 1001, [29, 44], "/home/ann")),
        ("1000", [], (1000, 1001, [29, 44], "/home/ann")),
        ("ann:audio", [], (1000, 29, [], "/home/ann")),
        ("ann:5", [], (1000, 5, [], "/home/ann")),
        ("2000", [], (2000, 0, [], "/")),
        ("2000:video", ["audio", "77"], (2000, 44, [29, 77], "/")),
        ("0", [], (0, 0, [], "/root")),
        ("1", [], (1, 0, [], "/")),
        ("0:7", [], (0, 7, [], "/root")),
    ],
)
def test_look_up_reads_names_and_numbers(inside, user, add, expected):
    assert inside(identity.look_up, user, add) == expected


@pytest.mark.parametrize(
    ("user", "add", "said"),
    [
        ("bob", [], "unable to find user bob"),
        ("ann:nope", [], "unable to find group nope"),
        ("ann", ["nope"], "unable to find group nope"),
        ("4294967296", [], "range"),
        ("4294967297", [], "range"),
        ("0:4294967295", [], "range"),
        ("-1", [], "unable to find user -1"),
        ("+1", [], "unable to find user"),
        ("１", [], "unable to find user"),
    ],
)
def test_look_up_refuses_what_is_not_there(inside, user, add, said):
    with pytest.raises(identity.UnknownUser, match=said.replace("+", r"\+")):
        inside(identity.look_up, user, add)


def test_look_up_survives_a_fifo_a_directory_and_a_device(inside):
    for make in (os.mkfifo, os.mkdir, lambda path: os.mknod(path, 0o020666, os.makedev(1, 5))):
        (inside.etc / "passwd").unlink() if (inside.etc / "passwd").is_file() else None
        make(inside.etc / "passwd")
        assert inside(identity.look_up, "5", []) == (5, 0, [], "/")
        (inside.etc / "passwd").rmdir() if (inside.etc / "passwd").is_dir() else (
            inside.etc / "passwd"
        ).unlink()


def test_look_up_never_follows_a_link_out_or_through_proc(inside, tmp_path_factory):
    host = tmp_path_factory.mktemp("host") / "passwd"
    host.write_text("host:x:5:5::/h:\n")
    (inside.etc / "passwd").unlink()
    (inside.etc / "passwd").symlink_to(host)
    with pytest.raises(identity.UnknownUser):
        inside(identity.look_up, "host", [])


def test_look_up_reads_at_most_a_megabyte_of_a_huge_file(inside):
    with open(inside.etc / "passwd", "wb") as file:
        file.write(PASSWD.encode())
        file.truncate(1 << 34)
        file.seek(1 << 34)
        file.write(b"\nlate:x:9:9::/:\n")
    assert inside(identity.look_up, "ann", [])[0] == 1000
    with pytest.raises(identity.UnknownUser):
        inside(identity.look_up, "late", [])


@pytest.mark.parametrize(
    "line", [":::::::", "x", "a:b:c", "ann:x:many:1001::/:", "ann:x:4294967297:0::/:", "\xff:x:1:1::/:"]
)
def test_look_up_survives_malformed_lines(inside, line):
    (inside.etc / "passwd").write_text(line + "\n", encoding="latin-1")
    try:
        uid, *_ = inside(identity.look_up, "ann", [])
    except identity.UnknownUser:
        return
    assert uid not in (0, 1)


def test_duplicate_groups_are_set_once():
    if os.geteuid() != 0:
        pytest.skip("needs root")
    pid = os.fork()
    if pid == 0:
        identity._set_ids(5, 6, [7, 7, 8])
        os._exit(0 if sorted(os.getgroups()) == [7, 8] and os.getresuid() == (5, 5, 5) else 1)
    assert os.waitpid(pid, 0)[1] == 0


def test_set_rlimits_lowers_what_the_host_refuses():
    import resource

    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    pid = os.fork()
    if pid == 0:
        os.setgroups([])
        os.setresuid(65534, 65534, 65534)
        said = identity.set_rlimits({"rlimits": [(7, "nofile", most + 5, most + 9), (4, "core", 0, 0)]})
        ok = (
            len(said) == 1
            and "nofile" in said[0]
            and resource.getrlimit(resource.RLIMIT_NOFILE) == (most, most)
        )
        os._exit(0 if ok and resource.getrlimit(resource.RLIMIT_CORE) == (0, 0) else 1)
    assert os.waitpid(pid, 0)[1] == 0


def test_set_apparmor_says_when_the_host_has_none():
    if os.path.exists("/sys/module/apparmor/parameters/enabled"):
        pytest.skip("this host has AppArmor")
    if os.geteuid() != 0:
        pytest.skip("needs root")
    procfs = identity.private_procfs()
    assert sys.filesystem_magic(procfs) == sys.PROC_SUPER_MAGIC
    with pytest.raises(KernelError, match="apparmor"):
        identity.set_apparmor(procfs, "docker-default")
    os.close(procfs)
