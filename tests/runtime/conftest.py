"""Real containers for tests: a busybox root, a lean zygote of their own, cgroups of their own, everything gone afterwards."""

import asyncio
import contextlib
import glob
import itertools
import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from havre.runtime import link, zygote

BUSYBOX = "/bin/busybox"
PATIENCE_S = 240  # a thousand runs take 14 s here, four times that on a busy machine
SRC = os.path.dirname(os.path.dirname(os.path.dirname(zygote.__file__)))
ZYGOTE = """
import socket, sys
sys.path.insert(0, sys.argv[2])
from havre.logs.open import open_log
from havre.runtime import zygote
zygote.serve(socket.socket(fileno=int(sys.argv[1])), open_log)
"""
CAPABILITIES = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FOWNER",
    "CAP_KILL",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_MKNOD",
]


@pytest.fixture(scope="session")
def busybox(tmp_path_factory):
    """A root directory with a static busybox; never written to (it is an overlay's lower)."""
    if os.geteuid() != 0:
        pytest.skip("needs root")
    if not os.path.exists(BUSYBOX):
        pytest.skip("needs /bin/busybox (Debian package busybox-static)")
    root = tmp_path_factory.mktemp("busybox")
    for name in ("bin", "dev", "proc", "sys", "etc", "tmp", "root"):
        (root / name).mkdir()
    shutil.copy(BUSYBOX, root / "bin/busybox")
    names = subprocess.run([BUSYBOX, "--list"], capture_output=True, text=True, check=True).stdout.split()
    for name in names:
        if name != "busybox":
            (root / "bin" / name).symlink_to("busybox")
    (root / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/sh\nann:x:1000:1001:Ann:/home/ann:/bin/sh\n")
    (root / "etc/group").write_text("root:x:0:\nann:x:1001:\naudio:x:29:ann\n")
    (root / "etc/plain").write_text("no program\n")
    return root


class Harness:
    """One daemon's worth of runtime: plans, a zygote, and what must be gone in the end."""

    numbers = itertools.count()

    def __init__(self, root: Path, folder: Path) -> None:
        self.root = root
        self.folder = folder
        self.group = f"havre-test-{os.getpid()}-{next(self.numbers)}"
        self.zygote = None
        self.before_zygote = []  # words in front of its command
        self.code = ZYGOTE
        self._sock = None

    def open_zygote(self) -> socket.socket:
        """Start a lean zygote as the daemon would; return the daemon's end."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        code = [sys.executable, "-IS", "-c", self.code, str(theirs.fileno()), SRC]
        self.zygote = subprocess.Popen([*self.before_zygote, *code], pass_fds=[theirs.fileno()])
        theirs.close()
        return ours

    def plan(self, *args, **changes):
        """A RunPlan; `tty`, `env`, `cwd`, `namespaces` and `process` change the config, the rest the plan."""
        number = next(self.numbers)
        name = f"c{os.getpid()}-{number}"
        here = self.folder / name
        for part in ("upper", "work", "run"):
            (here / part).mkdir(parents=True)
        os.chmod(here / "run", 0o700)
        kinds = changes.pop("namespaces", ["mount", "pid", "network", "ipc", "uts", "cgroup"])
        process = {
            "args": list(args),
            "env": ["PATH=/bin", "TERM=xterm", *changes.pop("env", [])],
            "cwd": changes.pop("cwd", "/"),
            "user": {"uid": 0, "gid": 0},
            "terminal": changes.pop("tty", False),
            "capabilities": {kind: CAPABILITIES for kind in ("bounding", "effective", "permitted")},
            **changes.pop("process", {}),
        }
        config = {
            "ociVersion": "1.2.0",
            "process": process,
            "root": {"path": "", "readonly": False},
            "hostname": name,
            "mounts": [
                {
                    "destination": "/proc",
                    "type": "proc",
                    "source": "proc",
                    "options": ["nosuid", "noexec", "nodev"],
                },
                {
                    "destination": "/dev",
                    "type": "tmpfs",
                    "source": "tmpfs",
                    "options": ["nosuid", "mode=755", "size=65536k"],
                },
                {
                    "destination": "/dev/pts",
                    "type": "devpts",
                    "source": "devpts",
                    "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"],
                },
            ],
            "linux": {
                "namespaces": [{"type": kind} for kind in kinds],
                "cgroupsPath": f"/{self.group}/{name}",
                "resources": changes.pop("resources", {}),
            },
        }
        plan = {
            "id": name,
            "config": config,
            "overlay": {"lower": [str(self.root)], "upper": str(here / "upper"), "work": str(here / "work")},
            "veths": [],
            "user": "",
            "group_add": [],
            "init": False,
            "join_netns": "",
            "open_stdin": False,
            "stdin_once": False,
            "tty_size": (0, 0),
            "log": {
                "driver": "json-file",
                "path": str(here / "log"),
                "max_size_bytes": 0,
                "max_files": 1,
                "attributes": {},
                "format": "json",
                "compress": False,
                "buffer_bytes": 0,
                "remote": {},
            },
            "run_dir": str(here / "run"),
            "runtime": "",
            "runtime_args": [],
        }
        return {**plan, **changes}

    def exec_plan(self, exec_id, *args, **changes):
        process = {
            "args": list(args),
            "env": ["PATH=/bin", *changes.pop("env", [])],
            "cwd": changes.pop("cwd", "/"),
            "user": {"uid": 0, "gid": 0},
            "terminal": changes.pop("tty", False),
            "capabilities": {kind: CAPABILITIES for kind in ("bounding", "effective", "permitted")},
        }
        plan = {
            "exec_id": exec_id,
            "process": process,
            "user": "",
            "privileged": False,
            "open_stdin": False,
            "tty_size": (0, 0),
        }
        return {**plan, **changes}

    def run(self, main):
        """Run `await main(runtime)` with a zygote; afterwards nothing of it may be left."""

        async def inner():
            runtime = link.Runtime(self.open_zygote())
            try:
                return await asyncio.wait_for(main(runtime), PATIENCE_S)
            finally:
                runtime.close()

        try:
            return asyncio.run(inner())
        finally:
            self.zygote.wait(10)

    def cgroups_left(self):
        """Directories of containers that are still there."""
        return [path for path in glob.glob(f"/sys/fs/cgroup/**/{self.group}/*/", recursive=True)]

    def close(self):
        """End what a failed test has left, and remove the group; return what was left."""
        left = self.cgroups_left()
        deadline = time.monotonic() + 10
        while (now := self.cgroups_left()) and time.monotonic() < deadline:
            for path in now:
                with contextlib.suppress(OSError), open(path + "cgroup.procs", encoding="ascii") as file:
                    for pid in file:
                        os.kill(int(pid), 9)
            time.sleep(0.05)
        for path in glob.glob(f"/sys/fs/cgroup/*/{self.group}") + glob.glob(f"/sys/fs/cgroup/{self.group}"):
            os.rmdir(path)
        return left


class Client:
    """The daemon's end of an attached socket."""

    def __init__(self, *, stdin=False, stdout=True, stderr=True):
        self.sock, theirs = socket.socketpair()
        self.sock.setblocking(False)
        self.attached = link.Attached(theirs, stdin, stdout, stderr)

    def given(self):
        """The monitor has its own copy now."""
        self.attached.sock.close()

    async def read(self):
        """All that comes until the end."""
        data = []
        while chunk := await asyncio.get_running_loop().sock_recv(self.sock, 1 << 20):
            data.append(chunk)
        self.sock.close()
        return b"".join(data)

    async def read_until(self, end):
        data = b""
        while end not in data:
            chunk = await asyncio.get_running_loop().sock_recv(self.sock, 65536)
            assert chunk, f"ended before {end!r}: {data!r}"
            data += chunk
        return data

    async def send(self, data):
        await asyncio.get_running_loop().sock_sendall(self.sock, data)

    def end_stdin(self):
        if self.sock.fileno() >= 0:
            self.sock.shutdown(socket.SHUT_WR)

    async def streams(self):
        """All frames until the end, as (stdout, stderr)."""
        return split(await self.read())


def split(data):
    """Docker's multiplexed frames to (stdout, stderr)."""
    out = {1: b"", 2: b""}
    while data:
        stream, size = data[0], int.from_bytes(data[4:8], "big")
        assert data[1:4] == b"\0\0\0" and len(data) >= 8 + size, data[:20]
        out[stream] += data[8 : 8 + size]
        data = data[8 + size :]
    return out[1], out[2]


@pytest.fixture
def harness(busybox, tmp_path):
    one = Harness(busybox, tmp_path)
    yield one
    assert one.close() == []


@pytest.fixture
def client():
    return Client
