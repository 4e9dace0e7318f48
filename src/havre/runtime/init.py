"""The container's first process, from clone to execve. Lean: everything is imported before pivot_root, nothing after.

Talks to its monitor over one seqpacket socket: waits for "go", sends "tty" with the pty master, "warn" with a text, and
"fail" with (call, target, errno). That the socket closes at execve means success.
"""

import _signal  # type: ignore[import-not-found] # see _reset_signals
import fcntl
import marshal
import os
import resource
import signal
import socket
import stat
import struct
import termios

from havre.errors import KernelError
from havre.linux import syscalls as sys
from havre.runtime import hooks, identity, rootfs, wire
from havre.runtime.cgroup import files as cgroups

TIOCGPTPEER = 0x5441  # asm-generic/ioctls.h: open the slave of a master without a path
TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from havre.runtime.plan import Process, Program
SCRIPT_DEPTH = 6  # the kernel follows at most five interpreters, fs/exec.c
_PRELOADED = (resource, signal)  # used after the root has changed; importing then would look in the container


def tell(channel: socket.socket, message: "tuple[Any, ...]") -> None:
    """Send by write(2), because after the gate the channel's descriptor is a pipe."""
    os.write(channel.fileno(), marshal.dumps(message))


def report(channel: socket.socket, error: BaseException) -> None:
    """Send up why this process ends before execve."""
    if isinstance(error, KernelError):
        tell(channel, ("fail", error.call, error.target, error.errno))
    elif isinstance(error, identity.UnknownUser):
        tell(channel, ("fail", "user", str(error), 0))
    elif isinstance(error, hooks.HookFailed):
        tell(channel, ("fail", "hook", str(error), 0))
    else:
        tell(channel, ("fail", "init", repr(error), 0))


def run(
    program: "Program",
    stdio: tuple[int, int, int],
    channel: socket.socket,
    outside: rootfs.Outside,
    gate: tuple[int, int] | None,
) -> None:
    """Become the container. Never returns."""
    try:
        sys.prctl(
            sys.PR_SET_DUMPABLE, 0
        )  # nothing inside may read this process: it still is the host's python
        word, fds = wire.receive_fds(channel, 16, 1)
        if word != b"go":
            os._exit(1)  # the monitor has gone or gave up
        if fds:
            outside.root = fds[0]
        passage = Gate(program, gate)
        cgroups.enter(program["cgroup"])
        place = _enter_namespaces(program)
        process = program["process"]
        if program["userns"]:
            process["rlimits"] = []  # the parent has set them: raising one needs a right on the host
        root = rootfs.build(program, outside, place)
        private = identity.private_procfs() if process["apparmor"] else -1
        if any(program["hooks"][kind] for kind in hooks.BEFORE_PIVOT):
            tell(channel, ("hooks",))
            if channel.recv(16) != b"go":
                os._exit(1)
        hooks.run(program, "createContainer", "creating", os.getpid())
        rootfs.enter(program, root)
        slave = _open_console(process, channel) if process["terminal"] else -1
        _make_directory(process["cwd"])
        rootfs.seal(program)
        if private >= 0:
            identity.set_apparmor(private, process["apparmor"])
        start_process(process, stdio, slave, channel, passage)
    except BaseException as error:  # noqa: BLE001 - top frame of a process: everything must reach the monitor
        report(channel, error)
    os._exit(1)


class Gate:
    """Between create and start (runc's exec.fifo): everything is done but execve. Without fds it is open, as for run."""

    def __init__(self, program: "Program", fds: tuple[int, int] | None) -> None:
        self._program = program
        self._fds = fds
        self.title = (
            sys.title_area() if program["process"]["init"] else (0, 0, 0)
        )  # while /proc is the host's

    def wait(self, channel: socket.socket, find: "Callable[[], None]") -> None:
        """Look for the command, tell the parent, wait for a byte; from then on the channel leads to whoever opened the gate."""
        if self._fds:
            find()
            wait, late = self._fds
            tell(channel, ("waiting",))
            os.dup2(late, channel.fileno(), inheritable=False)
            os.close(late)
            os.read(wait, 1)
        hooks.run(self._program, "startContainer", "created", os.getpid())


NAMESPACE_FILES = {
    "network": "net",
    "ipc": "ipc",
    "uts": "uts",
    "pid": "pid_for_children",
    "cgroup": "cgroup",
    "time": "time_for_children",
}


def late_flags(program: "Program") -> int:
    """Namespaces that are made after "go": a cgroup namespace is rooted where its maker is, and /dev/mqueue belongs to who made it."""
    return program["flags"] & (sys.CLONE_NEWCGROUP | (sys.CLONE_NEWIPC if program["userns"] else 0))


def open_namespace(path: str) -> int:
    try:
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise KernelError("open", path, error.errno or 0) from None


def become_root() -> None:
    """Be root of the user namespace that was just entered, as far as it has one."""
    try:
        os.setgroups([])
        os.setresgid(0, 0, 0)
        os.setresuid(0, 0, 0)
    except OSError:
        pass  # 0 is not mapped: stay who we are
    sys.prctl(sys.PR_SET_DUMPABLE, 0)  # a change of ids resets it to fs.suid_dumpable


def _enter_namespaces(program: "Program") -> int:
    """Return an fd of the directory that the root is put on; root of a user namespace could not reach it any more."""
    if program["own_time"]:
        sys.unshare(sys.CLONE_NEWTIME)  # takes effect at execve (Linux 6.0)
        if program["time_offsets"]:
            identity.write_file("/proc/self/timens_offsets", program["time_offsets"])
    if not program["userns"]:
        _join(program, ("user", "pid", "mount"))
    _join(program, [kind for kind, _, _ in program["joins"] if kind != "mount"])
    place = rootfs.open_place(program)
    if program["userns"]:
        become_root()
    if late := late_flags(program):
        sys.unshare(late)
    if program["flags"] & sys.CLONE_NEWUTS:
        if program["hostname"]:
            sys.set_hostname(program["hostname"])
        if program["domainname"]:
            sys.set_domainname(program["domainname"])
    return place


def _join(program: "Program", without: "Sequence[str]") -> None:
    """Join namespaces by path. A mount namespace comes last, as the others' paths are the host's."""
    joins = [join for join in program["joins"] if join[0] not in without]
    fds = [open_namespace(path) for _, _, path in joins]
    if program["sysctl"]:
        _refuse_own(joins, fds)
    for (_, flag, path), fd in zip(joins, fds, strict=True):
        sys.setns(fd, flag, path)
        os.close(fd)


def _refuse_own(joins: "list[tuple[str, int, str]]", fds: list[int]) -> None:
    """A path may lead back to the host's own namespace: a sysctl written there would change the host."""
    for (kind, _, path), fd in zip(joins, fds, strict=True):
        if (name := {"network": "net", "ipc": "ipc", "uts": "uts"}.get(kind)) is None:
            continue
        own, there = os.stat(f"/proc/self/ns/{name}"), os.fstat(fd)
        if (own.st_dev, own.st_ino) == (there.st_dev, there.st_ino):
            raise KernelError("sysctl", f"in the host's {kind} namespace {path}", 1)


def _open_console(process: "Process", channel: socket.socket) -> int:
    """Make a pty in the container's own devpts, bind it on /dev/console, hand the master to the monitor; return the slave."""
    root = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    master = rootfs.open_terminal(root)
    fcntl.ioctl(master, termios.TIOCSPTLCK if hasattr(termios, "TIOCSPTLCK") else 0x40045431, b"\0\0\0\0")
    slave = fcntl.ioctl(master, TIOCGPTPEER, os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
    place = rootfs.make_target(root, "/dev/console", directory=False)
    tree = sys.open_tree("", sys.OPEN_TREE_CLONE | sys.AT_EMPTY_PATH, slave)
    sys.move_mount(tree, place, "/dev/console")
    socket.send_fds(channel, [marshal.dumps(("tty",))], [master])
    for fd in (root, master, place, tree):
        os.close(fd)
    return slave


def start_process(
    process: "Process",
    stdio: tuple[int, int, int],
    slave: int,
    channel: socket.socket,
    gate: Gate | None = None,
) -> None:
    """The last steps, the same for run and exec: session, streams, limits, directory, user, filter, execve."""
    os.setsid()
    _connect_streams(stdio, slave, process["size"])
    identity.set_scheduling(process)
    uid, gid, groups, home = _identity(process)
    _own_streams(uid, slave)
    os.umask(process["umask"])
    if process["keyring"]:
        try:
            sys.join_new_keyring("_ses")
        except KernelError:
            pass  # a kernel without keyrings has nothing to hide there
    _reset_signals()
    environment = read_environment(process["env"], home)
    _change_directory(process["cwd"])
    refuse_magic(process["args"][0], environment)
    for text in identity.set_rlimits(process):  # late: opening files has an end with --ulimit nofile=3
        tell(channel, ("warn", text))
    sys.close_on_exec_from(3 + process["preserve_fds"])  # a container's own filter may not know close_range
    identity.become(process, uid, gid, groups)
    if gate:
        gate.wait(channel, lambda: find_command(process["args"][0], environment))
    if process["init"] and gate:
        _reap_for_child(process["args"], gate.title)
    execute(process["args"], environment)


def _connect_streams(stdio: tuple[int, int, int], slave: int, size: tuple[int, int]) -> None:
    for target, source in enumerate(stdio if slave < 0 else (slave, slave, slave)):
        os.dup2(source, target, inheritable=True)
    if slave >= 0:
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)
        if any(size):  # before the process can ask for it
            fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("=HHHH", *size, 0, 0))


def _identity(process: "Process") -> tuple[int, int, list[int], str]:
    if process["user"] or process["group_add"]:
        return identity.look_up(process["user"] or str(process["uid"]), process["group_add"])
    _, _, _, home = identity.look_up(str(process["uid"]), [])
    return process["uid"], process["gid"], process["groups"], home


def _own_streams(uid: int, slave: int) -> None:
    """The user must be able to open /dev/stdout and its terminal again; a null device is left alone."""
    if uid == 0:
        return
    for fd in (0, 1, 2):
        status = os.fstat(fd)
        if status.st_rdev != os.makedev(1, 3):
            try:
                os.fchown(fd, uid, -1 if slave >= 0 else status.st_gid)
            except OSError:
                pass  # a socket or a read-only place: the process still has the open fd


def _reset_signals() -> None:
    """Defaults for all, nothing blocked. By the C module: the enums of `signal` cost 120 objects and 1 ms here."""
    for number in range(1, _signal.NSIG):
        if number not in (_signal.SIGKILL, _signal.SIGSTOP):
            try:
                _signal.signal(number, _signal.SIG_DFL)
            except (OSError, ValueError):
                pass  # 32 and 33 are the C library's own
    _signal.pthread_sigmask(_signal.SIG_SETMASK, [])


def read_environment(entries: list[str], home: str) -> dict[bytes, bytes]:
    found = {}
    for entry in entries:
        name, _, value = entry.partition("=")
        if name:
            found[os.fsencode(name)] = os.fsencode(value)
    found.setdefault(b"HOME", os.fsencode(home or "/"))
    return found


def _make_directory(path: str) -> None:
    """A working directory that is missing is made (Docker's WORKDIR rule), while the root can still be written to."""
    root = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.close(rootfs.make_target(root, path, directory=True))
    finally:
        os.close(root)


def _change_directory(path: str) -> None:
    """Go there, and never outside: no magic links (CVE-2024-21626)."""
    root = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fd = rootfs.open_in(root, path, os.O_PATH | os.O_DIRECTORY)
    except KernelError as error:
        raise KernelError("chdir", path, error.errno) from None
    finally:
        os.close(root)
    try:
        os.fchdir(fd)
    except OSError as error:
        raise KernelError("chdir", path, error.errno or 0) from None
    os.close(fd)


def _places(command: bytes, environment: dict[bytes, bytes]) -> list[bytes]:
    """Where the container's own PATH says a command may be."""
    if b"/" in command:
        return [command]
    folders = environment.get(b"PATH", b"").split(b":")
    return [folder + b"/" + command for folder in folders if folder.startswith(b"/")]


def refuse_magic(name: str, environment: dict[bytes, bytes]) -> None:
    """Never execute through a magic link: /proc/self/exe is the host's python here, also behind symlinks or a `#!` (CVE-2019-5736).

    Before the filter is loaded, which may not know openat2. A race is left, and harmless: see selfexec.
    """
    root = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    for place in _places(os.fsencode(name), environment):
        for _ in range(SCRIPT_DEPTH):
            place = _interpreter(root, os.path.join(os.fsencode(os.getcwd()), place), name)
            if not place:
                break
    os.close(root)


def _interpreter(root: int, place: bytes, name: str) -> bytes:
    """Return what a script's `#!` names, b"" for anything else. Raises KernelError when a magic link is on the way."""
    try:
        fd = sys.openat2(root, place, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY, resolve=rootfs.IN_ROOT)
    except KernelError as error:
        if error.errno == 40:  # ELOOP
            raise KernelError("execve", name, 13) from None
        return b""  # execve says it better
    try:
        head = os.read(fd, 256) if stat.S_ISREG(os.fstat(fd).st_mode) else b""
    finally:
        os.close(fd)
    words = head[2:].split(b"\n")[0].split() if head.startswith(b"#!") else []
    return words[0] if words else b""


def find_command(name: str, environment: dict[bytes, bytes]) -> None:
    """Say before the gate what execve would say after it. Raises KernelError("execve", command, errno)."""
    worst = 2
    for place in _places(os.fsencode(name), environment):
        try:
            mode = os.stat(place).st_mode
        except OSError as error:
            worst = 13 if error.errno == 13 else worst
            continue
        if stat.S_ISREG(mode) and os.access(place, os.X_OK):
            return
        worst = 13
    raise KernelError("execve", name, worst)


def execute(args: list[str], environment: dict[bytes, bytes]) -> None:
    """execve, by the container's own PATH. Raises KernelError("execve", command, errno)."""
    words = [os.fsencode(arg) for arg in args]
    worst = 2
    for place in _places(words[0], environment):
        try:
            os.execve(place, words, environment)
        except OSError as error:
            if error.errno not in (2, 20):
                worst = error.errno or worst
                if error.errno != 13:
                    break
    raise KernelError("execve", args[0], worst)


def _reap_for_child(args: list[str], area: tuple[int, int, int]) -> None:
    """--init: stay as pid 1, pass signals on, reap orphans, end with the child's code. Returns in the child only.

    A fork of this small process instead of a binary of ours: it is not dumpable, holds nothing but its code, and costs
    about 0.4 MB; the child goes on to execve.
    """
    signals = set(signal.valid_signals()) - {signal.SIGKILL, signal.SIGSTOP, signal.SIGCHLD}
    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    sys.set_name(b"docker-init")  # before the fork: the child must never see its parent under another name
    child = os.fork()
    if child == 0:
        signal.pthread_sigmask(signal.SIG_SETMASK, [])
        return
    os.closerange(3, 65536)
    sys.set_title(area, [b"/sbin/docker-init", b"--", *(os.fsencode(arg) for arg in args)])
    while True:
        number = signal.sigwait(signal.valid_signals())
        if number in signals:
            try:
                os.kill(child, number)
            except ProcessLookupError:
                pass
        _reap(child)


def _reap(child: int) -> None:
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            os._exit(0)
        if pid == 0:
            return
        if pid == child:
            code = os.waitstatus_to_exitcode(status)
            os._exit(code if code >= 0 else 128 - code)
