"""OCI hooks: the caller's programs, run at fixed points of a container's life with the state JSON on stdin. Lean.

Who runs what, in the order of runtime-spec runtime.md "Lifecycle":
    prestart, createRuntime   the parent, when the namespaces are there and before the root is entered
    createContainer           the child, in its namespaces, still on the host's tree
    startContainer            the child, as the container's user, just before execve
    poststart, poststop       the parent, after start and after delete
"""

import os
import signal
import time

from havre.errors import InvalidParameter

BEFORE_PIVOT = ("prestart", "createRuntime")
KINDS = (*BEFORE_PIVOT, "createContainer", "startContainer", "poststart", "poststop")
OUTPUT_BYTES = 4096  # how much of what a failed hook said goes into the error
POLL_S = 0.002
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from havre.runtime.plan import Hook, Program


class HookFailed(Exception):
    """A hook could not run, failed or took too long. The text follows runc's."""


def compile_hooks(hooks: "dict[str, Any]") -> "dict[str, list[Hook]]":
    """Return config.hooks as tuples. Pure. Raises InvalidParameter naming the hook."""
    return {
        kind: [
            _compile_hook(f"hooks.{kind}[{place}]", hook) for place, hook in enumerate(hooks.get(kind) or [])
        ]
        for kind in KINDS
    }


def _compile_hook(where: str, hook: "dict[str, Any]") -> "Hook":
    path, timeout = hook.get("path") or "", hook.get("timeout")
    if not path.startswith("/") or "\0" in path:
        raise InvalidParameter(f"{path!r} is not an absolute path", context=where)
    if timeout is not None and timeout <= 0:
        raise InvalidParameter(f"timeout {timeout} is not above zero", context=where)
    args = list(hook.get("args") or [path])
    return path, args, list(hook.get("env") or []), float(timeout or 0)


def state_json(head: str, status: str, pid: int) -> bytes:
    """Complete the state: `head` is its JSON without status, pid and the closing brace."""
    shown = f',"pid":{pid}' if pid else ""
    return f'{head},"status":"{status}"{shown}}}'.encode()


def run(program: "Program", kind: str, status: str, pid: int) -> None:
    """Run all hooks of a kind, one after the other. Raises HookFailed at the first that fails."""
    for place in range(len(program["hooks"][kind])):
        run_one(program, kind, place, status, pid)


def run_one(program: "Program", kind: str, place: int, status: str, pid: int) -> None:
    """Run one hook. Raises HookFailed."""
    where, state = f"error running {kind} hook #{place}", state_json(program["state"], status, pid)
    _run_hook(where, program["hooks"][kind][place], state)


def _run_hook(where: str, hook: "Hook", state: bytes) -> None:
    path, args, env, timeout_s = hook
    stdin, output = _memory(state), _memory(b"")
    try:
        pid = os.fork()
        if pid == 0:
            _become_hook(path, args, env, stdin, output)
        status = _wait(pid, timeout_s)
        if status is None:
            raise HookFailed(f"{where}: context deadline exceeded after {timeout_s:g} s")
        if status != 0:
            said = os.pread(output, OUTPUT_BYTES, 0).decode("utf-8", "replace").strip()
            raise HookFailed(f"{where}: {_describe(status)}, output: {said}")
    finally:
        os.close(stdin)
        os.close(output)


def _memory(data: bytes) -> int:
    fd = os.memfd_create("hook", os.MFD_CLOEXEC)
    os.write(fd, data)
    os.lseek(fd, 0, os.SEEK_SET)
    return fd


def _become_hook(path: str, args: list[str], env: list[str], stdin: int, output: int) -> None:
    """In the fork: stdin is the state, the environment is the hook's own, and nothing else is handed on."""
    try:
        signal.pthread_sigmask(signal.SIG_SETMASK, [])
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
        for target, source in enumerate((stdin, output, output)):
            os.dup2(source, target, inheritable=True)
        os.closerange(3, 65536)
        os.execve(path, args, dict(entry.split("=", 1) for entry in env if "=" in entry))
    except OSError as error:
        os.write(2, f"{path}: {error.strerror}".encode())
    os._exit(127)


def _wait(pid: int, timeout_s: float) -> int | None:
    """Return the wait status, None when it took too long (it is killed then)."""
    if not timeout_s:
        return os.waitpid(pid, 0)[1]
    until = time.monotonic() + timeout_s
    while time.monotonic() < until:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return status
        time.sleep(POLL_S)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return None


def _describe(status: int) -> str:
    code = os.waitstatus_to_exitcode(status)
    return f"exit status {code}" if code >= 0 else f"signal {-code}"
