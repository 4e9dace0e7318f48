"""Every field of a create request does something or is refused: none can be accepted and ignored.

One row for each key of Config and HostConfig in the Engine API (v1.24 to v1.55). "plan": a value changes what the runtime is told.
"read by": another part reads it (looked for in that part's source). "refused": an error, or a warning and the value is taken out.
"kept": only shown again by inspect, as in dockerd on Linux.
"""

import json
import re
from pathlib import Path

import msgspec
import pytest

import havre
from havre.api.decode import decode
from havre.engine import mounts, plan, validate
from havre.engine.cdi import Edits
from havre.engine.container import ContainerRecord
from havre.engine.devices import Device, Devices
from havre.engine.merge import merge_config
from havre.engine.ports import parse_requests
from havre.engine.settings import RuntimeChoice, Settings
from havre.errors import HavreError
from havre.spec.engine import (
    BindOptions,
    ContainerConfig,
    ContainerCreate,
    DeviceRequest,
    DriverConfig,
    EndpointIpam,
    EndpointSettings,
    HostConfig,
    Mount,
    Resources,
    TmpfsOptions,
    VolumeCreate,
    VolumeOptions,
)

SOURCE = Path(havre.__file__).parent
SETTINGS = Settings(
    Path("/d"), Path("/e"), "00000000", "/havre-00000000", runtimes={"other": RuntimeChoice("/bin/other")}
)

CONFIG = {
    "ArgsEscaped": ("kept", True),  # Windows images only
    "AttachStderr": ("kept", True),  # the attach request says what is sent
    "AttachStdin": ("kept", True),
    "AttachStdout": ("kept", True),
    "Cmd": ("plan", ["x"]),
    "Domainname": ("plan", "example.org"),
    "Entrypoint": ("plan", ["x"]),
    "Env": ("plan", ["A=1"]),
    "ExposedPorts": ("read by engine/ports.py", {"80/tcp": {}}),
    "Healthcheck": ("read by engine", {"Test": ["CMD", "true"]}),
    "Hostname": ("plan", "h"),
    "Image": ("read by engine/create.py", "busybox"),
    "Labels": ("read by engine/container.py", {"a": "b"}),
    "MacAddress": ("read by engine/create.py", "02:42:ac:11:00:09"),
    "NetworkDisabled": ("read by engine/create.py", True),
    "OnBuild": ("kept", ["RUN x"]),  # for a later build, from the image it is committed to
    "OpenStdin": ("plan", True),
    "Shell": ("kept", ["/bin/ash", "-c"]),  # what a CMD-SHELL health check and a build use
    "StdinOnce": ("plan", True),
    "StopSignal": ("read by engine", "SIGINT"),
    "StopTimeout": ("read by engine", 3),
    "Tty": ("plan", True),
    "User": ("plan", "1:2"),
    "Volumes": ("plan", {"/v": {}}),
    "WorkingDir": ("plan", "/w"),
}
SLOW = [{"Path": "/dev/sda", "Rate": 5}]
HOST = {
    "Annotations": ("plan", {"a": "b"}),
    "AutoRemove": ("read by engine", True),
    "Binds": ("plan", ["/tmp:/x"]),
    "BlkioDeviceReadBps": ("plan", SLOW),
    "BlkioDeviceReadIOps": ("plan", SLOW),
    "BlkioDeviceWriteBps": ("plan", SLOW),
    "BlkioDeviceWriteIOps": ("plan", SLOW),
    "BlkioWeight": ("plan", 300),
    "BlkioWeightDevice": ("plan", [{"Path": "/dev/sda", "Weight": 300}]),
    "CapAdd": ("plan", ["NET_ADMIN"]),
    "CapDrop": ("plan", ["CHOWN"]),
    "Cgroup": ("refused", "container:x"),
    "CgroupParent": ("plan", "/p"),
    "CgroupnsMode": ("plan", "private"),
    "ConsoleSize": ("plan", [24, 80]),
    "ContainerIDFile": ("kept", "/x"),  # written by the client
    "CpuCount": ("refused", 1),  # Windows
    "CpuPercent": ("warned", 5),  # Windows
    "CpuPeriod": ("plan", 50_000),
    "CpuQuota": ("plan", 50_000),
    "CpuRealtimePeriod": ("plan", 100_000),
    "CpuRealtimeRuntime": ("plan", 5000),
    "CpuShares": ("plan", 512),
    "CpusetCpus": ("plan", "0"),
    "CpusetMems": ("plan", "0"),
    "DeviceCgroupRules": ("plan", ["c 1:3 r"]),
    "DeviceRequests": ("read by engine/cdi.py", [{"Driver": "cdi", "DeviceIDs": ["v.com/c=x"]}]),
    "Devices": ("read by engine/devices.py", [{"PathOnHost": "/dev/null"}]),
    "Dns": ("read by engine", ["1.1.1.1"]),
    "DnsOptions": ("read by engine", ["ndots:1"]),
    "DnsSearch": ("read by engine", ["example.org"]),
    "ExtraHosts": ("read by engine", ["a:1.2.3.4"]),
    "GroupAdd": ("plan", ["5"]),
    "IOMaximumBandwidth": ("refused", 1),  # Windows
    "IOMaximumIOps": ("refused", 1),
    "Init": ("plan", True),
    "IpcMode": ("plan", "host"),
    "Isolation": ("refused", "hyperv"),  # Windows; "default" is what there is
    "KernelMemory": ("warned", 64 << 20),  # up to API 1.41; gone from the kernel
    "Links": ("refused", ["a:b"]),
    "LogConfig": ("plan", {"Type": "none"}),
    "MaskedPaths": ("plan", ["/x"]),
    "Memory": ("plan", 64 << 20),
    "MemoryReservation": ("plan", 64 << 20),
    "MemorySwap": ("refused", 64 << 20),  # alone; with Memory it is below
    "MemorySwappiness": ("plan", 10),
    "Mounts": ("plan", [{"Type": "tmpfs", "Target": "/x"}]),
    "NanoCpus": ("plan", 10**9),
    "NetworkMode": ("plan", "host"),
    "OomKillDisable": ("plan", True),
    "OomScoreAdj": ("plan", 5),
    "PidMode": ("plan", "host"),
    "PidsLimit": ("plan", 9),
    "PortBindings": ("read by engine/ports.py", {"80/tcp": [{"HostPort": "8080"}]}),
    "Privileged": ("plan", True),
    "PublishAllPorts": ("read by engine/ports.py", True),
    "ReadonlyPaths": ("plan", ["/x"]),
    "ReadonlyRootfs": ("plan", True),
    "RestartPolicy": ("read by engine", {"Name": "always"}),
    "Runtime": ("plan", "other"),
    "SecurityOpt": ("plan", ["no-new-privileges"]),
    "ShmSize": ("plan", 1 << 20),
    "StorageOpt": ("read by engine/create.py", {"size": "1g"}),
    "Sysctls": ("plan", {"net.core.somaxconn": "5"}),
    "Tmpfs": ("plan", {"/x": ""}),
    "UTSMode": ("plan", "host"),
    "Ulimits": ("plan", [{"Name": "nofile", "Soft": 5, "Hard": 6}]),
    "UsernsMode": ("read by engine/userns.py", "host"),
    "VolumeDriver": ("read by engine/mounts.py", "local"),
    "VolumesFrom": ("read by engine/create.py", ["x"]),
}


def decide(config: dict[str, object], host: dict[str, object]) -> tuple[str, list[str], dict[str, object]]:
    """Return (the plan as JSON, the warnings, HostConfig afterwards) of a request, decided as create and start do."""
    body = decode(json.dumps({"Image": "i", **config, "HostConfig": host}).encode(), ContainerCreate)
    asked = body.host_config or HostConfig()
    validate.check_conflicts(body, asked)
    merged = merge_config(body, {"Cmd": ["default"]})
    warnings = validate.check(merged, asked, SETTINGS, 2)
    parse_requests(merged, asked)
    command = [*(merged.entrypoint or []), *(merged.cmd or [])]
    record = ContainerRecord(
        id="0" * 64,
        name="n",
        created_nanos=0,
        image="i",
        image_id="i",
        manifest_digest="",
        chain_id="",
        platform="linux",
        config=merged,
        host_config=asked,
        path=command[0],
        args=command[1:],
        mounts=mounts.resolve(asked, merged),
    )
    answers = plan.Asked(
        overlay={"lower": ["/l"], "upper": "/u", "work": "/w"},
        endpoints=(),
        devices=Devices((), {"/dev/sda": (8, 0)}),
        cgroup_version=1,
        default_seccomp=None,
        joined={},
        tty_size=(asked.console_size[0], asked.console_size[1]) if asked.console_size else (0, 0),
    )
    made = plan.make(record, SETTINGS, answers)
    return json.dumps(made, sort_keys=True), warnings, msgspec.to_builtins(asked)


BASE = decide({}, {})[0]


def names_of(kind: type[msgspec.Struct]) -> dict[str, str]:
    return {field.encode_name: field.name for field in msgspec.structs.fields(kind)}


def test_the_tables_name_every_field() -> None:
    assert set(CONFIG) == set(names_of(ContainerConfig))
    assert set(HOST) == set(names_of(HostConfig))


def read_in(file: str, field: str) -> bool:
    """Whether a source file uses the field as an attribute, or names it for getattr."""
    place = SOURCE / file
    shown = {"inspect.py", "merge.py"}
    files = [place] if place.is_file() else [one for one in place.glob("*.py") if one.name not in shown]
    text = "\n".join(one.read_text() for one in files)
    return bool(re.search(rf'\.{field}\b|"{field}"', text))


@pytest.mark.parametrize(("where", "key"), [("c", key) for key in CONFIG] + [("h", key) for key in HOST])
def test_no_field_is_accepted_and_ignored(where: str, key: str) -> None:
    how, value = (CONFIG if where == "c" else HOST)[key]
    field = names_of(ContainerConfig if where == "c" else HostConfig)[key]
    words = ({key: value}, {}) if where == "c" else ({}, {key: value})
    if how == "refused":
        with pytest.raises(HavreError):
            decide(*words)
        return
    made, warnings, host = decide(*words)
    if how == "plan":
        assert made != BASE
    elif how == "warned":
        assert made == BASE and len(warnings) == 1
        assert where == "c" or key not in host
    elif how.startswith("read by "):
        assert read_in(how.removeprefix("read by "), field)
    else:
        assert made == BASE and how in ("kept", "elsewhere")


def test_swap_with_memory_reaches_the_plan() -> None:
    one = decide({}, {"Memory": 64 << 20})[0]
    assert decide({}, {"Memory": 64 << 20, "MemorySwap": 65 << 20})[0] != one


def test_masks_and_read_only_paths_can_be_emptied() -> None:
    oci = json.loads(decide({}, {"MaskedPaths": [], "ReadonlyPaths": []})[0])["config"]["linux"]
    assert oci["maskedPaths"] == oci["readonlyPaths"] == []


def test_resources_of_update_are_those_of_create() -> None:
    assert set(names_of(Resources)) <= set(HOST)


@pytest.mark.parametrize(
    ("kind", "file"),
    [
        (Mount, "engine/mounts.py"),
        (BindOptions, "engine/mounts.py"),
        (TmpfsOptions, "engine/mounts.py"),
        (VolumeOptions, "engine/mounts.py"),
        (DriverConfig, "engine/mounts.py"),
        (VolumeCreate, "engine/volumes.py"),
        (DeviceRequest, "engine/cdi.py"),
        (EndpointIpam, "engine/validate.py"),
        (EndpointSettings, "engine/validate.py"),
    ],
)
def test_every_inner_field_is_read(kind: type[msgspec.Struct], file: str) -> None:
    answered = {"network_id", "endpoint_id"}  # the daemon's own answers, sent back by some clients
    assert [
        name for name in names_of(kind).values() if name not in answered and not read_in(file, name)
    ] == []


@pytest.mark.parametrize(
    "settings",
    [
        {"Links": ["a"]},
        {"Aliases": ["a"]},
        {"DriverOpts": {"a": "b"}},
        {"GwPriority": 1},
        {"IPAMConfig": {"IPv6Address": "fd00::2"}},
        {"IPAMConfig": {"LinkLocalIPs": ["169.254.1.1"]}},
        {"IPAMConfig": {"IPv4Address": "x"}},
        {"MacAddress": "x"},
    ],
)
def test_what_a_network_cannot_do_yet_is_refused(settings: dict[str, object]) -> None:
    with pytest.raises(HavreError):
        validate.check_endpoints({"bridge": decode(json.dumps(settings).encode(), EndpointSettings)})


def test_devices_of_a_description_reach_the_plan() -> None:
    from havre.engine import cdi
    from havre.spec.cdi import Hook
    from havre.spec.cdi import Mount as CdiMount

    edits = Edits(
        nodes=(Device("/dev/x", "/dev/y", "c", 1, 2, 0o600, 3, 4, "rw"),),
        env=("A=2",),
        mounts=(CdiMount(host_path="/h", container_path="/c"),),
        hooks=(Hook(hook_name="createContainer", path="/bin/h", args=["h"]),),
    )
    oci: dict[str, object] = {"process": {"env": ["B=1", "A=1"]}, "mounts": []}
    cdi.apply(edits, oci)
    assert oci == {
        "process": {"env": ["B=1", "A=2"]},
        "mounts": [
            {
                "destination": "/c",
                "type": "bind",
                "source": "/h",
                "options": ["ro", "nosuid", "nodev", "bind"],
            }
        ],
        "hooks": {"createContainer": [{"path": "/bin/h", "args": ["h"]}]},
    }
    assert Devices().with_nodes(edits.nodes).nodes == edits.nodes
