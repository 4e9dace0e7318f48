"""What the kernel knows of limits, by the files it shows."""

import pytest

from havre.runtime.cgroup import support
from havre.runtime.cgroup.layout import Layout, host_layout


def test_v1_is_asked_file_by_file(tmp_path, monkeypatch):
    names = ("memory", "cpu", "cpuset", "pids", "blkio")
    for name in names:
        (tmp_path / name).mkdir()
    for file in ("memory/memory.limit_in_bytes", "cpu/cpu.shares", "cpu/cgroup.procs", "pids/cgroup.procs"):
        (tmp_path / file).touch()
    queue = tmp_path / "block/sda/queue"
    queue.mkdir(parents=True)
    monkeypatch.setattr(support, "BLOCK_DEVICES", str(tmp_path / "block"))
    layout = Layout({name: str(tmp_path / name) for name in names})
    (queue / "scheduler").write_text("[none] bfq\n")
    found = support.ask(layout)
    assert (found.memory, found.swap, found.cpu_shares, found.cpu_cfs, found.pids) == (
        True,
        False,
        True,
        True,
        True,
    )
    assert not (found.cpu_realtime or found.cpuset or found.blkio_weight or found.blkio_throttle)
    (queue / "scheduler").write_text("none [bfq]\n")
    assert support.ask(layout).blkio_weight


def test_v2_is_asked_by_controllers(tmp_path):
    (tmp_path / "some").mkdir()
    layout = Layout({}, str(tmp_path), frozenset({"cpu", "memory"}))
    found = support.ask(layout)
    assert (found.memory, found.cpu_shares, found.swap) == (True, True, False)
    assert not (
        found.pids or found.cpuset or found.swappiness or found.oom_kill_disable or found.cpu_realtime
    )
    (tmp_path / "some/memory.swap.max").touch()
    assert support.ask(layout).swap


@pytest.mark.kernel
def test_this_host_has_cpus():
    assert support.ask(host_layout()).cpus
