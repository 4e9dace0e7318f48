"""Which controllers this host has, and where: v1 hierarchies, the v2 tree, or both (hybrid)."""

from dataclasses import dataclass, field
from functools import lru_cache

MOUNTINFO = "/proc/self/mountinfo"


@dataclass(frozen=True, slots=True)
class Layout:
    """v1: controller -> mount point. v2: the mount point ("" if none) and its controllers."""

    v1: dict[str, str] = field(default_factory=dict)
    v2: str = ""
    v2_controllers: frozenset[str] = frozenset()

    @property
    def unified(self) -> bool:
        """Whether every controller is in the v2 tree."""
        return bool(self.v2) and not self.v1


KNOWN = frozenset(
    "blkio cpu cpuacct cpuset devices freezer hugetlb memory net_cls net_prio perf_event pids rdma misc".split()
)


def parse(mountinfo: str, read_controllers: str | None = None) -> Layout:
    """Return the layout that a mountinfo text shows (proc_pid_mountinfo(5))."""
    v1: dict[str, str] = {}
    v2 = ""
    for line in mountinfo.splitlines():
        left, _, right = line.partition(" - ")
        fields, (kind, _, options) = left.split(), right.split(maxsplit=2)
        if kind == "cgroup2" and not v2:
            v2 = fields[4]
        elif kind == "cgroup":
            for word in options.split(","):
                if word in KNOWN:
                    v1.setdefault(word, fields[4])
    return Layout(v1, v2, frozenset((read_controllers or "").split()))


@lru_cache(maxsize=1)
def host_layout() -> Layout:
    """Ask this host, once."""
    with open(MOUNTINFO, encoding="utf-8", errors="surrogateescape") as file:
        text = file.read()
    found = parse(text)
    if not found.v2:
        return found
    with open(found.v2 + "/cgroup.controllers", encoding="ascii") as file:
        return parse(text, file.read())


def version() -> int:
    """Return 2 when everything is in the v2 tree, else 1: what `docker info` calls CgroupVersion."""
    return 2 if host_layout().unified else 1
