"""A small LAN in network namespaces of a forked child: a host (bridge and nft live there), a neighbour, containers."""

import os
import socket
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path

import pytest

from havre.linux import netlink
from havre.linux.nlsocket import inside
from havre.linux.syscalls import CLONE_NEWNET, unshare
from havre.network.networks import Networks
from havre.spec.endpoint import Endpoint
from havre.store import Records

HOST_IP, NEIGHBOUR_IP = "10.99.0.1", "10.99.0.2"
PASS_S = 10  # how long a packet that must pass may take on a busy machine
DROP_S = 0.4  # how long one that must not pass is waited for


def new_namespace() -> int:
    """Return the fd of a fresh network namespace with lo up; the caller stays where it is."""
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    with inside(home):
        unshare(CLONE_NEWNET)
        made = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    os.close(home)
    netlink.loopback_up(made)
    return made


def run(command: str) -> str:
    return subprocess.run(command, shell=True, check=True, capture_output=True, text=True).stdout


class World:
    """The child's view: the process itself is in the host's namespace."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.servers: list[socket.socket] = []
        unshare(CLONE_NEWNET)
        netlink.loopback_up()
        self.host = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        self.neighbour = new_namespace()
        peer = f"/proc/{os.getpid()}/fd/{self.neighbour}"
        run(f"ip link add lan0 type veth peer name lan0 netns {peer}")
        run(f"ip address add {HOST_IP}/24 dev lan0; ip link set lan0 up")
        with inside(self.neighbour):
            run(f"ip address add {NEIGHBOUR_IP}/24 dev lan0; ip link set lan0 up")
        self.baseline = self.snapshot()

    def filter_bridged(self, on: bool) -> None:
        """Switch br_netfilter for this namespace: with it, bridged packets pass the IP tables too."""
        for name in ("iptables", "ip6tables"):
            path = Path(f"/proc/sys/net/bridge/bridge-nf-call-{name}")
            if path.exists():
                path.write_text(str(int(on)))

    def networks(self, instance: str = "abcd1234", start: bool = True, **options: object) -> Networks:
        """Return the networks of a daemon; the same instance again is the same data root."""
        made = Networks(Records(self.folder / f"{instance}.db"), instance, **options)  # type: ignore[arg-type]
        if start:
            made.start()
        return made

    def container(self, endpoint: Endpoint) -> int:
        """Return the namespace of a new container that has this endpoint."""
        made = new_namespace()
        netlink.apply_veth(endpoint.veth, made)
        return made

    def snapshot(self) -> str:
        """What could be left behind, without counters and numbers that only grow."""
        return run(
            "ip -o link show | cut -d: -f2 | cut -d@ -f1; ip -o address show scope global; ip route; nft list ruleset"
        )

    def settled(self, expected: str) -> None:
        """Wait until the kernel has taken down what goes with its namespaces."""
        for _ in range(100):
            if self.snapshot() == expected:
                return
            time.sleep(0.05)
        assert self.snapshot() == expected

    def serve(self, netns: int, port: int, address: str = "", proto: str = "tcp") -> socket.socket:
        """Return a listening (or bound udp) socket inside a namespace."""
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        with inside(netns):
            made = socket.socket(family, socket.SOCK_DGRAM if proto == "udp" else socket.SOCK_STREAM)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.settimeout(PASS_S)
        made.bind((address, port))
        if proto == "tcp":
            made.listen(64)
        self.servers.append(made)
        return made

    def reach(self, netns: int, address: str, port: int, source: str = "", wait_s: float = PASS_S) -> str:
        """Connect from a namespace: "" when it works, else how it failed."""
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        with inside(netns):
            made = socket.socket(family, socket.SOCK_STREAM)
        with made:
            made.settimeout(wait_s)
            try:
                if source:
                    made.bind((source, 0))
                made.connect((address, port))
            except TimeoutError:
                return "timeout"
            except OSError as error:
                return os.strerror(error.errno or 0).lower()
        return ""

    def dropped(self, netns: int, address: str, port: int) -> bool:
        """Say whether nothing at all answers."""
        return self.reach(netns, address, port, wait_s=DROP_S) == "timeout"


@pytest.fixture
def world(tmp_path: Path) -> Callable[[Callable[[World], None]], None]:
    """Return a function that runs a test's body in a child with its own network namespaces."""
    if os.geteuid() != 0:
        pytest.skip("needs root: it makes network namespaces")

    def in_child(body: Callable[[World], None]) -> None:
        with tempfile.TemporaryFile("w+") as report:
            pid = os.fork()
            if pid == 0:
                code = 1
                try:
                    body(World(tmp_path))
                    code = 0
                except BaseException:
                    traceback.print_exc(file=report)
                    report.flush()
                finally:
                    sys.stderr.flush()
                    os._exit(code)
            _, status = os.waitpid(pid, 0)
            report.seek(0)
            if status:
                pytest.fail(report.read() or f"the child ended with status {status}", pytrace=False)

    return in_child
