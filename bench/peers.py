"""The peers: each can start, and says by which command it does what is measured. None: it cannot do that."""

import json
import os
import select
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from bench import content
from bench.place import Place, wait_until

IMAGE = "busybox:bench"
PATIENCE_S = 120
DOCKERD_PATHS = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
Command = list[str]


def wait(client: "subprocess.Popen[bytes]") -> int:
    """Return its exit code as soon as it has one. Popen.wait(timeout) polls, in steps of up to 32 ms: no clock for what is measured here."""
    fd = os.pidfd_open(client.pid)
    try:
        if not select.select([fd], [], [], PATIENCE_S)[0]:
            client.kill()
    finally:
        os.close(fd)
    return client.wait()


def program(name: str) -> str:
    return shutil.which(name, path=DOCKERD_PATHS) or ""


class Peer:
    """Docker's grammar by the stock docker CLI; others override what differs."""

    name = ""
    needs: tuple[str, ...] = ()

    def __init__(self, place: Place) -> None:
        self.place = place
        self.home = place.root / self.name
        self.home.mkdir()
        self.enter = place.namespace(self.name)
        self.socket = self.home / "api.sock"
        self.cli: Command = [program("docker"), "-H", f"unix://{self.socket}"]

    @classmethod
    def missing(cls) -> str:
        """What this machine lacks for it; "" when nothing."""
        return ", ".join(one for one in cls.needs if not program(one))

    def start(self, archive: Path) -> None:
        """Come up and load the image. Raises RuntimeError."""
        raise NotImplementedError

    def processes(self) -> list[int]:
        """Everything that runs while no container does."""
        return []

    def keepers(self) -> list[int]:
        """The process that stands by each running container."""
        return []

    def _load(self, archive: Path) -> None:
        wait_until(lambda: self._answers(), 60, f"{self.name} (see {self.place.root}/{self.name}.log)")
        self.do([*self.cli, "load", "-q", "-i", str(archive)])
        self.place.stack.callback(self.clear)

    def _answers(self) -> bool:
        if not self.socket.exists():
            return False
        return (
            subprocess.run(
                [*self.cli, "version"], check=False, capture_output=True, env=self.place.environment
            ).returncode
            == 0
        )

    def do(self, command: Command) -> str:
        """Run a command; files, not pipes: what `runc run -d` leaves behind keeps them open. Raises RuntimeError."""
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as errors:
            client = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=out, stderr=errors, env=self.place.environment
            )
            code = wait(client)
            texts = []
            for file in (errors, out):
                file.seek(0)
                texts.append(file.read(1 << 20).decode(errors="replace"))
        if code:
            said = (texts[0] or texts[1]).strip()[-300:]
            raise RuntimeError(f"{self.name}: {' '.join(command)[-160:]}: exit {code}: {said}")
        return texts[1]

    # what is measured

    def run(self, network: str) -> Command | None:
        return [*self.cli, "run", "--rm", "--network", network, IMAGE, "true"]

    def run_userns(self, mode: str) -> Command | None:
        """Run in a user namespace of its own ("auto") or the host's ("host"); the stock CLI does not let the first one through."""
        return None

    def run_detached(self, name: str, network: str) -> Command | None:
        return [*self.cli, "run", "-d", "--name", name, "--network", network, IMAGE, "sleep", "100000"]

    def exec(self, name: str) -> Command | None:
        return [*self.cli, "exec", name, "true"]

    def run_probed(self, name: str) -> Command | None:
        """Start a container whose health is asked each second; by the stock docker CLI only."""
        if type(self).run_detached is not Peer.run_detached:
            return None
        words = ["--health-cmd", "true", "--health-interval", "1s", "--network", "none"]
        return [*self.cli, "run", "-d", "--name", name, *words, IMAGE, "sleep", "100000"]

    def probes(self, since: float, until: float) -> Command:
        """Print a line for each health probe that ends in this time; ends when it is over."""
        times = ["--since", f"{since:.3f}", "--until", f"{until:.3f}"]
        return [*self.cli, "events", *times, "--filter", "event=exec_die", "--format", "x"]

    def ps(self) -> Command | None:
        return [*self.cli, "ps"]

    def flood(self, size: int, *, detached: bool, driver: str = "") -> Command | None:
        """Print `size` bytes of 100-byte lines; the log is kept whole by everybody, or as `driver` does it unasked."""
        words = ["run", "-d"] if detached else ["run", "--rm"]
        words += ["--log-driver", driver] if driver else ["--log-opt", f"max-size={size * 2 // 1_000_000}m"]
        script = f"yes {'x' * 99} | head -c {size}"
        return [*self.cli, *words, "--network", "none", IMAGE, "sh", "-c", script]

    def wait(self, name: str) -> Command:
        return [*self.cli, "wait", name]

    def pull(self, reference: str) -> Command | None:
        return [*self.cli, "pull", "-q", reference]

    def forget(self, reference: str) -> None:
        self.do([*self.cli, "rmi", reference])

    def remove(self, names: Sequence[str]) -> None:
        if names:
            self.do([*self.cli, "rm", "-f", *names])

    def clear(self) -> None:
        """Remove every container, before the daemon goes."""
        found = subprocess.run(
            [*self.cli, "ps", "-aq"], check=False, capture_output=True, text=True, env=self.place.environment
        )
        if found.stdout.split():
            subprocess.run(
                [*self.cli, "rm", "-f", *found.stdout.split()],
                check=False,
                capture_output=True,
                env=self.place.environment,
            )


class Dockerd(Peer):
    name = "dockerd"
    needs = ("dockerd", "docker", "containerd")

    def start(self, archive: Path) -> None:
        (self.home / "daemon.json").write_text("{}")
        command = [
            program("dockerd"), "--config-file", str(self.home / "daemon.json"), "--data-root", str(self.home / "data"),
            "--exec-root", str(self.home / "exec"), "-H", f"unix://{self.socket}", "--pidfile", str(self.home / "pid"),
            "--cgroup-parent", f"/{self.place.name}-dockerd", "--log-level", "error",
        ]  # fmt: skip
        self.daemon = self.place.start([*self.enter, *command], self.name)
        self._load(archive)

    def processes(self) -> list[int]:
        return [self.daemon.pid, *children(self.daemon.pid)]

    def keepers(self) -> list[int]:
        return holding(f"{self.home}/exec/containerd", "containerd-shim")


class Havred(Peer):
    name = "havre"
    needs = ("docker",)

    def start(self, archive: Path) -> None:
        command = [
            *self._command(), "--data-root", str(self.home / "data"), "--exec-root", str(self.home / "exec"),
            "-H", f"unix://{self.socket}", "--pidfile", str(self.home / "pid"), "--log-level", "error",
        ]  # fmt: skip
        self.daemon = self.place.start([*self.enter, *command], self.name)
        self._load(archive)
        self._idle = set(self.processes())

    @staticmethod
    def _command(module: str = "havre.daemon") -> Command:
        if module == "havre.daemon" and (found := os.environ.get("HAVRED")):
            return found.split()
        source = Path(__file__).resolve().parent.parent / "src"
        return ["env", f"PYTHONPATH={source}", sys.executable, "-m", module]

    def run_userns(self, mode: str) -> Command | None:
        cli = [*self.enter, *self._command("havre"), "-H", f"unix://{self.socket}"]
        return [*cli, "run", "--rm", "--userns", mode, "--network", "none", IMAGE, "true"]

    def processes(self) -> list[int]:
        """The daemon and its zygote."""
        return [self.daemon.pid, *children(self.daemon.pid)]

    def keepers(self) -> list[int]:
        own = os.readlink("/proc/self/ns/pid")
        return [
            pid for pid in descendants(self.daemon.pid) if pid not in self._idle and _namespace(pid) == own
        ]


class Podman(Peer):
    name = "podman"
    needs = ("podman", "conmon")

    def start(self, archive: Path) -> None:
        runtime = (
            ["--runtime", program("runc")] if program("runc") else []
        )  # crun fails where rlimits cannot be raised
        self.cli = [
            *self.enter, program("podman"), *runtime, "--root", str(self.home / "data"), "--runroot", str(self.home / "exec"),
            "--tmpdir", str(self.home / "tmp"), "--cgroup-manager", "cgroupfs", "--events-backend", "none",
            "--network-config-dir", str(self.home / "networks"),
        ]  # fmt: skip
        self.do([*self.cli, "load", "-q", "-i", str(archive)])
        self.place.stack.callback(self.clear)

    def run(self, network: str) -> Command | None:
        return [*self.cli, "run", "--rm", *self._where(network), IMAGE, "true"]

    def run_detached(self, name: str, network: str) -> Command | None:
        return [*self.cli, "run", "-d", "--name", name, *self._where(network), IMAGE, "sleep", "100000"]

    def _where(self, network: str) -> Command:
        parent = ["--cgroup-parent", f"/{self.place.name}-podman"]
        for name in ("nofile", "nproc"):  # its defaults are above what a host without CAP_SYS_RESOURCE allows
            parent += ["--ulimit", f"{name}=4096:4096"]
        return [*parent, "--network", "none" if network == "none" else "podman"]

    def flood(self, size: int, *, detached: bool, driver: str = "") -> Command | None:
        if driver:
            return None
        script = f"yes {'x' * 99} | head -c {size}"
        words = ["run", "-d"] if detached else ["run", "--rm"]
        return [
            *self.cli,
            *words,
            *self._where("none"),
            "--log-driver",
            "k8s-file",
            IMAGE,
            "sh",
            "-c",
            script,
        ]

    def pull(self, reference: str) -> Command | None:
        return [*self.cli, "pull", "-q", "--tls-verify=false", reference]

    def keepers(self) -> list[int]:
        return holding(str(self.home), "conmon")


class Runc(Peer):
    name = "runc"
    needs = ("runc",)

    def start(self, archive: Path) -> None:
        self.cli = [program("runc"), "--root", str(self.home / "state")]
        self._bundle("true", ["true"])
        self._bundle("sleep", ["sleep", "100000"])
        self._count = 0
        self.place.stack.callback(self.clear)

    def _bundle(self, name: str, args: Command) -> None:
        folder = self.home / name
        content.rootfs(folder / "rootfs")
        subprocess.run([program("runc"), "spec", "-b", str(folder)], check=True)
        spec = json.loads((folder / "config.json").read_text())
        spec["process"].update(terminal=False, args=args)
        spec["process"].pop("rlimits", None)
        (folder / "config.json").write_text(json.dumps(spec))

    def run(self, network: str) -> Command | None:
        self._count += 1
        return (
            [*self.cli, "run", "-b", str(self.home / "true"), f"{self.place.name}-{self._count}"]
            if network == "none"
            else None
        )

    def run_detached(self, name: str, network: str) -> Command | None:
        if network != "none":
            return None
        return [*self.cli, "run", "-d", "-b", str(self.home / "sleep"), f"{self.place.name}-{name}"]

    def exec(self, name: str) -> Command | None:
        return [*self.cli, "exec", f"{self.place.name}-{name}", "/bin/true"]

    def ps(self) -> Command | None:
        return [*self.cli, "list"]

    def flood(self, size: int, *, detached: bool, driver: str = "") -> Command | None:
        return None

    def pull(self, reference: str) -> Command | None:
        return None

    def remove(self, names: Sequence[str]) -> None:
        for name in names:
            self.do([*self.cli, "delete", "-f", f"{self.place.name}-{name}"])

    def clear(self) -> None:
        found = subprocess.run([*self.cli, "list", "-q"], check=False, capture_output=True, text=True)
        for name in found.stdout.split():
            subprocess.run([*self.cli, "delete", "-f", name], check=False, capture_output=True)


class Containerd(Peer):
    name = "containerd"
    needs = ("containerd", "ctr")

    def start(self, archive: Path) -> None:
        config = self.home / "config.toml"
        config.write_text('version = 2\ndisabled_plugins = ["io.containerd.grpc.v1.cri"]\n')
        command = [
            program("containerd"), "--config", str(config), "--root", str(self.home / "data"),
            "--state", str(self.home / "exec"), "--address", str(self.socket), "--log-level", "error",
        ]  # fmt: skip
        self.daemon = self.place.start([*self.enter, *command], self.name)
        self.cli = [program("ctr"), "--address", str(self.socket)]
        self._count = 0
        wait_until(self._answers, 60, self.name)
        self.do([*self.cli, "images", "import", str(archive)])
        self.place.stack.callback(self.clear)

    def _next(self) -> str:
        self._count += 1
        return f"one-{self._count}"

    def _place(self) -> Command:
        return ["--cgroup", f"/{self.place.name}-containerd/{self._next()}"]

    def run(self, network: str) -> Command | None:
        if network != "none":
            return None
        return [*self.cli, "run", "--rm", *self._place(), f"docker.io/library/{IMAGE}", self._next(), "true"]

    def run_detached(self, name: str, network: str) -> Command | None:
        if network != "none":
            return None
        return [*self.cli, "run", "-d", *self._place(), f"docker.io/library/{IMAGE}", name, "sleep", "100000"]

    def exec(self, name: str) -> Command | None:
        return [*self.cli, "tasks", "exec", "--exec-id", self._next(), name, "true"]

    def ps(self) -> Command | None:
        return [*self.cli, "tasks", "ls"]

    def flood(self, size: int, *, detached: bool, driver: str = "") -> Command | None:
        return None

    def pull(self, reference: str) -> Command | None:
        return [
            *self.enter,
            *self.cli,
            "images",
            "pull",
            "--plain-http",
            reference,
        ]  # ctr itself asks the registry

    def forget(self, reference: str) -> None:
        self.do([*self.cli, "images", "rm", "--sync", reference])

    def remove(self, names: Sequence[str]) -> None:
        for name in names:
            self.do([*self.cli, "tasks", "rm", "-f", name])
            self.do([*self.cli, "containers", "rm", name])

    def clear(self) -> None:
        found = subprocess.run(
            [*self.cli, "containers", "ls", "-q"], check=False, capture_output=True, text=True
        )
        for name in found.stdout.split():
            subprocess.run([*self.cli, "tasks", "rm", "-f", name], check=False, capture_output=True)
            subprocess.run([*self.cli, "containers", "rm", name], check=False, capture_output=True)

    def processes(self) -> list[int]:
        return [self.daemon.pid]

    def keepers(self) -> list[int]:
        return holding(str(self.socket), "containerd-shim")


ALL: tuple[type[Peer], ...] = (Dockerd, Havred, Podman, Containerd, Runc)


# processes


def children(pid: int) -> list[int]:
    found = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        found += [int(one) for one in task.read_text().split()]
    return found


def descendants(pid: int) -> list[int]:
    return [one for child in children(pid) for one in (child, *descendants(child))]


def holding(text: str, word: str) -> list[int]:
    """Processes whose command line names a path of ours and whose program has `word` in its name."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            line = (folder / "cmdline").read_bytes().decode(errors="replace")
        except OSError:
            continue
        if text in line and word in line.partition("\0")[0]:
            found.append(int(folder.name))
    return found


def _namespace(pid: int) -> str:
    try:
        return os.readlink(f"/proc/{pid}/ns/pid")
    except OSError:
        return ""
