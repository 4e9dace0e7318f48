"""The columns of ps: a heading and how a process shows in it. Pure but for the four that look something up (ps(1), procps)."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from havre.linux import proc
from havre.linux.proc import HERTZ, PAGE_BYTES, Process

NAME_WIDTH = 8
DAY_S = 86400
_POLICIES = {0: "TS", 1: "FF", 2: "RR", 3: "B", 4: "ISO", 5: "IDL", 6: "DLN"}
_FLAGS_SHOWN = 0x7  # PF_FORKNOEXEC >> 6: ps shows three bits of task flags


@dataclass(frozen=True, slots=True)
class Clock:
    """When this is, for the columns of time."""

    now: float  # Unix time
    boot: int
    uptime: float
    memory_bytes: int


class Shown(NamedTuple):
    """One process on its way into a row."""

    process: Process
    clock: Clock
    users: Mapping[int, str]
    groups: Mapping[int, str]
    width: int

    @property
    def started(self) -> float:
        return self.clock.boot + self.process.start_ticks / HERTZ

    @property
    def elapsed_s(self) -> int:
        return max(0, int(self.clock.uptime - self.process.start_ticks / HERTZ))

    @property
    def cpu_s(self) -> int:
        return self.process.ticks // HERTZ


def _name(names: Mapping[int, str], number: int, width: int) -> str:
    """A user's or group's name; one that is too long is cut and marked, as ps does."""
    name, limit = names.get(number) or str(number), width or NAME_WIDTH
    return name if len(name) <= limit else name[: limit - 1] + "+"


def _tty(one: Shown) -> str:
    number = one.process.tty
    major, minor = number >> 8 & 0xFFF, number & 0xFF | number >> 12 & 0xFFF00
    if not number:
        return "?"
    if 136 <= major <= 143:  # UNIX98_PTY_SLAVE_MAJOR in linux/major.h
        return f"pts/{(major - 136) * 256 + minor}"
    if major == 4:
        return f"tty{minor}" if minor < 64 else f"ttyS{minor - 64}"
    return "console" if (major, minor) == (5, 1) else "?"


def _time(one: Shown) -> str:
    """[DD-]HH:MM:SS."""
    return _clock(one.cpu_s, hours=True)


def _clock(seconds: int, *, hours: bool) -> str:
    days, rest = divmod(seconds, DAY_S)
    text = f"{rest // 60 % 60:02d}:{rest % 60:02d}"
    if hours or days or rest >= 3600:
        text = f"{rest // 3600:02d}:{text}"
    return f"{days}-{text}" if days else text


def _bsdtime(one: Shown) -> str:
    return f"{one.cpu_s // 60}:{one.cpu_s % 60:02d}"


def _stime(one: Shown) -> str:
    now, then = time.localtime(one.clock.now), time.localtime(one.started)
    if now.tm_year != then.tm_year:
        return f"{then.tm_year}"
    return time.strftime("%H:%M" if now.tm_yday == then.tm_yday else "%b%d", then)


def _bsdstart(one: Shown) -> str:
    return time.strftime("%H:%M" if one.elapsed_s < DAY_S else "%b%d", time.localtime(one.started))


def _start(one: Shown) -> str:
    return time.strftime("%H:%M:%S" if one.elapsed_s < DAY_S else "%b %d", time.localtime(one.started))


def _lstart(one: Shown) -> str:
    return time.strftime("%a %b %e %H:%M:%S %Y", time.localtime(one.started))


def _cpu_tenths(one: Shown) -> int:
    """Tenths of a percent of one processor over the process's life."""
    return one.process.ticks * 1000 // HERTZ // one.elapsed_s if one.elapsed_s else 0


def _pcpu(one: Shown) -> str:
    tenths = _cpu_tenths(one)
    return f"{tenths // 10}.{tenths % 10}" if tenths < 1000 else f"{tenths // 10}"


def _pmem(one: Shown) -> str:
    tenths = one.process.resident_pages * PAGE_BYTES * 1000 // max(1, one.clock.memory_bytes)
    return f"{min(tenths, 999) // 10}.{min(tenths, 999) % 10}"


def _stat(one: Shown) -> str:
    process = one.process
    marks = "<" if process.nice < 0 else "N" if process.nice > 0 else ""
    marks += "L" if process.locked else ""
    marks += "s" if process.session == process.pid else ""
    marks += "l" if process.threads > 1 else ""
    marks += "+" if process.tpgid == process.pgrp else ""
    return process.state + marks


def _printable(text: str) -> str:
    return "".join(char if char.isprintable() else "?" for char in text)


def _comm(one: Shown) -> str:
    return _printable(one.process.name) + (" <defunct>" if one.process.state == "Z" else "")


def _args(one: Shown) -> str:
    if one.process.state == "Z":
        return f"[{_printable(one.process.name)}] <defunct>"
    return _printable(" ".join(one.process.arguments)) or f"[{_printable(one.process.name)}]"


def _nice(one: Shown) -> str:
    return str(one.process.nice) if one.process.policy in (0, 3) else "-"


def _namespace(kind: str) -> "Callable[[Shown], str]":
    return lambda one: proc.namespace_of(one.process.pid, kind)


def _signals(kind: str) -> "Callable[[Shown], str]":
    return lambda one: one.process.signals[kind]


# specifiers that share a column, their headings, and the column
_TABLE: tuple[tuple[str, Callable[[Shown], str]], ...] = (
    ("pid=PID tgid=TGID", lambda one: str(one.process.pid)),
    ("ppid=PPID", lambda one: str(one.process.ppid)),
    ("pgid=PGID pgrp=PGRP", lambda one: str(one.process.pgrp)),
    ("sid=SID sess=SESS session=SESS", lambda one: str(one.process.session)),
    ("tpgid=TPGID", lambda one: str(one.process.tpgid)),
    ("lwp=LWP tid=TID spid=SPID", lambda one: str(one.process.tid)),
    ("nlwp=NLWP thcount=THCNT", lambda one: str(one.process.threads)),
    ("user=USER uname=USER euser=EUSER", lambda one: _name(one.users, one.process.uids[1], one.width)),
    ("ruser=RUSER", lambda one: _name(one.users, one.process.uids[0], one.width)),
    ("group=GROUP egroup=EGROUP", lambda one: _name(one.groups, one.process.gids[1], one.width)),
    ("rgroup=RGROUP", lambda one: _name(one.groups, one.process.gids[0], one.width)),
    ("uid=UID euid=EUID", lambda one: str(one.process.uids[1])),
    ("ruid=RUID", lambda one: str(one.process.uids[0])),
    ("gid=GID egid=EGID", lambda one: str(one.process.gids[1])),
    ("rgid=RGID", lambda one: str(one.process.gids[0])),
    ("tty=TT tt=TT tname=TTY", _tty),
    ("time=TIME cputime=TIME", _time),
    ("cputimes=TIME times=TIME", lambda one: str(one.cpu_s)),
    ("bsdtime=TIME", _bsdtime),
    ("etime=ELAPSED", lambda one: _clock(one.elapsed_s, hours=False)),
    ("etimes=ELAPSED", lambda one: str(one.elapsed_s)),
    ("stime=STIME start_time=START", _stime),
    ("bsdstart=START", _bsdstart),
    ("start=STARTED", _start),
    ("lstart=STARTED", _lstart),
    ("c=C", lambda one: str(min(99, _cpu_tenths(one) // 10))),
    ("pcpu=%CPU %cpu=%CPU", _pcpu),
    ("pmem=%MEM %mem=%MEM", _pmem),
    ("vsz=VSZ vsize=VSZ", lambda one: str(one.process.virtual_bytes // 1024)),
    ("rss=RSS rssize=RSS rsz=RSZ", lambda one: str(one.process.resident_pages * PAGE_BYTES // 1024)),
    ("sz=SZ", lambda one: str(one.process.virtual_bytes // PAGE_BYTES)),
    ("psr=PSR", lambda one: str(one.process.processor)),
    ("stat=STAT", _stat),
    ("s=S state=S", lambda one: one.process.state),
    ("f=F flag=F flags=F", lambda one: str(one.process.flags >> 6 & _FLAGS_SHOWN)),
    ("ni=NI nice=NI", _nice),
    ("pri=PRI", lambda one: str(39 - one.process.priority)),
    ("opri=PRI", lambda one: str(60 + one.process.priority)),
    ("priority=PRI", lambda one: str(one.process.priority)),
    ("cls=CLS class=CLS policy=POL", lambda one: _POLICIES.get(one.process.policy, "?")),
    (
        "rtprio=RTPRIO",
        lambda one: str(one.process.realtime_priority) if one.process.policy in (1, 2) else "-",
    ),
    ("minflt=MINFLT min_flt=MINFL", lambda one: str(one.process.minor_faults)),
    ("majflt=MAJFLT maj_flt=MAJFL", lambda one: str(one.process.major_faults)),
    ("pending=PENDING sig_pend=PENDING", _signals("SigPnd")),
    ("blocked=BLOCKED sig_block=BLOCKED", _signals("SigBlk")),
    ("ignored=IGNORED sig_ignore=IGNORED", _signals("SigIgn")),
    ("caught=CAUGHT sig_catch=CAUGHT", _signals("SigCgt")),
    ("comm=COMMAND ucomm=COMMAND ucmd=CMD", _comm),
    ("args=COMMAND command=COMMAND cmd=CMD", _args),
    ("wchan=WCHAN", lambda one: proc.waiting_in(one.process.pid, one.process.tid)[:6]),
    ("addr=ADDR", lambda one: "-"),  # what ps prints since kernels hide it
    ("cgroup=CGROUP", lambda one: proc.cgroup_of(one.process.pid)),
    ("pidns=PIDNS", _namespace("pid")),
    ("netns=NETNS", _namespace("net")),
    ("mntns=MNTNS", _namespace("mnt")),
    ("userns=USERNS", _namespace("user")),
    ("utsns=UTSNS", _namespace("uts")),
    ("ipcns=IPCNS", _namespace("ipc")),
    ("cgroupns=CGROUPNS", _namespace("cgroup")),
)
COLUMNS = {pair.partition("=")[0]: show for names, show in _TABLE for pair in names.split()}
HEADINGS = {pair.partition("=")[0]: pair.partition("=")[2] for names, _ in _TABLE for pair in names.split()}
