"""The daemon's life: lock, build the rooms, restore, listen, serve, stop."""

import asyncio
import os
import signal
import socket
import sys
from collections.abc import Sequence

from havre import log, tasks
from havre.api import server as api
from havre.daemon import flags, listen, notify, userns
from havre.daemon.build import build_rooms
from havre.daemon.config import Config
from havre.daemon.subordinate import Accounts
from havre.engine.restore import restore
from havre.engine.rooms import Rooms
from havre.errors import HavreError
from havre.store import lock_data_root


def run(words: Sequence[str], zygote: socket.socket) -> int:
    """Run until SIGTERM or SIGINT. Exit code 1 with one clear line when it cannot start."""
    try:
        config = flags.parse(words, as_dockerd=flags.called_dockerd())
        log.configure(config.log_level, config.log_format)
        for flag in config.ignored:
            log.debug("this dockerd flag has no meaning here", flag=flag)
        asyncio.run(_serve(config, zygote))
    except HavreError as error:
        print(f"havred: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"havred: cannot start: {error}", file=sys.stderr)
        return 1
    return 0


async def _serve(config: Config, zygote: socket.socket) -> None:
    _check_root()
    make_directories(config)
    lock = lock_data_root(config.settings.data_root)
    config = userns.settle(config, Accounts())
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    rooms = await build_rooms(config, zygote)
    await restore(rooms)
    servers = [await listen.open_host(host, config, api.handler(rooms)) for host in config.hosts]
    _write_pidfile(config.pidfile)
    notify.ready()
    log.info(
        "havred is ready", hosts=",".join(config.hosts), containers=len(rooms.containers), pid=os.getpid()
    )
    try:
        await stop.wait()
    finally:
        await _stop(config, rooms, servers, lock)


async def _stop(config: Config, rooms: Rooms, servers: Sequence[listen.Listening], lock: int) -> None:
    """Close the doors, end the tasks; the containers go on (their monitors do not need us)."""
    notify.stopping()
    running = sum(1 for one in rooms.containers if one.running)
    log.info("havred stops; containers go on", running=running)
    for server in servers:
        await server.close()
    await tasks.shutdown(config.settings.shutdown_timeout_s)
    rooms.runtime.close()
    await tasks.in_net_thread(rooms.networks.close)
    rooms.records.close()
    for path in (config.pidfile,):
        try:
            os.unlink(path)
        except FileNotFoundError:
            pass
    os.close(lock)


def _check_root() -> None:
    if os.geteuid() != 0:
        raise HavreError("havred must run as root", hint="sudo havred")


def make_directories(config: Config) -> None:
    """Data root 0710 root: other users can neither list nor read it. The exec root 0711: the socket's group passes through it."""
    for path, mode in ((config.settings.data_root, 0o710), (config.settings.exec_root, 0o711)):
        path.mkdir(mode=mode, parents=True, exist_ok=True)
        (path / "containers").mkdir(mode=0o710, exist_ok=True)


def _write_pidfile(path: str) -> None:
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w", encoding="ascii") as file:
        file.write(f"{os.getpid()}\n")
