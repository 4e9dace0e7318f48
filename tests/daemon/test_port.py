"""docker port, by the stock CLI and by ours."""

import pytest

pytestmark = [pytest.mark.daemon, pytest.mark.compat]
PORTS = ("18080:80", "19000-19002:9000-9002/udp", "127.0.0.1:18443:443", "18100:100")


@pytest.fixture
def published(daemon):
    words = [word for port in PORTS for word in ("-p", port)]
    made = daemon.docker("run", "-d", *words, "busybox", "sleep", "1000").stdout.strip()
    yield made
    daemon.docker("rm", "-f", made)


@pytest.mark.parametrize("asked", ["", "80", "80/tcp", "9001/udp", "81", "9001", "x", "99999", "80/sctp"])
def test_port_prints_what_docker_prints(daemon, published: str, asked: str) -> None:
    words = ("port", published, *([asked] if asked else []))
    ours, theirs = daemon.havre(*words), daemon.docker(*words)
    assert (ours.returncode, ours.stdout, ours.stderr) == (theirs.returncode, theirs.stdout, theirs.stderr)
    assert bool(theirs.stdout) == (asked in ("", "80", "80/tcp", "9001/udp"))


def test_ports_come_in_natural_order(daemon, published: str, cli) -> None:
    shown = [line.partition(" ")[0] for line in cli("port", published).stdout.splitlines()]
    assert shown == ["80/tcp", "100/tcp", "443/tcp", "9000/udp", "9001/udp", "9002/udp"]
