"""SIGHUP and the options that change what the daemon does, seen through the stock CLI."""

import json
import os
import select
import signal
import subprocess
import sys
from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest

pytestmark = [pytest.mark.daemon, pytest.mark.compat]
SRC = Path(__file__).parents[2] / "src"


@pytest.fixture
def configured(daemon, tmp_path):
    """Start a daemon with a daemon.json of these keys."""
    made = []

    def start(**keys):
        (tmp_path / "daemon.json").write_text(
            json.dumps({key.replace("_", "-"): value for key, value in keys.items()})
        )
        one = type(daemon)(tmp_path, "--config-file", str(tmp_path / "daemon.json"))
        made.append(one)
        one.start()
        return one

    yield start
    for one in made:
        one.close()


def follow_events(one) -> "subprocess.Popen[str]":
    words = [
        *one.inside(),
        "docker",
        "-H",
        one.url,
        "events",
        "--since",
        "1",
        "--filter",
        "type=daemon",
        "--format",
        "{{json .}}",
    ]
    return subprocess.Popen(words, stdout=subprocess.PIPE, text=True)


def next_line(process) -> str:
    assert select.select([process.stdout], [], [], 20)[0], "no event"
    return process.stdout.readline()


def test_hangup_takes_over_live_keys_and_tells_it(configured) -> None:
    one = configured(labels=["a=1"])
    events = follow_events(one)
    try:
        pid = one.pid
        config = one.root / "daemon.json"
        config.write_text(
            '{"labels": ["b=2"], "insecure-registries": ["lab:5000"], "debug": true, "bip": "10.77.0.1/24"}'
        )
        os.kill(pid, signal.SIGHUP)
        event = json.loads(next_line(events))
        assert event["Action"] == "reload" and event["Actor"]["Attributes"]["labels"] == '["b=2"]'
        shown = json.loads(one.docker("info", "-f", "{{json .}}").stdout)
        assert shown["Labels"] == ["b=2"] and shown["Debug"] is True
        assert "lab:5000" in shown["RegistryConfig"]["IndexConfigs"]
        config.write_text('{"labels": 7}')
        os.kill(pid, signal.SIGHUP)  # a bad file changes nothing
        assert one.docker("info", "-f", "{{.Labels}}").stdout == "[b=2]\n"
        assert '"labels" must be a list' in one.log.read_text()
        config.write_text('{"labels": ["c=3"]}')
        os.kill(pid, signal.SIGHUP)
        assert json.loads(next_line(events))["Actor"]["Attributes"]["debug"] == "false"
        assert (
            one.docker("network", "inspect", "bridge", "-f", "{{(index .IPAM.Config 0).Gateway}}").stdout
            == "172.17.0.1\n"
        )
    finally:
        events.kill()
        events.wait()


def test_options_of_the_default_bridge_do_what_they_say(configured, daemon) -> None:
    one = configured(icc=False, ip="127.0.0.1", mtu=1400, bip="10.66.0.1/24", fixed_cidr="10.66.0.128/26")
    one.docker(
        "import", "-c", 'CMD ["sh"]', "-", "busybox", stdin=sys.modules[type(daemon).__module__].rootfs()
    )
    serve = "echo hi > /tmp/index.html; exec httpd -f -p 80 -h /tmp"
    done = one.docker("run", "-d", "--name", "web", "-p", "8080:80", "busybox", "sh", "-c", serve)
    assert done.returncode == 0, done.stderr
    assert one.docker("port", "web").stdout == "80/tcp -> 127.0.0.1:8080\n"
    address = one.docker(
        "inspect", "-f", "{{.NetworkSettings.Networks.bridge.IPAddress}}", "web"
    ).stdout.strip()
    assert ip_address(address) in ip_network("10.66.0.128/26")
    assert one.docker("exec", "web", "cat", "/sys/class/net/eth0/mtu").stdout == "1400\n"
    one.docker("exec", "web", "sh", "-c", "until wget -q -O - http://127.0.0.1; do :; done")  # it listens
    ask = "import urllib.request as r; print(r.urlopen('http://127.0.0.1:8080', timeout=20).read().decode())"
    done = subprocess.run([*one.inside(), sys.executable, "-c", ask], capture_output=True, text=True)
    assert done.stdout == "hi\n\n", done.stderr
    done = one.docker("run", "--rm", "busybox", "wget", "-T", "1", "-q", "-O", "-", f"http://{address}")
    assert done.returncode != 0 and "hi" not in done.stdout


def test_other_options_reach_what_they_steer(configured, daemon) -> None:
    one = configured(
        host_gateway_ips=["192.0.2.7"],
        default_network_opts={"bridge": {"com.docker.network.driver.mtu": "1300"}},
        proxies={"https-proxy": "http://127.0.0.1:9"},
        oom_score_adjust=7,
        metrics_addr="127.0.0.1:9323",
    )
    assert Path(f"/proc/{one.pid}/oom_score_adj").read_text() == "7\n"
    assert "this option does nothing yet option=metrics-addr" in one.log.read_text()
    one.docker("network", "create", "mine")
    shown = one.docker(
        "network", "inspect", "mine", "-f", '{{index .Options "com.docker.network.driver.mtu"}}'
    )
    assert shown.stdout == "1300\n"
    one.docker(
        "import", "-c", 'CMD ["sh"]', "-", "busybox", stdin=sys.modules[type(daemon).__module__].rootfs()
    )
    words = ["run", "--rm", "--add-host", "up:host-gateway", "busybox", "grep", "up", "/etc/hosts"]
    assert one.docker(*words).stdout.split() == ["192.0.2.7", "up"]
    done = one.docker("pull", "registry.example/x")  # through the proxy, where nobody listens
    assert done.returncode != 0 and "127.0.0.1" in done.stderr


def test_wrong_words_end_with_125_and_a_wrong_file_with_1(tmp_path) -> None:
    def run(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "havre.daemon", *words],
            env={"PYTHONPATH": str(SRC)},
            capture_output=True,
            text=True,
        )

    done = run("--nonsense")
    assert (done.returncode, done.stderr.splitlines()[0]) == (125, "unknown flag: --nonsense")
    (tmp_path / "d.json").write_text('{"nonsense": 1}')
    done = run("--config-file", str(tmp_path / "d.json"))
    assert done.returncode == 1 and "don't match any configuration option: nonsense" in done.stderr
