"""run's flags become the create request that stock clients send."""

import re
import shutil
import subprocess

import pytest

from havre.cli import options
from havre.cli.runflags import OLD_NAMES, RUN_FLAGS, environment, nanos, request
from havre.errors import HavreError, InvalidParameter


def made(*words: str) -> dict:
    given, args = options.parse([*words, "img", "cmd"], RUN_FLAGS, stop_early=True)
    return request(given, args, attach_all=True)


@pytest.mark.parametrize(
    ("flag", "port", "bindings"),
    [
        ("8080:80", "80/tcp", [{"HostIp": "", "HostPort": "8080"}]),
        ("127.0.0.1:8080:80/udp", "80/udp", [{"HostIp": "127.0.0.1", "HostPort": "8080"}]),
        ("127.0.0.1::80", "80/tcp", [{"HostIp": "127.0.0.1", "HostPort": ""}]),
        ("80", "80/tcp", [{"HostIp": "", "HostPort": ""}]),
        ("[::1]:8080:80", "80/tcp", [{"HostIp": "::1", "HostPort": "8080"}]),
        ("8000-8010:80", "80/tcp", [{"HostIp": "", "HostPort": "8000-8010"}]),
        ("9000-9001:80-81", "81/tcp", [{"HostIp": "", "HostPort": "9001"}]),
    ],
)
def test_every_form_of_publish(flag: str, port: str, bindings: list) -> None:
    assert made("-p", flag)["HostConfig"]["PortBindings"][port] == bindings


@pytest.mark.parametrize(
    "words",
    [["-p", "x:80"], ["-p", "1-2:80-85"], ["--memory", "lots"], ["--cpus", "x"], ["--ulimit", "nofile"], ["--env-file", "/no/such"],
     ["--mount", "type=bind"], ["--mount", "target=/x,bogus=1"], ["--health-interval", "5"], ["--restart", "on-failure:x"],
     ["-e", "=x"]],
)  # fmt: skip
def test_bad_values_name_the_flag(words: list[str]) -> None:
    with pytest.raises(InvalidParameter):
        made(*words)


def test_resources_and_lists_reach_the_host_config() -> None:
    host = made(
        "-m",
        "64m",
        "--cpus",
        "1.5",
        "--ulimit",
        "nofile=10:20",
        "--device",
        "/dev/null:/dev/x:r",
        "--memory-swap",
        "-1",
    )["HostConfig"]
    assert (host["Memory"], host["NanoCpus"], host["MemorySwap"]) == (64 << 20, 1_500_000_000, -1)
    assert host["Ulimits"] == [{"Name": "nofile", "Soft": 10, "Hard": 20}]
    assert host["Devices"] == [
        {"PathOnHost": "/dev/null", "PathInContainer": "/dev/x", "CgroupPermissions": "r"}
    ]


def test_environment_takes_bare_names_from_here(monkeypatch, tmp_path) -> None:
    monkeypatch.setenv("HERE", "yes")
    (tmp_path / "env").write_text("# comment\n\nA=1\nHERE\nGONE\n")
    assert environment(["B=2", "NOT_SET_ANYWHERE"], [str(tmp_path / "env")]) == ["A=1", "HERE=yes", "B=2"]


def test_durations_are_gos() -> None:
    assert nanos("1m30s", "x") == 90 * 10**9
    assert nanos("500ms", "x") == 500 * 10**6
    assert nanos(None, "x") == 0


BAD = [
    (
        ["--ulimit", "nofile"],
        'invalid argument "nofile" for "--ulimit" flag: invalid ulimit argument: nofile',
    ),
    (["--ulimit", "foo=1"], "invalid ulimit type: foo"),
    (["--ulimit", "nofile=9:8"], "ulimit soft limit must be less than or equal to hard limit: 9 > 8"),
    (["--ulimit", "nofile=1:2:3"], "too many limit value arguments"),
    (["--sysctl", "kernel.panic=1"], "sysctl 'kernel.panic=1' is not allowed"),
    (["--sysctl", "net.x"], "sysctl 'net.x' is not allowed"),
    (["--device", "/dev/null:/dev/x:q"], "bad mode specified: q"),
    (["--device", "/dev/null:x"], "x is not an absolute path"),
    (["--device", "/a:/b:r:w"], "invalid device specification: /a:/b:r:w"),
    (["--device-cgroup-rule", "x 1:2 r"], "invalid device cgroup format 'x 1:2 r'"),
    (["--blkio-weight-device", "/dev/x:5"], "invalid weight for device: /dev/x:5"),
    (["--blkio-weight-device", "x"], "bad format: x"),
    (["--device-read-bps", "/x:1"], "bad format for device path: /x:1"),
    (["--device-write-bps", "/dev/x:y"], "Unit is optional and can be kb, mb, or gb"),
    (["--device-write-iops", "/dev/x:1m"], "Number must be a positive integer"),
    (["--gpus", "x"], 'invalid count (x): value must be either "all" or an integer'),
    (["--gpus", "bogus=1"], "unexpected key 'bogus'"),
    (["--gpus", "1,count=2"], "can be specified only once"),
    (["--dns", "x"], "IP address is not correctly formatted: x"),
    (["--add-host", "x"], 'bad format for add-host: "x"'),
    (["--add-host", "a:1.2.3.4.5"], 'invalid IP address in add-host: "1.2.3.4.5"'),
    (["--mac-address", "x"], "x is not a valid mac address"),
    (["--attach", "x"], "valid streams are STDIN, STDOUT and STDERR"),
    (["--memory", "x"], 'invalid argument "x" for "-m, --memory" flag: invalid size: \'x\''),
    (["--shm-size=-1"], "invalid size: '-1'"),
    (["--cpus", "x"], "failed to parse x as a rational number"),
    (["--pid", "x"], "--pid: invalid PID mode"),
    (["--uts", "x"], "--uts: invalid UTS mode"),
    (["--cgroupns", "x"], "--cgroupns: invalid CGROUP mode"),
    (["--memory-swappiness", "200"], "invalid value: 200. Valid memory swappiness range is 0-100"),
    (["--rm", "--restart", "always"], "cannot specify both --restart and --rm"),
    (["--storage-opt", "x"], "invalid storage option"),
    (["--security-opt", "x"], 'Invalid --security-opt: "x"'),
    (
        ["--security-opt", "seccomp=/no/such"],
        "opening seccomp profile (/no/such) failed: open /no/such: no such file",
    ),
    (["--expose", "x"], "invalid range format for --expose: x"),
    (["--cpu-count", "1"], '"--cpu-count" is only supported on a Docker daemon running on windows'),
    (["--io-maxiops", "1"], "only supported on a Docker daemon running on windows"),
    (["--use-api-socket"], "--use-api-socket is not there yet"),
    (["--disable-content-trust=false"], "not verified by content trust"),
    (["--mount", "type=bind,src=/a"], "target is required"),
    (["--mount", "bogus"], "invalid field 'bogus' must be a key=value pair"),
    (["--mount", "target=/x,bogus=1"], "unexpected key 'bogus' in 'bogus=1'"),
    (
        ["--mount", "type=bind,src=/a,dst=/x,tmpfs-size=1"],
        "cannot mix 'tmpfs-*' options with mount type 'bind'",
    ),
    (
        ["--mount", "type=bind,src=/a,dst=/x,bind-recursive=readonly,ro"],
        "requires 'bind-propagation=rprivate'",
    ),
    (["--mount", "type=bind,src=/a,dst=/x,bind-recursive=x"], "invalid value for bind-recursive: x"),
    (["--mount", "type=tmpfs,dst=/x,tmpfs-mode=9"], "invalid value for tmpfs-mode: 9"),
    (["--mount", 'type=bind,"dst=/x'], "quoted-field"),
]


@pytest.mark.parametrize(("words", "said"), BAD, ids=[" ".join(words) for words, _ in BAD])
def test_bad_values_are_refused_in_dockers_words(words: list[str], said: str) -> None:
    with pytest.raises(HavreError) as caught:
        made(*words)
    assert said in str(caught.value)


def test_devices_gpus_and_descriptions() -> None:
    host = made(
        "--device", "/dev/null:r", "--device", "v.com/gpu=0", "--gpus", '"device=0,1",capabilities=utility'
    )
    host = host["HostConfig"]
    assert [one["PathOnHost"] for one in host["Devices"]] == ["/dev/null"]
    assert host["DeviceRequests"] == [
        {"Driver": "", "Count": 0, "Capabilities": [["gpu", "utility"]], "DeviceIDs": ["0", "1"]},
        {"Driver": "cdi", "DeviceIDs": ["v.com/gpu=0"]},
    ]
    assert made("--gpus", "all")["HostConfig"]["DeviceRequests"][0]["Count"] == -1
    assert made()["HostConfig"]["DeviceRequests"] is None


def test_mounts_of_every_kind() -> None:
    words = ["--mount", "type=bind,src=/a,dst=/b,ro,bind-propagation=rprivate,bind-recursive=readonly"]
    words += [
        "--mount",
        "type=volume,src=v,dst=/c,volume-nocopy,volume-label=a=b,volume-opt=o=p,volume-driver=d,volume-subpath=s",
    ]
    words += [
        "--mount",
        "type=image,src=i,dst=/d,image-subpath=s",
        "--mount",
        "type=tmpfs,dst=/e,tmpfs-size=1m,tmpfs-mode=700",
    ]
    bind, volume, image, tmpfs = made(*words)["HostConfig"]["Mounts"]
    assert (
        bind["BindOptions"] == {"Propagation": "rprivate", "ReadOnlyForceRecursive": True}
        and bind["ReadOnly"]
    )
    driver = {"Options": {"o": "p"}, "Name": "d"}
    assert volume["VolumeOptions"] == {
        "NoCopy": True,
        "Labels": {"a": "b"},
        "DriverConfig": driver,
        "Subpath": "s",
    }
    assert image["ImageOptions"] == {"Subpath": "s"}
    assert tmpfs["TmpfsOptions"] == {"SizeBytes": 1 << 20, "Mode": 0o700}


def test_system_paths_are_two_empty_lists_for_any_daemon() -> None:
    host = made("--security-opt", "systempaths=unconfined", "--security-opt", "no-new-privileges")[
        "HostConfig"
    ]
    assert (host["MaskedPaths"], host["ReadonlyPaths"], host["SecurityOpt"]) == (
        [],
        [],
        ["no-new-privileges"],
    )
    assert "MaskedPaths" not in made()["HostConfig"]


def test_old_names_of_flags_are_still_read() -> None:
    words = ["--net", "n", "--net-alias", "a", "--dns-opt", "o", "img"]
    given, _ = options.parse(words, RUN_FLAGS, stop_early=True, aliases=OLD_NAMES)
    assert (given["network"], given["network_alias"], given["dns_option"]) == (["n"], ["a"], ["o"])


def test_attached_streams_are_told() -> None:
    body = made("--attach", "STDOUT", "-i")
    assert (body["AttachStdin"], body["AttachStdout"], body["AttachStderr"]) == (False, True, False)


def test_an_env_file_names_its_bad_line(tmp_path) -> None:
    path = tmp_path / "env"
    for text, said in (("=x\n", "no variable name on line '=x'"), ("a b=c\n", "contains whitespaces")):
        path.write_text(text)
        with pytest.raises(InvalidParameter, match=said):
            made("--env-file", str(path))


def test_every_flag_of_dockers_run_is_known() -> None:
    """docker run --help of 28.2, without those that only Windows daemons take."""
    docker = shutil.which("docker")
    if not docker:
        pytest.skip("needs the stock docker CLI")
    text = subprocess.run([docker, "run", "--help"], capture_output=True, text=True, check=True).stdout
    flags = set(re.findall(r"^ +(?:-\w, )?--([a-z0-9-]+)", text, re.MULTILINE)) - {"help"}
    assert len(flags) > 90 and flags - set(RUN_FLAGS) == set()
