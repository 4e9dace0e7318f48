"""Bring a container up in a short-lived helper of its monitor. Lean.

Every page that Python touches becomes the process's own, and a start touches many: the helper takes them with it, and the monitor
that stays is 0.5 MB smaller (1.2 MB). Init is born as the helper's sibling (CLONE_PARENT), so the monitor is its parent.
"""

import os
import socket

from havre.errors import HavreError, KernelError
from havre.linux import netlink
from havre.linux import syscalls as sys
from havre.runtime import hooks, identity, idmapped, rundir, spawn, wire
from havre.runtime.cgroup import files as cgroups
from havre.runtime.failure import as_failure

TYPE_CHECKING = False
if TYPE_CHECKING:
    from havre.runtime.plan import Program
    from havre.spec.runplan import RunPlan


class Up:
    """A container that runs, and the helpers that brought it up and still have to be reaped (an exit takes 1 ms of memory freeing)."""

    __slots__ = ("helpers", "master", "pid", "warnings")

    def __init__(self, helpers: list[int], pid: int, warnings: list[str], master: int) -> None:
        self.helpers = helpers
        self.pid = pid  # init, at its execve
        self.warnings = warnings
        self.master = master  # of its pty, or -1

    def reap_helpers(self) -> None:
        """Wait for them. From then on nothing but init belongs to the container."""
        for pid in self.helpers:
            os.waitpid(pid, 0)


def bring_up(program: "Program", plan: "RunPlan", stdio: tuple[int, int, int]) -> Up:
    """Start the container. Raises KernelError, HavreError; only the cgroup may be left then."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    helper = os.fork()
    if helper == 0:
        ours.close()
        _work(program, plan, stdio, theirs)
    theirs.close()
    message, fds = wire.receive(ours)
    ours.close()
    if message is not None and message[0] == "started":
        helpers = [one for one in (helper, message[3]) if one]
        return Up(helpers, message[1], message[2], fds[0] if fds else -1)
    os.waitpid(helper, 0)
    cgroups.kill(program["cgroup"])
    _reap_all()
    raise KernelError(*message[1:]) if message else HavreError("the start helper was killed")


def _work(program: "Program", plan: "RunPlan", stdio: tuple[int, int, int], channel: socket.socket) -> None:
    try:
        started = _create(program, plan, stdio)
        warnings = [*program["cgroup"]["warnings"], *started.warnings]
        wire.send(
            channel,
            ("started", started.pid, warnings, started.helper),
            [started.master] if started.master >= 0 else [],
        )
        rundir.write_state(plan["run_dir"], started.pid, program["cgroup"])
    except BaseException as error:  # noqa: BLE001 - top frame of a process: everything must reach the monitor
        wire.send(
            channel, ("failed", *as_failure(error))
        )  # after "started" nobody reads it: only `state` is missing then
    os._exit(0)


def _create(program: "Program", plan: "RunPlan", stdio: tuple[int, int, int]) -> "spawn.Started":
    if plan["runtime"]:
        from havre.runtime import foreign

        return foreign.create(program, plan, stdio)
    cgroups.create(program["cgroup"])
    started = spawn.spawn_init(program, stdio, lambda pid: _prepare(program, pid, stdio), sibling=True)
    if started.failure:
        raise KernelError(*started.failure)
    hooks.run(program, "poststart", "running", started.pid)
    return started


def _prepare(program: "Program", pid: int, stdio: tuple[int, int, int]) -> list[str]:
    """The parent's part before init goes on: streams, network, OOM score. Return warnings."""
    if program["userns"]:
        idmapped.own_streams(stdio, idmapped.read_maps(pid))
    if program["veths"] or program["flags"] & sys.CLONE_NEWNET:
        netns = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        try:
            for veth in program["veths"]:
                netlink.apply_veth(veth, netns)
            if not program["veths"]:
                netlink.loopback_up(netns)
        finally:
            os.close(netns)
    wanted = program["process"]["oom_score_adj"]
    refused = identity.set_oom_score(str(pid), wanted) if wanted is not None else ""
    return [refused] if refused else []


def _reap_all() -> None:
    try:
        while True:
            os.waitpid(-1, 0)
    except ChildProcessError:
        pass
