"""Another OCI runtime (runc, crun) in place of ours: bundle, create, start, exec, delete. Imported only when a plan names one.

Runs in short-lived helpers of the monitor. The overlay is mounted in the helper's own mount namespace, which the container is made
from and which ends with the helper: nothing is mounted on the host. What the runtime leaves behind as orphans, the container's init and
its execs, comes to the monitor, which is their subreaper. Users, groups and the command are looked up here, in the container's root, so
that errors have our types; any other failure is told in the runtime's own words (the last line of its log).
"""

import json
import marshal
import os
import select
import signal
import socket
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from havre.errors import HavreError, KernelError
from havre.linux import netlink
from havre.linux import syscalls as sys
from havre.runtime import elsewhere, identity, init, rootfs, spawn, wire
from havre.runtime.failure import as_failure

if TYPE_CHECKING:
    from havre.runtime.plan import Program
    from havre.spec.runplan import RunPlan

# What Python and the zygote ignore; an ignored signal would stay so in the container (signal(7)).
IGNORED = (signal.SIGHUP, signal.SIGINT, signal.SIGTERM, signal.SIGPIPE, signal.SIGXFSZ, signal.SIGCHLD)
DELETE_TIMEOUT_S = 10.0
OCI_VERSION = "1.0.2"  # crun 1.8 refuses 1.1 and later; nothing newer is asked of another runtime
Stdio = tuple[int, int, int]


def create(program: "Program", plan: "RunPlan", stdio: Stdio) -> spawn.Started:
    """Create and start the container; return it running. Raises KernelError, HavreError; `delete` is due then as well."""
    bundle = f"{plan['run_dir']}/bundle"
    root = f"{bundle}/rootfs"
    os.makedirs(root, 0o700)
    sys.unshare(sys.CLONE_NEWNS)
    sys.mount_propagation(b"/", sys.MS_REC | sys.MS_SLAVE)
    _mount_root({**program, "mounts": [], "nodes": []}, root)
    config = _config(plan, root)
    _write_json(f"{bundle}/config.json", config)
    started = _spawn(
        plan, ["create", "--bundle", bundle], f"{plan['run_dir']}/pid", [plan["id"]], stdio, config["process"]
    )
    netns = os.open(f"/proc/{started.pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    for veth in plan["veths"]:
        netlink.apply_veth(veth, netns)
    os.close(netns)
    _call(plan, ["start", plan["id"]])
    return started


def execute(
    plan: "RunPlan",
    pid: int,
    exec_id: str,
    wanted: tuple[dict[str, Any], str],
    stdio: Stdio,
    channel: socket.socket,
) -> None:
    """Start an exec in the container whose init is `pid`, and tell the monitor on `channel` as spawn's helper does. Never returns."""
    try:
        process = {**wanted[0], "user": dict(wanted[0].get("user") or {})}
        started = _exec(plan, f"/proc/{pid}/root", exec_id, process, wanted[1], stdio)
        if started.master >= 0:
            socket.send_fds(channel, [marshal.dumps(("tty",))], [started.master])
        init.tell(channel, ("pid", started.pid))
    except BaseException as error:  # noqa: BLE001 - top frame of a process
        init.tell(channel, ("fail", *as_failure(error)))
    os._exit(0)


def delete(plan: "RunPlan") -> None:
    """Make the runtime forget the container. Never raises: it may know nothing of it, or hang."""
    try:
        pid = _start_runtime(plan, ["delete", "--force", plan["id"]], ())
        pidfd = sys.pidfd_open(pid)
    except (OSError, KernelError):
        return
    if not select.select([pidfd], [], [], DELETE_TIMEOUT_S)[0]:
        sys.pidfd_send_signal(pidfd, 9)
    os.waitpid(pid, 0)
    os.close(pidfd)


def _exec(
    plan: "RunPlan", root: str, exec_id: str, process: dict[str, Any], user: str, stdio: Stdio
) -> spawn.Started:
    _resolve(process, root, user, [])
    process.pop("seccomp", None)  # it gets the container's own
    place = f"{plan['run_dir']}/exec-{exec_id}"
    try:
        _write_json(f"{place}.json", process)
        before = ["exec", "--detach", "--process", f"{place}.json"]
        return _spawn(plan, before, f"{place}.pid", [plan["id"]], stdio, process)
    finally:
        for name in (f"{place}.json", f"{place}.pid"):
            if os.path.exists(name):
                os.unlink(name)


def _mount_root(program: Mapping[str, Any], place: str) -> None:
    outside = rootfs.open_outside(program)  # type: ignore[arg-type]
    target = os.open(place, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    sys.move_mount(outside.root, target, place)
    os.close(target)
    outside.close()


def _config(plan: "RunPlan", root: str) -> dict[str, Any]:
    """Return the config.json: the plan's, with what Havre keeps beside it put in."""
    if plan["init"]:
        raise HavreError("--init needs Havre's own runtime", hint="leave --runtime or --init out")
    if any(elsewhere.is_elsewhere(mount.get("source") or "") for mount in plan["config"].get("mounts") or []):
        raise HavreError("--ipc container:X needs Havre's own runtime", hint="leave --runtime out")
    config = {**plan["config"], "ociVersion": OCI_VERSION}
    config["root"] = {**(config.get("root") or {}), "path": root}
    config["process"] = {**config["process"], "user": dict(config["process"].get("user") or {})}
    if any(plan["tty_size"]):
        config["process"]["consoleSize"] = {"height": plan["tty_size"][0], "width": plan["tty_size"][1]}
    linux = config["linux"] = dict(config.get("linux") or {})
    if plan["join_netns"]:
        others = [one for one in linux.get("namespaces") or [] if one["type"] != "network"]
        linux["namespaces"] = [*others, {"type": "network", "path": plan["join_netns"]}]
    _resolve(config["process"], root, plan["user"], plan["group_add"])
    return config


def _resolve(process: dict[str, Any], root: str, user: str, group_add: list[str]) -> None:
    """Put numbers in process.user, HOME in process.env, and check that the command is there. Raises KernelError, UnknownUser."""
    given = process["user"]
    name = user or str(given.get("uid", 0))
    environment = init.read_environment(process.get("env") or [], "")

    def look() -> tuple[Any, ...]:
        found = identity.look_up(name, group_add)
        init.find_command(process["args"][0], environment)
        return found

    uid, gid, groups, home = _inside(root, look)
    if user or group_add:
        given.update(uid=uid, gid=gid, additionalGids=groups)
    if not any(entry.startswith("HOME=") for entry in process.get("env") or []):
        process["env"] = [*(process.get("env") or []), f"HOME={home or '/'}"]


def _inside(root: str, work: Callable[[], tuple[Any, ...]]) -> tuple[Any, ...]:
    """Do `work` in a child whose root is the container's: no link leads it out."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    child = os.fork()
    if child == 0:
        try:
            rootfs.forbid_imports()
            os.chroot(root)
            os.chdir("/")
            init.tell(theirs, ("ok", *work()))
        except BaseException as error:  # noqa: BLE001 - top frame of a process
            init.report(theirs, error)
        os._exit(0)
    theirs.close()
    data = ours.recv(65536)
    ours.close()
    os.waitpid(child, 0)
    kind, *rest = marshal.loads(data) if data else ("fail", "init", "the look-up was killed", 0)
    if kind == "ok":
        return tuple(rest)
    if rest[0] == "user":
        raise identity.UnknownUser(rest[1])
    raise KernelError(*rest)


def _spawn(
    plan: "RunPlan",
    before: list[str],
    pid_file: str,
    after: list[str],
    stdio: Stdio,
    process: Mapping[str, Any],
) -> spawn.Started:
    """Run `create` or `exec`; return the process that has come of it, with its pty master if it has a terminal."""
    words = [*before, "--pid-file", pid_file]
    if not process.get("terminal"):
        _call(plan, [*words, *after], stdio)
        return spawn.Started(_read_pid(pid_file))
    folder = os.open(plan["run_dir"], os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    name = f"console-{os.getpid()}"
    place = f"/proc/{os.getpid()}/fd/{folder}/{name}"  # shorter than sun_path's 108 bytes, whatever the run directory's is
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        listener.bind(place)
        listener.listen(1)
        _call(plan, [*words, "--console-socket", place, *after])
        started = spawn.Started(_read_pid(pid_file))
        listener.settimeout(DELETE_TIMEOUT_S)
        with listener.accept()[0] as console:
            started.master = wire.receive_fds(console, 4096, 1)[1][0]
    finally:
        listener.close()
        os.unlink(f"{plan['run_dir']}/{name}")
        os.close(folder)
    return started


def _read_pid(path: str) -> int:
    with open(path, encoding="ascii") as file:
        return int(file.read())


def _call(plan: "RunPlan", words: list[str], stdio: tuple[int, ...] = ()) -> None:
    """Run the runtime to its end. Raises HavreError with its last words."""
    pid = _start_runtime(plan, words, stdio)
    if os.waitpid(pid, 0)[1] != 0:
        raise HavreError(_last_words(plan) or f"{words[0]} failed", context=os.path.basename(plan["runtime"]))


def _start_runtime(plan: "RunPlan", words: list[str], stdio: tuple[int, ...]) -> int:
    """Return the pid. By fork, because glibc's posix_spawn leaves signals 32 and 33 ignored, and so they would stay in the container."""
    here, path = plan["run_dir"], plan["runtime"]
    if not os.access(path, os.X_OK):
        reason = "permission denied" if os.path.exists(path) else "no such file or directory"
        raise HavreError(f"cannot run the OCI runtime {path}: {reason}")
    log = ["--log", f"{here}/runtime.log", "--log-format", "json"]
    argv = [path, *plan["runtime_args"], "--root", f"{here}/runtime", *log, *words]
    pid = os.fork()
    if pid:
        return pid
    try:
        null = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
        for target, source in enumerate(stdio or (null,) * 3):
            os.dup2(source, target, inheritable=True)
        for number in IGNORED:
            signal.signal(number, signal.SIG_DFL)
        os.execve(path, argv, {"PATH": os.defpath})
    finally:
        os._exit(127)


def _last_words(plan: "RunPlan") -> str:
    """The message of the last error in the runtime's log, which is one JSON object a line."""
    try:
        with open(f"{plan['run_dir']}/runtime.log", encoding="utf-8", errors="replace") as file:
            lines = [json.loads(line) for line in file]
    except (OSError, ValueError):
        return ""
    return next((str(one["msg"]) for one in reversed(lines) if one.get("level") in ("error", "fatal")), "")


def _write_json(path: str, value: Mapping[str, Any]) -> None:
    with open(path, "w", encoding="utf-8") as file:
        json.dump(value, file)
