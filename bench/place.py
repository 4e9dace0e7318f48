"""Where a bench run lives: one directory on tmpfs, network namespaces, processes. All of it goes away again, also after ctrl-C."""

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

TMPFS = "/dev/shm"  # a disk is 6-22x slower right after deletions
CGROUPS = Path("/sys/fs/cgroup")


class Place:
    """Use as a context manager; `name` is unique and is part of everything a run makes."""

    def __init__(self) -> None:
        self.root = Path(tempfile.mkdtemp(prefix="havre-bench-", dir=TMPFS))
        self.name = self.root.name
        self.stack = contextlib.ExitStack()
        self.environment = {**os.environ, "DOCKER_CONFIG": str(self.root / "docker-config")}
        (self.root / "docker-config").mkdir()
        (self.root / "docker-config" / "config.json").write_text("{}")

    def __enter__(self) -> "Place":
        return self

    def __exit__(self, *_: object) -> None:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)  # a second ctrl-C must not stop the cleaning
        self.stack.close()
        self._unmount()
        self._remove_cgroups()
        shutil.rmtree(self.root, ignore_errors=True)

    def start(self, command: Sequence[str], log: str, **more: object) -> "subprocess.Popen[bytes]":
        """Start a process that ends with the run: SIGTERM, later SIGKILL."""
        with (self.root / f"{log}.log").open("ab") as out:
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, env=self.environment,
                start_new_session=True, **more,
            )  # fmt: skip
        self.stack.callback(end, process)
        return process

    def namespace(self, label: str) -> list[str]:
        """Make a network namespace with lo up; return the command that enters it (mounts stay ours, cgroups stay visible)."""
        holder = self.start(["unshare", "--net", "sleep", "infinity"], f"{label}-netns")
        own = os.readlink("/proc/self/ns/net")
        wait_until(lambda: os.readlink(f"/proc/{holder.pid}/ns/net") != own, 10, "a network namespace")
        enter = ["nsenter", f"--net=/proc/{holder.pid}/ns/net"]
        subprocess.run([*enter, "ip", "link", "set", "lo", "up"], check=True)
        return enter

    def _unmount(self) -> None:
        """What a daemon has left mounted below our directory, deepest first."""
        with open("/proc/self/mounts", encoding="utf-8") as file:
            points = [line.split(" ")[1] for line in file]
        for point in sorted(points, key=len, reverse=True):
            if point.startswith(f"{self.root}/"):
                subprocess.run(["umount", "-l", point], check=False, stderr=subprocess.DEVNULL)

    def _remove_cgroups(self) -> None:
        for found in [*CGROUPS.glob(f"*/*{self.name}*"), *CGROUPS.glob(f"*{self.name}*")]:
            for base, _, _ in os.walk(found, topdown=False):
                with contextlib.suppress(OSError):
                    os.rmdir(base)


def end(process: "subprocess.Popen[bytes]", patience_s: float = 20) -> None:
    """Ask a process to go, then make it."""
    if process.poll() is None:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(patience_s)
    if process.poll() is None:
        process.kill()
        process.wait()


def wait_until(true: object, seconds: float, what: str) -> None:
    """Poll until `true()`. Raises RuntimeError."""
    stop = time.monotonic() + seconds
    while True:
        with contextlib.suppress(OSError):
            if true():  # type: ignore[operator]
                return
        if time.monotonic() > stop:
            raise RuntimeError(f"{what} did not come within {seconds:.0f} s")
        time.sleep(0.02)
