"""A havred that can be killed or failed at any step (faulty.py), a bare client, and a census of everything a host could keep of it."""

import contextlib
import hashlib
import http.client
import io
import json
import os
import signal
import socket
import sqlite3
import subprocess
import tarfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

WAIT_S = 20
BUSYBOX = "/bin/busybox"


class Answer:
    """Status 0: the daemon went away before it answered."""

    def __init__(self, status: int, data: bytes) -> None:
        self.status, self.data = status, data

    @property
    def json(self) -> Any:
        return json.loads(self.data)

    def ok(self) -> "Answer":
        assert 200 <= self.status < 300, (self.status, self.data)
        return self


class Api:
    """The Engine API over a unix socket, one connection a request."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.answers: list[Answer] = []

    def connect(self) -> http.client.HTTPConnection:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        sock.settimeout(WAIT_S)
        sock.connect(self.path)
        connection = http.client.HTTPConnection("havre")
        connection.sock = sock
        return connection

    def ask(self, method: str, path: str, body: Any = None, kind: str = "application/json") -> Answer:
        data = body if isinstance(body, bytes) else json.dumps(body).encode() if body is not None else None
        try:
            connection = self.connect()
        except OSError:
            return Answer(0, b"")
        try:
            connection.request(method, path, data, {"Content-Type": kind})
            reply = connection.getresponse()
            self.answers.append(Answer(reply.status, reply.read()))
            return self.answers[-1]
        except (http.client.HTTPException, ConnectionError):
            self.answers.append(Answer(0, b""))
            return self.answers[-1]
        finally:
            connection.close()

    def get(self, path: str) -> Answer:
        return self.ask("GET", path)

    def post(self, path: str, body: Any = None) -> Answer:
        return self.ask("POST", path, body)

    def delete(self, path: str) -> Answer:
        return self.ask("DELETE", path)

    def create(self, name: str, *words: str, **host: Any) -> Answer:
        body = {"Image": "busybox", "Cmd": list(words), "HostConfig": host}
        return self.post(f"/containers/create?name={name}", body)

    def run(self, name: str, *words: str, **host: Any) -> str:
        key = self.create(name, *words, **host).ok().json["Id"]
        self.post(f"/containers/{key}/start").ok()
        return key

    def inspect(self, name: str) -> Any:
        found = self.get(f"/containers/{name}/json")
        return found.json if found.status == 200 else None

    def status(self, name: str) -> str:
        found = self.inspect(name)
        return found["State"]["Status"] if found else "gone"

    def exec(self, name: str, *words: str) -> tuple[int, bytes]:
        """Exit code and output."""
        body = {"Cmd": list(words), "AttachStdout": True, "AttachStderr": True, "Tty": True}
        made = self.post(f"/containers/{name}/exec", body).ok().json["Id"]
        out = self.post(f"/exec/{made}/start", {"Tty": True}).ok().data
        return self.get(f"/exec/{made}/json").json["ExitCode"], out


class Bed:
    """A havred of one test, its client, and what it left on the host."""

    def __init__(self, daemon: Any, faulty: bool) -> None:
        self.daemon = daemon
        self.root: Path = daemon.root
        self.api = Api(daemon.socket)
        self._control: socket.socket | None = None
        if faulty:
            daemon.entry = [str(Path(__file__).with_name("faulty.py")), str(self.root / "fault.sock")]

    def start(self) -> None:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.root / "fault.sock")
        self.daemon.start()

    def order(self, *words: object) -> list[str]:
        """Arm a fault; return the steps since the last order."""
        if self._control is None:
            self._control = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            self._control.settimeout(WAIT_S)
            self._control.connect(str(self.root / "fault.sock"))
        self._control.send(" ".join(map(str, words)).encode())
        return json.loads(self._control.recv(1 << 20))

    def died(self) -> bool:
        """Whether the daemon has ended, at its fault or by the test; a zombie is reaped."""
        return self.daemon._process is None or self.daemon._process.poll() is not None

    def again(self, number: int | None = signal.SIGKILL) -> None:
        """End it (if it has not ended) and start it on the same data root."""
        if self._control is not None:
            self._control.close()
            self._control = None
        if self.died():
            self.daemon._process = None
        elif number is not None:
            self.daemon.end(number)
        self.start()

    # what there is

    @property
    def instance(self) -> str:
        return hashlib.sha256(str(self.root / "data").encode()).hexdigest()[:8]

    def records(self) -> dict[str, list[str]]:
        db = sqlite3.connect(f"file:{self.root}/data/havre.db?mode=ro", uri=True)
        found: dict[str, list[str]] = {}
        for kind, key in db.execute("select kind, id from record order by kind, id"):
            found.setdefault(kind, []).append(key)
        db.close()
        return found

    def processes(self) -> list[str]:
        """The names of all processes that carry the data root in their command line (zygote, monitors) and of all containers'."""
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                mine = str(self.root / "data").encode() in (folder / "cmdline").read_bytes()
                if mine or f"havre-{self.instance}/" in (folder / "cgroup").read_text():
                    found.append((folder / "comm").read_text().strip())
        return sorted(found)

    def census(self) -> dict[str, object]:
        """Everything of this havred on the host."""
        inside = self.daemon.inside()
        found: dict[str, object] = {"records": self.records(), "processes": self.processes()}
        links = subprocess.run([*inside, "ip", "-o", "link"], capture_output=True, text=True, check=True)
        found["links"] = [line.split(":")[1] for line in links.stdout.splitlines()]
        rules = subprocess.run(
            [*inside, "nft", "list", "ruleset"], capture_output=True, text=True, check=True
        )
        found["nft"] = rules.stdout
        found["mounts"] = Path("/proc/self/mounts").read_text().count(str(self.root))
        groups: list[str] = []
        for base in ("/sys/fs/cgroup", *(f.path for f in os.scandir("/sys/fs/cgroup") if f.is_dir())):
            with contextlib.suppress(FileNotFoundError):
                top = f"{base}/havre-{self.instance}"
                groups += [f.path for f in os.scandir(top) if f.is_dir()]
        found["cgroups"] = sorted(groups)
        kept = ("containers", "image/layers", "image/snapshots", "image/trash", "image/ingest")
        for name in (*(f"data/{each}" for each in kept), "data/image/blobs/sha256", "run/containers"):
            found[name] = sorted(os.listdir(self.root / name)) if (self.root / name).is_dir() else []
        return found

    def settle(self, before: dict[str, object]) -> None:
        """Wait until the census is as before: the kernel ends namespaces, and the trash is emptied, in the background."""
        until = time.monotonic() + WAIT_S
        while (now := self.census()) != before and time.monotonic() < until:
            time.sleep(0.02)
        assert {key: now[key] for key in now if now[key] != before[key]} == {
            key: before[key] for key in now if now[key] != before[key]
        }


def archive(name: str = "") -> bytes:
    """A root filesystem of busybox, or a small file for another layer."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        if name:
            info = tarfile.TarInfo(name)
            info.size = 1000
            tar.addfile(info, io.BytesIO(os.urandom(1000)))
            return out.getvalue() if tar.close() is None else b""
        for folder in ("bin", "etc", "tmp", "root", "proc", "sys", "dev"):
            info = tarfile.TarInfo(folder)
            info.type, info.mode = tarfile.DIRTYPE, 0o755
            tar.addfile(info)
        tar.add(BUSYBOX, "bin/busybox")
        for applet in subprocess.run(
            [BUSYBOX, "--list"], capture_output=True, text=True, check=True
        ).stdout.split():
            if applet != "busybox":
                info = tarfile.TarInfo(f"bin/{applet}")
                info.type, info.linkname = tarfile.SYMTYPE, "busybox"
                tar.addfile(info)
    return out.getvalue()


@pytest.fixture(scope="session")
def make_archive() -> Callable[[str], bytes]:
    return archive


def _bed(make_daemon: Any, root: Path, *flags: str, faulty: bool) -> Iterator[Bed]:
    bed = Bed(make_daemon(root, *flags), faulty)
    try:
        bed.start()
        bed.api.ask("POST", "/images/create?fromSrc=-&repo=busybox", archive(), "application/x-tar").ok()
        yield bed
    finally:
        if bed.died():
            bed.again()
        for one in bed.api.get("/containers/json?all=1").json:
            bed.api.delete(f"/containers/{one['Id']}?force=1")
        bed.daemon.end()
        bed.daemon.close()


@pytest.fixture(scope="session")
def make_bed() -> Callable[..., Iterator[Bed]]:
    """For a bed on a root of one's own."""
    return _bed


@pytest.fixture(scope="module")
def bed(make_daemon: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bed]:
    """One for a module's tests, which leave it running and clean."""
    yield from _bed(make_daemon, tmp_path_factory.mktemp("bed"), faulty=True)


@pytest.fixture
def own_bed(make_daemon: Any, tmp_path: Path) -> Iterator[Bed]:
    """One without fault hooks for one test."""
    yield from _bed(make_daemon, tmp_path, faulty=False)
