"""Clone the container's init, or join a running one. Lean; runs in the monitor, which becomes the parent of both."""

import fcntl
import marshal
import os
import socket

from havre.errors import CommandNotExecutable, CommandNotFound, HavreError, InvalidParameter, KernelError
from havre.linux import syscalls as sys
from havre.runtime import hooks, identity, idmapped, init, rootfs, wire
from havre.runtime.cgroup import files as cgroups

SIGCHLD = 17
ALL_NAMESPACES = (
    sys.CLONE_NEWNS
    | sys.CLONE_NEWUTS
    | sys.CLONE_NEWIPC
    | sys.CLONE_NEWPID
    | sys.CLONE_NEWNET
    | sys.CLONE_NEWCGROUP
)
TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from havre.runtime.cgroup.plan import CgroupPlan
    from havre.runtime.plan import Process, Program


class Started:
    """A process that has reached execve, or told why not."""

    __slots__ = ("failure", "helper", "master", "pid", "waiting", "warnings")

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.helper = 0  # a sibling's helper, which has ended and whose parent has to reap it
        self.master = -1  # pty master, -1 without a terminal
        self.warnings: list[str] = []
        self.failure: tuple[str, str, int] | None = None
        self.waiting = False  # at its gate, all prepared, before execve


def spawn_init(
    program: "Program",
    stdio: tuple[int, int, int],
    prepare: "Callable[[int], list[str]]",
    gate: tuple[int, int] | None = None,
    *,
    sibling: bool = False,
) -> Started:
    """Clone, let `prepare(pid)` do the parent's part (cgroup, veths; returns warnings), and wait for execve or a failure.

    With a gate (fd to read one byte from, fd to tell a late failure on), return when only execve is left; see `init.Gate`.
    With `sibling` the caller's parent becomes its parent, and has to reap it also after a failure. Raises KernelError, or
    hooks.HookFailed; the child is gone then.
    """
    outside = rootfs.open_outside(program)
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    started = Started(0)
    try:
        try:
            _clone(
                program,
                started,
                ours,
                theirs,
                sibling,
                lambda: init.run(program, stdio, theirs, outside, gate),
            )
            theirs.close()
            root = _map_ids(program, started, outside)
        finally:
            outside.close()
        started.warnings += prepare(started.pid)
        socket.send_fds(ours, [b"go"], [root] if root >= 0 else [])
        if root >= 0:
            os.close(root)
        _listen(ours, started, program)
    except BaseException:
        _end(started.pid)
        raise
    finally:
        ours.close()
    if started.failure:
        _end(started.pid)
    return started


def _clone(
    program: "Program",
    started: Started,
    ours: socket.socket,
    theirs: socket.socket,
    sibling: bool,
    work: "Callable[[], None]",
) -> None:
    """Clone init, which does `work`. Sets started.pid."""
    flags = program["flags"] & ~init.late_flags(program) | (sys.CLONE_PARENT if sibling else 0)
    if program["userns"] in ("", "new"):
        back = _join_before(program)
        pid = sys.clone(flags, SIGCHLD)
        if pid == 0:
            ours.close()
            work()
        started.pid = pid
        for fd, flag in back:
            sys.setns(fd, flag)
            os.close(fd)
        return
    helper = sys.clone(flags & sys.CLONE_PARENT, SIGCHLD)
    if helper == 0:
        ours.close()
        _clone_inside(program, flags, theirs, work)
    started.helper = helper if sibling else 0
    theirs.close()
    heard = _hear(ours, started)
    if not sibling:
        os.waitpid(helper, 0)
    if started.failure or not heard:
        raise KernelError(*(started.failure or ("clone", "the helper was killed", 3)))


def _clone_inside(program: "Program", flags: int, channel: socket.socket, work: "Callable[[], None]") -> None:
    """In a helper: join the namespaces that are given by path, the user namespace first, then clone a sibling. Never returns."""
    try:
        sys.prctl(sys.PR_SET_DUMPABLE, 0)
        joins = sorted(
            (join for join in program["joins"] if join[0] != "mount"), key=lambda join: join[0] != "user"
        )
        fds = [init.open_namespace(path) for _, _, path in joins]
        for (_, flag, path), fd in zip(joins, fds, strict=True):
            sys.setns(fd, flag, path)
            os.close(fd)
        pid = sys.clone(flags | sys.CLONE_PARENT, SIGCHLD)
        if pid:
            init.tell(channel, ("pid", pid))
            os._exit(0)
    except BaseException as error:  # noqa: BLE001 - top frame of a process
        init.report(channel, error)
        os._exit(1)
    work()


def _map_ids(program: "Program", started: Started, outside: rootfs.Outside) -> int:
    """Write the id maps of a new user namespace, check those of a joined one, idmap mounts; return the root's fd or -1."""
    if not program["userns"]:
        outside.idmap(program, -1)
        return -1
    wanted = program["uid_map"], program["gid_map"]
    if program["userns"] == "new":
        idmapped.write_maps(started.pid, *wanted)
        maps = wanted
    else:
        maps = idmapped.read_maps(started.pid)
        if any(wanted) and wanted != maps:
            raise InvalidParameter(
                f"the user namespace {program['userns']} has other id maps than linux.uidMappings and gidMappings"
            )
    started.warnings += identity.set_rlimits(program["process"], started.pid)
    userns = os.open(f"/proc/{started.pid}/ns/user", os.O_RDONLY | os.O_CLOEXEC)
    try:
        outside.own_nodes(program, maps)
        outside.idmap(program, userns)
        return outside.open_overlay(program, userns)
    finally:
        os.close(userns)


def _join_before(program: "Program") -> list[tuple[int, int]]:
    """Join what must be joined before the clone; return (fd, flag) to go back.

    `--pid container:X`: children are born where pid_for_children says. A new user namespace has no right on the others' namespaces.
    """
    back = []
    for kind, flag, path in program["joins"]:
        if kind == "pid" or (program["userns"] and kind != "mount"):
            target = init.open_namespace(path)
            back.append(
                (os.open(f"/proc/self/ns/{init.NAMESPACE_FILES[kind]}", os.O_RDONLY | os.O_CLOEXEC), flag)
            )
            sys.setns(target, flag, path)
            os.close(target)
    return back


def _end(pid: int) -> None:
    if not pid:
        return
    try:
        os.kill(pid, 9)
    except ProcessLookupError:
        pass
    try:
        os.waitpid(pid, 0)
    except ChildProcessError:
        pass


def _listen(channel: socket.socket, started: Started, program: "Program | None" = None) -> None:
    """Read what the child says until execve closes its end, or until it waits at its gate."""
    while _hear(channel, started, program):
        pass


def _hear(channel: socket.socket, started: Started, program: "Program | None" = None) -> bool:
    """Read one message; False when it was the last."""
    data, fds = wire.receive_fds(channel, 65536, 1)
    if not data:
        return False
    kind, *rest = marshal.loads(data)
    if kind == "tty":
        started.master = fds[0]
    elif kind == "warn":
        started.warnings.append(rest[0])
    elif kind == "pid":
        started.pid = rest[0]
    elif kind == "waiting":
        started.waiting = True
        return False
    elif kind == "hooks" and program is not None:
        for name in hooks.BEFORE_PIVOT:
            hooks.run(program, name, "creating", started.pid)
        channel.send(b"go")
    else:
        started.failure = (rest[0], rest[1], rest[2])
    return True


class Joining:
    """An exec on its way to execve, for a caller that has other things to do meanwhile (a frozen container keeps it waiting)."""

    def __init__(self, channel: socket.socket, helper: int) -> None:
        self._channel = channel
        self._helper = helper
        self._result = Started(0)

    def fileno(self) -> int:
        """Readable when `read` has something to do."""
        return self._channel.fileno()

    def read(self) -> bool:
        """Take in one message; True when it was the last one: then call `finish`."""
        return not _hear(self._channel, self._result)

    def finish(self) -> Started:
        """Reap the helper, and the process if it failed; return how it went."""
        self._channel.close()
        os.waitpid(self._helper, 0)
        if self._result.failure and self._result.pid:
            _end(self._result.pid)
        return self._result

    def kill(self) -> None:
        """Give up: nothing of it is left afterwards."""
        self._channel.close()
        _end(self._helper)
        if self._result.pid:
            _end(self._result.pid)
        if self._result.master >= 0:
            os.close(self._result.master)


def begin_exec(target: int, process: "Process", cgroup: "CgroupPlan", stdio: tuple[int, int, int]) -> Joining:
    """Fork one more process towards the container whose init `target` (pidfd) is; the caller becomes its parent."""
    return begin(lambda channel: _join(target, process, cgroup, stdio, channel))


def begin(work: "Callable[[socket.socket], None]") -> Joining:
    """Fork a helper that does `work(channel)`, which never returns and tells how it goes."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    helper = os.fork()
    if helper == 0:
        ours.close()
        work(theirs)
    theirs.close()
    return Joining(ours, helper)


def join_exec(target: int, process: "Process", cgroup: "CgroupPlan", stdio: tuple[int, int, int]) -> Started:
    """The same, waiting until it has reached execve or failed."""
    joining = begin_exec(target, process, cgroup, stdio)
    while not joining.read():
        pass
    return joining.finish()


def _namespaces_of(target: int) -> int:
    """Everything we join; a user or time namespace only when it is not our own, where setns would refuse."""
    found = ALL_NAMESPACES
    with open(f"/proc/self/fdinfo/{target}", encoding="ascii") as file:
        pid = next((line.split()[1] for line in file if line.startswith("Pid:")), "-1")
    for name, flag in (("user", sys.CLONE_NEWUSER), ("time", sys.CLONE_NEWTIME)):
        try:
            if os.stat(f"/proc/{pid}/ns/{name}").st_ino != os.stat(f"/proc/self/ns/{name}").st_ino:
                found |= flag
        except FileNotFoundError:
            pass  # this kernel has no such namespaces, or setns says in a moment that the container has gone
    return found


def _join(
    target: int, process: "Process", cgroup: "CgroupPlan", stdio: tuple[int, int, int], channel: socket.socket
) -> None:
    """In the helper: cgroup, then all namespaces at once, then a sibling that is born inside and goes on to execve."""
    try:
        sys.prctl(sys.PR_SET_DUMPABLE, 0)
        cgroups.enter(cgroup)
        if process["oom_score_adj"] is not None and (
            text := identity.set_oom_score("self", process["oom_score_adj"])
        ):
            init.tell(channel, ("warn", text))
        private = identity.private_procfs() if process["apparmor"] else -1
        flags = _namespaces_of(target)
        if flags & sys.CLONE_NEWUSER:  # raising a limit needs a right on the host
            for text in identity.set_rlimits(process):
                init.tell(channel, ("warn", text))
            process["rlimits"] = []
        rootfs.forbid_imports()
        sys.setns(target, flags, "container")
        if flags & sys.CLONE_NEWUSER:
            init.become_root()
        pid = sys.clone(sys.CLONE_PARENT, SIGCHLD)
        if pid:
            init.tell(channel, ("pid", pid))
            os._exit(0)
        slave = _open_terminal(channel) if process["terminal"] else -1
        if private >= 0:
            identity.set_apparmor(private, process["apparmor"])
        init.start_process(process, stdio, slave, channel)
    except BaseException as error:  # noqa: BLE001 - top frame of a process
        init.report(channel, error)
    os._exit(1)


def _open_terminal(channel: socket.socket) -> int:
    """A pty in the container's devpts for an exec; the master goes to the monitor."""
    root = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    master = rootfs.open_terminal(root)
    fcntl.ioctl(master, 0x40045431, b"\0\0\0\0")  # TIOCSPTLCK: unlock
    slave: int = fcntl.ioctl(master, init.TIOCGPTPEER, os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
    socket.send_fds(channel, [marshal.dumps(("tty",))], [master])
    os.close(root)
    os.close(master)
    return slave


def as_error(failure: tuple[str, str, int]) -> HavreError:
    """Turn (call, target, errno) into the error that clients know."""
    call, target, number = failure
    if call == "execve":
        if number in (2, 20):
            return CommandNotFound(target, context="failed to create task for container")
        reason = "permission denied" if number == 13 else os.strerror(number).lower()
        return CommandNotExecutable(target, reason, context="failed to create task for container")
    if call == "idmap":
        text = f"{target}: this file system cannot be shown through the id maps of a user namespace"
        return InvalidParameter(
            text, hint="another file system (ext4, xfs, btrfs, tmpfs), or --userns host; for a bind, :noidmap"
        )
    if call == "setuid" and number == 22:
        return InvalidParameter(
            f"{target}: the user or group has no id in the container's user namespace",
            hint="--userns auto:size=NUMBER",
        )
    if call in ("user", "hook", "havre"):
        return InvalidParameter(target) if call == "user" else HavreError(target)
    if number == 0:
        return HavreError(f"{call}: {target}")
    return KernelError(call, target, number)
