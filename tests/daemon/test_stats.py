"""docker stats by the stock CLI, docker-py, raw requests, and ours."""

import http.client
import json
import socket

import pytest

from havre.runtime.cgroup.layout import host_layout
from havre.runtime.cgroup.usage import BLKIO_FIELDS

pytestmark = [pytest.mark.daemon, pytest.mark.compat]
ZERO = "0001-01-01T00:00:00Z"


class Connection(http.client.HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("docker", timeout=20)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(20)
        self.sock.connect(self._path)


def get(daemon, path: str) -> http.client.HTTPResponse:
    connection = Connection(daemon.socket)
    connection.request("GET", path)
    answer = connection.getresponse()
    answer.connection = connection
    return answer


@pytest.fixture
def busy(daemon):
    made = daemon.docker(
        "run", "-d", "-m", "64m", "busybox", "sh", "-c", "while :; do :; done"
    ).stdout.strip()
    yield made
    daemon.docker("rm", "-f", made)


def test_frame_has_what_docker_sends(daemon, busy: str) -> None:
    frame = json.loads(get(daemon, f"/v1.51/containers/{busy}/stats?stream=0").read())
    assert set(frame) == {
        "read", "preread", "pids_stats", "blkio_stats", "num_procs", "storage_stats", "cpu_stats", "precpu_stats",
        "memory_stats", "name", "id", "networks",
    }  # fmt: skip
    assert ZERO < frame["preread"] < frame["read"]
    assert frame["id"] == busy
    now, before = frame["cpu_stats"], frame["precpu_stats"]
    assert now["cpu_usage"]["total_usage"] > before["cpu_usage"]["total_usage"] > 0
    assert now["system_cpu_usage"] > before["system_cpu_usage"]
    assert set(now["throttling_data"]) == {"periods", "throttled_periods", "throttled_time"}
    assert frame["memory_stats"]["limit"] == 64 << 20
    assert 0 < frame["memory_stats"]["usage"] < 64 << 20
    assert tuple(frame["blkio_stats"]) == BLKIO_FIELDS
    assert frame["pids_stats"]["current"] == 1
    assert set(frame["networks"]["eth0"]) == {
        f"{way}_{what}" for way in ("rx", "tx") for what in ("bytes", "packets", "errors", "dropped")
    }
    if "memory" in host_layout().v1:
        assert "total_inactive_file" in frame["memory_stats"]["stats"]
    else:
        assert "inactive_file" in frame["memory_stats"]["stats"]
    newer = json.loads(get(daemon, f"/containers/{busy}/stats?stream=0&one-shot=1").read())
    assert newer["preread"] == ZERO


def test_stopped_container_has_zeros(daemon) -> None:
    made = daemon.docker("create", "busybox").stdout.strip()
    frame = json.loads(get(daemon, f"/v1.51/containers/{made}/stats?stream=0").read())
    assert frame["read"] == frame["preread"] == ZERO
    assert frame["memory_stats"] == frame["pids_stats"] == {}
    assert frame["cpu_stats"] == frame["precpu_stats"]
    assert "networks" not in frame
    daemon.docker("rm", made)


def test_streams_share_one_reader_and_end_with_the_container(daemon, busy: str) -> None:
    first = get(daemon, f"/containers/{busy}/stats")
    one = [json.loads(first.readline())["read"] for _ in range(2)]
    second = get(daemon, f"/containers/{busy}/stats?stream=true")
    other = json.loads(second.readline())["read"]
    daemon.docker("rm", "-f", busy)
    one += [json.loads(line)["read"] for line in first.read().splitlines()]
    assert other in one
    assert second.read().count(b"\n") < 5


def test_stream_goes_on_over_stop_and_start(daemon) -> None:
    made = daemon.docker("run", "-d", "busybox", "sleep", "1000").stdout.strip()
    answer = get(daemon, f"/containers/{made}/stats")
    assert json.loads(answer.readline())["pids_stats"] == {"current": 1}
    daemon.docker("stop", "-t", "0", made)
    while json.loads(answer.readline())["pids_stats"]:
        pass
    daemon.docker("start", made)
    while not json.loads(answer.readline())["pids_stats"]:
        pass
    daemon.docker("rm", "-f", made)


def test_wrong_requests_are_refused(daemon, busy: str) -> None:
    answer = get(daemon, f"/containers/{busy}/stats?stream=1&one-shot=1")
    assert answer.status == 400
    assert b"cannot have stream=true and one-shot=true" in answer.read()
    assert get(daemon, "/containers/nobody/stats").status == 404


def test_networks_are_those_the_container_sees(daemon) -> None:
    for mode, wanted in (("host", None), ("none", None)):
        made = daemon.docker("run", "-d", "--network", mode, "busybox", "sleep", "1000").stdout.strip()
        frame = json.loads(get(daemon, f"/containers/{made}/stats?stream=0&one-shot=1").read())
        assert frame.get("networks") == wanted
        daemon.docker("rm", "-f", made)


def test_docker_py_reads_frames(daemon, busy: str) -> None:
    docker = pytest.importorskip("docker")
    client = docker.DockerClient(base_url=daemon.url)
    container = client.containers.get(busy)
    assert container.stats(stream=False)["precpu_stats"]["system_cpu_usage"] > 0
    frames = container.stats(stream=True, decode=True)
    assert next(frames)["id"] == next(frames)["id"] == busy
    frames.close()
    client.close()


def test_table_is_byte_identical_to_dockers(daemon) -> None:
    made = [
        daemon.docker("run", "-d", "--network", "none", "busybox", "sleep", "1000").stdout.strip()
        for _ in "ab"
    ]
    made.append(daemon.docker("create", "busybox").stdout.strip())
    try:
        for words in ((), ("-a",), ("--no-trunc",), ("--format", "json"), (made[0][:12], made[2][:12])):
            assert (
                daemon.havre("stats", "--no-stream", *words).stdout
                == daemon.docker("stats", "--no-stream", *words).stdout
            )
        done = daemon.havre("stats", "--no-stream", made[0], "nobody")
        assert (done.returncode, done.stderr) == (
            1,
            "Error response from daemon: No such container: nobody\n",
        )
    finally:
        daemon.docker("rm", "-f", *made)
