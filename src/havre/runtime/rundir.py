"""A container's run directory: `sock` (its monitor listens), `state` (what runs), `exit` (how it ended). Lean.

Files are written beside and renamed, so that each is whole or not there. Only root gets into the directory (0700): marshal is safe.
"""

import marshal
import os

from havre.errors import KernelError
from havre.linux import syscalls as sys
from havre.runtime.cgroup import files as cgroups

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from havre.runtime.cgroup.plan import CgroupPlan


def write_state(run_dir: str, pid: int, cgroup: "CgroupPlan") -> None:
    """Leave what is needed to clean up after a monitor that was killed. Raises OSError."""
    _write(run_dir, "state", {"boot": boot_id(), "pid": pid, "started": start_time(pid), "cgroup": cgroup})


def write_exit(run_dir: str, record: "dict[str, Any]") -> None:
    """Leave the exit record where a later daemon finds it."""
    try:
        _write(run_dir, "exit", record)
        os.unlink(f"{run_dir}/sock")
    except OSError:
        pass  # the directory is gone: the container was removed by force


def forget(run_dir: str) -> None:
    """After a start that failed: nothing runs, nothing has run."""
    for name in ("sock", "state"):
        try:
            os.unlink(f"{run_dir}/{name}")
        except OSError:
            pass


def read_exit(run_dir: str) -> "dict[str, Any] | None":
    """Return the record a monitor has left, or None."""
    return _read(run_dir, "exit")


def sweep(run_dir: str) -> bool:
    """The monitor was killed: end what it held. Return whether anything had been started. Blocks a moment."""
    state = _read(run_dir, "state")
    if state is None:
        return False
    if state.get("boot") != boot_id():  # the host was rebooted: the numbers are other processes' now
        forget(run_dir)
        return True
    _kill(state["pid"], state["started"])
    cgroups.kill(state["cgroup"])
    cgroups.remove(state["cgroup"])
    forget(run_dir)
    return True


def was_started(run_dir: str) -> bool:
    """Whether `state` is there."""
    return os.path.exists(f"{run_dir}/state")


def boot_id() -> str:
    """What names this boot of the kernel (random(4))."""
    with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
        return file.read().strip()


def start_time(pid: int) -> int:
    """When a process started, in ticks since boot: with the pid it names one process (proc_pid_stat(5), field 22); 0 if it is gone."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return int(file.read().rpartition(b")")[2].split()[19])
    except (OSError, IndexError):
        return 0


def _kill(pid: int, started: int) -> None:
    try:
        pidfd = sys.pidfd_open(pid)
    except KernelError:
        return
    try:
        if started and start_time(pid) == started:
            sys.pidfd_send_signal(pidfd, 9)
    except KernelError:
        pass  # it ended by itself
    finally:
        os.close(pidfd)


def _write(run_dir: str, name: str, value: "dict[str, Any]") -> None:
    with open(f"{run_dir}/{name}.new", "wb") as file:
        file.write(marshal.dumps(value, 4))  # wire.FORMAT
    os.rename(f"{run_dir}/{name}.new", f"{run_dir}/{name}")


def _read(run_dir: str, name: str) -> "dict[str, Any] | None":
    try:
        with open(f"{run_dir}/{name}", "rb") as file:
            value = marshal.load(file)
    except (OSError, ValueError, EOFError, TypeError):
        return None
    return value if isinstance(value, dict) else None
