"""The deck's own registry: its image is made without network, runs as a container, is pushed to and pulled from by the stock CLI."""

import shutil

import pytest

pytestmark = pytest.mark.daemon


def test_the_registry_runs_as_a_container_and_serves_the_stock_cli(own_daemon) -> None:
    if not shutil.which("ldd"):
        pytest.skip("needs ldd")
    daemon = own_daemon
    made = daemon.havre("registry", "image", timeout=120)
    assert made.returncode == 0, made.stderr
    assert "next: havre run -d -p 5000:5000 --name registry registry\n" in made.stdout
    shown = daemon.docker(
        "inspect", "--format", "{{json .Config.Entrypoint}} {{json .Config.ExposedPorts}}", "registry"
    ).stdout
    assert shown == '["registry"] {"5000/tcp":{}}\n'
    started = daemon.docker("run", "-d", "-p", "5000:5000", "--name", "registry", "registry")
    assert started.returncode == 0, started.stderr
    follow = daemon.docker("exec", "registry", "registry", "--help")
    assert "Serve images" in follow.stdout
    _wait_ready(daemon)
    assert daemon.docker("tag", "busybox", "127.0.0.1:5000/mine/busybox:1").returncode == 0
    pushed = daemon.docker("push", "127.0.0.1:5000/mine/busybox:1", timeout=60)
    assert pushed.returncode == 0, pushed.stderr
    daemon.docker("rmi", "127.0.0.1:5000/mine/busybox:1", "busybox")
    ran = daemon.docker("run", "--rm", "127.0.0.1:5000/mine/busybox:1", "echo", "from there", timeout=60)
    assert (ran.returncode, ran.stdout) == (0, "from there\n"), ran.stderr
    assert daemon.docker("stop", "registry", timeout=40).returncode == 0


def _wait_ready(daemon) -> None:
    """Its log says when; `logs -f` ends with the line."""
    import subprocess

    words = ["docker", "-H", daemon.url, "logs", "-f", "registry"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as follow:
        assert follow.stdout
        for line in follow.stdout:
            if "registry is ready" in line:
                break
        else:
            pytest.fail("the registry did not start")
        follow.kill()
