"""/proc as values (proc(5)): what one process or thread is, said once, for `top`. Blocking; other people's processes end meanwhile."""

import os
from dataclasses import dataclass

HERTZ = os.sysconf("SC_CLK_TCK")
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
MAX_CMDLINE = 65536
_HEX = 16


@dataclass(frozen=True, slots=True)
class Process:
    """One line of /proc/<pid>/stat, and what else is worth asking. Times are in clock ticks of HERTZ."""

    pid: int
    tid: int
    name: str
    state: str
    ppid: int
    pgrp: int
    session: int
    tty: int  # a device number
    tpgid: int
    flags: int
    minor_faults: int
    major_faults: int
    ticks: int  # in user and in kernel mode
    priority: int
    nice: int
    threads: int
    start_ticks: int  # since boot
    virtual_bytes: int
    resident_pages: int
    processor: int
    realtime_priority: int
    policy: int
    uids: tuple[int, int]  # real, effective
    gids: tuple[int, int]
    signals: dict[str, str]  # SigPnd, SigBlk, SigIgn, SigCgt as 16 hex digits
    locked: bool  # has pages locked in memory
    arguments: list[str]


def read_process(pid: int, tid: int = 0) -> Process | None:
    """Return a process (or one of its threads); None when it has gone."""
    folder = f"/proc/{pid}/task/{tid}" if tid else f"/proc/{pid}"
    try:
        stat = _read(f"{folder}/stat")
        status = _status(_read(f"{folder}/status"))
        arguments = _read(f"/proc/{pid}/cmdline").decode("utf-8", "replace")
    except OSError:
        return None
    return _process(pid, tid or pid, stat, status, arguments)


def threads(pid: int) -> list[int]:
    """The thread ids of a process, [] when it has gone."""
    try:
        return sorted(int(name) for name in os.listdir(f"/proc/{pid}/task"))
    except OSError:
        return []


def waiting_in(pid: int, tid: int) -> str:
    """The kernel function a thread sleeps in, "-" when it runs or nobody may know."""
    try:
        found = _read(f"/proc/{pid}/task/{tid}/wchan").decode("ascii", "replace")
    except OSError:
        return "-"
    return "-" if found in ("", "0") else found


def cgroup_of(pid: int) -> str:
    """The groups of a process as `ps -o cgroup` joins them."""
    try:
        lines = _read(f"/proc/{pid}/cgroup").decode("utf-8", "replace").split()
    except OSError:
        return "-"
    return ",".join(lines) or "-"


def namespace_of(pid: int, kind: str) -> str:
    """The inode number of a namespace, "-" when it cannot be read."""
    try:
        return os.readlink(f"/proc/{pid}/ns/{kind}").partition("[")[2].rstrip("]") or "-"
    except OSError:
        return "-"


def boot_seconds() -> int:
    """When the machine was booted, as a Unix time."""
    for line in _read("/proc/stat").splitlines():
        if line.startswith(b"btime "):
            return int(line.split()[1])
    return 0


def uptime_seconds() -> float:
    return float(_read("/proc/uptime").split()[0])


def memory_bytes() -> int:
    """All memory of the machine."""
    return int(_read("/proc/meminfo").split()[1]) * 1024


def text(path: str) -> str:
    """A file of /proc as text. Raises OSError."""
    return _read(path).decode("utf-8", "replace")


def _process(pid: int, tid: int, stat: bytes, status: dict[str, str], cmdline: str) -> Process:
    """`stat` is "pid (name) state ...": a name may hold blanks and brackets, the last bracket ends it."""
    name = stat[stat.index(b"(") + 1 : stat.rindex(b")")].decode("utf-8", "replace")
    state, *rest = stat[stat.rindex(b")") + 2 :].split()
    n = [int(word) for word in rest]
    uids, gids = status.get("Uid", "0 0").split(), status.get("Gid", "0 0").split()
    return Process(
        pid=pid,
        tid=tid,
        name=name,
        state=state.decode("ascii"),
        ppid=n[0],
        pgrp=n[1],
        session=n[2],
        tty=n[3],
        tpgid=n[4],
        flags=n[5],
        minor_faults=n[6],
        major_faults=n[8],
        ticks=n[10] + n[11],
        priority=n[14],
        nice=n[15],
        threads=n[16],
        start_ticks=n[18],
        virtual_bytes=n[19],
        resident_pages=n[20],
        processor=n[35],
        realtime_priority=n[36],
        policy=n[37],
        uids=(int(uids[0]), int(uids[1])),
        gids=(int(gids[0]), int(gids[1])),
        signals={key: status.get(key, "0" * _HEX) for key in ("SigPnd", "SigBlk", "SigIgn", "SigCgt")},
        locked=status.get("VmLck", "0 kB") != "0 kB",
        arguments=cmdline.rstrip("\0").split("\0") if cmdline else [],
    )


def _status(text: bytes) -> dict[str, str]:
    pairs = (line.partition(":") for line in text.decode("utf-8", "replace").splitlines())
    return {key: value.strip() for key, _, value in pairs}


def _read(path: str) -> bytes:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.read(fd, MAX_CMDLINE)
    finally:
        os.close(fd)
