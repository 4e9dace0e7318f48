"""docker-py's ordinary examples, unchanged."""

import pytest

docker = pytest.importorskip("docker")
pytestmark = [pytest.mark.daemon, pytest.mark.compat]


@pytest.fixture(scope="module")
def client(daemon):
    one = docker.DockerClient(base_url=daemon.url)
    yield one
    one.close()


def test_run_returns_the_output(client) -> None:
    assert client.containers.run("busybox", "echo hello world", remove=True) == b"hello world\n"


def test_failing_command_raises_with_its_output(client) -> None:
    with pytest.raises(docker.errors.ContainerError) as raised:
        client.containers.run("busybox", ["sh", "-c", "echo bad >&2; exit 3"], remove=True)
    assert raised.value.exit_status == 3
    assert b"bad" in raised.value.stderr


def test_missing_things_raise_not_found(client) -> None:
    with pytest.raises(docker.errors.ImageNotFound):
        client.images.get("no-such-image")
    with pytest.raises(docker.errors.NotFound):
        client.containers.get("no-such-container")


def test_container_lives_as_in_the_documentation(client) -> None:
    container = client.containers.run(
        "busybox", "sleep 100", detach=True, name="py", environment={"A": "1"}, labels={"k": "v"}
    )
    try:
        assert container.status in ("created", "running")
        container.reload()
        assert container.attrs["Config"]["Labels"] == {"k": "v"}
        assert [one.name for one in client.containers.list(filters={"label": "k=v"})] == ["py"]
        container.pause()
        container.unpause()
        container.stop(timeout=0)
        assert container.wait()["StatusCode"] == 137
    finally:
        container.remove(force=True)


def test_fast_execs_lose_no_output(client) -> None:
    container = client.containers.run("busybox", "sleep 100", detach=True)
    try:
        for number in range(100):
            code, output = container.exec_run(["echo", str(number)])
            assert (code, output) == (0, f"{number}\n".encode())
    finally:
        container.remove(force=True)


def test_exec_with_demux_and_stream(client) -> None:
    container = client.containers.run("busybox", "sleep 100", detach=True)
    try:
        code, (out, err) = container.exec_run(["sh", "-c", "echo o; echo e >&2; exit 4"], demux=True)
        assert (code, out, err) == (4, b"o\n", b"e\n")
        _, stream = container.exec_run(["sh", "-c", "echo 1; echo 2"], stream=True)
        assert b"".join(stream) == b"1\n2\n"
    finally:
        container.remove(force=True)


def test_events_tell_what_happened(client) -> None:
    import time

    start = int(time.time()) - 1
    client.containers.run("busybox", "true", remove=True)
    found = [event["Action"] for event in client.events(since=start, until=int(time.time()) + 1, decode=True)]
    for action in ("create", "start", "die", "destroy"):
        assert action in found


def test_old_api_versions_are_answered(daemon) -> None:
    for version in ("1.24", "1.40", "1.44"):
        old = docker.DockerClient(base_url=daemon.url, version=version)
        assert old.ping() is True
        assert isinstance(old.containers.list(all=True), list)
        old.close()
