"""`havred --teardown`: take out of the kernel what this instance put there, before Havre is uninstalled. Images and records stay."""

import os
import sys
from collections.abc import Sequence

from havre.daemon import flags
from havre.daemon.config import Config
from havre.engine.containers import Containers
from havre.errors import Conflict, HavreError
from havre.network.networks import Networks
from havre.runtime.cgroup import files
from havre.runtime.cgroup.layout import Layout, host_layout
from havre.store import Records, lock_data_root


def run(words: Sequence[str]) -> int:
    """Do it and return the exit code; nothing to do is no error."""
    try:
        config = flags.parse(words, as_dockerd=flags.called_dockerd())
        if config.settings.data_root.exists():
            teardown(config)
    except (HavreError, OSError) as error:
        print(f"havred: {error}", file=sys.stderr)
        return 1
    return 0


def teardown(config: Config) -> None:
    """Remove bridges, firewall table and control groups. Raises Conflict while havred or a container of it runs."""
    settings = config.settings
    lock = lock_data_root(settings.data_root)
    records = Records(settings.data_root / "havre.db")
    try:
        _refuse_running(records)
        folders = group_folders(settings.cgroup_parent, settings.instance, host_layout())
        if any(files.pids(folder) for folder in folders):
            raise Conflict("processes of containers run still", hint=f"cat {folders[0]}/*/cgroup.procs")
        networks = Networks(records, settings.instance, bridge=config.bridge)
        networks.teardown()
        networks.close()
        for folder in folders:
            files.remove_group(folder)
    finally:
        records.close()
        os.close(lock)


def _refuse_running(records: Records) -> None:
    containers = Containers(records)
    containers.load()
    running = [container.record.name for container in containers if container.running]
    if running:
        raise Conflict(
            f"containers are running: {', '.join(running)}", hint="start havred, then havre stop them"
        )


def group_folders(parent: str, instance: str, layout: Layout) -> list[str]:
    """The directories that hold this instance's control groups; none when the user named the parent: it may not be ours."""
    if parent != f"/havre-{instance}":
        return []
    mounts = dict.fromkeys([*layout.v1.values(), *([layout.v2] if layout.v2 else [])])
    return [mount + parent for mount in mounts]
