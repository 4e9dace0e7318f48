"""The daemon's side of zygote and monitors: asyncio, no threads."""

import asyncio
import errno
import os
import socket
import time
from collections.abc import Sequence
from typing import Any, NamedTuple, cast

from havre import log
from havre.errors import HavreError, KernelError, NotFound, Unavailable, of_os
from havre.linux import syscalls as sys
from havre.runtime import plan as planning
from havre.runtime import rundir, spawn, wire
from havre.runtime.cgroup.layout import host_layout
from havre.spec.runplan import ExecPlan, ExitRecord, RunPlan
from havre.tasks import in_disk_thread
from havre.tasks import spawn as spawn_task

LOST = 255  # exit code when the monitor itself was killed
_KEPT = ("log", "open_stdin", "stdin_once", "run_dir", "runtime")  # of the RunPlan, for the monitor
_ENDED = "the container has ended"
_ZYGOTE_GONE = "the zygote has gone: no container can start"
_ZYGOTE_HINT = "restart havred; running containers go on"


class Attached(NamedTuple):
    """A client's end of a socketpair, and which streams it wants."""

    sock: socket.socket
    stdin: bool
    stdout: bool
    stderr: bool

    @property
    def flags(self) -> tuple[bool, bool, bool]:
        return (self.stdin, self.stdout, self.stderr)


class Probed(NamedTuple):
    """How a health probe ended."""

    code: int
    timed_out: bool
    output: bytes  # its beginning, at most 4096 bytes and three dots


class Said(NamedTuple):
    """What a container had said when a client was attached: the rows of its log up to a time, and what was begun behind them."""

    nanos: int
    stdout: bytes
    stderr: bytes


class Runtime:
    """Starts containers through the zygote and finds running ones again."""

    def __init__(self, zygote: socket.socket) -> None:
        self._zygote = zygote
        zygote.setblocking(False)
        asyncio.get_running_loop().add_reader(zygote.fileno(), self._zygote_gone)

    def _zygote_gone(self) -> None:
        """It never says anything: its socket is readable only when it has ended."""
        asyncio.get_running_loop().remove_reader(self._zygote.fileno())
        log.error(_ZYGOTE_GONE, hint=_ZYGOTE_HINT)

    async def start(self, plan: RunPlan, attached: Sequence[Attached] = ()) -> "Monitor":
        """Start a container. Raises CommandNotFound, CommandNotExecutable, InvalidParameter or KernelError; nothing is left then."""
        program = planning.compile_plan(plan, host_layout())
        # Another runtime needs all of it; ours has everything in the program.
        kept = plan if plan["runtime"] else {key: plan[key] for key in _KEPT}  # type: ignore[literal-required]
        first = attached[
            : wire.MAX_FDS - 2
        ]  # beside the control socket and a message that is too large for a packet
        message = ("start", program, kept, [one.flags for one in first])
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.setblocking(False)
        try:
            await _send(self._zygote, message, [theirs.fileno(), *(one.sock.fileno() for one in first)])
        except OSError as error:
            ours.close()
            raise _zygote_error(error) from error
        finally:
            theirs.close()
        monitor = await _started(ours, plan["run_dir"])
        for one in attached[len(first) :]:
            await monitor.attach(one)
        return monitor

    async def help(self, message: tuple[Any, ...], fds: Sequence[int]) -> "Helper":
        """Have the zygote fork a helper for a message; the fds are its own from then on. Raises Unavailable."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.setblocking(False)
        try:
            await _send(self._zygote, message, [theirs.fileno(), *fds])
        except OSError as error:
            ours.close()
            raise _zygote_error(error) from error
        finally:
            theirs.close()
        return Helper(ours)

    async def adopt(self, run_dir: str) -> "Monitor | ExitRecord | None":
        """Find a container again after a daemon restart: its monitor, how it ended, or None when it never started.

        A container whose monitor was killed is ended here, and its record says so.
        """
        try:
            control = wire.connect(run_dir)
        except OSError:
            return await _find_record(run_dir)
        control.setblocking(False)
        message, fds = await _receive(control)
        if message is None:
            control.close()
            return await _find_record(run_dir)
        _, pid, running, ended, *_ = message  # a newer monitor may say more
        log.debug("monitor found again", pid=pid, execs=len(running))
        return Monitor(control, pid, fds[0], (), run_dir, running=running, ended=ended)

    def close(self) -> None:
        """Let the zygote go; monitors stay."""
        asyncio.get_running_loop().remove_reader(self._zygote.fileno())
        self._zygote.close()


def _zygote_error(error: OSError) -> HavreError:
    if error.errno in (errno.EPIPE, errno.ECONNRESET, errno.ENOTCONN, errno.EBADF):
        return Unavailable(_ZYGOTE_GONE, hint=_ZYGOTE_HINT)
    return of_os(error)


async def _find_record(run_dir: str) -> ExitRecord | None:
    """How a container without a monitor ended: as its monitor wrote, or with it."""
    record = rundir.read_exit(run_dir)
    if record is None and rundir.was_started(run_dir) and await in_disk_thread(rundir.sweep, run_dir):
        log.error("the monitor of a container was killed", run_dir=run_dir)
        return lost_record()
    return cast("ExitRecord | None", record)


def answers(run_dir: str) -> bool:
    """Whether a monitor listens there."""
    try:
        wire.connect(run_dir).close()
    except OSError:
        return False
    return True


def lost_record() -> ExitRecord:
    """What is known of a container whose monitor was killed."""
    return ExitRecord(code=LOST, at_nanos=0, oom_killed=False, error="the container's monitor was killed")


async def _started(control: socket.socket, run_dir: str) -> "Monitor":
    try:
        message, fds = await _receive(control)
    except asyncio.CancelledError:
        # Whoever asked has gone, and nobody would know the container: end it as soon as its start is over.
        spawn_task("abandon start", _abandon(control, run_dir), _report)
        raise
    if message is None:
        control.close()
        raise HavreError("the container's monitor ended before the container started", hint="dmesg | tail")
    if message[0] == "failed":
        control.close()
        raise spawn.as_error((message[1], message[2], message[3]))
    return Monitor(control, message[1], fds[0], tuple(message[2]), run_dir)


async def _abandon(control: socket.socket, run_dir: str) -> None:
    try:
        monitor = await _started(control, run_dir)
    except HavreError:
        return
    monitor.kill_quietly()
    await monitor.exited


def _report_quietly(name: str, error: BaseException) -> None:
    """The container has ended meanwhile: nothing is left to do."""
    log.debug("background task failed", task=name, error=repr(error))


def _report(name: str, error: BaseException) -> None:
    log.error("background task failed", task=name, error=repr(error))


async def _send(sock: socket.socket, message: tuple[Any, ...], fds: Sequence[int]) -> None:
    """Send when there is room. Raises OSError when nobody is there."""
    while True:
        try:
            wire.send(sock, message, fds)
            return
        except BlockingIOError:
            await _ready(sock, writing=True)


async def _receive(sock: socket.socket) -> tuple[tuple[Any, ...] | None, list[int]]:
    """Return the next message and the fds beside it, (None, []) at the end."""
    while True:
        try:
            return wire.receive(sock)
        except BlockingIOError:
            await _ready(sock, writing=False)
        except OSError:
            return None, []


async def _ready(sock: socket.socket, *, writing: bool) -> None:
    """Wait until a socket can be read or written. Several may wait to write on one: each looks again."""
    loop = asyncio.get_running_loop()
    ready: asyncio.Future[None] = loop.create_future()
    copy = os.dup(
        sock.fileno()
    )  # the loop knows one reader and one writer a descriptor, and the Monitor reads as well
    (loop.add_writer if writing else loop.add_reader)(copy, _wake, ready)
    try:
        await ready
    finally:
        (loop.remove_writer if writing else loop.remove_reader)(copy)
        os.close(copy)


def _process_of(plan: ExecPlan) -> tuple[dict[str, Any], dict[str, Any]]:
    """(process as our runtime takes it, process as another OCI runtime takes it)."""
    process = planning.compile_process(plan["process"], plan["process"].get("seccomp"), plan["user"], ())
    if any(plan["tty_size"]):
        process["size"] = plan["tty_size"]
    return dict(process), {key: value for key, value in plan["process"].items() if key != "seccomp"}


def _wake(future: "asyncio.Future[None]") -> None:
    if not future.done():
        future.set_result(None)


class Helper:
    """A short-lived process of the zygote, as the daemon sees it: it says words on its socket, and ends when the daemon lets go."""

    def __init__(self, control: socket.socket) -> None:
        self._control = control

    async def word(self) -> str:
        """Return the next word. Raises what went wrong there, and HavreError when it ended without one."""
        message, _ = await _receive(self._control)
        if message is None:
            raise HavreError("a helper process was killed", hint="dmesg | tail")
        if message[0] == "failed":
            raise spawn.as_error((message[1], message[2], message[3]))
        return str(message[0])

    def close(self) -> None:
        self._control.close()


class Monitor:
    """One running container's monitor, as the daemon sees it."""

    def __init__(
        self,
        control: socket.socket,
        pid: int,
        pidfd: int,
        warnings: tuple[str, ...],
        run_dir: str,
        *,
        running: Sequence[str] = (),
        ended: Sequence[tuple[str, int]] = (),
    ) -> None:
        loop = asyncio.get_running_loop()
        self.pid = pid
        self.warnings = warnings
        self.exited: asyncio.Future[ExitRecord] = loop.create_future()
        self._control = control
        self._run_dir = run_dir
        self._pidfd = pidfd  # from the monitor, whose child it is: never another process with the same number
        self._number = 0
        self._replies: dict[int, asyncio.Future[Any]] = {}
        self._probes: dict[str, asyncio.Future[Probed | None]] = {}
        self._execs: dict[str, asyncio.Future[int]] = {name: loop.create_future() for name in running}
        for name, code in ended:
            self._execs[name] = loop.create_future()
            self._execs[name].set_result(code)
        loop.add_reader(control.fileno(), self._readable)

    def _readable(self) -> None:
        try:
            message, fds = wire.receive(self._control)
        except BlockingIOError:
            return
        except OSError:
            message, fds = None, []
        if message is not None and isinstance(message[0], int) and fds:
            sock = socket.socket(fileno=fds.pop())
            sock.setblocking(False)
            message = (message[0], message[1], sock)
        for fd in fds:
            os.close(fd)
        if message is None:
            self._close()
            spawn_task("lost monitor", self._lost(), _report)
        elif message[0] == "exit":
            self._close()
            self._end(message[1])
        elif message[0] == "exec":
            self._exec_ended(message[1], message[2])
        elif message[0] == "probe":
            self._probe_ended(message[1], Probed(*message[2:]))
        elif isinstance(message[0], int):
            self._answer(*message)

    def _exec_ended(self, exec_id: str, code: int) -> None:
        future = self._execs.get(exec_id)
        if future is not None and not future.done():
            future.set_result(code)

    def _probe_ended(self, exec_id: str, how: Probed | None) -> None:
        future = self._probes.pop(exec_id, None)
        if future is not None and not future.done():
            future.set_result(how)

    def _answer(self, number: int, outcome: str, value: Any) -> None:
        future = self._replies.pop(number, None)
        if future is None or future.done():
            if isinstance(value, socket.socket):
                value.close()
            return
        if outcome == "ok":
            future.set_result(value)
        else:
            future.set_exception(NotFound(value[1]) if value[2] == errno.ESRCH else spawn.as_error(value))

    async def _lost(self) -> None:
        """The monitor has gone without a word. Usually it was killed, and took the container's streams with it."""
        record = await _find_record(self._run_dir)
        self._end(record or lost_record())

    def _close(self) -> None:
        asyncio.get_running_loop().remove_reader(self._control.fileno())
        self._control.close()
        for future in self._replies.values():
            if not future.done():
                future.set_exception(NotFound(_ENDED))
        self._replies.clear()

    def _end(self, record: ExitRecord) -> None:
        for code in self._execs.values():
            if not code.done():
                code.set_result(137)
        for exec_id in list(self._probes):
            self._probe_ended(exec_id, None)
        if self._pidfd >= 0:
            os.close(self._pidfd)
            self._pidfd = -1
        if not self.exited.done():
            self.exited.set_result(record)

    async def _request(self, verb: str, rest: Sequence[Any], fds: Sequence[int] = ()) -> Any:
        if self._control.fileno() < 0:
            raise NotFound(_ENDED)
        self._number += 1
        number = self._number
        future = self._replies[number] = asyncio.get_running_loop().create_future()
        try:
            await _send(self._control, (number, verb, *rest), fds)
        except OSError as error:
            self._replies.pop(number, None)
            if future.done():
                future.exception()
            raise NotFound(_ENDED) from error
        except BaseException:
            self._replies.pop(number, None)
            if not future.cancel() and not future.cancelled():
                future.exception()  # seen
            raise
        return await future

    async def attach(self, attached: Attached) -> Said:
        """Give a client's socket to the container; return what was said before it. Raises NotFound when it has ended."""
        found = await self._request("attach", attached.flags, [attached.sock.fileno()])
        return Said(*found) if found else Said(time.time_ns(), b"", b"")  # a monitor of an older Havre

    async def exec(self, plan: ExecPlan, attached: Attached | None) -> int:
        """Start one more process; return its pid on the host. Raises the same errors as start, NotFound when the container ends."""
        flags = attached.flags if attached else (False, False, False)
        exec_id = plan["exec_id"]
        self._execs[exec_id] = asyncio.get_running_loop().create_future()
        process, wanted = _process_of(plan)
        rest = (exec_id, process, plan["open_stdin"], flags, wanted, plan["user"])
        try:
            pid: int = await self._request("exec", rest, [attached.sock.fileno()] if attached else [])
        except HavreError:
            self._execs.pop(exec_id, None)
            raise
        return pid

    def knows_exec(self, exec_id: str) -> bool:
        """Whether it runs, or ended a short while ago."""
        return exec_id in self._execs

    def exec_exited(self, exec_id: str) -> "asyncio.Future[int]":
        """Return the future of an exec's exit code. Ask once: what has been asked for and has come is forgotten."""
        future = self._execs.get(exec_id)
        if future is None:
            raise NotFound(f"no such exec: {exec_id}")
        future.add_done_callback(lambda done: self._execs.pop(exec_id, None))
        return future

    async def probe(self, plan: ExecPlan, timeout_s: float) -> "asyncio.Future[Probed | None]":
        """Start a health probe, which the monitor itself ends after `timeout_s`; the future says how it ended, None with the container.

        Raises the same errors as exec.
        """
        exec_id = plan["exec_id"]
        future = self._probes[exec_id] = asyncio.get_running_loop().create_future()
        process, wanted = _process_of(plan)
        try:
            await self._request("probe", (exec_id, process, timeout_s, wanted, plan["user"]))
        except asyncio.CancelledError:
            self.cancel_probe(exec_id)
            raise
        except HavreError:
            self._probes.pop(exec_id, None)
            raise
        return future

    def cancel_probe(self, exec_id: str) -> None:
        """End a probe that nobody waits for any more; its future still says how."""
        spawn_task("cancel probe", self._request("cancel", (exec_id,)), _report_quietly)

    async def open_socket(self, family: int) -> socket.socket:
        """Return a non-blocking TCP socket that is in the container's network. Raises NotFound when it has ended, KernelError."""
        found: socket.socket = await self._request("socket", (int(family),))
        return found

    async def resize(self, exec_id: str, rows: int, cols: int) -> None:
        """Set the terminal's size; exec_id "" is the container itself. Raises NotFound when it has ended."""
        await self._request("resize", (exec_id, rows, cols))

    def kill(self, number: int) -> None:
        """Signal the first process through its pidfd. Raises NotFound when it has gone."""
        if self._pidfd < 0:
            raise NotFound(_ENDED)
        try:
            sys.pidfd_send_signal(self._pidfd, number)
        except KernelError as error:
            if error.errno == errno.ESRCH:
                raise NotFound(_ENDED) from None
            raise

    def kill_quietly(self) -> None:
        """SIGKILL if it is still there."""
        try:
            self.kill(9)
        except HavreError:
            pass
