"""The monitor: one process per container (containerd-shim's job). Lean; forked from the zygote, outlives the daemon.

It makes the cgroup, spawns init, holds its stdio, writes the log, runs execs, reaps, and records the exit in run_dir/exit.
Daemons come and go: the first over the socketpair of the start request, later ones over run_dir/sock.
"""

import marshal
import os
import select
import signal
import socket
import time
from typing import Any

from havre.errors import KernelError
from havre.linux import netlink
from havre.linux import syscalls as sys
from havre.runtime import spawn, wire
from havre.runtime.cgroup import files as cgroups
from havre.runtime.streams import Streams

FLUSH_S = 3.0  # how long an exit waits for clients that do not read
LINGER_S = 600.0  # how long the monitor stays for their last megabyte
TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from havre.runtime.plan import Program
    from havre.runtime.streams import LogWriter
    from havre.spec.runplan import LogPlan

    OpenLog = Callable[[LogPlan], LogWriter | None]
    Handler = Callable[[int], None]


def run(message: tuple[Any, ...], fds: list[int], open_log: "OpenLog") -> None:
    """Be the monitor of one start request: ("start", program, run_plan, attached flags) with fds [control, *attached]. Never returns."""
    control = socket.socket(fileno=fds[0])
    try:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        os.setsid()
        sys.set_name(b"havre-monitor")
        null = os.open("/dev/null", os.O_RDWR)
        for fd in (0, 1, 2):
            os.dup2(null, fd)
        _, program, plan, attached = message
        clients = [(socket.socket(fileno=fd), *flags) for fd, flags in zip(fds[1:], attached, strict=True)]
        Monitor(program, plan, open_log).serve(control, clients)
    except BaseException as error:  # noqa: BLE001 - top frame of a process
        try:
            wire.send(control, ("failed", "monitor", repr(error), 0))
        except OSError:
            pass
    os._exit(0)


class Exec:
    """One exec that runs."""

    __slots__ = ("code", "pid", "pidfd", "streams")

    def __init__(self, pid: int, pidfd: int, streams: Streams) -> None:
        self.pid = pid
        self.pidfd = pidfd
        self.streams = streams
        self.code: int | None = None


class Monitor:
    """The loop and its state."""

    def __init__(self, program: "Program", plan: dict[str, Any], open_log: "OpenLog") -> None:
        self._program = program
        self._plan = plan
        self._epoll = select.epoll()
        self._handlers: dict[int, Handler] = {}
        self._controls: list[socket.socket] = []
        self._execs: dict[str, Exec] = {}
        self._ended_execs: list[tuple[str, int]] = []  # not yet told to any daemon
        self._pid = 0
        self._pidfd = -1
        self._exit_code: int | None = None
        self._ended_at = 0
        self._log = open_log(plan["log"])
        self._warnings: list[str] = []
        tty = program["process"]["terminal"]
        keep = plan["open_stdin"] and not plan["stdin_once"]
        self._streams = Streams(self._watch, tty=tty, keep_stdin=keep, log=self._log)

    # loop

    def _watch(self, fd: int, events: int, handler: "Handler | None") -> None:
        """Watch a descriptor; events 0 without a handler forgets it."""
        known = fd in self._handlers
        if handler is None or (events == 0 and handler is None):
            if known:
                del self._handlers[fd]
                try:
                    self._epoll.unregister(fd)
                except (OSError, ValueError):
                    pass  # it was closed first
            return
        self._handlers[fd] = handler
        if known:
            self._epoll.modify(fd, events)
        else:
            self._epoll.register(fd, events)

    def serve(self, control: socket.socket, clients: list[tuple[socket.socket, bool, bool, bool]]) -> None:
        """Start the container, then serve until it has ended and everybody knows."""
        for client in clients:
            self._streams.attach(*client)
        failure = self._start()
        if failure:
            self._give_up()
            wire.send(control, ("failed", *failure))
            return
        listener = wire.listen(self._plan["run_dir"])
        self._watch(listener.fileno(), select.EPOLLIN, lambda events: self._accept(listener))
        self._add_control(control)
        wire.send(control, ("started", self._pid, self._warnings))
        while not self._done():
            self._turn(1.0 if self._streams.held else -1)
        self._finish(listener)

    def _turn(self, timeout_s: float) -> None:
        for fd, events in self._epoll.poll(timeout_s):
            if (handler := self._handlers.get(fd)) is not None:
                handler(events)
        if self._streams.held:
            self._streams.cut_stuck()

    def _done(self) -> bool:
        return self._exit_code is not None

    # start

    def _start(self) -> "tuple[str, str, int] | None":
        program = self._program
        ours: list[int] = []
        theirs: list[int] = []
        try:
            cgroups.create(program["cgroup"])
            stdio = self._make_stdio(ours, theirs, program["process"]["terminal"], self._plan["open_stdin"])
            started = spawn.spawn_init(program, stdio, self._prepare)
        except KernelError as error:
            return error.call, error.target, error.errno
        finally:
            for fd in theirs:
                os.close(fd)
        if started.failure:
            return started.failure
        self._warnings = [*program["cgroup"]["warnings"], *started.warnings]
        self._pid = started.pid
        self._pidfd = sys.pidfd_open(started.pid)
        self._watch(self._pidfd, select.EPOLLIN, lambda events: self._init_ended())
        self._open_streams(self._streams, ours, started.master, self._plan["tty_size"])
        return None

    def _make_stdio(self, ours: list[int], theirs: list[int], tty: bool, stdin: bool) -> tuple[int, int, int]:
        """Return the child's (0, 1, 2); with a tty it opens its own."""
        if tty:
            return (0, 1, 2)
        if stdin:
            theirs_in, ours_in = os.pipe()
            ours.append(ours_in)
        else:
            theirs_in = os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC)
            ours.append(-1)
        theirs.append(theirs_in)
        for _ in range(2):
            reading, writing = os.pipe()
            ours.append(reading)
            theirs.append(writing)
        return (theirs[0], theirs[1], theirs[2])

    def _open_streams(self, streams: Streams, ours: list[int], master: int, size: tuple[int, int]) -> None:
        if master >= 0:
            streams.open_master(master)
            if any(size):
                streams.resize(*size)
        else:
            streams.open_pipes(ours[0], ours[1], ours[2])

    def _prepare(self, pid: int) -> list[str]:
        """The parent's part before init goes on."""
        warnings = []
        cgroups.attach(self._program["cgroup"], pid)
        wanted = self._program["process"]["oom_score_adj"]
        if wanted is not None and (refused := _set_oom_score(pid, wanted)):
            warnings.append(refused)
        if self._program["veths"]:
            netns = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
            try:
                for veth in self._program["veths"]:
                    netlink.apply_veth(veth, netns)
            finally:
                os.close(netns)
        elif self._program["flags"] & sys.CLONE_NEWNET:
            netns = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
            try:
                netlink.loopback_up(netns)
            finally:
                os.close(netns)
        return warnings

    def _give_up(self) -> None:
        """A failed start leaves nothing behind."""
        cgroups.remove(self._program["cgroup"])
        self._streams.close_clients()
        if self._log is not None:
            self._log.close()

    # what arrives

    def _accept(self, listener: socket.socket) -> None:
        try:
            control, _ = listener.accept()
        except OSError:
            return
        credentials = control.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
        if int.from_bytes(credentials[4:8], "little") != 0:  # struct ucred: pid, uid, gid
            control.close()
            return
        self._add_control(control)
        running = [name for name, one in self._execs.items() if one.code is None]
        wire.send(control, ("hello", self._pid, running, self._ended_execs))
        self._ended_execs = []

    def _add_control(self, control: socket.socket) -> None:
        control.setblocking(False)
        self._controls.append(control)
        self._watch(control.fileno(), select.EPOLLIN, lambda events: self._requested(control))

    def _requested(self, control: socket.socket) -> None:
        try:
            message, fds = wire.receive(control)
        except BlockingIOError:
            return
        except OSError:
            message, fds = None, []
        if message is None:
            self._watch(control.fileno(), 0, None)
            self._controls.remove(control)
            control.close()
            return
        number, verb, *rest = message
        try:
            answer = getattr(self, f"_do_{verb}")(rest, fds)
            reply = (number, "ok", answer)
        except KernelError as error:
            reply = (number, "failed", (error.call, error.target, error.errno))
        self._tell(control, reply)

    def _tell(self, control: socket.socket, message: tuple[Any, ...]) -> None:
        try:
            control.setblocking(True)
            wire.send(control, message)
            control.setblocking(False)
        except OSError:
            pass  # that daemon has gone; the next one asks

    def _broadcast(self, message: tuple[Any, ...]) -> bool:
        for control in self._controls:
            self._tell(control, message)
        return bool(self._controls)

    def _do_attach(self, rest: list[Any], fds: list[int]) -> None:
        self._streams.attach(socket.socket(fileno=fds[0]), *rest)

    def _do_resize(self, rest: list[Any], fds: list[int]) -> None:
        exec_id, rows, cols = rest
        target = self._execs[exec_id].streams if exec_id in self._execs else self._streams
        if not exec_id or exec_id in self._execs:
            target.resize(rows, cols)

    def _do_exec(self, rest: list[Any], fds: list[int]) -> int:
        exec_id, process, open_stdin, size, flags = rest
        tty = process["terminal"]
        streams = Streams(self._watch, tty=tty, keep_stdin=False, log=None)
        if fds:
            streams.attach(socket.socket(fileno=fds[0]), *flags)
        ours: list[int] = []
        theirs: list[int] = []
        try:
            stdio = self._make_stdio(ours, theirs, tty, open_stdin)
            started = spawn.join_exec(self._pidfd, process, self._program["cgroup"], stdio)  # type: ignore[arg-type]
        finally:
            for fd in theirs:
                os.close(fd)
        if started.failure:
            for fd in ours:
                if fd >= 0:
                    os.close(fd)
            streams.close_clients()
            raise KernelError(*started.failure)
        self._follow_exec(exec_id, started.pid, streams)
        self._open_streams(streams, ours, started.master, size)
        return started.pid

    def _follow_exec(self, exec_id: str, pid: int, streams: Streams) -> None:
        one = Exec(pid, sys.pidfd_open(pid), streams)
        self._execs[exec_id] = one
        self._watch(one.pidfd, select.EPOLLIN, lambda events: self._exec_ended(exec_id, one))

    def _exec_ended(self, exec_id: str, one: Exec) -> None:
        """Reap, send what is left of its output, tell the code."""
        _, status = os.waitpid(one.pid, 0)
        self._watch(one.pidfd, 0, None)
        os.close(one.pidfd)
        one.code = _code(status)
        one.streams.drain()
        self._flush(one.streams, FLUSH_S)
        one.streams.end_output()
        one.streams.close_clients()
        del self._execs[exec_id]
        if not self._broadcast(("exec", exec_id, one.code)):
            self._ended_execs.append((exec_id, one.code))

    def _init_ended(self) -> None:
        _, status = os.waitpid(self._pid, 0)
        self._watch(self._pidfd, 0, None)
        self._exit_code = _code(status)
        self._ended_at = time.time_ns()

    # end

    def _flush(self, streams: Streams, limit_s: float) -> None:
        """Turn the loop until every client has everything, at most `limit_s`."""
        until = time.monotonic() + limit_s
        while not streams.flushed and (left := until - time.monotonic()) > 0:
            self._turn(left)

    def _finish(self, listener: socket.socket) -> None:
        """Nothing of it runs any more: drain, log, tell, give back, leave."""
        if not self._program["flags"] & sys.CLONE_NEWPID:
            cgroups.kill(self._program["cgroup"])
        self._streams.drain()
        for exec_id, one in list(self._execs.items()):
            self._exec_ended(exec_id, one)
        self._flush(self._streams, FLUSH_S)
        self._streams.end_output()
        if self._log is not None:
            self._log.close()
        record = {
            "code": self._exit_code,
            "at_nanos": self._ended_at,
            "oom_killed": cgroups.oom_kills(self._program["cgroup"]) > 0,
            "error": "",
        }
        stuck = not self._streams.flushed
        if not stuck:
            self._streams.close_clients()
        os.close(self._pidfd)
        cgroups.remove(self._program["cgroup"])
        write_exit(self._plan["run_dir"], record)
        listener.close()
        self._broadcast(("exit", record))
        if stuck:
            self._flush(self._streams, LINGER_S)


def _code(status: int) -> int:
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code


def _set_oom_score(pid: int, wanted: int) -> str:
    """Write oom_score_adj; where the host does not let us lower it, go on with a warning."""
    path = f"/proc/{pid}/oom_score_adj"
    try:
        fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        try:
            if int(os.read(fd, 16)) != wanted:
                os.pwrite(fd, str(wanted).encode(), 0)
        finally:
            os.close(fd)
    except PermissionError:
        return f"oom_score_adj {wanted} was not set: this host does not let us lower it (no CAP_SYS_RESOURCE)"
    except OSError as error:
        raise KernelError("write", f"{path} {wanted}", error.errno or 0) from None
    return ""


def write_exit(run_dir: str, record: dict[str, Any]) -> None:
    """Leave the exit record where a later daemon finds it; by rename, so that it is whole or not there."""
    try:
        with open(f"{run_dir}/exit.new", "wb") as file:
            file.write(marshal.dumps(record))
        os.rename(f"{run_dir}/exit.new", f"{run_dir}/exit")
    except OSError:
        pass  # the directory is gone: the container was removed by force
