"""The monitor: one process per container (containerd-shim's job). Lean; forked from the zygote, outlives the daemon.

It makes the cgroup, spawns init, holds its stdio, writes the log, runs execs, reaps, and records the exit in run_dir/exit.
Daemons come and go: the first over the socketpair of the start request, later ones over run_dir/sock.
"""

import _signal  # type: ignore[import-not-found] # the enums of signal cost every monitor 100 kB of touched pages
import gc
import os
import socket
import time

from havre.errors import KernelError
from havre.linux import syscalls as sys
from havre.linux.nlsocket import inside
from havre.runtime import hooks, idmapped, rundir, spawn, wire
from havre.runtime.cgroup import files as cgroups
from havre.runtime.control import Control
from havre.runtime.exec import Exec
from havre.runtime.failure import as_failure
from havre.runtime.loop import IN, Loop
from havre.runtime.probe import Probe
from havre.runtime.start import Up, bring_up
from havre.runtime.stdio import Stdio
from havre.runtime.streams import Streams

FLUSH_S = 3.0  # how long an end waits for clients that do not read, before it is told
LOG_LINGER_S = 10.0  # how long the end of the output is kept for a log that nobody takes; dockerd waits as long for one to close
LINGER_S = 600.0  # how long the last megabyte is kept for a client that takes nothing
TICK_S = 0.5
ENDED_KEPT = 50  # exit codes of execs, for a daemon that comes after one that was killed
TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from havre.runtime.plan import Process, Program
    from havre.runtime.streams import LogWriter
    from havre.spec.runplan import LogPlan, RunPlan

    OpenLog = Callable[[LogPlan], LogWriter | None]
    Attached = tuple[socket.socket, bool, bool, bool]


def run(message: "tuple[Any, ...]", fds: list[int], open_log: "OpenLog") -> None:
    """Be the monitor of one start request: ("start", program, run_plan, attached flags) with fds [control, *attached]. Never returns."""
    control = socket.socket(fileno=fds[0])
    try:
        _leave_zygote()
        _, program, plan, attached = message
        clients = [(socket.socket(fileno=fd), *flags) for fd, flags in zip(fds[1:], attached, strict=True)]
        Monitor(program, plan).serve(control, clients, open_log)
    except BaseException as error:  # noqa: BLE001 - top frame of a process
        _say_failed(control, as_failure(error))
    os._exit(0)


def _leave_zygote() -> None:
    _signal.signal(_signal.SIGCHLD, _signal.SIG_DFL)
    os.setsid()
    sys.set_name(b"havre-monitor")
    null = os.open("/dev/null", os.O_RDWR)
    for fd in (0, 1, 2):
        os.dup2(null, fd)
    os.close(null)
    gc.enable()  # what was frozen in the zygote is not looked at, so its pages stay shared


def _say_failed(control: socket.socket, failure: tuple[str, str, int]) -> None:
    try:
        wire.send(control, ("failed", *failure))
    except OSError:
        pass  # that daemon has gone


class Monitor:
    """One container: its loop and its state."""

    def __init__(self, program: "Program", plan: "RunPlan") -> None:
        self._program = program
        self._plan = plan
        self._loop = Loop()
        self._controls: list[Control] = []
        self._execs: dict[str, Exec] = {}
        self._ended_execs: list[
            tuple[str, int]
        ] = []  # the last of them: a daemon may be killed with the news unread
        self._pid = 0
        self._pidfd = -1
        self._exit_code: int | None = None
        self._ended_at = 0
        self._log: LogWriter | None = None
        keep = plan["open_stdin"] and not plan["stdin_once"]
        self._streams = Streams(self._loop, tty=program["process"]["terminal"], keep_stdin=keep, log=None)
        self._verbs = {
            "attach": self._attach,
            "resize": self._resize,
            "exec": self._exec,
            "probe": self._probe,
            "cancel": self._cancel,
            "socket": self._socket,
        }

    def serve(self, control: socket.socket, clients: "list[Attached]", open_log: "OpenLog") -> None:
        """Start the container, then serve until it has ended and everybody knows."""
        for client in clients:
            self._streams.attach(*client)
        if self._plan["runtime"]:
            sys.prctl(sys.PR_SET_CHILD_SUBREAPER, 1, "subreaper")
        # Listening comes first: a daemon that was restarted during this start finds it, and waits for its outcome.
        listener = wire.listen(self._plan["run_dir"])
        try:
            self._log = self._streams.log = open_log(self._plan["log"])
            if self._log is not None:
                self._log.join(self._loop, self._streams.hold_back)
            up = self._start()
        except BaseException as error:  # noqa: BLE001 - everything that goes wrong is undone and told
            self._give_up()
            _say_failed(control, as_failure(error))
            return
        try:
            self._loop.watch(listener.fileno(), IN, lambda events: self._accept(listener))
            self._add_control(control).send(("started", self._pid, up.warnings), (self._pidfd,))
            up.reap_helpers()
            while self._exit_code is None:
                self._turn()
            self._finish(listener)
        except BaseException as error:  # a fault of ours must not leave a container that nobody holds
            self._fail(error)
            raise

    def _turn(self) -> None:
        """One round of the loop. Whoever waits for time to pass is looked at every TICK_S, a probe at its end."""
        if self._plan["runtime"]:
            self._reap_orphans()
        ending = [one for one in self._execs.values() if one.code is not None]
        probes = [one for one in self._execs.values() if isinstance(one, Probe)]
        due = min((one.due for one in probes), default=float("inf"))
        patience = TICK_S if ending or self._streams.held else -1.0
        if due < float("inf"):
            left = max(0.0, due - time.monotonic())
            patience = left if patience < 0 else min(patience, left)
        self._loop.turn(patience)
        self._streams.cut_stuck()
        for probe in probes:
            if probe.code is None and time.monotonic() >= probe.due:
                probe.expire()
        for one in ending:
            if one.told or one.streams.flushed or time.monotonic() > one.deadline:
                self._tell_exec(one)

    # start

    def _start(self) -> Up:
        """Bring init to its execve. Raises what went wrong."""
        program, plan = self._program, self._plan
        with Stdio(tty=program["process"]["terminal"], stdin=plan["open_stdin"]) as stdio:
            up = bring_up(program, plan, stdio.theirs)
            self._pid, self._pidfd = up.pid, sys.pidfd_open(up.pid)
            stdio.open(self._streams, up.master)
        self._loop.watch(self._pidfd, IN, lambda events: self._init_ended())
        return up

    def _give_up(self) -> None:
        """A failed start leaves nothing behind."""
        if self._pidfd >= 0:
            self._kill_init()
        self._remove()
        self._streams.close_clients()
        if self._log is not None:
            self._log.close()
        rundir.forget(self._plan["run_dir"])

    def _kill_init(self) -> None:
        try:
            os.kill(self._pid, _signal.SIGKILL)
            os.waitpid(self._pid, 0)
        except (ProcessLookupError, ChildProcessError):
            pass

    def _reap_orphans(self) -> None:
        """As subreaper (of another runtime's children): reap who is nobody's. An exec that is on its way is not known yet."""
        known = {self._pid, *(one.pid for one in self._execs.values())}
        while 0 not in known:
            try:
                found = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            except ChildProcessError:
                return
            if found is None or found.si_pid in known:
                return
            os.waitpid(found.si_pid, 0)

    # daemons

    def _accept(self, listener: socket.socket) -> None:
        try:
            sock, _ = listener.accept()
        except OSError:
            return
        credentials = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
        if int.from_bytes(credentials[4:8], "little") != 0:  # struct ucred: pid, uid, gid
            sock.close()
            return
        control = self._add_control(sock)
        asked = [one for one in self._execs.values() if not isinstance(one, Probe)]
        running = [one.id for one in asked if one.pid and one.code is None]
        control.send(("hello", self._pid, running, self._ended_execs), (self._pidfd,))

    def _add_control(self, sock: socket.socket) -> Control:
        control = Control(self._loop, sock, self._requested, self._control_closed)
        self._controls.append(control)
        return control

    def _control_closed(self, control: Control) -> None:
        """A daemon has gone, and nobody will ask how its probes went."""
        self._controls.remove(control)
        for one in self._execs.values():
            if isinstance(one, Probe) and one.asked_by[0] is control:
                one.cancel()

    def _broadcast(self, message: "tuple[Any, ...]") -> bool:
        """Tell every daemon; False when there is none."""
        for control in list(self._controls):
            control.send(message)
        return bool(self._controls)

    def _requested(self, control: Control, message: "tuple[Any, ...]", fds: list[int]) -> None:
        """Do (number, verb, *rest); a verb that does not answer at once returns None and answers later."""
        number, verb, *rest = message
        try:
            if self._exit_code is not None:
                raise KernelError(verb, "the container has ended", 3)  # ESRCH
            reply = self._verbs[verb](control, number, rest, fds)
        except Exception as error:  # noqa: BLE001 - a bad request must never end the container
            for fd in fds:
                os.close(fd)
            reply = (number, "failed", as_failure(error))
        if reply is not None:
            control.send(reply)

    def _attach(self, control: Control, number: int, rest: "list[Any]", fds: list[int]) -> "tuple[Any, ...]":
        said = self._streams.attach(socket.socket(fileno=fds.pop()), *rest)
        return number, "ok", said

    def _resize(self, control: Control, number: int, rest: "list[Any]", fds: list[int]) -> "tuple[Any, ...]":
        exec_id, rows, cols = rest
        one = self._execs.get(exec_id)
        if exec_id and (one is None or one.code is not None):
            raise KernelError("resize", f"exec {exec_id} is not running", 3)  # ESRCH
        (one.streams if one else self._streams).resize(rows, cols)
        return number, "ok", None

    # execs

    def _exec(self, control: Control, number: int, rest: "list[Any]", fds: list[int]) -> None:
        exec_id, process, open_stdin, flags, *wanted = rest
        one = Exec(
            self._loop, exec_id, tty=process["terminal"], started=self._exec_started, ended=self._exec_ended
        )
        one.asked_by = (control, number)
        if fds:
            one.streams.attach(socket.socket(fileno=fds.pop()), *flags)
        try:
            one.begin(open_stdin, lambda stdio: self._begin_exec(exec_id, process, wanted, stdio))
        except BaseException:
            one.streams.close_clients()
            raise
        self._execs[exec_id] = one

    def _probe(self, control: Control, number: int, rest: "list[Any]", fds: list[int]) -> None:
        exec_id, process, timeout_s, *wanted = rest
        one = Probe(self._loop, exec_id, timeout_s, started=self._exec_started, ended=self._exec_ended)
        one.asked_by = (control, number)
        one.begin(False, lambda stdio: self._begin_exec(exec_id, process, wanted, stdio))
        self._execs[exec_id] = one

    def _cancel(self, control: Control, number: int, rest: "list[Any]", fds: list[int]) -> "tuple[Any, ...]":
        """End a probe; one that has ended is fine."""
        one = self._execs.get(rest[0])
        if isinstance(one, Probe):
            one.cancel()
        return number, "ok", None

    def _socket(self, control: Control, number: int, rest: "list[Any]", fds: list[int]) -> None:
        """A TCP socket that is in the container's network, for a probe that needs no process there."""
        with inside(self._pidfd):
            sock = socket.socket(rest[0], socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        control.send_socket((number, "ok", None), sock)

    def _begin_exec(
        self, exec_id: str, process: "Process", wanted: "list[Any]", stdio: tuple[int, int, int]
    ) -> spawn.Joining:
        if not self._plan["runtime"]:
            if self._program["userns"]:
                idmapped.own_streams(stdio, idmapped.read_maps(self._pid))
            return spawn.begin_exec(self._pidfd, process, self._program["cgroup"], stdio)

        def execute(channel: socket.socket) -> None:
            from havre.runtime import foreign

            foreign.execute(self._plan, self._pid, exec_id, (wanted[0], wanted[1]), stdio, channel)

        return spawn.begin(execute)

    def _exec_started(self, one: Exec, failure: "tuple[str, str, int] | None") -> None:
        control, number = one.asked_by
        if failure:
            del self._execs[one.id]
            control.send((number, "failed", failure))
            return
        if isinstance(one, Probe):
            one.running()
        control.send((number, "ok", one.pid))

    def _exec_ended(self, one: Exec) -> None:
        """Its output is read; the code is told when its clients have all of it, or after FLUSH_S."""
        one.deadline = time.monotonic() + FLUSH_S
        if one.streams.flushed:
            self._tell_exec(one)

    def _tell_exec(self, one: Exec) -> None:
        if not one.told:
            one.told = True
            if isinstance(one, Probe):
                self._broadcast(one.report())
            else:
                self._broadcast(("exec", one.id, one.code))
                self._ended_execs = [*self._ended_execs[1 - ENDED_KEPT :], (one.id, one.code or 0)]
        one.streams.cut_stuck(LINGER_S, alone=True)
        if one.streams.flushed:
            one.streams.close_clients()
            self._execs.pop(one.id, None)

    # end

    def _init_ended(self) -> None:
        _, status = os.waitpid(self._pid, 0)
        self._loop.forget(self._pidfd)
        self._exit_code = exit_code(status)
        self._ended_at = time.time_ns()

    def _finish(self, listener: socket.socket) -> None:
        """Init has ended: end what is left, log and send all output, tell, give everything back, leave."""
        if not self._program["flags"] & sys.CLONE_NEWPID:
            cgroups.kill(self._program["cgroup"])
        for one in list(self._execs.values()):
            one.end()
        self._streams.finish()
        if self._log is not None:
            self._log.close()
        until = time.monotonic() + FLUSH_S
        while not (self._all_flushed() and self._log_settled()) and time.monotonic() < until:
            self._turn_end()
        for one in list(self._execs.values()):
            self._tell_exec(one)
        if self._streams.flushed:
            self._streams.close_clients()
        record = {
            "code": self._exit_code,
            "at_nanos": self._ended_at,
            "oom_killed": cgroups.oom_kills(self._program["cgroup"]) > 0,
            "error": "",
        }
        self._remove()
        rundir.write_exit(self._plan["run_dir"], record)
        self._loop.forget(listener.fileno())
        listener.close()
        self._broadcast(("exit", record))
        until = time.monotonic() + LOG_LINGER_S
        while (
            not self._all_flushed()
            or any(control.waiting for control in self._controls)
            or (not self._log_flushed() and time.monotonic() < until)
        ):
            self._turn_end()
            for streams in self._all_streams():
                streams.cut_stuck(LINGER_S, alone=True)
            self._controls = [control for control in self._controls if control.patient(LINGER_S)]

    def _remove(self) -> None:
        """Remove the cgroup, and what another runtime keeps of the container."""
        if self._plan["runtime"]:
            helper = os.fork()
            if helper == 0:
                try:
                    from havre.runtime import foreign

                    foreign.delete(self._plan)
                finally:
                    os._exit(0)
            os.waitpid(helper, 0)
        cgroups.remove(self._program["cgroup"])
        if self._plan["runtime"]:
            return  # it runs the hooks of its config itself
        for place in range(len(self._program["hooks"]["poststop"])):
            try:
                hooks.run_one(self._program, "poststop", place, "stopped", 0)
            except hooks.HookFailed:
                pass  # the container has ended all the same (runtime-spec, Lifecycle step 13: log and go on)

    def _turn_end(self) -> None:
        self._loop.turn(TICK_S)
        for streams in self._all_streams():
            if streams.flushed:
                streams.close_clients()

    def _all_streams(self) -> list[Streams]:
        return [self._streams, *(one.streams for one in self._execs.values())]

    def _all_flushed(self) -> bool:
        return all(streams.flushed for streams in self._all_streams())

    def _log_settled(self) -> bool:
        """Whether what the daemon reads of the log is whole."""
        return self._log is None or self._log.settled

    def _log_flushed(self) -> bool:
        """Whether a log that is sent has taken everything; the container's end never waits for it."""
        return self._log is None or self._log.flushed

    def _fail(self, error: BaseException) -> None:
        """A fault in this program: end the container, and leave a record that says why."""
        self._kill_init()
        self._remove()
        record = {
            "code": 255,
            "at_nanos": time.time_ns(),
            "oom_killed": False,
            "error": f"monitor: {error!r}",
        }
        rundir.write_exit(self._plan["run_dir"], record)
        self._broadcast(("exit", record))


def exit_code(status: int) -> int:
    """The code of a wait status: 0-255, or 128+n for signal n."""
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code
