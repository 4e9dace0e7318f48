"""200 runs that fail and 200 that pass: the host is as it was before, to the last directory, rule, process and record."""

import contextlib
import hashlib
import os
import sqlite3
import subprocess
import time
from collections import Counter
from pathlib import Path

import pytest

pytestmark = [pytest.mark.daemon, pytest.mark.slow]
ROUNDS = 10
SETTLED_S = 30
PASSING = [
    ["run", "--rm", "busybox", "true"],
    ["run", "--rm", "--network", "none", "busybox", "sh", "-c", "exit 3"],
    ["run", "--rm", "-p", "18091:80", "-p", "18092-18094:90-92/udp", "busybox", "true"],
    ["run", "--rm", "-v", "/usr:/m:ro", "--tmpfs", "/t", "busybox", "true"],
    ["run", "--rm", "--network", "own", "--ip", "10.98.0.9", "busybox", "true"],
    ["run", "--rm", "-m", "32m", "--cpus", "0.5", "--pids-limit", "9", "busybox", "true"],
    ["run", "--rm", "--init", "--read-only", "--cap-drop", "ALL", "busybox", "true"],
    ["run", "--rm", "--network", "host", "--pid", "host", "--ipc", "host", "busybox", "true"],
    ["run", "--rm", "busybox", "sh", "-c", "kill -9 $$"],
    ["run", "--rm", "busybox", "sh", "-c", "echo x >/new; mkdir /d; mkfifo /f; dd if=/dev/zero of=/z bs=64k count=4 2>/dev/null"],
    ["run", "--rm", "--network", "container:kept", "busybox", "true"],
    ["run", "--rm", "--entrypoint", "", "busybox", "true"],
    ["exec", "kept", "true"],
    ["exec", "-u", "33", "-w", "/tmp", "-e", "A=1", "kept", "sh", "-c", "exit 4"],
    ["exec", "-d", "kept", "true"],
    ["create", "--name", "made", "-p", "18095:1", "busybox"],
    ["rm", "-f", "made"],
    ["run", "-d", "--name", "loose", "-p", "18095:1", "busybox", "sleep", "1000"],
    ["restart", "-t", "0", "loose"],
    ["rm", "-f", "loose"],
]  # fmt: skip
FAILING = [
    ["run", "--rm", "busybox", "nosuch"],
    ["run", "busybox", "/etc/passwd"],
    ["run", "--rm", "-v", "/dev/null:/etc", "busybox", "true"],
    ["run", "--rm", "-v", "/no/such/source:/m:nonsense", "busybox", "true"],
    ["run", "--rm", "-p", "18090:80", "busybox", "true"],  # the port of `kept`
    ["run", "--rm", "-p", "18096:80", "-p", "18090:81", "busybox", "true"],  # the second of two
    ["run", "--rm", "--network", "nope", "busybox", "true"],
    ["run", "--rm", "--network", "own", "--ip", "10.98.0.2", "busybox", "true"],  # the address of `kept`
    ["run", "--rm", "--network", "own", "--ip", "192.0.2.1", "busybox", "true"],
    ["run", "--rm", "--user", "nobody-here", "busybox", "true"],
    ["run", "--rm", "--memory", "1k", "busybox", "true"],
    ["run", "--rm", "--cap-add", "NOPE", "busybox", "true"],
    ["run", "--rm", "--device", "/dev/nope", "busybox", "true"],
    ["run", "--rm", "--sysctl", "net.nope=1", "busybox", "true"],
    ["run", "--rm", "--workdir", "/bin/busybox/x", "busybox", "true"],
    ["run", "--rm", "--security-opt", "seccomp=/no/such", "busybox", "true"],
    ["run", "--name", "kept", "busybox", "true"],
    ["run", "--rm", "--pull", "never", "no-such-image", "true"],
    ["run", "--rm", "--network", "container:nope", "busybox", "true"],
    ["exec", "kept", "nosuch"],
]


def records(daemon) -> dict[str, int]:
    """How many documents of each kind the store holds."""
    with contextlib.closing(sqlite3.connect(f"file:{daemon.root}/data/havre.db?mode=ro", uri=True)) as store:
        tables = [row[0] for row in store.execute("SELECT name FROM sqlite_master WHERE type='table'")]
        return {table: store.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in tables}


def said(daemon, *words: str) -> str:
    return subprocess.run([*daemon.inside(), *words], capture_output=True, text=True, check=True).stdout


def processes(daemon) -> list[str]:
    """What the daemon and everything below it are: names, sorted."""
    parents = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            text = path.read_text()
            parents[int(path.parent.name)] = (
                int(text.rpartition(")")[2].split()[1]),
                text[text.index("(") + 1 : text.rindex(")")],
            )
    mine = {daemon.pid}
    grown = True
    while grown:
        more = {pid for pid, (parent, _) in parents.items() if parent in mine} - mine
        mine |= more
        grown = bool(more)
    return sorted(parents[pid][1] for pid in mine if pid in parents)


def cgroups(name: str) -> list[str]:
    """The control groups below every `name`; those of others come and go while we look."""
    found: list[str] = []
    for base, folders, _ in os.walk("/sys/fs/cgroup"):
        if os.path.basename(base) == name:
            found += [os.path.join(base, one) for one in folders]
            folders.clear()
    return sorted(found)


def host(daemon) -> dict[str, object]:
    """Everything a run could leave."""
    root = str(daemon.root)
    instance = hashlib.sha256(f"{root}/data".encode()).hexdigest()[:8]
    folders = ("data", "data/containers", "data/image", "data/image/snapshots", "data/image/layers", "data/image/ingest",
               "data/image/trash", "data/image/blobs/sha256", "run", "run/containers")  # fmt: skip
    return {
        "links": Counter(line.split(":")[1].split("@")[0].strip()[:4] for line in said(daemon, "ip", "-o", "link").splitlines()),
        "routes": said(daemon, "ip", "route"),
        "rules": said(daemon, "nft", "list", "ruleset"),
        "ports": sorted(line.split()[3] for line in said(daemon, "ss", "-Hltun").splitlines()) if os.path.exists("/usr/bin/ss") else [],
        "mounts": [line for line in Path("/proc/mounts").read_text().splitlines() if root in line],
        "cgroups": cgroups(f"havre-{instance}"),
        "namespaces": sorted(name for name in os.listdir("/run/netns") if "havre" in name) if os.path.isdir("/run/netns") else [],
        "folders": {name: sorted(os.listdir(daemon.root / name)) for name in folders if (daemon.root / name).is_dir()},
        "records": records(daemon),
        "processes": processes(daemon),
        "descriptors": len(os.listdir(f"/proc/{daemon.pid}/fd")),
    }  # fmt: skip


def quiet(seen: dict[str, object]) -> dict[str, object]:
    """Without the files of SQLite that come and go, and with the trash that is emptied in the background."""
    folders = {
        name: [one for one in names if not one.startswith("havre.db-")]
        for name, names in seen["folders"].items()
    }
    return {**seen, "folders": folders}


def test_the_host_is_as_before_after_200_failing_and_200_passing_runs(own_daemon) -> None:
    daemon = own_daemon
    assert daemon.docker("network", "create", "--subnet", "10.98.0.0/24", "own").returncode == 0
    kept = ["run", "-d", "--name", "kept", "--network", "own", "--ip", "10.98.0.2", "-p", "18090:80", "busybox", "sleep", "5000"]  # fmt: skip
    assert daemon.docker(*kept).returncode == 0
    for words in (*PASSING, *FAILING):  # what is made once for all: a snapshot's folder, a compiled filter
        daemon.docker(*words)
    for name in daemon.docker("ps", "-aq", "-f", "status=created", "-f", "status=exited").stdout.split():
        daemon.docker("rm", "-f", name)
    before = settled(daemon, None)
    assert all(before[name] for name in ("links", "rules", "cgroups", "records", "processes", "folders"))
    assert "kept" in daemon.docker("ps", "--format", "{{.Names}}").stdout
    passed = failed = 0
    for _ in range(ROUNDS):
        for good, bad in zip(PASSING, FAILING, strict=True):
            code, wrong = daemon.docker(*good).returncode, daemon.docker(*bad).returncode
            assert code in (0, 3, 4, 137), good
            assert wrong in (125, 126, 127), bad
            passed, failed = passed + 1, failed + 1
        for name in daemon.docker("ps", "-aq", "-f", "status=created").stdout.split():
            daemon.docker("rm", name)  # what `run` without --rm could not start stays, as in Docker
    assert (passed, failed) == (200, 200)
    assert settled(daemon, before) == before


def settled(daemon, wanted: "dict[str, object] | None") -> dict[str, object]:
    """What the host looks like once it is `wanted` (or does not change any more); the kernel tears namespaces down in the background."""
    until = time.monotonic() + SETTLED_S
    last, same = None, 0
    while time.monotonic() < until:
        seen = quiet(host(daemon))
        same = same + 1 if seen == last else 0
        if seen == wanted or (wanted is None and same >= 5 and not seen["folders"].get("data/image/trash")):
            return seen
        last = seen
        time.sleep(0.2)
    assert last is not None
    return last
