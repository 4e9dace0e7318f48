"""create, run, start, kill, delete: the states of runtime-spec runtime.md "Lifecycle"."""

import contextlib
import errno
import marshal
import os
import select
import signal

from havre.errors import Conflict, HavreError, InvalidParameter, KernelError
from havre.linux import syscalls as sys
from havre.oci import console, flags, launch, state
from havre.oci.context import Context
from havre.oci.state import Container
from havre.runtime import hooks
from havre.runtime.cgroup import files as cgroups
from havre.runtime.plan import Program, state_head

END_WAIT_S = 10.0  # how long delete --force waits for SIGKILL to have its effect


def create(context: Context, options: flags.Options, words: list[str]) -> int:
    """Build the container up to execve; `start` does the rest."""
    launched = launch.launch(context, options, words[0], gated=True, detached=True)
    if launched.master >= 0:
        os.close(launched.master)
    return 0


def start(context: Context, options: flags.Options, words: list[str]) -> int:
    """Open the gate of a created container and wait until it has reached execve."""
    container = state.load(context.root, words[0])
    status = container.status()
    if status == state.STOPPED:
        raise Conflict("cannot start a container that has stopped")
    if status != state.CREATED:
        raise Conflict(f"cannot start an already {status} container")
    failure = _open_gate(container)
    for name in (state.GATE, state.LATE):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(f"{container.folder}/{name}")
    if failure:
        raise launch.as_runc_says(failure)
    run_poststart(context, container)
    return 0


def _open_gate(container: Container) -> tuple[str, str, int] | None:
    """Return why execve failed, None when it did not."""
    late = os.open(f"{container.folder}/{state.LATE}", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        gate = os.open(f"{container.folder}/{state.GATE}", os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        os.close(late)
        if error.errno == errno.ENXIO:
            raise Conflict("cannot start a container that has stopped") from None
        raise
    os.write(gate, b"1")
    os.close(gate)
    os.set_blocking(late, True)
    said = b""
    while chunk := os.read(late, 65536):
        said += chunk
    os.close(late)
    if not said:
        return None
    kind, *rest = marshal.loads(said)
    return (rest[0], rest[1], rest[2]) if kind == "fail" else None


def run_poststart(context: Context, container: Container) -> None:
    """Hooks after the start; one that fails stops the container (runtime.md, Lifecycle step 10)."""
    program = hook_program(container)
    try:
        hooks.run(program, "poststart", state.RUNNING, container.pid)
    except hooks.HookFailed as error:
        _send(container, signal.SIGKILL)
        raise HavreError(str(error)) from None


def hook_program(container: Container) -> Program:
    """Return as much of a program as running the parent's hooks takes."""
    compiled = hooks.compile_hooks(container.config.get("hooks") or {})
    head = state_head(container.config, container.id, container.bundle)
    return {"hooks": compiled, "state": head, "cgroup": container.cgroup}  # type: ignore[typeddict-item]


def run(context: Context, options: flags.Options, words: list[str]) -> int:
    """create and start in one, and unless detached stay until the end; return the process's own exit code."""
    detached = bool(options.get("detach"))
    if not detached and not options.get("no-subreaper"):
        sys.prctl(sys.PR_SET_CHILD_SUBREAPER, 1, "subreaper")
    signals = None if detached else console.SignalForwarder()
    launched = launch.launch(context, options, words[0], gated=False, detached=detached)
    container = launched.container
    try:
        run_poststart(context, container)
        if signals is None:
            return 0
        code = follow(container.pid, launched.master, signals)
    except BaseException:
        _send(container, signal.SIGKILL)
        _reap(container.pid)
        launch.undo(context, container, launched.program)
        raise
    if not options.get("keep"):
        launch.undo(context, container, launched.program)
    return code


def follow(pid: int, master: int, signals: console.SignalForwarder) -> int:
    """Stay with a child in the foreground: pass signals on, relay its terminal, return its exit code (128+n for a signal)."""
    pidfd = sys.pidfd_open(pid)
    signals.deliver(lambda number: _quietly_signal(pidfd, number))
    if master >= 0:
        console.relay(master, pidfd)
    code = _reap(pid)
    os.close(pidfd)
    return code


def _quietly_signal(pidfd: int, number: int) -> None:
    with contextlib.suppress(KernelError):
        sys.pidfd_send_signal(pidfd, number)


def _reap(pid: int) -> int:
    """Wait for our child, and for orphans that come to us as subreaper on the way."""
    while True:
        try:
            ended, status = os.waitpid(-1, 0)
        except ChildProcessError:
            return 0
        if ended == pid:
            code = os.waitstatus_to_exitcode(status)
            return code if code >= 0 else 128 - code


def parse_signal(word: str) -> int:
    """Return a signal's number: "9", "KILL", "SIGKILL", "sigrtmin+3". Raises InvalidParameter."""
    name = word.upper().removeprefix("SIG")
    base, plus, offset = name.replace("RTMAX-", "RTMAX+-").partition("+")
    try:
        found = (
            int(name) if name.isdigit() else int(signal.Signals[f"SIG{base}"]) + int(offset if plus else 0)
        )
    except (KeyError, ValueError):
        raise InvalidParameter(f"unknown signal {word!r}", hint="KILL, TERM, 9, ...") from None
    if found not in signal.valid_signals() or found == 0:
        raise InvalidParameter(f"unknown signal {word!r}", hint="KILL, TERM, 9, ...")
    return found


def kill(context: Context, options: flags.Options, words: list[str]) -> int:
    """Signal the container's init, or with --all everything in its group."""
    container = state.load(context.root, words[0])
    number = parse_signal(words[1] if len(words) > 1 else "TERM")
    if options.get("all"):
        for pid in state.pids(container.cgroup):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
    elif container.status() in (state.STOPPED, state.CREATING):
        raise Conflict("container not running")
    else:
        _send(container, number)
    if number == signal.SIGKILL and state.is_frozen(container.cgroup):
        cgroups.thaw(container.cgroup["freezer"])  # a v1 freezer holds even SIGKILL back
    return 0


def _send(container: Container, number: int) -> None:
    """Signal exactly this container's init: the pidfd is opened first, then its start time is checked."""
    try:
        pidfd = sys.pidfd_open(container.pid)
    except KernelError:
        return
    try:
        if state.process_start(container.pid) == container.started_ticks:
            _quietly_signal(pidfd, number)
    finally:
        os.close(pidfd)


def delete(context: Context, options: flags.Options, words: list[str]) -> int:
    """Give back what a stopped container holds; with --force end it first. A created one is ended, as runc does."""
    force = bool(options.get("force"))
    try:
        container = state.load(context.root, words[0])
    except HavreError:
        if not force:
            raise
        return 0
    status = container.status()
    if status in (state.RUNNING, state.PAUSED) and not force:
        raise Conflict(f"cannot delete container {container.id} that is not stopped: {status}")
    if status == state.CREATING and not force:
        raise Conflict(f"cannot delete container {container.id} that is not stopped: {status}")
    if status not in (state.STOPPED, state.CREATING):
        _end(container)
    launch.undo(context, container, hook_program(container))
    return 0


def _end(container: Container) -> None:
    pidfd = sys.pidfd_open(container.pid)
    try:
        _quietly_signal(pidfd, signal.SIGKILL)
        if state.is_frozen(container.cgroup):
            cgroups.thaw(container.cgroup["freezer"])
        if not select.select([pidfd], [], [], END_WAIT_S)[0]:
            raise HavreError(
                f"container {container.id} does not end: process {container.pid} survived SIGKILL"
            )
    finally:
        os.close(pidfd)
