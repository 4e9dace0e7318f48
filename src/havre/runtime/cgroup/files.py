"""Do what a CgroupPlan says, on cgroupfs. Lean: os only."""

import os
import time

from havre.errors import KernelError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from havre.runtime.cgroup.plan import CgroupPlan

ENOENT, EINVAL = 2, 22
REMOVE_TRIES = 50  # EBUSY while the last processes are being reaped; 50 x 2 ms
REMOVE_PAUSE_S = 0.002


def create(plan: "CgroupPlan") -> None:
    """Make the directories and apply the limits. Raises KernelError naming the file; what was made stays for `remove`."""
    for path in plan["parents"]:
        _mkdir(path)
    for path, value in plan["subtree"]:
        _delegate(path, value)
    for path in plan["directories"]:
        _mkdir(path)
    for above, below in plan["copied"]:
        _copy(above, below)
    update(plan)
    if plan["devices"]:
        from havre.linux import bpf

        bpf.attach_device_program(plan["directories"][-1], bytes.fromhex(plan["devices"]))


def update(plan: "CgroupPlan") -> None:
    """Apply the limits, also again after they changed. A file that this kernel does not have becomes a warning in the plan.

    What the kernel refuses at first is tried again behind the others: memory may be raised only after memory and swap.
    """
    refused = []
    for path, value, required in plan["writes"]:
        try:
            write(path, value)
        except KernelError as error:
            if error.errno == EINVAL:
                refused.append((path, value))
            elif error.errno != ENOENT or required or not os.path.isdir(os.path.dirname(path)):
                raise
            else:
                _write_instead(plan, path)
    for path, value in refused:
        write(path, value)


def _write_instead(plan: "CgroupPlan", missing: str) -> None:
    path, value = plan["instead"].get(missing, ("", ""))
    if path and os.path.exists(path):
        write(path, value)
    else:
        plan["warnings"].append(f"this kernel has no {os.path.basename(missing)}: the limit is discarded")


def _delegate(path: str, controllers: str) -> None:
    """Hand controllers down a v2 tree: all at once, or those that this place has (the limits of others are warned of)."""
    try:
        write(path, controllers)
    except KernelError:
        for word in controllers.split():
            try:
                write(path, word)
            except KernelError:
                continue


def attach(plan: "CgroupPlan", pid: int) -> None:
    """Move a process in."""
    for path in plan["directories"]:
        write(path + "/cgroup.procs", str(pid))


def enter(plan: "CgroupPlan") -> None:
    """Move the caller in, which must have one thread only.

    On v1 through `tasks`: a thread that moves itself needs no lock over all processes, which costs an RCU grace period after
    every idle moment (cgroup_attach_lock in kernel/cgroup/cgroup.c): 0.4 ms for nine hierarchies where cgroup.procs takes 5-20 ms.
    """
    for path in plan["directories"]:
        try:
            write(path + "/tasks", "0")
        except KernelError as error:
            if error.errno != 2:
                raise
            write(path + "/cgroup.procs", "0")  # v2 has no tasks


def freeze(state_file: str) -> None:
    """Freeze all processes and wait until they are (v1 freezer.state, v2 cgroup.freeze)."""
    v2 = state_file.endswith("cgroup.freeze")
    write(state_file, "1" if v2 else "FROZEN")
    check = state_file.replace("cgroup.freeze", "cgroup.events") if v2 else state_file
    for _ in range(500):
        text = read(check)
        if ("frozen 1" in text) if v2 else (text.strip() == "FROZEN"):
            return
        time.sleep(REMOVE_PAUSE_S)
    thaw(state_file)
    raise KernelError("freeze", state_file, 16)  # EBUSY


def thaw(state_file: str) -> None:
    write(state_file, "0" if state_file.endswith("cgroup.freeze") else "THAWED")


def frozen(state_file: str) -> bool:
    """Whether it is frozen, or about to be; False when the group has gone."""
    try:
        text = read(state_file).strip()
    except OSError:
        return False
    return text not in ("0", "THAWED")


def kill(plan: "CgroupPlan") -> None:
    """SIGKILL everything inside until nothing is: for containers that share a pid namespace. Does nothing without the group."""
    if plan.get("freezer") and frozen(plan["freezer"]):
        thaw(plan["freezer"])  # v1: what is frozen does not even die
    for path in plan["directories"][:1]:
        for _ in range(REMOVE_TRIES):  # what is forked meanwhile needs another round
            try:
                pids = read(path + "/cgroup.procs").split()
            except OSError:
                return
            if not pids:
                return
            for word in pids:
                try:
                    os.kill(int(word), 9)
                except ProcessLookupError:
                    pass
            time.sleep(REMOVE_PAUSE_S)


def pids(folder: str) -> list[int]:
    """The host's numbers of all processes in a group and in those inside it; [] when it has gone."""
    found, waiting = [], [folder]
    while waiting:
        path = waiting.pop()
        try:
            found += [int(word) for word in _read_all(path + "/cgroup.procs").split()]
            waiting += [entry.path for entry in os.scandir(path) if entry.is_dir(follow_symlinks=False)]
        except OSError:
            continue  # removed meanwhile; or threaded (v2), whose processes its parent names
    return found


def oom_kills(plan: "CgroupPlan") -> int:
    """How many processes the OOM killer took here."""
    if not plan["oom"]:
        return 0
    try:
        lines = read(plan["oom"]).splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) for line in lines if line.startswith("oom_kill "))


def remove(plan: "CgroupPlan") -> list[str]:
    """Remove the container's directories; idempotent. Return those that stayed because something still runs in them."""
    left = []
    for path in plan["directories"]:
        if not _rmdir(path):
            left.append(path)
    return left


def remove_group(path: str) -> bool:
    """Remove a group with those inside it; False when something runs in it. One that is not there is no error."""
    return _rmdir(path)


def _rmdir(path: str) -> bool:
    """Remove a group and those that were made inside it (a privileged container may)."""
    for _ in range(REMOVE_TRIES):
        try:
            os.rmdir(path)
        except FileNotFoundError:
            return True
        except OSError:
            if not _remove_children(path):
                time.sleep(REMOVE_PAUSE_S)
        else:
            return True
    return False


def _remove_children(path: str) -> bool:
    """Whether there were any, and all are gone."""
    try:
        children = [entry.path for entry in os.scandir(path) if entry.is_dir(follow_symlinks=False)]
    except FileNotFoundError:
        return True
    return bool(children) and all([_rmdir(child) for child in children])


def _mkdir(path: str) -> None:
    try:
        os.mkdir(path, 0o755)
    except FileExistsError:
        pass
    except OSError as error:
        raise KernelError("mkdir", path, error.errno or 0) from None


def _copy(above: str, below: str) -> None:
    """A v1 cpuset is empty when new, and nothing can be attached to an empty one."""
    if not read(below).strip():
        write(below, read(above).strip())


def write(path: str, value: str) -> None:
    """Write a value in one go. Raises KernelError that names the file and the value."""
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(fd, value.encode())
        finally:
            os.close(fd)
    except OSError as error:
        raise KernelError("write", f"{path} {value!r}", error.errno or 0) from None


def read(path: str) -> str:
    """Raises OSError."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.read(fd, 65536).decode("ascii", "replace")
    finally:
        os.close(fd)


def _read_all(path: str) -> str:
    with open(path, encoding="ascii") as file:
        return file.read()
