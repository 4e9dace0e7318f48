"""POST /containers/{id}/update: change limits and restart policy, at once where the container runs; all of it or nothing."""

import msgspec

from havre.engine import amend, devices, limits, validate
from havre.engine.checklimits import check_resources
from havre.engine.container import Container
from havre.engine.freezer import cgroup_path
from havre.engine.policy import wants_restart
from havre.engine.rooms import Rooms
from havre.engine.stop import stay_down
from havre.errors import Conflict, HavreError, KernelError
from havre.runtime.cgroup import change as cgroup
from havre.runtime.cgroup.layout import host_layout
from havre.runtime.cgroup.plan import make_plan
from havre.spec.engine import ContainerUpdate, HostConfig, Resources
from havre.tasks import in_disk_thread

EBUSY = 16


async def update(rooms: Rooms, ref: str, asked: ContainerUpdate) -> list[str]:
    """Return warnings. Raises InvalidParameter, Conflict, KernelError; then record and control group are as they were."""
    warnings = check_resources(asked, rooms.host.cpus, rooms.host.support, update=True)
    if asked.restart_policy is not None and asked.restart_policy.name:
        validate.check_policy(asked.restart_policy)
    container = rooms.containers.find(ref)
    async with container.lock:
        try:
            warnings += await _update(rooms, container, asked)
        except HavreError as error:
            error.context = f"Cannot update container {container.id}"
            raise
        if container.state.status == "restarting" and not wants_restart(
            container.record.host_config.restart_policy, container.state
        ):
            stay_down(rooms, container)
    rooms.events.publish("container", "update", container.id, container.attributes())
    return warnings


async def _update(rooms: Rooms, container: Container, asked: ContainerUpdate) -> list[str]:
    record = container.record
    if container.state.status in ("removing", "dead"):
        raise Conflict('container is marked for removal and cannot be "update"')
    before = record.host_config
    after = amend.merge(before, asked)
    check_resources(msgspec.structs.replace(after), rooms.host.cpus, rooms.host.support)
    written = amend.changed(after, asked)
    numbers = await in_disk_thread(devices.block_numbers, written)
    _store(rooms, container, after)
    if not container.running:
        return []
    try:
        return await in_disk_thread(_apply, cgroup_path(rooms, container), written, numbers)
    except BaseException:
        _store(rooms, container, before)
        raise


def _store(rooms: Rooms, container: Container, host: HostConfig) -> None:
    old, container.record.host_config = container.record.host_config, host
    try:
        rooms.containers.save(container)
    except BaseException:
        container.record.host_config = old
        raise


def _apply(path: str, written: Resources, numbers: limits.Numbers) -> list[str]:
    """Blocking: writing a smaller memory limit makes the kernel reclaim."""
    wanted = limits.oci_resources(written, numbers)
    if written.oom_kill_disable is False:
        wanted.setdefault("memory", {})["disableOOMKiller"] = False
    plan = make_plan(host_layout(), path, wanted)
    plan["writes"] = [one for one in plan["writes"] if "/devices." not in one[0]]
    try:
        cgroup.change(plan)
    except KernelError as error:
        if error.errno == EBUSY and written.memory:
            raise HavreError(
                f"unable to set memory limit to {written.memory} ({cgroup.memory_usage(path)})"
            ) from error
        raise
    return plan["warnings"]
