"""dockerd's command line and daemon.json: every flag and key is known, a wrong one is refused as dockerd refuses it."""

import json
import re
import shutil
import subprocess

import pytest

from havre.daemon import flags
from havre.daemon.options import BOOLEAN, BY_FLAG, INTEGER, LATER, MAP, NOTHING, OPTIONS, REFUSED, Option
from havre.errors import InvalidParameter
from havre.network.defaults import HOST_IP_OPTION, ICC_OPTION, MASQUERADE_OPTION, MTU_OPTION

# what 20.10's help does not have yet, up to 29
NEWER = """allow-direct-routing bip6 bridge-accept-fwmark cdi-spec-dir default-network-opt feature firewall-backend http-proxy
https-proxy no-proxy ip-forward-no-drop log-format""".split()


@pytest.fixture
def parse(tmp_path):
    """Parse words with a daemon.json of these keys."""

    def do(*words: str, file: dict | str | None = None, as_dockerd: bool = False):
        path = tmp_path / "daemon.json"
        path.write_text(file if isinstance(file, str) else json.dumps(file or {}))
        return flags.parse(["--config-file", str(path), *words], as_dockerd=as_dockerd)

    return do


def test_every_flag_of_the_installed_dockerd_is_known() -> None:
    if not (dockerd := shutil.which("dockerd")):
        pytest.skip("needs dockerd")
    shown = subprocess.run([dockerd, "--help"], capture_output=True, text=True).stdout
    found = set(re.findall(r"^ +(?:-\w, )?--([\w-]+)", shown, re.MULTILINE))
    assert len(found) > 60
    assert found - set(BY_FLAG) - {"help", "version", "validate"} == set()


def test_every_newer_flag_is_known() -> None:
    assert [name for name in NEWER if name not in BY_FLAG] == []


GOOD = {
    "add-runtime": "x=/usr/bin/x", "bip": "10.9.0.1/24", "config-file": "", "default-address-pool": "base=10.0.0.0/8,size=24",
    "default-network-opt": "bridge=com.docker.network.driver.mtu=1400", "default-shm-size": "64m", "default-ulimit": "nofile=1:2",
    "host": "unix:///x", "host-gateway-ip": "192.0.2.1", "ip": "127.0.0.1", "log-level": "warn", "log-format": "json",
    "log-budget": "5g", "log-driver": "json-file", "log-opt": "max-size=1m", "storage-driver": "overlay2", "data-root": "/nowhere", "exec-root": "/nowhere",
}  # fmt: skip


def sample(option: Option) -> str:
    if option.flag in GOOD:
        return GOOD[option.flag]
    return {BOOLEAN: "true", INTEGER: "100", MAP: "a=b"}.get(option.kind, "word")


@pytest.mark.parametrize("option", [each for each in OPTIONS if each.flag], ids=lambda option: option.flag)
def test_flag_is_accepted_or_refused_with_a_reason(parse, option) -> None:
    if option.flag == "config-file":
        return
    words = [f"--{option.flag}={sample(option)}"]
    if option.fate == REFUSED:
        with pytest.raises(InvalidParameter, match=option.reason) as caught:
            parse(*words)
        assert not isinstance(caught.value, flags.UsageError)
        return
    config = parse(*words)
    assert (option.key in config.ignored) == (option.fate == NOTHING)
    assert (option.key in config.later) == (option.fate == LATER)


@pytest.mark.parametrize("option", OPTIONS, ids=lambda option: f"{option.key}")
def test_key_of_the_wrong_kind_is_refused_by_name(parse, option) -> None:
    if option.fate == NOTHING:
        return
    with pytest.raises(InvalidParameter, match=f'"{option.key}" must be'):
        parse(file={option.key: [1] if option.kind != "list" else 7})


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--nonsense"], "unknown flag: --nonsense"),
        (["-z"], "unknown shorthand flag: 'z' in -z"),
        (["--data-root"], "flag needs an argument: --data-root"),
        (["-H"], "flag needs an argument: 'H' in -H"),
        (["--debug=maybe"], 'invalid argument "maybe" for "-D, --debug" flag: true or false is needed'),
        (["--mtu", "abc"], 'invalid argument "abc" for "--mtu" flag: a number is needed'),
        (["--log-opt", "x"], 'invalid argument "x" for "--log-opt" flag: NAME=VALUE is needed'),
    ],
)
def test_wrong_words_are_told_as_dockerd_tells_them(parse, capsys, words, message) -> None:
    with pytest.raises(flags.UsageError) as caught:
        parse(*words)
    assert caught.value.message == message
    assert flags.complain(caught.value) == 125
    assert capsys.readouterr().err.startswith(f"{message}\n\nUsage:  havred [OPTIONS]")


@pytest.mark.parametrize(
    "words",
    [
        ["--log-level", "loud"], ["--log-format", "xml"], ["--storage-driver", "vfs"], ["--ip", "here"], ["--mtu", "7"],
        ["--host-gateway-ip", "x"], ["--max-concurrent-downloads", "0"], ["--default-address-pool", "10.0.0.0/8"], ["extra"],
        ["--default-network-opt", "overlay=a=b"], ["--default-shm-size", "much"],
    ],
    ids=lambda words: " ".join(words),
)  # fmt: skip
def test_wrong_values_are_refused_with_what_to_type(parse, words) -> None:
    with pytest.raises(InvalidParameter) as caught:
        parse(*words)
    assert not isinstance(caught.value, flags.UsageError)
    assert caught.value.hint or "invalid size" in str(caught.value)


def test_every_shape_of_a_flag_is_understood(parse) -> None:
    config = parse("-Dl", "error", "-H=unix:///a", "-Hunix:///b", "-H", "tcp://:1", "--tls=false", "-p/x.pid")
    assert config.hosts == ("unix:///a", "unix:///b", "tcp://:1")
    assert (config.log_level, config.pidfile, config.tls) == ("debug", "/x.pid", False)


def test_flag_and_key_together_conflict_and_lists_are_joined(parse) -> None:
    with pytest.raises(
        InvalidParameter, match="specified both as a flag and in the configuration file: debug"
    ):
        parse("-D", file={"debug": True})
    with pytest.raises(InvalidParameter, match="file: hosts"):
        parse("-H", "unix:///a", file={"hosts": ["unix:///b"]})
    with pytest.raises(InvalidParameter, match="file: http-proxy"):
        parse("--http-proxy", "p:1", file={"proxies": {"http-proxy": "q:1"}})
    config = parse(
        "--label", "a=1", "--log-opt", "tag=x", file={"labels": ["b=2"], "log-opts": {"max-file": "2"}}
    )
    assert config.settings.labels == ("b=2", "a=1")
    assert config.settings.log_opts == {"max-file": "2", "tag": "x"}


def test_daemon_json_of_real_life_is_accepted(parse) -> None:
    config = parse(
        file={
            "features": {"buildkit": True}, "builder": {"gc": {"enabled": True}}, "exec-opts": ["native.cgroupdriver=systemd"],
            "storage-driver": "overlay2", "storage-opts": ["overlay2.override_kernel_check=true"], "live-restore": True,
            "log-driver": "json-file", "log-opts": {"max-size": "10m"}, "default-address-pools": [{"base": "10.10.0.0/16", "size": 24}],
            "default-ulimits": {"nofile": {"Name": "nofile", "Hard": 64000, "Soft": 64000}}, "mtu": 1450, "icc": False, "ip": "127.0.0.1",
            "proxies": {"http-proxy": "http://proxy:3128", "no-proxy": "internal"}, "max-concurrent-downloads": 10, "iptables": None,
            "runtimes": {"nvidia": {"path": "nvidia-container-runtime", "runtimeArgs": []}}, "userland-proxy": False, "debug": False,
        }
    )  # fmt: skip
    assert config.bridge_options == {
        ICC_OPTION: "false", MASQUERADE_OPTION: "true", HOST_IP_OPTION: "127.0.0.1", MTU_OPTION: "1450",
    }  # fmt: skip
    assert config.transfers.concurrent_downloads == 10 and config.transfers.concurrent_uploads == 5
    assert config.proxies == {"http-proxy": "http://proxy:3128", "no-proxy": "internal"}
    assert "iptables" not in config.ignored and "live-restore" in config.ignored


@pytest.mark.parametrize("text", ["{", "[]", '"x"', '{"nonsense": 1}', '{"debug": "yes"}', "\x00"])
def test_bad_daemon_json_is_refused_by_its_name(parse, text) -> None:
    with pytest.raises(InvalidParameter, match=r"daemon\.json"):
        parse(file=text)


def test_names_of_dockerd_bring_dockers_places(parse) -> None:
    config = parse(as_dockerd=True)
    assert (config.hosts, config.pidfile) == (("unix:///var/run/docker.sock",), "/var/run/docker.pid")
    assert parse().hosts == ("unix:///run/havre/havre.sock",)


def test_validate_says_ok_or_what_is_wrong(tmp_path, capsys) -> None:
    path = tmp_path / "d.json"
    path.write_text('{"debug": true}')
    assert flags.only_talk(["--validate", "--config-file", str(path)]) == 0
    assert capsys.readouterr().err == "configuration OK\n"
    assert flags.only_talk(["--validate", "--config-file", str(path), "-D"]) == 1
    assert "specified both" in capsys.readouterr().err
    assert flags.only_talk(["--validate", "--nope"]) == 125
    assert flags.only_talk(["--validate", "--config-file", str(tmp_path / "none")]) == 1


def test_help_names_every_flag(capsys) -> None:
    assert flags.only_talk(["--help"]) == 0
    shown = capsys.readouterr().out
    assert [option.flag for option in OPTIONS if option.flag and f"--{option.flag}" not in shown] == []
