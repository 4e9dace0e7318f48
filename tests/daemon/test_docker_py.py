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


def read_all(sock) -> bytes:
    found = b""
    while piece := sock.recv(4096):
        found += piece
    return found


def test_attach_socket_carries_the_past_and_what_is_typed(client) -> None:
    import socket

    script = "echo a; echo b >&2; head -n1"
    container = client.containers.run("busybox", ["sh", "-c", script], stdin_open=True, detach=True)
    try:
        params = {"stdin": 1, "stdout": 1, "stderr": 1, "stream": 1, "logs": 1}
        sock = client.api.attach_socket(container.id, params=params)._sock
        sock.sendall(b"hello\n")
        sock.shutdown(socket.SHUT_WR)
        found = read_all(sock)
        for stream, text in ((1, b"a\n"), (2, b"b\n"), (1, b"hello\n")):
            assert bytes([stream, 0, 0, 0, 0, 0, 0, len(text)]) + text in found
        assert container.wait()["StatusCode"] == 0
        assert container.logs(tail=1) == b"hello\n"
        assert container.attach(logs=True, stream=False).count(b"\n") == 3
        assert sorted(b"".join(container.logs(stream=True)).split()) == [b"a", b"b", b"hello"]
    finally:
        container.remove(force=True)


def test_exec_sockets_half_close_and_have_terminals(client) -> None:
    import socket

    container = client.containers.run("busybox", "sleep 100", detach=True)
    try:
        made = client.api.exec_create(container.id, ["cat"], stdin=True)["Id"]
        sock = client.api.exec_start(made, socket=True)._sock
        sock.sendall(b"xyz")
        sock.shutdown(socket.SHUT_WR)
        assert read_all(sock) == b"\1\0\0\0\0\0\0\3xyz"
        assert client.api.exec_inspect(made)["ExitCode"] == 0
        made = client.api.exec_create(
            container.id, ["sh", "-c", "read word; stty size"], stdin=True, tty=True
        )["Id"]
        sock = client.api.exec_start(made, socket=True, tty=True)._sock
        client.api.exec_resize(made, 40, 100)
        sock.sendall(b"go\n")
        assert b"40 100" in read_all(sock)
        assert container.exec_run("nosuch").exit_code == 127
    finally:
        container.remove(force=True)


def test_an_exec_has_the_containers_limits(client) -> None:
    limit = docker.types.Ulimit(name="nofile", soft=100, hard=200)
    container = client.containers.run("busybox", "sleep 100", detach=True, ulimits=[limit])
    try:
        assert container.exec_run(["sh", "-c", "ulimit -n; ulimit -Hn"]).output == b"100\n200\n"
    finally:
        container.remove(force=True)


def test_events_follow_one_container(client) -> None:
    container = client.containers.create("busybox", "sleep 100")
    stream = client.events(decode=True, filters={"container": container.id})
    try:
        for verb in (container.start, container.pause, container.unpause, container.kill):
            verb()
        assert [next(stream)["Action"] for _ in range(5)] == ["start", "pause", "unpause", "kill", "die"]
    finally:
        stream.close()
        container.remove(force=True)


def test_volumes_images_and_networks_as_in_the_documentation(client) -> None:
    image = client.images.get("busybox")
    assert image.tag("kept", "1")
    try:
        assert len(b"".join(client.images.get("kept:1").save(named="kept:1"))) > 1_000_000
        assert ["kept:1" in one.tags for one in client.images.list(filters={"reference": "kept"})] == [True]
    finally:
        client.images.remove("kept:1")
    pool = docker.types.IPAMConfig(pool_configs=[docker.types.IPAMPool(subnet="10.97.0.0/24")])
    network = client.networks.create("pynet", ipam=pool, labels={"k": "v"})
    container = client.containers.run("busybox", "sleep 100", network="pynet", detach=True)
    try:
        network.reload()
        assert [one.name for one in network.containers] == [container.name]
        assert [one.name for one in client.networks.list(filters={"label": "k=v"})] == ["pynet"]
    finally:
        container.remove(force=True)
        network.remove()
    assert client.df()["LayersSize"] > 0
    assert client.info()["Containers"] >= 0
