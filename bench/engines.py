"""Engines to compare: each with its own network namespace, data root and socket on tmpfs; all driven by the stock docker CLI."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

SRC = Path(__file__).parents[1] / "src"
READY_S = 30


class Engine:
    """One running daemon."""

    def __init__(self, name: str, words: list[str], root: Path) -> None:
        self.name, self.root = name, root
        self.url = f"unix://{root}/s.sock"
        root.mkdir(parents=True, exist_ok=True)
        self._holder = subprocess.Popen(["unshare", "-n", "sleep", "infinity"])
        self._wait(lambda: Path(f"/proc/{self._holder.pid}/comm").read_text() == "sleep\n")
        subprocess.run([*self.inside(), "ip", "link", "set", "lo", "up"], check=True)
        self._log = open(root / "log", "wb")
        env = {**os.environ, "PYTHONPATH": str(SRC)}
        self.process = subprocess.Popen([*self.inside(), *words], stdout=self._log, stderr=self._log, env=env)
        self._wait(lambda: self.docker("version", check=False).returncode == 0)

    def _wait(self, ready) -> None:
        until = time.monotonic() + READY_S
        while not ready():
            if time.monotonic() > until:
                raise SystemExit(f"{self.name} did not start: see {self.root}/log")
            time.sleep(0.05)

    def inside(self) -> list[str]:
        """nsenter, not `ip netns exec`, which hides the cgroup mounts."""
        return ["nsenter", "-t", str(self._holder.pid), "-n", "--"]

    def words(self, *rest: str) -> list[str]:
        return ["docker", "-H", self.url, *rest]

    def docker(self, *rest: str, check: bool = True, **kwargs) -> subprocess.CompletedProcess:
        return subprocess.run(self.words(*rest), capture_output=True, check=check, **kwargs)

    def timed(self, *rest: str) -> float:
        """Milliseconds of one docker command."""
        start = time.perf_counter()
        subprocess.run(self.words(*rest), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)
        return (time.perf_counter() - start) * 1000

    def processes(self) -> list[int]:
        """The daemon and its helpers (containerd, zygote), without the containers' monitors."""
        found = [self.process.pid]
        for pid in map(int, filter(str.isdigit, os.listdir("/proc"))):
            try:
                words = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace")
                parent = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
                name = Path(f"/proc/{pid}/comm").read_text().strip()
            except OSError:
                continue
            if (name == "havre-zygote" and parent == self.process.pid) or (
                "containerd" in words and "shim" not in words and str(self.root) in words
            ):
                found.append(pid)
        return found

    def monitors(self) -> list[int]:
        """One process per container that stays with it."""
        found = []
        for pid in map(int, filter(str.isdigit, os.listdir("/proc"))):
            try:
                name = Path(f"/proc/{pid}/comm").read_text().strip()
                words = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace")
                netns = os.readlink(f"/proc/{pid}/ns/net")
            except OSError:
                continue
            ours = netns == os.readlink(f"/proc/{self._holder.pid}/ns/net")
            if ours and (name.startswith("havre-mon") or "containerd-shim" in words):
                found.append(pid)
        return found

    def close(self) -> None:
        for name in self.docker("ps", "-aq", check=False).stdout.decode().split():
            self.docker("rm", "-f", name, check=False)
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(READY_S)
        self._holder.kill()
        self._holder.wait()
        self._log.close()


def private_kb(pid: int) -> int:
    """Private_Dirty and Private_Clean of a process."""
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except OSError:
        return 0
    return sum(
        int(line.split()[1])
        for line in text.splitlines()
        if line.startswith(("Private_Dirty", "Private_Clean"))
    )


def pss_kb(pid: int) -> int:
    """Proportional memory of a process."""
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except OSError:
        return 0
    return next(int(line.split()[1]) for line in text.splitlines() if line.startswith("Pss:"))


def start_all(base: Path) -> list[Engine]:
    """Havre first, then the peers that are installed."""
    root = base / "havre"
    roots = [
        "--data-root",
        str(root / "data"),
        "--exec-root",
        str(root / "run"),
        "--pidfile",
        str(root / "pid"),
    ]
    engines = [
        Engine("havre", [sys.executable, "-m", "havre.daemon", *roots, "-H", f"unix://{root}/s.sock"], root)
    ]
    if dockerd := shutil.which("dockerd", path="/usr/sbin:/usr/bin:/usr/local/bin"):
        root = base / "dockerd"
        roots = [
            "--data-root",
            str(root / "data"),
            "--exec-root",
            str(root / "run"),
            "--pidfile",
            str(root / "pid"),
        ]
        engines.append(Engine("dockerd", [dockerd, *roots, "-H", f"unix://{root}/s.sock"], root))
    return engines


def workspace() -> Path:
    """A directory on tmpfs: disks here are 6 to 22 times slower right after deletions."""
    return Path(tempfile.mkdtemp(prefix="havre-bench-", dir="/dev/shm"))
