"""What is known of each container, under --root: <root>/<id>/{state.json, exec.fifo, late.fifo, root}.

The status is never stored: it is asked of the kernel, by pid and start time, so that a reused pid is not taken for the container.
"""

import json
import os
import re
import shutil
from dataclasses import asdict, dataclass, field
from typing import Any

from havre.errors import Conflict, InvalidParameter, NotFound
from havre.runtime.cgroup.plan import CgroupPlan

DEFAULT_ROOT = "/run/havre/oci"
_ID = re.compile(r"[A-Za-z0-9_+.-]{1,1024}")
GATE, LATE, PLACE = "exec.fifo", "late.fifo", "root"
CREATING, CREATED, RUNNING, PAUSED, STOPPED = "creating", "created", "running", "paused", "stopped"


@dataclass(slots=True)
class Container:
    """One container's record."""

    folder: str
    id: str
    bundle: str
    rootfs: str
    created: str  # RFC 3339
    config: dict[str, Any]
    cgroup: CgroupPlan
    pid: int = 0
    started_ticks: int = 0  # field 22 of /proc/PID/stat
    annotations: dict[str, str] = field(default_factory=dict)

    def save(self) -> None:
        """Write the record by rename."""
        document = asdict(self)
        del document["folder"]
        write_atomically(f"{self.folder}/state.json", json.dumps(document))

    def status(self) -> str:
        """Ask the kernel."""
        if not self.pid:
            return CREATING
        alive = process_start(self.pid)
        if alive is None or alive != self.started_ticks:
            return STOPPED
        if os.path.exists(f"{self.folder}/{GATE}"):
            return CREATED
        return PAUSED if is_frozen(self.cgroup) else RUNNING

    def state(self) -> dict[str, Any]:
        """Return the runtime-spec's state, with runc's additions."""
        status = self.status()
        return {
            "ociVersion": self.config.get("ociVersion", ""),
            "id": self.id,
            "pid": 0 if status in (CREATING, STOPPED) else self.pid,
            "status": status,
            "bundle": self.bundle,
            "rootfs": self.rootfs,
            "created": self.created,
            "annotations": self.annotations,
            "owner": "",
        }

    def forget(self) -> None:
        """Remove the record."""
        shutil.rmtree(self.folder, ignore_errors=True)


def write_atomically(path: str, text: str) -> None:
    """Write a file so that a reader sees all of it or nothing."""
    fresh = f"{os.path.dirname(path)}/.{os.path.basename(path)}.{os.getpid()}"
    with open(fresh, "w", encoding="utf-8") as file:
        file.write(text)
    os.rename(fresh, path)


def reserve(root: str, container_id: str) -> str:
    """Make the container's folder, and so take the id. Raises Conflict when it is taken."""
    if not _ID.fullmatch(container_id) or container_id in (".", ".."):
        raise InvalidParameter(
            f"invalid container ID format: {container_id!r}", hint="letters, digits, _ + . -"
        )
    os.makedirs(root, 0o711, exist_ok=True)
    folder = f"{root}/{container_id}"
    try:
        os.mkdir(folder, 0o711)
    except FileExistsError:
        raise Conflict(f"container with given ID already exists: {container_id}") from None
    os.mkdir(f"{folder}/{PLACE}", 0o711)
    return folder


def load(root: str, container_id: str) -> Container:
    """Return a container's record. Raises NotFound."""
    if not _ID.fullmatch(container_id) or container_id in (".", ".."):
        raise InvalidParameter(f"invalid container ID format: {container_id!r}")
    folder = f"{root}/{container_id}"
    try:
        with open(f"{folder}/state.json", encoding="utf-8") as file:
            document = json.load(file)
    except FileNotFoundError:
        raise NotFound(f"container {container_id} does not exist") from None
    except ValueError:
        raise NotFound(f"container {container_id}: its state is damaged", hint="delete --force") from None
    return Container(folder=folder, **document)


def load_all(root: str) -> list[Container]:
    """Return every container under the root, by id; folders that are being made or removed are left out."""
    found = []
    for name in sorted(os.listdir(root) if os.path.isdir(root) else []):
        try:
            found.append(load(root, name))
        except (NotFound, InvalidParameter):
            continue
    return found


def process_start(pid: int) -> int | None:
    """Return when a process started, in clock ticks since boot; None when it is gone or a zombie."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            fields = file.read().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if fields[0] in "ZXx" else int(fields[19])


def is_frozen(cgroup: CgroupPlan) -> bool:
    """Whether the container's freezer holds it."""
    try:
        with open(cgroup["freezer"], encoding="ascii") as file:
            return file.read().strip() in ("FROZEN", "FREEZING", "1")
    except OSError:
        return False


def pids(cgroup: CgroupPlan) -> list[int]:
    """Return the host pids of everything in the container's group and below."""
    found: set[int] = set()
    for folder, _, _ in os.walk(cgroup["directories"][0] if cgroup["directories"] else "/nonexistent"):
        try:
            with open(f"{folder}/cgroup.procs", encoding="ascii") as file:
                found.update(int(line) for line in file)
        except OSError:
            continue
    return sorted(found)
