"""A HostConfig is checked before anything is made."""

from pathlib import Path

import pytest

from havre.engine.checklimits import check_resources
from havre.engine.settings import Settings
from havre.engine.validate import check, check_conflicts
from havre.errors import Conflict, HavreError, InvalidParameter, NotImplementedHere
from havre.spec.engine import ContainerConfig, HostConfig, Resources, RestartPolicy, Ulimit

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
        (HostConfig(ipc_mode="container:"), InvalidParameter),
        (HostConfig(cgroup="container:x"), NotImplementedHere),
        (HostConfig(ipc_mode="bogus"), InvalidParameter),
        (HostConfig(pid_mode="bogus"), InvalidParameter),
        (HostConfig(runtime="bogus"), InvalidParameter),
        (HostConfig(security_opt=["bogus"]), InvalidParameter),
        (HostConfig(restart_policy=RestartPolicy(name="bogus")), InvalidParameter),
        (HostConfig(restart_policy=RestartPolicy(name="always", maximum_retry_count=1)), InvalidParameter),
        (
            HostConfig(restart_policy=RestartPolicy(name="on-failure", maximum_retry_count=-1)),
            InvalidParameter,
        ),
        (HostConfig(restart_policy=RestartPolicy(name="always"), auto_remove=True), Conflict),
    ],
)
def test_what_cannot_be_done_is_refused(host: HostConfig, kind: type[HavreError]) -> None:
    with pytest.raises(kind):
        run(host)


def test_host_userns_is_what_we_do() -> None:
    assert run(HostConfig(userns_mode="host", security_opt=["seccomp=unconfined", "no-new-privileges"])) == []


@pytest.mark.parametrize(
    ("host", "words"),
    [
        (HostConfig(oom_score_adj=1001), "Invalid value 1001, range for oom score adj is [-1000, 1000]"),
        (HostConfig(shm_size=-1), "SHM size can not be less than 0"),
        (HostConfig(isolation="hyperv"), "invalid isolation (hyperv): linux only supports 'default'"),
        (HostConfig(annotations={"": "x"}), "the empty string is not permitted as an annotation key"),
        (HostConfig(cap_add=["BOGUS"]), 'invalid CapAdd: unknown capability: "CAP_BOGUS"'),
        (HostConfig(cap_drop=["BOGUS"]), 'invalid CapDrop: unknown capability: "CAP_BOGUS"'),
        (HostConfig(console_size=[1]), "invalid console size"),
        (HostConfig(cgroup_parent="/a/../../b"), "invalid cgroup parent"),
        (HostConfig(masked_paths=["rel"]), "'rel' is not an absolute path"),
        (HostConfig(readonly_paths=["rel"]), "'rel' is not an absolute path"),
        (HostConfig(dns=["x"]), "invalid DNS server"),
        (HostConfig(dns_search=["a\nnameserver 6.6.6.6"]), "is no word for resolv.conf"),
        (HostConfig(dns_options=["a b"]), "is no word for resolv.conf"),
        (HostConfig(extra_hosts=["a\nb:1.2.3.4"]), "bad format for add-host"),
        (HostConfig(extra_hosts=["a:1.2.3.4\nb 5.6.7.8"]), "invalid IP address in add-host"),
        (HostConfig(ulimits=[Ulimit(name="bogus")]), "invalid ulimit type: bogus"),
        (HostConfig(device_cgroup_rules=["x"]), "invalid device cgroup rule format"),
        (HostConfig(storage_opt={"colour": "red"}), "unknown option colour"),
        (HostConfig(annotations={"havre.umask": "9"}), "invalid umask"),
        (HostConfig(security_opt=["no-new-privileges=perhaps"]), "invalid --security-opt 2"),
        (HostConfig(security_opt=["writable-cgroups=perhaps"]), "invalid --security-opt 2"),
        (HostConfig(security_opt=["systempaths=some"]), "invalid --security-opt 2"),
        (HostConfig(security_opt=["seccomp"]), "invalid --security-opt 1"),
    ],
)
def test_bad_values_are_refused_in_dockers_words(host: HostConfig, words: str) -> None:
    with pytest.raises(InvalidParameter) as caught:
        run(host)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("config", "words"),
    [
        (
            ContainerConfig(working_dir="a"),
            "the working directory 'a' is invalid, it needs to be an absolute path",
        ),
        (ContainerConfig(stop_signal="BOGUS"), "Invalid signal: BOGUS"),
        (ContainerConfig(hostname="a\nb"), "invalid hostname"),
        (ContainerConfig(domainname="x" * 65), "invalid domainname"),
    ],
)
def test_a_config_that_cannot_be_is_refused(config: ContainerConfig, words: str) -> None:
    with pytest.raises(InvalidParameter) as caught:
        check(config, HostConfig(), SETTINGS, 2)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("config", "host", "words"),
    [
        (ContainerConfig(hostname="h"), HostConfig(uts_mode="host"), "hostname and the UTS mode"),
        (
            ContainerConfig(hostname="h"),
            HostConfig(network_mode="container:x"),
            "hostname and the network mode",
        ),
        (
            ContainerConfig(),
            HostConfig(network_mode="container:x", dns=["1.1.1.1"]),
            "dns and the network mode",
        ),
        (
            ContainerConfig(),
            HostConfig(network_mode="container:x", extra_hosts=["a:b"]),
            "custom host-to-IP mapping",
        ),
        (
            ContainerConfig(),
            HostConfig(network_mode="container:x", publish_all_ports=True),
            "port publishing",
        ),
        (
            ContainerConfig(exposed_ports={"80/tcp": {}}),
            HostConfig(network_mode="container:x"),
            "port exposing",
        ),
        (ContainerConfig(), HostConfig(network_mode="container:"), "invalid container format"),
    ],
)
def test_conflicting_options_are_refused(config: ContainerConfig, host: HostConfig, words: str) -> None:
    with pytest.raises(InvalidParameter) as caught:
        check_conflicts(config, host)
    assert words in str(caught.value)


def test_a_security_module_the_host_lacks_is_said() -> None:
    options = ["label=type:x", "label=disable", "apparmor=p", "apparmor=unconfined"]
    found = run(HostConfig(security_opt=options))
    assert [text.partition(".")[0] for text in found] == [
        "SELinux is not enabled on this host",
        "AppArmor is not enabled on this host",
    ]
