"""Several daemons on one host, in one network namespace: nothing of one is taken, changed or removed by another."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from havre.daemon.host import reserved_bridges

pytestmark = [pytest.mark.daemon, pytest.mark.compat]
SERVE = ["busybox", "sh", "-c", "echo $WHO > /tmp/index.html; exec httpd -f -p 80 -h /tmp"]
ASK = "import sys, urllib.request as r; print(r.urlopen('http://127.0.0.1:' + sys.argv[1], timeout=20).read().decode())"


class Beside:
    """What two daemons of different kind are asked for in the same words."""

    def __init__(self, url: str, inside: list[str], config: Path) -> None:
        self.url, self.inside, self.config = url, inside, config

    def docker(self, *words: str, stdin: bytes = b"") -> str:
        env = {**os.environ, "DOCKER_CONFIG": str(self.config)}
        words = (*self.inside, "docker", "-H", self.url, *words)
        done = subprocess.run(words, input=stdin, capture_output=True, env=env, timeout=60, check=False)
        assert done.returncode == 0, done.stderr.decode()
        return done.stdout.decode().strip()

    def serve(self, who: str, port: int) -> str:
        """Run a web server that answers with its name on a port of the host; return the container's address."""
        self.docker("run", "-d", "--name", who, "-e", f"WHO={who}", "-p", f"{port}:80", *SERVE)
        self.docker("exec", who, "sh", "-c", "until wget -q -O - http://127.0.0.1; do :; done")
        return self.docker("inspect", "-f", "{{.NetworkSettings.Networks.bridge.IPAddress}}", who)

    def ask(self, port: int) -> str:
        words = [*self.inside, sys.executable, "-c", ASK, str(port)]
        done = subprocess.run(words, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def shown(self, *words: str) -> str:
        return subprocess.run([*self.inside, *words], capture_output=True, text=True, check=True).stdout


def image(daemon) -> bytes:
    return sys.modules[type(daemon).__module__].rootfs()


@pytest.fixture
def second(own_daemon, tmp_path):
    """Another havred in the same network namespace."""
    root = tmp_path / "second"
    root.mkdir()
    other = type(own_daemon)(root)
    other.inside = own_daemon.inside
    other.start()
    yield other
    other.close()


def test_two_havreds_share_a_host(own_daemon, second) -> None:
    one = Beside(own_daemon.url, own_daemon.inside(), own_daemon.root)
    two = Beside(second.url, own_daemon.inside(), own_daemon.root)
    two.docker("import", "-c", 'CMD ["sh"]', "-", "busybox", stdin=image(own_daemon))
    addresses = one.serve("same", 8081), two.serve("same", 8082)  # the same name is no conflict
    assert addresses[0] != addresses[1]
    assert (one.ask(8081), two.ask(8082)) == ("same", "same")
    tables = {line for line in one.shown("nft", "list", "tables").splitlines() if "havre_" in line}
    assert len(tables) == 2
    one.docker("rm", "-f", "same")
    own_daemon.end(signal.SIGTERM)
    assert two.ask(8082) == "same"
    own_daemon.start()
    assert len(one.docker("ps", "-aq")) == 0 and len(two.docker("ps", "-q").split()) == 1


def test_second_daemon_on_a_data_root_refuses_and_names_the_first(own_daemon, tmp_path) -> None:
    words = [
        *own_daemon.inside(),
        sys.executable,
        "-m",
        "havre.daemon",
        "--data-root",
        str(own_daemon.root / "data"),
    ]
    words += [
        "--exec-root",
        str(tmp_path / "other"),
        "-H",
        f"unix://{tmp_path}/other.sock",
        "--pidfile",
        str(tmp_path / "p"),
    ]
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2] / "src")}
    done = subprocess.run(words, capture_output=True, text=True, timeout=30, env=env)
    assert done.returncode == 1
    assert f"is in use by another havred (pid {own_daemon.pid})" in done.stderr
    assert not (tmp_path / "other.sock").exists() and not (tmp_path / "p").exists()
    assert own_daemon.docker("version").returncode == 0


def test_a_dockerd_that_comes_later_takes_nothing_and_loses_nothing(own_daemon, request) -> None:
    """It would adopt a docker0 that it finds, so ours has another name where a dockerd is installed."""
    if not (dockerd := shutil.which("dockerd")):
        pytest.skip("needs dockerd")
    root = Path(tempfile.mkdtemp(prefix="dockerd-"))  # short: sockets are in it
    request.addfinalizer(lambda: shutil.rmtree(root, ignore_errors=True))
    (root / "daemon.json").write_text("{}")
    roots = [
        f"--data-root={root}/data",
        f"--exec-root={root}/run",
        f"--pidfile={root}/pid",
        f"--config-file={root}/daemon.json",
    ]
    inside = own_daemon.inside()
    ours = Beside(own_daemon.url, inside, own_daemon.root)
    theirs = Beside(f"unix://{root}/d.sock", inside, own_daemon.root)
    with (root / "log").open("wb") as log:
        process = subprocess.Popen([*inside, dockerd, *roots, "-H", theirs.url], stdout=log, stderr=log)
    try:
        _wait_for(root / "d.sock", process)
        theirs.docker("import", "-c", 'CMD ["sh"]', "-", "busybox", stdin=image(own_daemon))
        addresses = ours.serve("ours", 8081), theirs.serve("theirs", 8082)
        assert addresses[0].rpartition(".")[0] != addresses[1].rpartition(".")[0]
        assert (ours.ask(8081), theirs.ask(8082)) == ("ours", "theirs")
        own_daemon.end()
        assert theirs.ask(8082) == "theirs"
        own_daemon.start()
        theirs.docker("rm", "-f", "theirs")
    finally:
        process.terminate()
        process.wait(60)
    assert ours.ask(8081) == "ours"


def _wait_for(path: Path, process: "subprocess.Popen[bytes]") -> None:
    until = time.monotonic() + 60
    while time.monotonic() < until and process.poll() is None:
        try:
            with socket.socket(socket.AF_UNIX) as sock:
                sock.connect(str(path))
                sock.settimeout(20)
                sock.sendall(b"GET /_ping HTTP/1.0\r\n\r\n")
                if sock.recv(100).startswith(b"HTTP"):
                    return
        except OSError:
            time.sleep(0.05)
    pytest.skip("dockerd does not start here")


def test_docker0_is_left_to_a_dockerd_that_is_installed_and_not_to_ours(tmp_path) -> None:
    assert reserved_bridges([str(tmp_path)]) == ()
    (tmp_path / "dockerd").write_text(
        "#!/usr/bin/python3 -IS\n# written by Havre's install.sh for /opt/havre\n"
    )
    assert reserved_bridges([str(tmp_path)]) == ()
    (tmp_path / "dockerd").write_bytes(b"\x7fELF" + bytes(1000))
    assert reserved_bridges([str(tmp_path)]) == ("docker0",)
