"""From a bundle to a container that waits at its gate (create) or runs (run): what both commands share."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from havre.errors import HavreError, InvalidParameter, KernelError
from havre.linux import netlink
from havre.linux import syscalls as sys
from havre.oci import bundle, console, flags, state
from havre.oci.context import Context
from havre.oci.state import Container
from havre.runtime import hooks, identity, spawn
from havre.runtime.cgroup import files as cgroups
from havre.runtime.cgroup.layout import host_layout
from havre.runtime.plan import Program, compile_plan, state_head
from havre.spec.runplan import RunPlan, no_log

FAILED = "unable to start container process"


@dataclass(slots=True)
class Launched:
    """A container that was built, and its pty master (-1 without one, or when a console socket took it)."""

    container: Container
    program: Program
    master: int


def launch(
    context: Context, options: flags.Options, container_id: str, *, gated: bool, detached: bool
) -> Launched:
    """Build the container of a bundle. On any error nothing is left, poststop hooks have run, and the error is raised."""
    place = os.path.abspath(flags.text(options, "bundle", "."))
    config = bundle.read_config(place, flags.text(options, "config") or context.config)
    check_console(bool((config.get("process") or {}).get("terminal")), options, detached)
    folder = state.reserve(context.root, container_id)
    try:
        program = _compile(config, container_id, folder, place, options)
    except BaseException:
        Container(folder, container_id, place, "", "", config, _no_cgroup()).forget()
        raise
    container = Container(
        folder=folder,
        id=container_id,
        bundle=place,
        rootfs=config["root"]["path"],
        created=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
        config=config,
        cgroup=program["cgroup"],
        annotations=config.get("annotations") or {},
    )
    container.save()
    try:
        master = _build(context, container, program, options, gated=gated)
    except BaseException:
        undo(context, container, program)
        raise
    return Launched(container, program, master)


def check_console(terminal: bool, options: flags.Options, detached: bool) -> None:
    """A terminal that nobody would hold, or a console socket without a terminal, is an error, as in runc."""
    given = bool(flags.text(options, "console-socket"))
    if terminal and detached and not given:
        raise InvalidParameter("cannot allocate tty if havre will detach without setting console socket")
    if given and not (terminal and detached):
        raise InvalidParameter("cannot use console socket if havre will not detach or allocate tty")


def _no_cgroup() -> Any:
    return {"directories": [], "freezer": ""}


def _compile(
    config: dict[str, Any], container_id: str, folder: str, place: str, options: flags.Options
) -> Program:
    log = no_log()
    plan = RunPlan(
        id=container_id,
        config=config,
        overlay=None,
        veths=[],
        user="",
        group_add=[],
        init=False,
        join_netns="",
        open_stdin=True,
        stdin_once=False,
        tty_size=(0, 0),
        log=log,
        run_dir=f"{folder}/{state.PLACE}",
        runtime="",
        runtime_args=[],
    )
    program = compile_plan(plan, host_layout())
    program["state"] = state_head(config, container_id, place)
    program["pivot"] = not options.get("no-pivot")
    program["process"]["keyring"] = not options.get("no-new-keyring")
    preserve(program["process"], options)
    return program


def preserve(process: Any, options: flags.Options) -> None:
    """--preserve-fds and systemd's LISTEN_FDS: descriptors from 3 on that are handed to the process."""
    extra, listen = flags.number(options, "preserve-fds") or 0, os.environ.get("LISTEN_FDS", "")
    if listen.isdigit() and int(listen):
        process["env"] += [f"LISTEN_FDS={listen}", "LISTEN_PID=1"]
        extra += int(listen)
    for fd in range(3, 3 + extra):
        try:
            os.set_inheritable(fd, True)
        except OSError:
            raise InvalidParameter(
                f"preserved file descriptor {fd} is not open", hint="--preserve-fds"
            ) from None
    process["preserve_fds"] = extra


def _build(
    context: Context, container: Container, program: Program, options: flags.Options, *, gated: bool
) -> int:
    cgroups.create(program["cgroup"])
    gate = _make_gate(container.folder) if gated else None
    try:
        started = spawn.spawn_init(program, (0, 1, 2), _parents_part(context, program), gate)
    except hooks.HookFailed as error:
        raise HavreError(str(error)) from None
    except KernelError as error:
        raise as_runc_says((error.call, error.target, error.errno)) from None
    finally:
        for fd in gate or ():
            os.close(fd)
    if started.failure:
        raise as_runc_says(started.failure)
    for warning in (*program["cgroup"]["warnings"], *started.warnings):
        context.report.warn(warning)
    container.pid = started.pid
    container.started_ticks = state.process_start(started.pid) or 0
    try:
        master = hand_over(started.master, container.config.get("process") or {}, options)
        container.save()
        write_pid_file(options, started.pid)
    except BaseException:
        os.kill(started.pid, 9)
        os.waitpid(started.pid, 0)
        raise
    return master


def as_runc_says(failure: tuple[str, str, int]) -> HavreError:
    """Give a failure the words that callers of runc look for ("executable file not found", "permission denied")."""
    error = spawn.as_error(failure)
    detail = (
        error.message
        if not isinstance(error, KernelError)
        else f"error during container init: {error.message}"
    )
    return HavreError(f"{FAILED}: {detail}")


def _make_gate(folder: str) -> tuple[int, int]:
    """Two fifos: start writes to the first, and reads from the second why execve failed (nothing: it did not)."""
    fds = []
    for name in (state.GATE, state.LATE):
        os.mkfifo(f"{folder}/{name}", 0o600)
        fds.append(os.open(f"{folder}/{name}", os.O_RDWR | os.O_CLOEXEC))
    return fds[0], fds[1]


def _parents_part(context: Context, program: Program) -> Callable[[int], list[str]]:
    def prepare(pid: int) -> list[str]:
        warnings = []
        wanted = program["process"]["oom_score_adj"]
        if wanted is not None and (refused := identity.set_oom_score(str(pid), wanted)):
            warnings.append(refused)
        if program["flags"] & sys.CLONE_NEWNET:
            namespace = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
            try:
                netlink.loopback_up(namespace)
            finally:
                os.close(namespace)
        context.report.debug(f"container init is process {pid}")
        return warnings

    return prepare


def hand_over(master: int, process: dict[str, Any], options: flags.Options) -> int:
    """Size the pty, and send it away if there is a console socket; return what stays with us."""
    if master < 0:
        return -1
    if box := process.get("consoleSize"):
        console.resize(master, box["height"], box["width"])
    if path := flags.text(options, "console-socket"):
        console.send(master, path)
        os.close(master)
        return -1
    return master


def write_pid_file(options: flags.Options, pid: int) -> None:
    """--pid-file, by rename: whoever waits for the file never reads half a number."""
    if path := flags.text(options, "pid-file"):
        try:
            state.write_atomically(os.path.abspath(path), str(pid))
        except OSError as error:
            raise InvalidParameter(f"--pid-file {path}: {(error.strerror or '').lower()}") from None


def undo(context: Context, container: Container, program: Program) -> None:
    """Take back everything of a container whose process has ended; hooks that fail are only warned of."""
    cgroups.kill(program["cgroup"])
    for left in cgroups.remove(program["cgroup"]):
        context.report.warn(f"cgroup {left} could not be removed: processes still run in it")
    for place in range(len(program["hooks"]["poststop"])):
        try:
            hooks.run_one(program, "poststop", place, state.STOPPED, 0)
        except hooks.HookFailed as error:
            context.report.warn(str(error))
    container.forget()
