"""A havred of its own for the tests: own network namespace, data root, socket; an image made from the host's static busybox."""

import contextlib
import io
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

BUSYBOX = "/bin/busybox"
CLI_MAJOR = 28  # whose words and flags the tests compare with; Debian 12 brings 20.10


def _stock_cli() -> str | None:
    """The docker CLI when it is new enough."""
    path = shutil.which("docker")
    if path is None:
        return None
    said = subprocess.run([path, "--version"], capture_output=True, text=True, check=False).stdout
    major = said.partition("version ")[2].partition(".")[0]
    return path if major.isdigit() and int(major) >= CLI_MAJOR else None


DOCKER = _stock_cli()
DOCKERD = shutil.which("dockerd")
READY_S = 20
SRC = Path(__file__).parents[2] / "src"


def why_not() -> str:
    """Why the daemon cannot be tested here, "" when it can."""
    if os.geteuid() != 0:
        return "needs root"
    if not Path(BUSYBOX).exists():
        return "needs busybox-static"
    if subprocess.run(["unshare", "-n", "true"], capture_output=True, check=False).returncode:
        return "cannot make network namespaces here"
    return ""


def rootfs() -> bytes:
    """Return a tar of a small root filesystem."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name in ("bin", "etc", "tmp", "root", "var", "proc", "sys", "dev"):
            info = tarfile.TarInfo(name)
            info.type, info.mode = tarfile.DIRTYPE, 0o1777 if name == "tmp" else 0o755
            tar.addfile(info)
        info = tarfile.TarInfo("bin/busybox")
        data = Path(BUSYBOX).read_bytes()
        info.size, info.mode = len(data), 0o755
        tar.addfile(info, io.BytesIO(data))
        listed = subprocess.run([BUSYBOX, "--list"], capture_output=True, text=True, check=True)
        for applet in listed.stdout.split():
            if applet != "busybox":
                info = tarfile.TarInfo(f"bin/{applet}")
                info.type, info.linkname = tarfile.SYMTYPE, "busybox"
                tar.addfile(info)
        for name, text in (
            ("etc/passwd", "root:x:0:0:root:/root:/bin/sh\nwww:x:33:33:www:/var:/bin/sh\n"),
            ("etc/group", "root:x:0:\nwww:x:33:\nextra:x:44:www\n"),
        ):
            info = tarfile.TarInfo(name)
            info.size, info.mode = len(text), 0o644
            tar.addfile(info, io.BytesIO(text.encode()))
    return out.getvalue()


@pytest.fixture(scope="session")
def busybox_tar() -> bytes:
    return rootfs()


class Daemon:
    """One havred; it can be stopped, killed and started again on the same data root."""

    def __init__(self, root: Path, *flags: str) -> None:
        self.root = root
        self.socket = str(root / "d.sock")
        self.url = f"unix://{self.socket}"
        self.log = root / "havred.log"
        self.entry = ["-m", "havre.daemon"]
        self._flags = flags
        self._process: subprocess.Popen[bytes] | None = None
        self._holder = subprocess.Popen(
            ["unshare", "-n", "sleep", "infinity"]
        )  # keeps the namespace across restarts
        self._wait_namespace()

    def _wait_namespace(self) -> None:
        own = os.readlink("/proc/self/ns/net")
        path = f"/proc/{self._holder.pid}/ns/net"
        until = time.monotonic() + READY_S
        while os.readlink(path) == own or Path(f"/proc/{self._holder.pid}/comm").read_text() != "sleep\n":
            assert time.monotonic() < until
            time.sleep(0.005)
        subprocess.run([*self.inside(), "ip", "link", "set", "lo", "up"], check=True)

    def inside(self) -> list[str]:
        """Words in front of a command that is to run in the daemon's network namespace."""
        return ["nsenter", "-t", str(self._holder.pid), "-n", "--"]

    def start(self) -> None:
        """Start it and wait for its readiness message."""
        notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        path = str(self.root / "notify")
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
        notify.bind(path)
        notify.settimeout(READY_S)
        roots = ["--data-root", str(self.root / "data"), "--exec-root", str(self.root / "run")]
        words = [
            sys.executable,
            *self.entry,
            *roots,
            "-H",
            self.url,
            "--pidfile",
            str(self.root / "pid"),
        ]
        env = {**os.environ, "PYTHONPATH": str(SRC), "NOTIFY_SOCKET": path}
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [*self.inside(), *words, *self._flags], env=env, stdout=log, stderr=log
            )
        try:
            assert notify.recv(100) == b"READY=1"
        except TimeoutError:
            pytest.fail(f"havred did not start:\n{self.log.read_text()}")
        finally:
            notify.close()

    def end(self, number: int = signal.SIGTERM) -> None:
        """Stop it with a signal and wait."""
        assert self._process is not None
        os.kill(self.pid, number)
        self._process.wait(READY_S)
        self._process = None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def close(self) -> None:
        if self._process is not None and self._process.poll() is None:
            for line in self.docker("ps", "-aq").stdout.split():
                self.docker("rm", "-f", line)
            self.end()
        self._holder.kill()
        self._holder.wait()

    def docker(
        self, *words: str, stdin: bytes | None = None, timeout: float = 30
    ) -> subprocess.CompletedProcess[str]:
        """Run the stock docker CLI against it."""
        assert DOCKER
        return self._run([DOCKER, "-H", self.url, *words], stdin, timeout)

    def havre(
        self, *words: str, stdin: bytes | None = None, timeout: float = 30
    ) -> subprocess.CompletedProcess[str]:
        """Run our own CLI against it."""
        return self._run([sys.executable, "-m", "havre", "-H", self.url, *words], stdin, timeout)

    def _run(self, words: list[str], stdin: bytes | None, timeout: float) -> subprocess.CompletedProcess[str]:
        env = {**os.environ, "PYTHONPATH": str(SRC), "DOCKER_CONFIG": str(self.root / "config")}
        done = subprocess.run(
            [*self.inside(), *words],
            input=stdin or b"",
            capture_output=True,
            timeout=timeout,
            env=env,
            check=False,
        )
        return subprocess.CompletedProcess(words, done.returncode, done.stdout.decode(), done.stderr.decode())


@pytest.fixture(scope="session")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """One daemon for all tests that do not harm it, with the image busybox."""
    yield from _daemon(tmp_path_factory.mktemp("havred"))


@pytest.fixture
def own_daemon(tmp_path: Path) -> Iterator[Daemon]:
    """A daemon for one test, which may kill it."""
    yield from _daemon(tmp_path)


@pytest.fixture(scope="session")
def make_daemon() -> type[Daemon]:
    """For tests that start it their own way. Skips where it cannot run."""
    if reason := why_not():
        pytest.skip(reason)
    return Daemon


@pytest.fixture(scope="module")
def daemon_of_its_own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """A daemon for the tests of one module, which leave things lying about in it."""
    yield from _daemon(tmp_path_factory.mktemp("havred"))


@pytest.fixture
def daemon_with(tmp_path: Path) -> Iterator[Callable[..., Daemon]]:
    """Start a daemon for one test with flags of its own: `daemon_with("--init")`."""
    with contextlib.ExitStack() as stack:
        begin = contextlib.contextmanager(_daemon)
        yield lambda *flags: stack.enter_context(begin(tmp_path, *flags))


def _daemon(root: Path, *flags: str) -> Iterator[Daemon]:
    if reason := why_not():
        pytest.skip(reason)
    if DOCKER is None:
        pytest.skip(f"needs the stock docker CLI, {CLI_MAJOR} or newer")
    one = Daemon(root, *flags)
    try:
        one.start()
        done = one.docker("import", "-c", 'CMD ["sh"]', "-", "busybox", stdin=rootfs())
        assert done.returncode == 0, done.stderr
        yield one
    finally:
        one.close()


@pytest.fixture(params=["docker", "havre"])
def cli(request: pytest.FixtureRequest, daemon: Daemon):
    """The stock CLI and ours, one after the other: both must see the same."""
    return daemon.docker if request.param == "docker" else daemon.havre


class RealDocker:
    """A dockerd of its own: network namespace, data root, socket; containers in several states."""

    def __init__(self, root: Path) -> None:
        self.root, self.url = root, f"unix://{root}/d.sock"
        self._holder = subprocess.Popen(["unshare", "-n", "sleep", "infinity"])
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        assert DOCKERD
        (self.root / "empty.json").write_text("{}")
        until = time.monotonic() + READY_S
        while Path(f"/proc/{self._holder.pid}/comm").read_text() != "sleep\n":
            assert time.monotonic() < until
            time.sleep(0.005)
        inside = ["nsenter", "-t", str(self._holder.pid), "-n", "--"]
        subprocess.run([*inside, "ip", "link", "set", "lo", "up"], check=True)
        roots = ["--data-root", str(self.root / "data"), "--exec-root", str(self.root / "run")]
        files = ["--config-file", str(self.root / "empty.json"), "--pidfile", str(self.root / "pid")]
        private = ["unshare", "-m", "--propagation", "private"]  # what it mounts goes with it
        with (self.root / "log").open("wb") as log:
            self._process = subprocess.Popen(
                [*inside, *private, DOCKERD, *roots, *files, "-H", self.url], stdout=log, stderr=log
            )
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > until:
                pytest.skip(f"dockerd does not start here: {(self.root / 'log').read_text()[-500:]}")
            time.sleep(0.05)

    def _answers(self) -> bool:
        with socket.socket(socket.AF_UNIX) as sock:
            try:
                sock.connect(self.url.removeprefix("unix://"))
            except OSError:
                return False
            sock.sendall(b"GET /_ping HTTP/1.0\r\n\r\n")
            return b" 200 " in sock.recv(100)

    def close(self) -> None:
        if self._process is not None and self._process.poll() is None:
            for line in self.run([str(DOCKER)], "ps -aq")[1].split():
                self.run([str(DOCKER)], f"rm -fv {line}")
            self._process.send_signal(signal.SIGTERM)
            self._process.wait(60)
        self._holder.kill()
        self._holder.wait()

    def run(self, program: list[str], command: str, stdin: bytes = b"") -> tuple[int, str, str]:
        """Return (exit code, stdout, stderr) of a command line read as a shell would."""
        env = {**os.environ, "PYTHONPATH": str(SRC), "DOCKER_CONFIG": str(self.root / "config")}
        done = subprocess.run(
            [*program, "-H", self.url, *shlex.split(command)],
            input=stdin,
            capture_output=True,
            env=env,
            timeout=60,
            check=False,
        )
        return done.returncode, done.stdout.decode(), done.stderr.decode()

    def docker(self, command: str, stdin: bytes = b"") -> tuple[int, str, str]:
        return self.run([str(DOCKER)], command, stdin)

    def havre(self, command: str) -> tuple[int, str, str]:
        code, out, err = self.run([sys.executable, "-m", "havre"], command)
        return code, out.replace("havre ", "docker "), re.sub(r"\bhavre\b", "docker", err)

    @property
    def rootfs(self) -> bytes:
        return rootfs()


@pytest.fixture(scope="module")
def real_docker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealDocker]:
    """A real dockerd to be compared with."""
    if reason := why_not():
        pytest.skip(reason)
    if DOCKER is None or DOCKERD is None:
        pytest.skip("needs docker and dockerd")
    one = RealDocker(tmp_path_factory.mktemp("dockerd"))
    try:
        one.start()
        yield one
    finally:
        one.close()
