"""What an update makes of the limits, decided."""

import pytest

from havre.engine import amend
from havre.errors import Conflict, InvalidParameter
from havre.spec.engine import ContainerUpdate, HostConfig, RestartPolicy, ThrottleDevice, Ulimit

MIB = 1 << 20


def test_only_what_was_asked_for_changes() -> None:
    before = HostConfig(
        cpu_shares=512, memory=64 * MIB, memory_swap=128 * MIB, pids_limit=10, binds=["/a:/b"]
    )
    asked = ContainerUpdate(cpu_shares=256, memory=0, cpuset_cpus="")
    after = amend.merge(before, asked)
    assert (after.cpu_shares, after.memory, after.pids_limit, after.binds) == (256, 64 * MIB, 10, ["/a:/b"])
    assert before.cpu_shares == 512
    written = amend.changed(after, asked)
    assert (written.cpu_shares, written.memory, written.pids_limit) == (256, None, None)


def test_memory_and_swap_are_written_together() -> None:
    before = HostConfig(memory=64 * MIB, memory_swap=128 * MIB)
    written = amend.changed(*_both(before, ContainerUpdate(memory=100 * MIB)))
    assert (written.memory, written.memory_swap) == (100 * MIB, 128 * MIB)
    written = amend.changed(*_both(HostConfig(cpu_period=50_000), ContainerUpdate(cpu_quota=20_000)))
    assert (written.cpu_period, written.cpu_quota) == (50_000, 20_000)


def _both(before: HostConfig, asked: ContainerUpdate) -> tuple[HostConfig, ContainerUpdate]:
    return amend.merge(before, asked), asked


def test_swap_follows_memory_unless_it_is_given() -> None:
    for given, expected in ((None, 128), (0, 128), (96, 96)):
        host = HostConfig(memory=64 * MIB, memory_swap=given and given * MIB)
        amend.adapt(host)
        assert host.memory_swap == expected * MIB
    unlimited = HostConfig(memory=64 * MIB, memory_swap=-1)
    amend.adapt(unlimited)
    assert unlimited.memory_swap == -1


@pytest.mark.parametrize(
    ("before", "asked", "words"),
    [
        (HostConfig(memory=64, memory_swap=128), ContainerUpdate(memory=129), "already set memoryswap limit"),
        (HostConfig(), ContainerUpdate(memory=129), "already set memoryswap limit"),
        (HostConfig(cpu_period=1), ContainerUpdate(nano_cpus=1), "CPU Period has already been set"),
        (HostConfig(cpu_quota=1), ContainerUpdate(nano_cpus=1), "CPU Quota has already been set"),
        (HostConfig(nano_cpus=1), ContainerUpdate(cpu_period=1), "NanoCPUs has already been set"),
        (HostConfig(nano_cpus=1), ContainerUpdate(cpu_quota=1), "NanoCPUs has already been set"),
        (
            HostConfig(auto_remove=True),
            ContainerUpdate(restart_policy=RestartPolicy(name="always")),
            "AutoRemove is enabled",
        ),
    ],
)
def test_conflicts_in_dockers_words(before: HostConfig, asked: ContainerUpdate, words: str) -> None:
    with pytest.raises(Conflict, match=words):
        amend.merge(before, asked)


def test_unlimited_swap_conflicts_with_nothing() -> None:
    assert amend.merge(HostConfig(memory=64, memory_swap=-1), ContainerUpdate(memory=999)).memory == 999


def test_what_is_fixed_at_create_is_refused_and_its_repetition_is_not() -> None:
    ulimits = [Ulimit(name="nofile", soft=1, hard=2)]
    with pytest.raises(InvalidParameter, match="Ulimits cannot be updated"):
        amend.merge(HostConfig(), ContainerUpdate(ulimits=ulimits))
    assert amend.merge(HostConfig(ulimits=ulimits), ContainerUpdate(ulimits=list(ulimits))).ulimits == ulimits


def test_pids_limit_is_taken_away_with_zero_or_less() -> None:
    for limit in (0, -1, -7):
        after = amend.merge(HostConfig(pids_limit=10), ContainerUpdate(pids_limit=limit))
        assert after.pids_limit == -1
    assert amend.merge(HostConfig(), ContainerUpdate()).pids_limit is None


def test_devices_are_merged_by_path_and_a_rate_of_zero_ends_a_limit() -> None:
    before = HostConfig(
        blkio_device_read_bps=[ThrottleDevice(path="/dev/a", rate=1), ThrottleDevice(path="/dev/b", rate=2)]
    )
    asked = ContainerUpdate(
        blkio_device_read_bps=[ThrottleDevice(path="/dev/a", rate=0), ThrottleDevice(path="/dev/c", rate=3)]
    )
    after = amend.merge(before, asked)
    assert [(one.path, one.rate) for one in after.blkio_device_read_bps or []] == [
        ("/dev/b", 2),
        ("/dev/c", 3),
    ]
    written = amend.changed(after, asked).blkio_device_read_bps or []
    assert [(one.path, one.rate) for one in written] == [("/dev/a", 0), ("/dev/c", 3)]
