"""What is measured: one function a line; each takes an engine and returns milliseconds (or kB, where the name says so)."""

import concurrent.futures
import shutil
import subprocess
import time
from pathlib import Path

from bench.engines import Engine, private_kb, pss_kb


def run_no_network(engine: Engine) -> float:
    return engine.timed("run", "--rm", "--network", "none", "busybox", "true")


def run_bridge(engine: Engine) -> float:
    return engine.timed("run", "--rm", "busybox", "true")


def run_after_idle(engine: Engine) -> float:
    time.sleep(1)
    return run_no_network(engine)


def run_detached(engine: Engine) -> float:
    name = f"d{time.monotonic_ns()}"
    found = engine.timed("run", "-d", "--name", name, "busybox", "sleep", "100")
    engine.docker("rm", "-f", name)
    return found


def execute(engine: Engine) -> float:
    return engine.timed("exec", "bench-target", "true")


def exec_after_idle(engine: Engine) -> float:
    time.sleep(1)
    return execute(engine)


def ps(engine: Engine) -> float:
    return engine.timed("ps")


def start_20(engine: Engine) -> float:
    """20 at once, to the last one's end."""
    start = time.perf_counter()
    words = engine.words("run", "--rm", "busybox", "true")
    running = [
        subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) for _ in range(20)
    ]
    for one in running:
        if one.wait():
            raise SystemExit(f"{engine.name}: one of 20 starts failed")
    return (time.perf_counter() - start) * 1000


def log_100_mb(engine: Engine) -> float:
    script = "yes 0123456789012345678901234567890123456789012345678901234567890123456789 | head -c 100000000"
    start = time.perf_counter()
    engine.docker("run", "--name", "bench-log", "-d", "--network", "none", "busybox", "sh", "-c", script)
    engine.docker("wait", "bench-log")
    found = (time.perf_counter() - start) * 1000
    engine.docker("rm", "bench-log")
    return found


def load_300_mb(engine: Engine) -> float:
    """Load and unpack the large image; removed again outside the clock."""
    found = engine.timed("load", "-q", "-i", str(engine.root.parent / "large.tar"))
    engine.docker("rmi", "-f", "large:1")
    return found


def pull_300_mb(engine: Engine) -> float:
    found = engine.timed("pull", "-q", "127.0.0.1:5055/large:1")
    engine.docker("rmi", "-f", "127.0.0.1:5055/large:1")
    return found


def idle_kb(engine: Engine) -> float:
    """Proportional memory of the daemon's processes."""
    return sum(pss_kb(pid) for pid in engine.processes())


def with_100(engine: Engine) -> tuple[float, float]:
    """(ps ms, private kB of one monitor) with 100 running containers."""
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        words = [
            engine.words("run", "-d", "--network", "none", "--name", f"m{n}", "busybox", "sleep", "1000")
            for n in range(100)
        ]
        list(pool.map(lambda one: subprocess.run(one, capture_output=True, check=True), words))
    listed = min(engine.timed("ps") for _ in range(7))
    monitors = engine.monitors()
    private = sum(map(private_kb, monitors)) / max(1, len(monitors))
    engine.docker("rm", "-f", *(f"m{n}" for n in range(100)))
    return listed, private


def start_registry(engine: Engine) -> subprocess.Popen | None:
    """Debian's registry inside the engine's network namespace, filled with the large image; None where it is missing."""
    binary = shutil.which("docker-registry")
    if binary is None:
        return None
    root = engine.root / "registry"
    root.mkdir()
    config = root / "config.yml"
    config.write_text(
        f"version: 0.1\nstorage:\n  filesystem:\n    rootdirectory: {root}\nhttp:\n  addr: 127.0.0.1:5055\n"
    )
    log = open(root / "log", "wb")
    process = subprocess.Popen([*engine.inside(), binary, "serve", str(config)], stdout=log, stderr=log)
    engine.docker("load", "-q", "-i", str(engine.root.parent / "large.tar"))
    engine.docker("tag", "large:1", "127.0.0.1:5055/large:1")
    for _ in range(20):
        if engine.docker("push", "-q", "127.0.0.1:5055/large:1", check=False).returncode == 0:
            break
        time.sleep(0.25)
    engine.docker("rmi", "-f", "127.0.0.1:5055/large:1", "large:1")
    return process


# name, function, repetitions, goal as a ratio to dockerd
LINES = (
    ("run --network none", run_no_network, 15, 0.25),
    ("run on the bridge", run_bridge, 15, 0.22),
    ("run after an idle second", run_after_idle, 7, 0.25),
    ("run -d", run_detached, 10, None),
    ("exec", execute, 15, 0.5),
    ("exec after an idle second", exec_after_idle, 7, 0.5),
    ("ps, 1 container", ps, 15, 1.0),
    ("20 starts at once", start_20, 3, 0.15),
    ("100 MB of log lines", log_100_mb, 3, 0.5),
    ("load 300 MB, 15,000 files", load_300_mb, 2, None),
    ("pull 300 MB, 15,000 files", pull_300_mb, 3, 0.5),
)
IMAGE = Path("large.tar")
