"""What is measured, one line of the table each."""

import concurrent.futures
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench import content
from bench.peers import Command, Peer

MANY = 100
PROBED, PROBED_S = 20, 10
TICK_S = 1 / os.sysconf("SC_CLK_TCK")
FLOOD_BYTES = 100_000_000
Once = Callable[[Peer], float | None]


@dataclass(frozen=True)
class Line:
    """One thing to measure. `once` returns seconds (or bytes), None when a peer cannot do it."""

    name: str
    what: str
    count: int
    quick: int
    once: Once
    setting: Callable[[Peer], AbstractContextManager[None]] | None = None  # what stands around all calls
    unit: str = "ms"
    goal: float = 0.0  # wished ratio to dockerd; 0: none is set


def timed(peer: Peer, command: Command | None) -> float | None:
    """Seconds a command takes. Raises RuntimeError when it fails."""
    if command is None:
        return None
    start = time.perf_counter()
    peer.do(command)
    return time.perf_counter() - start


def idle(once: Once) -> Once:
    """The same after a second in which nothing happened: hidden costs (RCU, caches gone cold) come out."""

    def after_idle(peer: Peer) -> float | None:
        time.sleep(1)
        return once(peer)

    return after_idle


_numbers = iter(range(1_000_000))


def _detached(network: str) -> Once:
    def once(peer: Peer) -> float | None:
        name = f"d{next(_numbers)}"
        took = timed(peer, peer.run_detached(name, network))
        if took is not None:
            peer.remove([name])
        return took

    return once


def _at_once(network: str, count: int = 20) -> Once:
    """All clients are started together; the last one's end counts."""

    def once(peer: Peer) -> float | None:
        names = [f"m{next(_numbers)}" for _ in range(count)]
        commands = [one for name in names if (one := peer.run_detached(name, network)) is not None]
        time.sleep(0.5)  # what the last turn removed is still being taken down by the kernel
        start = time.perf_counter()
        clients = [
            subprocess.Popen(
                one,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env=peer.place.environment,
            )
            for one in commands
        ]
        codes = [client.wait() for client in clients]
        took = time.perf_counter() - start
        if any(codes):
            peer.clear()
            raise RuntimeError(f"{peer.name}: {sum(map(bool, codes))} of {count} starts failed")
        if not clients:
            return None
        peer.remove(names)
        return took

    return once


@contextmanager
def probed_running(peer: Peer) -> Iterator[None]:
    try:
        for number in range(PROBED):
            if (command := peer.run_probed(f"p{number}")) is not None:
                peer.do(command)
        yield
    finally:
        peer.clear()


@contextmanager
def one_running(peer: Peer) -> Iterator[None]:
    with running(peer, 1):
        yield


@contextmanager
def many_running(peer: Peer) -> Iterator[None]:
    with running(peer, MANY):
        yield


@contextmanager
def running(peer: Peer, count: int) -> Iterator[None]:
    commands = [one for number in range(count) if (one := peer.run_detached(f"s{number}", "none"))]
    try:
        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            list(pool.map(peer.do, commands))
        yield
    finally:
        peer.clear()


def _flood(*, detached: bool, driver: str = "") -> Once:
    def once(peer: Peer) -> float | None:
        command = peer.flood(FLOOD_BYTES, detached=detached, driver=driver)
        if command is None:
            return None
        if not detached:
            return timed(peer, command)
        start = time.perf_counter()
        name = peer.do(command).strip()
        peer.do(peer.wait(name))
        took = time.perf_counter() - start
        peer.remove([name])
        return took

    return once


def _pull(peer: Peer) -> float | None:
    took = timed(peer, peer.pull(content.BIG))
    if took is not None:
        peer.forget(content.BIG)
    return took


def _memory(pids: list[int], keys: tuple[str, ...]) -> float:
    total = 0
    for pid in pids:
        for row in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if row.startswith(keys):
                total += int(row.split()[1]) << 10
    return float(total)


def _idle_memory(peer: Peer) -> float | None:
    """Proportional set size of everything that waits for work."""
    pids = peer.processes()
    return _memory(pids, ("Pss:",)) if pids else None


def _keeper_memory(peer: Peer) -> float | None:
    """Private memory of one container's keeper, on average."""
    keepers = peer.keepers()
    return _memory(keepers, ("Private_Clean:", "Private_Dirty:")) / len(keepers) if keepers else None


def _cpu_s(pid: int) -> float | None:
    """What a process and its reaped children have used (proc_pid_stat(5), fields 14 to 17); None for one that has gone."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return sum(map(int, fields[11:15])) * TICK_S


def _probe_cpu(peer: Peer) -> float | None:
    """CPU time of everybody but the kernel's own threads for one health probe, the probe itself included."""
    if peer.run_probed("") is None:
        return None
    before = {pid: _cpu_s(pid) for pid in [*peer.processes(), *peer.keepers()]}
    start = time.time()
    probes = peer.do(peer.probes(start, start + PROBED_S)).count("x")
    used = 0.0
    for pid, first in before.items():
        last = _cpu_s(pid)
        if (
            first is not None and last is not None
        ):  # else it was a probe that passed by; its parent is charged for it
            used += last - first
    return used / probes if probes else None


def _run(network: str) -> Once:
    return lambda peer: timed(peer, peer.run(network))


def _run_userns(mode: str) -> Once:
    return lambda peer: timed(peer, peer.run_userns(mode))


def _exec(peer: Peer) -> float | None:
    return timed(peer, peer.exec("s0"))


def _ps(peer: Peer) -> float | None:
    return timed(peer, peer.ps())


LINES = (
    Line("memory-idle", "all daemon processes, no container (PSS)", 1, 1, _idle_memory, unit="MB", goal=50 / 141),
    Line("run-none", "run --rm --network none busybox true", 20, 5, _run("none"), goal=0.25),
    Line("run-none-idle", "... after an idle second", 10, 3, idle(_run("none")), goal=0.25),
    Line("run-bridge", "run --rm busybox true, default bridge", 20, 5, _run("bridge"), goal=0.22),
    Line("run-bridge-idle", "... after an idle second", 10, 3, idle(_run("bridge")), goal=0.22),
    Line("run-userns-host", "run --rm --network none --userns host, by havre's CLI", 40, 5, _run_userns("host")),
    Line("run-userns-auto", "... --userns auto: idmapped layers, own ids", 40, 5, _run_userns("auto")),
    Line("run-d-none", "run -d --network none busybox sleep", 20, 5, _detached("none")),
    Line("run-d-bridge", "run -d busybox sleep, default bridge", 20, 5, _detached("bridge")),
    Line("exec", "exec true", 20, 5, _exec, one_running, goal=0.5),
    Line("exec-idle", "... after an idle second", 10, 3, idle(_exec), one_running, goal=0.5),
    Line("health-cpu", f"CPU time of a health probe, {PROBED} containers at 1 s", 3, 1, _probe_cpu, probed_running),
    Line("ps-1", "ps with 1 container", 20, 5, _ps, one_running, goal=1.0),
    Line("start-20", "20 x run -d --network none at once", 5, 2, _at_once("none"), goal=0.15),
    Line("start-20-bridge", "20 x run -d on the bridge at once", 5, 2, _at_once("bridge"), goal=0.15),
    Line("ps-100", f"ps with {MANY} containers", 20, 5, _ps, many_running, goal=1.0),
    Line(
        "memory-keeper", f"keeper of one of {MANY} containers, private", 1, 1, _keeper_memory, many_running, "MB"
    ),
    Line("pull", "pull + unpack of 300 MB in 15,000 files", 5, 2, _pull, goal=0.5),
    Line("logs-100mb", "100 MB of lines, run -d + wait", 5, 2, _flood(detached=True), goal=0.5),
    Line("logs-100mb-local", "... driver local, rotated and compressed", 5, 2, _flood(detached=True, driver="local"), goal=0.5),
    Line("attach-100mb", "100 MB of lines, attached", 5, 2, _flood(detached=False)),
)  # fmt: skip
