"""The daemon's life: lock, build the rooms, restore, listen, serve, stop."""

import asyncio
import contextlib
import math
import os
import resource
import signal
import socket
import sys
from collections.abc import Sequence

from havre import log, tasks
from havre.api import server as api
from havre.daemon import flags, listen, lost, notify, userns
from havre.daemon.build import build_rooms
from havre.daemon.config import Config
from havre.daemon.reload import reload
from havre.daemon.subordinate import Accounts
from havre.daemon.sync import keep_synced
from havre.daemon.teardown import group_folders
from havre.engine import logbudget
from havre.engine.background import report
from havre.engine.restore import restore
from havre.engine.rooms import Rooms
from havre.errors import HavreError, InvalidParameter
from havre.runtime.cgroup.layout import host_layout
from havre.store import lock_data_root, lock_directory

RESOLVER_THREADS = 4  # host names of registries


def run(words: Sequence[str], zygote: socket.socket) -> int:
    """Run until SIGTERM or SIGINT. Exit code 1 with one clear line when it cannot start."""
    try:
        config = flags.parse(words, as_dockerd=flags.called_dockerd())
        log.configure(config.log_level, config.log_format)
        for option in config.ignored:
            log.debug("this option of dockerd has no meaning here", option=option)
        for option, reason in config.later.items():
            log.warn("this option does nothing yet", option=option, reason=reason)
        asyncio.run(_serve(config, zygote, words))
    except flags.UsageError as error:
        return flags.complain(error)
    except HavreError as error:
        print(f"havred: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"havred: cannot start: {error}", file=sys.stderr)
        return 1
    return 0


async def _serve(config: Config, zygote: socket.socket, words: Sequence[str]) -> None:
    _check_root()
    _prepare_self(config)
    make_directories(config)
    locks = (
        lock_data_root(config.settings.data_root),
        lock_directory(config.settings.exec_root, "exec root", "--exec-root"),
    )
    config = userns.settle(config, Accounts())
    stop = asyncio.Event()
    _listen_to_signals(stop)
    _raise_nofile()
    asyncio.get_running_loop().set_default_executor(tasks.Pool(RESOLVER_THREADS))
    await tasks.in_disk_thread(lost.set_aside, config.settings.data_root)
    rooms = await build_rooms(config, zygote)
    keeping = asyncio.create_task(keep_synced(rooms.records, rooms.images), name="sync records")
    await restore(rooms)
    tasks.spawn("log budget", logbudget.watch(rooms), report)
    servers = [await listen.open_host(host, config, api.handler(rooms)) for host in config.hosts]
    asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, reload, rooms, words)
    _write_pidfile(config.pidfile)
    notify.ready()
    log.info(
        "havred is ready", hosts=",".join(config.hosts), containers=len(rooms.containers), pid=os.getpid()
    )
    try:
        await stop.wait()
    finally:
        await _stop(config, rooms, servers, keeping)
        for lock in locks:
            os.close(lock)


def _listen_to_signals(stop: asyncio.Event) -> None:
    """SIGTERM and SIGINT end the daemon in order; a second one at once, which loses nothing but answers on their way."""

    def asked() -> None:
        if stop.is_set():
            log.warn("asked twice to stop: not waiting for what is on its way")
            os._exit(1)
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, asked)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # one that comes too early has nothing to load again


def _raise_nofile() -> None:
    """Two descriptors a running container, one a published port: as many as the host lets us have. The zygote keeps its own limit."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


async def _stop(
    config: Config, rooms: Rooms, servers: Sequence[listen.Listening], keeping: "asyncio.Task[None]"
) -> None:
    """Close the doors, end the tasks; the containers go on (their monitors do not need us)."""
    notify.stopping()
    running = sum(1 for one in rooms.containers if one.running)
    log.info("havred stops; containers go on", running=running)
    for server in servers:
        await server.close()
    wait_s = rooms.settings.shutdown_timeout_s
    await tasks.shutdown(wait_s if wait_s >= 0 else math.inf)
    rooms.runtime.close()
    await tasks.in_net_thread(rooms.networks.close)
    keeping.cancel()
    await tasks.in_disk_thread(_leave_groups, config)
    rooms.records.close()
    _remove_pidfile(config.pidfile)


def _leave_groups(config: Config) -> None:
    """Remove our control groups when nothing is in them; with containers they stay, and the next start of one makes them again."""
    for folder in group_folders(config.settings.cgroup_parent, config.settings.instance, host_layout()):
        with contextlib.suppress(OSError):
            os.rmdir(folder)


def _check_root() -> None:
    if os.geteuid() != 0:
        raise HavreError("havred must run as root", hint="sudo havred")


def _prepare_self(config: Config) -> None:
    """What the options change of this very process: the proxies that registries are reached by, its place before the OOM killer."""
    os.umask(0o022)  # whatever the shell had that started it: modes are meant as they are written
    for name, value in config.proxies.items():
        for key in (name.replace("-", "_"), name.replace("-", "_").upper()):
            os.environ[key] = value
    if config.oom_score_adjust is not None:
        try:
            with open("/proc/self/oom_score_adj", "w", encoding="ascii") as file:
                file.write(str(config.oom_score_adjust))
        except OSError as error:
            raise InvalidParameter(
                f"cannot set oom-score-adjust to {config.oom_score_adjust}: {error.strerror}",
                hint="a number from -1000 to 1000",
            ) from None


def make_directories(config: Config) -> None:
    """Data root 0710 root: other users can neither list nor read it. The exec root 0711: the socket's group passes through it."""
    for path, mode in ((config.settings.data_root, 0o710), (config.settings.exec_root, 0o711)):
        path.mkdir(mode=mode, parents=True, exist_ok=True)
        (path / "containers").mkdir(mode=0o710, exist_ok=True)


def _remove_pidfile(path: str) -> None:
    """Unless it is another daemon's by now."""
    try:
        with open(path, encoding="ascii") as file:
            ours = file.read().strip() == str(os.getpid())
        if ours:
            os.unlink(path)
    except OSError:
        pass


def _write_pidfile(path: str) -> None:
    """A stale one, or one that a full disk does not take, is no reason not to start: the lock on the data root decides."""
    try:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w", encoding="ascii") as file:
            file.write(f"{os.getpid()}\n")
    except OSError as error:
        log.warn("could not write the pidfile", path=path, error=error)
