"""The daemon's side of zygote and monitors: asyncio, no threads."""

import asyncio
import errno
import marshal
import os
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from havre import log
from havre.errors import HavreError, NotFound, Unavailable
from havre.linux import syscalls as sys
from havre.runtime import plan as planning
from havre.runtime import spawn, wire
from havre.runtime.cgroup.layout import host_layout
from havre.spec.runplan import ExecPlan, ExitRecord, RunPlan

LOST = 255  # exit code when the monitor itself was killed


class Attached(NamedTuple):
    """A client's end of a socketpair, and which streams it wants."""

    sock: socket.socket
    stdin: bool
    stdout: bool
    stderr: bool

    @property
    def flags(self) -> tuple[bool, bool, bool]:
        return (self.stdin, self.stdout, self.stderr)


class Runtime:
    """Starts containers through the zygote and finds running ones again."""

    def __init__(self, zygote: socket.socket) -> None:
        self._zygote = zygote
        zygote.setblocking(False)

    async def start(self, plan: RunPlan, attached: Sequence[Attached] = ()) -> "Monitor":
        """Start a container. Raises CommandNotFound, CommandNotExecutable, InvalidParameter or KernelError; nothing is left then."""
        program = planning.compile_plan(plan, host_layout())
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.setblocking(False)
        kept = {key: plan[key] for key in ("log", "open_stdin", "stdin_once", "tty_size", "run_dir")}  # type: ignore[literal-required]
        message = ("start", program, kept, [one.flags for one in attached])
        try:
            await self._send(message, [theirs.fileno(), *(one.sock.fileno() for one in attached)])
        except OSError as error:
            ours.close()
            raise Unavailable(
                "the zygote has gone: no container can start", hint="restart havred; running containers go on"
            ) from error
        finally:
            theirs.close()
        return await _started(ours, program["cgroup"]["warnings"])

    async def _send(self, message: tuple[Any, ...], fds: list[int]) -> None:
        while True:
            try:
                wire.send(self._zygote, message, fds)
                return
            except BlockingIOError:
                await _writable(self._zygote)

    async def adopt(self, run_dir: str) -> "Monitor | ExitRecord | None":
        """Find a container again after a daemon restart: its monitor, how it ended, or None when nothing is known."""
        try:
            control = wire.connect(run_dir)
        except (FileNotFoundError, NotADirectoryError):
            return read_exit(run_dir)
        except ConnectionRefusedError:
            return read_exit(run_dir)  # its monitor was killed, or has just left
        control.setblocking(False)
        message, _ = await _receive(control)
        if message is None:
            control.close()
            return read_exit(run_dir)
        _, pid, running, ended = message
        monitor = Monitor(control, pid, ())
        for exec_id, code in ended:
            monitor.exec_exited(exec_id).set_result(code)
        log.debug("monitor found again", pid=pid, execs=len(running))
        return monitor

    def close(self) -> None:
        """Let the zygote go; monitors stay."""
        self._zygote.close()


def read_exit(run_dir: str) -> ExitRecord | None:
    """Return the record a monitor has left, or None."""
    try:
        record: ExitRecord = marshal.loads(Path(run_dir, "exit").read_bytes())
    except (OSError, ValueError, EOFError, TypeError):
        return None
    return record


async def _started(control: socket.socket, warnings: Sequence[str]) -> "Monitor":
    try:
        message, _ = await _receive(control)
    except BaseException:
        control.close()
        raise
    if message is None:
        control.close()
        raise HavreError("the container's monitor ended before the container started", hint="dmesg | tail")
    if message[0] == "failed":
        control.close()
        raise spawn.as_error((message[1], message[2], message[3]))
    return Monitor(control, message[1], tuple(message[2]))


async def _receive(sock: socket.socket) -> tuple[tuple[Any, ...] | None, list[int]]:
    loop = asyncio.get_running_loop()
    while True:
        try:
            return wire.receive(sock)
        except BlockingIOError:
            ready: asyncio.Future[None] = loop.create_future()
            loop.add_reader(sock.fileno(), _wake, ready)
            try:
                await ready
            finally:
                loop.remove_reader(sock.fileno())
        except OSError:
            return None, []


async def _writable(sock: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    ready: asyncio.Future[None] = loop.create_future()
    loop.add_writer(sock.fileno(), _wake, ready)
    try:
        await ready
    finally:
        loop.remove_writer(sock.fileno())


def _wake(future: "asyncio.Future[None]") -> None:
    if not future.done():
        future.set_result(None)


class Monitor:
    """One running container's monitor, as the daemon sees it."""

    def __init__(self, control: socket.socket, pid: int, warnings: tuple[str, ...]) -> None:
        loop = asyncio.get_running_loop()
        self.pid = pid
        self.warnings = warnings
        self.exited: asyncio.Future[ExitRecord] = loop.create_future()
        self._control = control
        self._pidfd = _open_pidfd(pid)
        self._number = 0
        self._replies: dict[int, asyncio.Future[Any]] = {}
        self._execs: dict[str, asyncio.Future[int]] = {}
        loop.add_reader(control.fileno(), self._readable)

    def _readable(self) -> None:
        try:
            message, fds = wire.receive(self._control)
        except BlockingIOError:
            return
        except OSError:
            message, fds = None, []
        for fd in fds:
            os.close(fd)
        if message is None:
            self._lost()
        elif message[0] == "exit":
            self._end(message[1])
        elif message[0] == "exec":
            future = self.exec_exited(message[1])
            if not future.done():
                future.set_result(message[2])
        else:
            self._answer(*message)

    def _answer(self, number: int, outcome: str, value: Any) -> None:
        future = self._replies.pop(number, None)
        if future is None or future.done():
            return
        if outcome == "ok":
            future.set_result(value)
        else:
            future.set_exception(spawn.as_error(value))

    def _lost(self) -> None:
        """The monitor has gone without a word: it was killed, and took the container's streams with it."""
        self.kill_quietly()
        self._end(
            ExitRecord(code=LOST, at_nanos=0, oom_killed=False, error="the container's monitor was killed")
        )

    def _end(self, record: ExitRecord) -> None:
        asyncio.get_running_loop().remove_reader(self._control.fileno())
        self._control.close()
        for future in self._replies.values():
            if not future.done():
                future.set_exception(NotFound("the container has ended"))
        for code in self._execs.values():
            if not code.done():
                code.set_result(137)
        if self._pidfd >= 0:
            os.close(self._pidfd)
            self._pidfd = -1
        if not self.exited.done():
            self.exited.set_result(record)

    async def _request(self, verb: str, rest: Sequence[Any], fds: Sequence[int] = ()) -> Any:
        if self.exited.done():
            raise NotFound("the container has ended")
        self._number += 1
        future = self._replies[self._number] = asyncio.get_running_loop().create_future()
        message = (self._number, verb, *rest)
        while True:
            try:
                wire.send(self._control, message, fds)
                break
            except BlockingIOError:
                await _writable(self._control)
            except OSError as error:
                self._replies.pop(self._number, None)
                raise NotFound("the container has ended") from error
        return await future

    async def attach(self, attached: Attached) -> None:
        """Give a client's socket to the container."""
        await self._request("attach", attached.flags, [attached.sock.fileno()])

    async def exec(self, plan: ExecPlan, attached: Attached | None) -> int:
        """Start one more process; return its pid on the host. Raises the same errors as start."""
        process = planning.compile_process(plan["process"], plan["process"].get("seccomp"), plan["user"], ())
        flags = attached.flags if attached else (False, False, False)
        self.exec_exited(plan["exec_id"])
        rest = (plan["exec_id"], dict(process), plan["open_stdin"], plan["tty_size"], flags)
        pid: int = await self._request("exec", rest, [attached.sock.fileno()] if attached else [])
        return pid

    def exec_exited(self, exec_id: str) -> "asyncio.Future[int]":
        """Return the future of an exec's exit code."""
        if exec_id not in self._execs:
            self._execs[exec_id] = asyncio.get_running_loop().create_future()
        return self._execs[exec_id]

    async def resize(self, exec_id: str, rows: int, cols: int) -> None:
        """Set the terminal's size; exec_id "" is the container itself."""
        await self._request("resize", (exec_id, rows, cols))

    def kill(self, number: int) -> None:
        """Signal the first process through its pidfd. Raises NotFound when it has gone."""
        if self._pidfd < 0:
            raise NotFound("the container has ended")
        try:
            sys.pidfd_send_signal(self._pidfd, number)
        except sys.KernelError as error:
            if error.errno == errno.ESRCH:
                raise NotFound("the container has ended") from None
            raise

    def kill_quietly(self) -> None:
        """SIGKILL if it is still there."""
        try:
            self.kill(9)
        except HavreError:
            pass


def _open_pidfd(pid: int) -> int:
    """A pidfd of the init, or -1 when it has ended already (its monitor will tell)."""
    try:
        return sys.pidfd_open(pid)
    except sys.KernelError:
        return -1
