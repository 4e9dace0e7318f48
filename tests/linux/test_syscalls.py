"""The system call wrappers: each keeps its errno and names its target; the numbers are the running kernel's."""

import errno
import os
import signal
import stat

import pytest

from havre.errors import KernelError
from havre.linux import syscalls as sys

pytestmark = pytest.mark.kernel


def in_fork(function):
    """Run in a child; a failed assertion or error is ours."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            function()
        except BaseException as error:
            os.write(writing, repr(error).encode()[:4000])
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as file:
        said = file.read().decode()
    os.waitpid(pid, 0)
    assert said == ""


@pytest.fixture(autouse=True)
def _root():
    if os.geteuid() != 0:
        pytest.skip("needs root")


@pytest.mark.parametrize(
    ("call", "name", "number"),
    [
        (lambda: sys.openat2(-100, "/nope", 0, resolve=0), "openat2 /nope", errno.ENOENT),
        (lambda: sys.open_tree("/nope", 0), "open_tree /nope", errno.ENOENT),
        (lambda: sys.fsopen("nofs"), "fsopen nofs", errno.ENODEV),
        (lambda: sys.pidfd_open(0), "pidfd_open 0", errno.EINVAL),
        (lambda: sys.setns(0, 0, "x"), "setns x", errno.EINVAL),
        (lambda: sys.pivot_root(b"/nope", b"/nope"), "pivot_root /nope", errno.ENOENT),
        (lambda: sys.umount(b"/nope"), "umount2 /nope", errno.ENOENT),
        (lambda: sys.mount_propagation(b"/nope", sys.MS_PRIVATE), "mount /nope", errno.ENOENT),
        (lambda: sys.load_seccomp(b""), "seccomp 0 instructions", errno.EINVAL),
        (lambda: sys.raise_ambient(63), "prctl ambient capability 63", errno.EINVAL),
        (lambda: sys.filesystem_magic(9999), "fstatfs 9999", errno.EBADF),
        (lambda: sys.mount_setattr(9999, "x", add=1), "mount_setattr x", errno.EBADF),
        (lambda: sys.sched_setattr(99, 0, 0, 0, 0, 0, 0), "sched_setattr policy 99", errno.EINVAL),
        (lambda: sys.ioprio_set(-1), "ioprio_set", errno.EINVAL),
    ],
)
def test_a_failing_call_keeps_name_target_and_errno(call, name, number):
    with pytest.raises(KernelError) as caught:
        call()
    assert str(caught.value).startswith(name) and caught.value.errno == number


@pytest.mark.parametrize(
    ("path", "resolve", "number"),
    [
        ("abs", sys.RESOLVE_BENEATH, errno.EXDEV),
        ("up", sys.RESOLVE_BENEATH, errno.EXDEV),
        ("../outside", sys.RESOLVE_BENEATH, errno.EXDEV),
        ("abs", sys.RESOLVE_IN_ROOT, errno.ENOENT),
        ("../outside", sys.RESOLVE_IN_ROOT, errno.ENOENT),
        ("magic", sys.RESOLVE_NO_MAGICLINKS, errno.ELOOP),
        ("good", sys.RESOLVE_NO_SYMLINKS, errno.ELOOP),
    ],
)
def test_openat2_resolves_no_further_than_asked(tmp_path, path, resolve, number):
    (tmp_path / "outside").write_text("x")
    root = tmp_path / "root"
    root.mkdir()
    (root / "file").write_text("in")
    for name, target in (
        ("abs", tmp_path / "outside"),
        ("up", "../outside"),
        ("magic", "/proc/self/exe"),
        ("good", "file"),
    ):
        (root / name).symlink_to(target)
    directory = os.open(root, os.O_PATH)
    with pytest.raises(KernelError) as caught:
        sys.openat2(directory, path, os.O_RDONLY, resolve=resolve)
    assert caught.value.errno == number
    fd = sys.openat2(directory, "good", os.O_RDONLY, resolve=sys.RESOLVE_IN_ROOT | sys.RESOLVE_NO_MAGICLINKS)
    assert os.read(fd, 9) == b"in" and not os.get_inheritable(fd)
    os.close(fd)
    os.close(directory)


def test_clone_makes_namespaces_and_a_child_with_pid_one():
    def child_is_one():
        pid = sys.clone(sys.CLONE_NEWPID | sys.CLONE_NEWNS, signal.SIGCHLD)
        if pid == 0:
            os._exit(0 if os.getpid() == 1 else 1)
        assert os.waitpid(pid, 0)[1] == 0

    in_fork(child_is_one)


def test_mounts_by_the_new_api_are_made_changed_and_attached(tmp_path):
    def mounts():
        sys.unshare(sys.CLONE_NEWNS)
        sys.mount_propagation(b"/", sys.MS_REC | sys.MS_PRIVATE)
        context = sys.fsopen("tmpfs")
        sys.fsconfig_string(context, "size", "1m", "tmpfs")
        sys.fsconfig_string(context, "mode", "700", "tmpfs")
        tree = sys.fsmount(context, sys.MOUNT_ATTR_NODEV, "tmpfs")
        place = os.open(tmp_path, os.O_PATH)
        sys.move_mount(tree, place, str(tmp_path))
        assert stat.S_IMODE(os.stat(tmp_path).st_mode) == 0o700
        (tmp_path / "f").write_text("x")
        copy = sys.open_tree(str(tmp_path), sys.OPEN_TREE_CLONE)
        sys.mount_setattr(copy, "copy", add=sys.MOUNT_ATTR_RDONLY)
        sys.move_mount(copy, os.open(tmp_path, os.O_PATH), str(tmp_path))
        assert os.statvfs(tmp_path).f_flag & os.ST_RDONLY
        sys.umount(os.fsencode(tmp_path))
        assert not os.statvfs(tmp_path).f_flag & os.ST_RDONLY
        assert sys.filesystem_magic(os.open(tmp_path, os.O_RDONLY)) == 0x01021994

    in_fork(mounts)
    assert list(tmp_path.iterdir()) == []


def test_names_of_the_host_are_set_in_an_uts_namespace_only():
    before = os.uname().nodename

    def names():
        sys.unshare(sys.CLONE_NEWUTS)
        sys.set_hostname("inner")
        sys.set_domainname("dom")
        assert os.uname().nodename == "inner"
        with open("/proc/sys/kernel/domainname", encoding="ascii") as file:
            assert file.read() == "dom\n"

    in_fork(names)
    assert os.uname().nodename == before


def test_capset_and_ambient_change_this_process_only():
    def drop():
        chown, bind = 1 << 0, 1 << 10
        sys.capset(chown | bind, chown | bind, bind)
        assert sys.capget() == (chown | bind, chown | bind, bind)
        sys.raise_ambient(10)
        with open("/proc/self/status", encoding="ascii") as file:
            values = dict(line.split(":\t") for line in file)
        assert int(values["CapAmb"], 16) == bind
        with pytest.raises(KernelError):
            sys.raise_ambient(0)

    in_fork(drop)


def test_a_seccomp_filter_is_loaded_and_obeyed():
    import struct

    deny_mkdir = [(0x20, 0, 0, 0), (0x15, 0, 1, 83), (0x06, 0, 0, 0x00050000 | 77), (0x06, 0, 0, 0x7FFF0000)]
    if os.uname().machine != "x86_64":
        pytest.skip("the filter is x86_64's")

    def load():
        sys.prctl(sys.PR_SET_NO_NEW_PRIVS, 1)
        sys.load_seccomp(b"".join(struct.pack("=HBBI", *one) for one in deny_mkdir))
        with pytest.raises(OSError) as caught:
            os.mkdir("/tmp/never-made-by-havre")
        assert caught.value.errno == 77

    in_fork(load)


def test_pidfds_signal_the_right_process_and_close_range_marks_the_rest():
    pid = os.fork()
    if pid == 0:
        signal.pause()
        os._exit(0)
    fd = sys.pidfd_open(pid)
    sys.pidfd_send_signal(fd, signal.SIGTERM)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGTERM
    with pytest.raises(KernelError) as caught:
        sys.pidfd_send_signal(fd, signal.SIGTERM)
    assert caught.value.errno == errno.ESRCH
    os.close(fd)

    def mark():
        os.set_inheritable(1, True)
        fds = [os.dup2(1, number, inheritable=True) for number in (40, 50, 60)]
        sys.close_on_exec_from(50)
        assert [os.get_inheritable(number) for number in fds] == [True, False, False]

    in_fork(mark)


def test_the_module_stays_lean():
    import subprocess
    import sys as python

    code = "import sys, os, ctypes; before = set(sys.modules); import havre.linux.syscalls; print(*sorted(set(sys.modules) - before))"
    src = os.path.dirname(os.path.dirname(os.path.dirname(sys.__file__)))
    done = subprocess.run(
        [python.executable, "-S", "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONPATH": src},
    )
    assert done.stdout.split() == ["havre", "havre.errors", "havre.linux", "havre.linux.syscalls"]


def test_openat2_outlasts_the_renames_of_others(tmp_path):
    """ ".." makes the kernel say EAGAIN when anything is renamed meanwhile; whoever renames without end must not stop a start."""
    (tmp_path / "a/b/c").mkdir(parents=True)
    (tmp_path / "x").mkdir()
    pid = os.fork()
    if pid == 0:
        while True:
            os.rename(tmp_path / "x", tmp_path / "y")
            os.rename(tmp_path / "y", tmp_path / "x")
    root = os.open(tmp_path, os.O_PATH | os.O_DIRECTORY)
    try:
        for _ in range(2000):
            os.close(sys.openat2(root, "a/b" + "/../b" * 40, os.O_PATH, resolve=sys.RESOLVE_IN_ROOT))
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        os.close(root)
