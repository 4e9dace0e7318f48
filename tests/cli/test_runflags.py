"""run's flags become the create request that stock clients send."""

import pytest

from havre.cli import options
from havre.cli.runflags import RUN_FLAGS, environment, nanos, request
from havre.errors import InvalidParameter


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
     ["--log-opt", "x"], ["-e", "=x"]],
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
