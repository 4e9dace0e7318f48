"""POST /containers/{id}/exec and /exec/{id}/...: one more process in a running container."""

import asyncio
import base64
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from havre import ids
from havre.engine import execrecords, merge, security
from havre.engine.background import report
from havre.engine.container import Container, check_runs
from havre.engine.execs import Exec
from havre.engine.plan import rlimits
from havre.engine.rooms import Rooms
from havre.errors import CommandNotFound, Conflict, HavreError, InvalidParameter, NotFound
from havre.runtime import caps
from havre.runtime.link import Attached, Monitor
from havre.spec import detach as detaching
from havre.spec.detach import DetachKeys
from havre.spec.engine import ExecCreate
from havre.spec.runplan import ExecPlan
from havre.tasks import spawn

EXECS_KEPT = (
    1000  # ended execs of one container that can still be inspected; 10k execs must not grow the daemon
)


RESIZE_PATIENCE_S = 10  # how long a resize waits for the start of its exec, as in Docker


@dataclass(frozen=True, slots=True)
class ExecStream:
    """`sock` carries Docker's multiplexed frames, raw bytes with a tty; `keys` watches what is typed there."""

    rooms: Rooms
    one: Exec
    sock: socket.socket
    tty: bool
    keys: DetachKeys | None

    def detached(self) -> None:
        """The keys were typed: the process goes on."""
        container = self.rooms.containers.find(self.one.container_id)
        attributes = {**container.attributes(), "execID": self.one.id}
        self.rooms.events.publish("container", "exec_detach", container.id, attributes)


async def create(rooms: Rooms, ref: str, body: ExecCreate) -> str:
    """Return the id of a new exec. Raises Conflict when the container does not run."""
    container = rooms.containers.find(ref)
    if not body.cmd or not body.cmd[0]:
        raise InvalidParameter("No exec command specified")
    detaching.parse(body.detach_keys or "")
    _check_running(container, ref)
    one = Exec(ids.new_id(), container.id, body)
    rooms.execs.add(one)
    container.execs.append(one.id)
    _forget_old(rooms, container)
    _tell(rooms, container, one, "exec_create")
    return one.id


def _tell(rooms: Rooms, container: Container, one: Exec, action: str) -> None:
    """Docker writes the words behind the action: the program, a space, and what follows it."""
    command = one.body.cmd or [""]
    text = f"{action}: {command[0]} {' '.join(command[1:])}"
    rooms.events.publish("container", text, container.id, {**container.attributes(), "execID": one.id})


def _check_running(container: Container, ref: str) -> None:
    if container.state.status == "paused":
        raise Conflict(f"container {ref} is paused, unpause the container before exec")
    check_runs(container)


def _forget_old(rooms: Rooms, container: Container) -> None:
    """The oldest go first; one that runs stays."""
    if len(container.execs) > EXECS_KEPT:
        oldest = next((key for key in container.execs if not rooms.execs.find(key).running), None)
        if oldest is not None:
            container.execs.remove(oldest)
            rooms.execs.discard(oldest)


async def start(
    rooms: Rooms, exec_id: str, *, detach: bool, tty_size: tuple[int, int] = (0, 0)
) -> ExecStream | None:
    """Start it; the stream is None when detached. Raises CommandNotFound and its kin with the words clients read."""
    one = rooms.execs.find(exec_id)
    container = rooms.containers.find(one.container_id)
    if one.started:
        raise Conflict(
            f"Error: Exec command {exec_id} has already run"
            if not one.running
            else f"Error: Exec command {exec_id} is already running"
        )
    _check_running(container, container.id)
    if container.monitor is None:
        raise Conflict(f"container {container.id} is not running")
    execrecords.keep(rooms, one)
    one.started = one.running = True
    stream = await _start(rooms, container, container.monitor, one, detach=detach, tty_size=tty_size)
    _tell(rooms, container, one, "exec_start")
    spawn(f"exec {one.id[:12]}", _follow(rooms, container, container.monitor, one), report)
    return stream


async def _start(
    rooms: Rooms,
    container: Container,
    monitor: Monitor,
    one: Exec,
    *,
    detach: bool,
    tty_size: tuple[int, int],
) -> ExecStream | None:
    plan = make_plan(rooms, container, one, tty_size)
    body = one.body
    if detach:
        ours, attached = None, None
    else:
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        attached = Attached(
            theirs, bool(body.attach_stdin), bool(body.attach_stdout), bool(body.attach_stderr)
        )
    try:
        one.pid = await monitor.exec(plan, attached)
    except BaseException as error:
        one.running, one.error = False, str(error)
        one.exit_code = CommandNotFound.exit_code if isinstance(error, CommandNotFound) else 126
        execrecords.forget(rooms, one)
        if ours is not None:
            ours.close()
        raise
    finally:
        one.begun.set()
        if attached is not None:
            attached.sock.close()
    if ours is None:
        return None
    watched = body.tty and body.attach_stdin
    keys = DetachKeys(detaching.parse(body.detach_keys or "")) if watched else None
    return ExecStream(rooms, one, ours, bool(body.tty), keys)


def make_plan(rooms: Rooms, container: Container, one: Exec, tty_size: tuple[int, int]) -> ExecPlan:
    """Return what the monitor needs: the container's own security, with this exec's command, user and environment."""
    record, body = container.record, one.body
    config, host = record.config, record.host_config
    privileged = bool(body.privileged or host.privileged)
    names = caps.resolve(host.cap_add or [], host.cap_drop or [], privileged)
    words = security.read(host, no_new_privileges=rooms.settings.no_new_privileges)
    process: dict[str, Any] = {
        "terminal": bool(body.tty),
        "user": security.oci_user(host),
        "args": list(body.cmd or []),
        "env": merge.merge_env(merge.full_env(config, bool(body.tty)), body.env or []),
        "cwd": body.working_dir or config.working_dir or "/",
        "capabilities": caps.oci_capabilities(names),
        "noNewPrivileges": words.no_new_privileges,
        **({"apparmorProfile": words.apparmor} if words.apparmor and rooms.host.apparmor else {}),
        "rlimits": rlimits(record, rooms.settings),
        "oomScoreAdj": host.oom_score_adj or 0,
    }
    if not privileged:
        process["seccomp"] = security.oci_seccomp(words, host, names, rooms.default_seccomp)
    size = tuple(body.console_size or ()) if not any(tty_size) else tty_size
    return ExecPlan(
        exec_id=one.id,
        process=process,
        user=body.user or config.user or "",
        privileged=privileged,
        open_stdin=bool(body.attach_stdin),
        tty_size=(size[0], size[1]) if len(size) == 2 else (0, 0),
    )


async def _follow(rooms: Rooms, container: Container, monitor: Monitor, one: Exec) -> None:
    one.exit_code = await monitor.exec_exited(one.id)
    one.running = False
    execrecords.forget(rooms, one)
    attributes = {**container.attributes(), "execID": one.id, "exitCode": str(one.exit_code)}
    rooms.events.publish("container", "exec_die", container.id, attributes)


def find_again(rooms: Rooms, container: Container, monitor: Monitor, execs: Sequence[Exec]) -> None:
    """After a restart of the daemon: follow those the monitor knows; one that it does not know never started."""
    execrecords.take_in(rooms, container, execs)
    for one in execs:
        if not monitor.knows_exec(one.id):
            execrecords.forget(rooms, one)
            continue
        one.started = one.running = True
        one.begun.set()
        spawn(f"exec {one.id[:12]}", _follow(rooms, container, monitor, one), report)


async def resize(rooms: Rooms, exec_id: str, rows: int, cols: int) -> None:
    """Set the size of its terminal, after its start if that comes soon. Raises NotFound when it has ended."""
    one = rooms.execs.find(exec_id)
    try:
        await asyncio.wait_for(one.begun.wait(), RESIZE_PATIENCE_S)
    except TimeoutError:
        raise HavreError("timeout waiting for exec session ready") from None
    container = rooms.containers.find(one.container_id)
    if not one.running or container.monitor is None:
        raise NotFound(f"No such exec instance: {exec_id}: it has ended")
    await container.monitor.resize(exec_id, rows, cols)


def inspect(rooms: Rooms, exec_id: str) -> dict[str, Any]:
    """Return GET /exec/{id}/json."""
    one = rooms.execs.find(exec_id)
    body = one.body
    command = body.cmd or [""]
    return {
        "ID": one.id,
        "Running": one.running,
        "ExitCode": one.exit_code,
        "ProcessConfig": {
            "tty": bool(body.tty),
            "entrypoint": command[0],
            "arguments": command[1:],
            "privileged": bool(body.privileged),
            **({"user": body.user} if body.user else {}),
        },
        "OpenStdin": bool(body.attach_stdin),
        "OpenStderr": bool(body.attach_stderr),
        "OpenStdout": bool(body.attach_stdout),
        "CanRemove": False,  # dockerd's mark for its own cleaning, minutes after the end
        "ContainerID": one.container_id,
        "DetachKeys": base64.b64encode(
            detaching.parse(body.detach_keys) if body.detach_keys else b""
        ).decode(),
        "Pid": one.pid,
    }
