"""An OCI process's scheduler, I/O priority and personality, as the numbers of the system calls. Pure."""

from collections.abc import Mapping
from typing import Any

from havre.errors import InvalidParameter

Scheduler = tuple[int, int, int, int, int, int, int]
UNTOUCHED: Scheduler = (-1, 0, 0, 0, 0, 0, 0)
POLICIES = {  # linux/sched.h
    "SCHED_OTHER": 0,
    "SCHED_FIFO": 1,
    "SCHED_RR": 2,
    "SCHED_BATCH": 3,
    "SCHED_ISO": 4,
    "SCHED_IDLE": 5,
    "SCHED_DEADLINE": 6,
}
FLAGS = {  # linux/sched.h, SCHED_FLAG_*
    "SCHED_FLAG_RESET_ON_FORK": 0x01,
    "SCHED_FLAG_RECLAIM": 0x02,
    "SCHED_FLAG_DL_OVERRUN": 0x04,
    "SCHED_FLAG_KEEP_POLICY": 0x08,
    "SCHED_FLAG_KEEP_PARAMS": 0x10,
    "SCHED_FLAG_UTIL_CLAMP_MIN": 0x20,
    "SCHED_FLAG_UTIL_CLAMP_MAX": 0x40,
}
IO_CLASSES = {"IOPRIO_CLASS_RT": 1, "IOPRIO_CLASS_BE": 2, "IOPRIO_CLASS_IDLE": 3}  # linux/ioprio.h
PERSONALITIES = {"LINUX": 0x0000, "LINUX32": 0x0008}  # linux/personality.h


def _known(word: Any, table: Mapping[str, int], where: str) -> int:
    if word not in table:
        raise InvalidParameter(f"{word!r} is none of {', '.join(table)}", context=where)
    return table[word]


def scheduler(wanted: Mapping[str, Any] | None) -> Scheduler:
    """Return (policy, flags, nice, priority, runtime, deadline, period) of process.scheduler."""
    if not wanted:
        return UNTOUCHED
    where = "process.scheduler"
    flags = 0
    for word in wanted.get("flags") or []:
        flags |= _known(word, FLAGS, where)
    numbers = [int(wanted.get(key) or 0) for key in ("nice", "priority", "runtime", "deadline", "period")]
    policy = _known(wanted.get("policy"), POLICIES, where)
    return (policy, flags, numbers[0], numbers[1], numbers[2], numbers[3], numbers[4])


def io_priority(wanted: Mapping[str, Any] | None) -> int:
    """Return process.ioPriority as ioprio_set(2) takes it; -1 when there is none."""
    if not wanted:
        return -1
    level = int(wanted.get("priority") or 0)
    if not 0 <= level <= 7:
        raise InvalidParameter(f"priority {level} is not from 0 to 7", context="process.ioPriority")
    return _known(wanted.get("class"), IO_CLASSES, "process.ioPriority") << 13 | level


def personality(wanted: Mapping[str, Any] | None) -> int:
    """Return linux.personality's domain; -1 when there is none."""
    if not wanted:
        return -1
    if wanted.get("flags"):
        raise InvalidParameter("flags are not defined by the specification", context="linux.personality")
    return _known(wanted.get("domain"), PERSONALITIES, "linux.personality")
