"""GET /containers/{id}/top: the processes of a container as ps shows them. No ps runs: /proc is read here."""

import grp
import pwd
import time
from typing import Any

from havre.engine import ps_args
from havre.engine.container import check_runs
from havre.engine.freezer import file_of
from havre.engine.ps_columns import COLUMNS, HEADINGS, Clock, Shown
from havre.engine.rooms import Rooms
from havre.linux import proc
from havre.runtime.cgroup import files as cgroup
from havre.tasks import in_disk_thread

DEFAULT_ARGS = "-ef"


async def top(rooms: Rooms, ref: str, arguments: str) -> dict[str, Any]:
    """Return {"Titles", "Processes"}; pids are the host's. Raises InvalidParameter for arguments, Conflict when it does not run."""
    wanted = ps_args.parse(arguments or DEFAULT_ARGS, HEADINGS)
    container = rooms.containers.find(ref)
    check_runs(container)
    folder = file_of(rooms, container).rpartition("/")[0]
    found = await in_disk_thread(_table, folder, wanted)
    rooms.events.publish("container", "top", container.id, container.attributes())
    return found


def _table(folder: str, wanted: ps_args.Wanted) -> dict[str, Any]:
    found = [one for pid in sorted(cgroup.pids(folder)) for one in _processes(pid, wanted.threads)]
    depths = _depths(found) if wanted.forest else {}
    if wanted.forest:
        found.sort(key=lambda one: depths[one.pid])
    clock = Clock(time.time(), proc.boot_seconds(), proc.uptime_seconds(), proc.memory_bytes())
    users = {one.pw_uid: one.pw_name for one in reversed(pwd.getpwall())}
    groups = {one.gr_gid: one.gr_name for one in reversed(grp.getgrall())}
    rows = []
    for process in found:
        row = [
            COLUMNS[name](Shown(process, clock, users, groups, width)) for name, _, width in wanted.columns
        ]
        if len(depths.get(process.pid, ())) > 1 and wanted.columns[-1][0] in ("args", "cmd", "command"):
            row[-1] = f"\\_ {row[-1]}"
        rows.append(row)
    return {"Titles": [heading for _, heading, _ in wanted.columns], "Processes": rows}


def _processes(pid: int, threads: bool) -> list[proc.Process]:
    """A process, or each of its threads; nothing when it has ended meanwhile."""
    found = [proc.read_process(pid, tid) for tid in (proc.threads(pid) if threads else [0])]
    return [one for one in found if one is not None]


def _depths(found: list[proc.Process]) -> dict[int, tuple[int, ...]]:
    """The path of pids from the uppermost ancestor to each process: sorted by it, children follow their parent."""
    parents = {one.pid: one.ppid for one in found}
    paths = {}
    for pid in parents:
        path = [pid]
        while parents.get(path[-1]) in parents and parents[path[-1]] not in path:
            path.append(parents[path[-1]])
        paths[pid] = tuple(reversed(path))
    return paths
