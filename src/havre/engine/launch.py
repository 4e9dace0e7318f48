"""Bring a container up: ask the rooms, make the plan, do it; any failure undoes in reverse."""

import os
import shutil
from contextlib import AsyncExitStack, suppress

import msgspec

from havre import clock, log
from havre.engine import cdi, devices, health, joining, mounts, plan, userns, volumes
from havre.engine.container import Container
from havre.engine.endpoints import tell
from havre.engine.files import write_files
from havre.engine.ports import parse_requests
from havre.engine.rooms import Rooms
from havre.errors import HavreError, of_os
from havre.runtime.link import Attached, Monitor
from havre.spec.endpoint import Endpoint
from havre.spec.runplan import RunPlan
from havre.tasks import in_disk_thread, in_net_thread


async def launch(rooms: Rooms, container: Container) -> Monitor:
    """Start with the container's lock held. On any error the container is down with the reason in its state."""
    was = container.state.status
    try:
        async with AsyncExitStack() as undo:
            monitor = await _bring_up(rooms, container, undo)
            undo.push_async_callback(_end, container, monitor)
            _record_started(rooms, container, monitor)
            undo.pop_all()
            late, container.attaching = container.attaching, []
    except OSError as error:
        failure = of_os(error, "cannot start the container")
        _record_failed(rooms, container, failure, was)
        raise failure from error
    except BaseException as error:
        _record_failed(rooms, container, error, was)
        raise
    finally:
        for attached in container.attaching:
            attached.sock.close()
        container.attaching.clear()
    await _hand_over(late, monitor)
    volumes.publish_mounts(rooms, container.record, "mount")
    rooms.events.publish("container", "start", container.id, container.attributes())
    return monitor


async def _bring_up(rooms: Rooms, container: Container, undo: AsyncExitStack) -> Monitor:
    record, settings = container.record, rooms.settings
    joined = joining.paths(rooms, record)
    answers, edits = await in_disk_thread(_ask_host, rooms, container)
    endpoints = await _connect(rooms, container, undo)
    tell(rooms, container, "connect")
    undo.callback(tell, rooms, container, "disconnect")
    await in_disk_thread(write_files, rooms, record, endpoints)
    asked = plan.Asked(
        overlay=rooms.images.snapshots.get(record.id),
        endpoints=endpoints,
        devices=answers,
        cgroup_version=rooms.host.cgroup_version,
        default_seccomp=rooms.default_seccomp,
        joined=joined,
        tty_size=_tty_size(container),
        apparmor=rooms.host.apparmor,
        edits=edits,
    )
    made = plan.make(record, settings, asked)
    if made["config"].get("hooks"):
        await in_disk_thread(_write_bundle, made)
    first, container.attaching = container.attaching, []
    try:
        monitor = await rooms.runtime.start(made, tuple(first))
    finally:
        for attached in first:
            attached.sock.close()
    for text in monitor.warnings:
        log.warn("started without everything that was asked for", id=record.id[:12], why=text)
    return monitor


async def _hand_over(late: list[Attached], monitor: Monitor) -> None:
    """Clients that came while it was being started."""
    for attached in late:
        try:
            await monitor.attach(attached)
        except HavreError:
            pass  # it has ended already: the client sees the end of output
        finally:
            attached.sock.close()


def _write_bundle(made: RunPlan) -> None:
    """Hooks are told a bundle: they read its config.json and look for the root beside it (nvidia-cdi-hook does)."""
    with open(f"{made['run_dir']}/config.json", "wb") as file:
        file.write(msgspec.json.encode(made["config"]))
    os.mkdir(f"{made['run_dir']}/{made['config']['root']['path']}", 0o711)


def _ask_host(rooms: Rooms, container: Container) -> tuple[devices.Devices, cdi.Edits]:
    """Everything that needs the disk: devices, bind sources, an empty run directory."""
    answers = devices.ask(container.record.host_config)
    record = container.record
    mounts.ask_sources(record.mounts, lambda point: userns.source_owner(point, record))
    edits = cdi.ask(record.host_config, rooms.settings.cdi_spec_dirs)
    run_dir = rooms.settings.run_dir(container.id)
    with suppress(FileNotFoundError):
        shutil.rmtree(run_dir)
    os.makedirs(run_dir, mode=0o700)
    return answers.with_nodes(edits.nodes), edits


async def _connect(rooms: Rooms, container: Container, undo: AsyncExitStack) -> tuple[Endpoint, ...]:
    record = container.record
    if not record.endpoints:
        return ()
    requests = parse_requests(record.config, record.host_config)
    undo.push_async_callback(in_net_thread, rooms.networks.disconnect, container.id)
    found = []
    for name, asked in record.endpoints.items():
        address = asked.ipam_config.ipv4_address if asked.ipam_config else None
        endpoint = await in_net_thread(
            rooms.networks.connect,
            name,
            container.id,
            ports=requests,
            mac=asked.mac_address or "",
            ip=address or "",
        )
        found.append(endpoint)
        requests = ()  # ports are published through the first network
    return tuple(found)


def _tty_size(container: Container) -> tuple[int, int]:
    size = container.record.host_config.console_size or [0, 0]
    return (size[0], size[1]) if len(size) == 2 else (0, 0)


def _record_started(rooms: Rooms, container: Container, monitor: Monitor) -> None:
    state = container.state
    state.status, state.pid, state.started_nanos = "running", monitor.pid, clock.now_nanos()
    state.exit_code, state.error, state.oom_killed = 0, "", False
    state.health = health.begin(container.record.config.healthcheck, state.health)
    container.monitor = monitor
    container.ended.clear()
    rooms.containers.save(container)


async def _end(container: Container, monitor: Monitor) -> None:
    """It could not be recorded: nobody would know it after a restart."""
    container.monitor = None
    container.ended.set()
    monitor.kill_quietly()
    await monitor.exited


def _record_failed(rooms: Rooms, container: Container, error: BaseException, was: str) -> None:
    """A failed start leaves `created` (or exited) with the reason, as Docker does: exit code 127, 126 or 128."""
    state = container.state
    state.error = str(error)
    state.exit_code = (
        error.exit_code if isinstance(error, HavreError) and error.exit_code in (126, 127) else 128
    )
    state.status = "created" if was == "created" else "exited"
    state.pid = 0
    rooms.containers.note(container)
