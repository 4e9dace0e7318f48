"""exec: one more process in a running container."""

import os
from typing import Any

from havre.errors import Conflict, InvalidParameter, KernelError
from havre.linux import syscalls as sys
from havre.oci import bundle, console, flags, launch, lifecycle, schema, state
from havre.oci.context import Context
from havre.oci.state import Container
from havre.runtime import caps, spawn
from havre.runtime.cgroup.plan import CgroupPlan
from havre.runtime.plan import Process, compile_process


def execute(context: Context, options: flags.Options, words: list[str]) -> int:
    """Run a process inside; in the foreground return its exit code."""
    container = state.load(context.root, words[0])
    status = container.status()
    if status in (state.STOPPED, state.CREATING):
        raise Conflict("cannot exec in a stopped container")
    if status == state.PAUSED and not options.get("ignore-paused"):
        raise Conflict("cannot exec in a paused container (use --ignore-paused to override)")
    wanted = _process(container, options, words[1:])
    detached = bool(options.get("detach"))
    launch.check_console(bool(wanted.get("terminal")), options, detached)
    linux = container.config.get("linux") or {}
    process = compile_process(wanted, linux.get("seccomp"), "", [])
    launch.preserve(process, options)
    signals = None if detached else console.SignalForwarder()
    started = _join(container, process, _cgroup(container.cgroup, flags.several(options, "cgroup")))
    for warning in started.warnings:
        context.report.warn(warning)
    try:
        master = launch.hand_over(started.master, wanted, options)
        launch.write_pid_file(options, started.pid)
    except BaseException:
        os.kill(started.pid, 9)
        os.waitpid(started.pid, 0)
        raise
    return 0 if signals is None else lifecycle.follow(started.pid, master, signals)


def _join(container: Container, process: Process, cgroup: CgroupPlan) -> spawn.Started:
    pidfd = sys.pidfd_open(container.pid)
    try:
        if state.process_start(container.pid) != container.started_ticks:
            raise Conflict("cannot exec in a stopped container")
        started = spawn.join_exec(pidfd, process, cgroup, (0, 1, 2))
    except KernelError as error:
        raise launch.as_runc_says((error.call, error.target, error.errno)) from None
    finally:
        os.close(pidfd)
    if started.failure:
        raise launch.as_runc_says(started.failure)
    return started


def _process(container: Container, options: flags.Options, command: list[str]) -> dict[str, Any]:
    """Return the OCI process: from --process, or the container's own with the flags on top."""
    if path := flags.text(options, "process"):
        try:
            with open(path, "rb") as file:
                return bundle.check(file.read(), schema.Process, path)
        except OSError as error:
            raise InvalidParameter(f"--process {path}: {(error.strerror or '').lower()}") from None
    if not command:
        raise InvalidParameter("process args cannot be empty", hint="name a command, or --process FILE")
    process = dict(container.config["process"])
    process.update(args=command, terminal=bool(options.get("tty")), env=list(process.get("env") or []))
    process.pop("consoleSize", None)
    if process["terminal"] and (size := console.own_size()):
        process["consoleSize"] = {"height": size[0], "width": size[1]}  # before the process can ask for it
    process["env"] += flags.several(options, "env")
    if cwd := flags.text(options, "cwd"):
        process["cwd"] = cwd
    if options.get("no-new-privs"):
        process["noNewPrivileges"] = True
    if profile := flags.text(options, "apparmor"):
        process["apparmorProfile"] = profile
    if flags.text(options, "process-label"):
        raise InvalidParameter("SELinux is not enabled on this host", context="--process-label")
    _set_user(process, options)
    _add_capabilities(process, flags.several(options, "cap"))
    return process


def _set_user(process: dict[str, Any], options: flags.Options) -> None:
    """--user UID[:GID] and --additional-gids: numbers only, exactly as given (CVE-2026-30892)."""
    user = dict(process.get("user") or {})
    if word := flags.text(options, "user"):
        uid, colon, gid = word.partition(":")
        user = {"uid": _id(uid, "--user"), "gid": _id(gid, "--user") if colon else 0}
    if groups := flags.several(options, "additional-gids"):
        user["additionalGids"] = [_id(one, "--additional-gids") for word in groups for one in word.split(",")]
    process["user"] = user


def _id(word: str, where: str) -> int:
    if not (word.isascii() and word.isdigit()) or int(word) > 0xFFFFFFFE:
        raise InvalidParameter(f"{word!r} is not an id", context=where, hint="UID[:GID]")
    return int(word)


def _add_capabilities(process: dict[str, Any], names: list[str]) -> None:
    if not names:
        return
    known = {key: list(value) for key, value in (process.get("capabilities") or {}).items()}
    for name in names:
        for key in ("bounding", "effective", "permitted"):
            known.setdefault(key, []).append(caps.normalise(name))
    process["capabilities"] = known


def _cgroup(plan: CgroupPlan, words: list[str]) -> CgroupPlan:
    """--cgroup [controllers:]path: a group below the container's own."""
    directories = list(plan["directories"])
    for word in words:
        names, colon, path = word.rpartition(":")
        parts = path.strip("/").split("/")
        if ".." in parts:
            raise InvalidParameter(f"{path!r} leaves the container's group", context="--cgroup")
        chosen = set(names.split(",")) if colon else None
        for place, directory in enumerate(directories):
            if chosen is None or any(f"/{name}/" in directory for name in chosen):
                directories[place] = f"{directory}/{path.strip('/')}"
    return CgroupPlan(**{**plan, "directories": directories})
