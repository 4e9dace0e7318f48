"""What the engine hands the runtime: everything one container needs, decided, as marshal-able plain values.

The core is an OCI runtime config (runtime-spec 1.2 `config.json` as a dict), so the same runtime serves `havre oci` and
an installed runc can serve Havre. Around it stands what OCI leaves to the caller: overlay, veths, stdio, log.
TypedDicts, because the zygote receives them with `marshal` and imports nothing else.
"""

from typing import Any, TypedDict

OciConfig = dict[str, Any]  # runtime-spec config.json, keys in the spec's own case


class Overlay(TypedDict):
    """An overlayfs root, mounted only inside the container's own mount namespace."""

    lower: list[str]  # absolute directories, uppermost layer first; at least one
    upper: str
    work: str


class VethPlan(TypedDict):
    """One veth pair: the host end joins a bridge, the other end is moved into the container's network namespace."""

    bridge: str  # name of the bridge in the daemon's network namespace
    host_name: str
    container_name: str  # "eth0"
    mac: str  # "02:42:ac:11:00:02"
    mtu: int
    addresses: list[str]  # "172.17.0.2/16", "fd00::2/64"
    gateways: list[str]  # default routes through these addresses, v4 and/or v6; empty for an internal network
    hairpin: bool
    isolated: bool  # bridge port isolation (icc=false)


class LogPlan(TypedDict):
    """Where the monitor writes what the container says, and where else it goes."""

    driver: str  # "none", "json-file", "local", "syslog", "journald", "gelf", "fluentd"
    format: str  # of the file that the daemon reads: "json", "local"; "" when there is none
    path: str  # absolute, "" for none
    max_size_bytes: int  # 0: never rotate
    max_files: int
    compress: bool  # rotated files become .gz
    attributes: dict[str, str]  # written with each line (labels, env, tag asked for by log-opts)
    buffer_bytes: int  # mode=non-blocking: what may wait before lines are dropped; 0: blocking
    remote: dict[str, Any]  # what the driver that sends needs, see logs/plan.py; {} for the others


def no_log() -> LogPlan:
    """The plan of driver none."""
    return LogPlan(
        driver="none",
        format="",
        path="",
        max_size_bytes=0,
        max_files=0,
        compress=False,
        attributes={},
        buffer_bytes=0,
        remote={},
    )


class RunPlan(TypedDict):
    """Everything `runtime.start` needs."""

    id: str
    config: OciConfig  # root.path is only used when overlay is None; hooks are honoured
    overlay: Overlay | None
    veths: list[VethPlan]
    user: str  # "uid[:gid]" or names to look up in the container's own /etc/passwd, /etc/group; "" = config.process.user
    group_add: list[str]  # --group-add: names or gids, beside those of /etc/group
    init: bool  # --init: a reaper of ours is pid 1
    join_netns: str  # path of a network namespace to join, also when config has no path; "" otherwise
    open_stdin: bool
    stdin_once: bool
    tty_size: tuple[int, int]  # rows, columns; (0, 0) when unknown
    log: LogPlan
    run_dir: str  # exec-root/containers/<id>: monitor socket, exit record; made by the engine, mode 0700
    runtime: str  # absolute path of another OCI runtime (runc) to use instead of ours; "" for ours
    runtime_args: list[str]


class ExecPlan(TypedDict):
    """One more process in a running container."""

    exec_id: str
    process: dict[
        str, Any
    ]  # OCI process object: args, env, cwd, user, terminal, capabilities, noNewPrivileges, rlimits...
    user: str  # as in RunPlan; "" = process.user as it is
    privileged: bool
    open_stdin: bool
    tty_size: tuple[int, int]


class ExitRecord(TypedDict):
    """How a container ended; written by the monitor to run_dir/exit before it leaves."""

    code: int  # 0-255; 128+n for signal n
    at_nanos: int
    oom_killed: bool
    error: str


class StartError(TypedDict):
    """How a failed start or exec travels up: the syscall, what it was applied to, and the error number."""

    call: str
    target: str
    errno: int
    warnings: list[str]
