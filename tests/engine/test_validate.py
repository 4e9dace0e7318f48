"""A HostConfig is checked before anything is made."""

from pathlib import Path

import pytest

from havre.engine.settings import Settings
from havre.engine.validate import check, check_resources
from havre.errors import Conflict, HavreError, InvalidParameter, NotImplementedHere
from havre.spec.engine import ContainerConfig, HostConfig, LogConfig, Resources, RestartPolicy

SETTINGS = Settings(Path("/d"), Path("/e"), "00000000", "/havre-00000000")


def run(host: HostConfig) -> list[str]:
    return check(ContainerConfig(), host, SETTINGS, 2)


@pytest.mark.parametrize(
    ("limits", "words"),
    [
        (Resources(memory=1024), "Minimum memory limit allowed is 6MB"),
        (Resources(memory_swap=1 << 30), "always set the Memory limit"),
        (Resources(memory=64 << 20, memory_swap=32 << 20), "larger than memory limit"),
        (Resources(memory=64 << 20, memory_reservation=128 << 20), "less than memory reservation"),
        (Resources(nano_cpus=3_000_000_000), "range of CPUs is from 0.01 to 2.00"),
        (Resources(nano_cpus=1, cpu_quota=5000), "Conflicting options"),
        (Resources(cpu_period=10), "CPU cfs period"),
        (Resources(cpu_quota=10), "CPU cfs quota"),
        (Resources(cpuset_cpus="0-9"), "Requested CPUs are not available"),
        (Resources(cpuset_cpus="x"), "Invalid value x"),
        (Resources(blkio_weight=5), "blkio weight"),
        (Resources(memory_swappiness=101), "0-100"),
    ],
)
def test_bad_limits_are_refused_in_dockers_words(limits: Resources, words: str) -> None:
    with pytest.raises(InvalidParameter, match=words):
        check_resources(limits, 2)


def test_good_limits_pass_without_warning() -> None:
    assert (
        check_resources(Resources(memory=64 << 20, memory_swap=-1, nano_cpus=10**9, cpuset_cpus="0-1"), 2)
        == []
    )


@pytest.mark.parametrize(
    ("host", "kind"),
    [
        (HostConfig(volumes_from=["x"]), NotImplementedHere),
        (HostConfig(userns_mode="private"), NotImplementedHere),
        (HostConfig(ipc_mode="container:x"), NotImplementedHere),
        (HostConfig(ipc_mode="bogus"), InvalidParameter),
        (HostConfig(pid_mode="bogus"), InvalidParameter),
        (HostConfig(runtime="bogus"), InvalidParameter),
        (HostConfig(security_opt=["bogus"]), InvalidParameter),
        (HostConfig(restart_policy=RestartPolicy(name="bogus")), InvalidParameter),
        (HostConfig(restart_policy=RestartPolicy(name="always", maximum_retry_count=1)), InvalidParameter),
        (HostConfig(restart_policy=RestartPolicy(name="always"), auto_remove=True), Conflict),
        (HostConfig(log_config=LogConfig(type="bogus")), InvalidParameter),
        (HostConfig(log_config=LogConfig(type="json-file", config={"bogus": "1"})), InvalidParameter),
    ],
)
def test_what_cannot_be_done_is_refused(host: HostConfig, kind: type[HavreError]) -> None:
    with pytest.raises(kind):
        run(host)


def test_host_userns_is_what_we_do() -> None:
    assert run(HostConfig(userns_mode="host", security_opt=["seccomp=unconfined", "no-new-privileges"])) == []
