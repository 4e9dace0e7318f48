"""Volumes by the stock CLI and by ours: named, anonymous, from the image, inherited; who holds them; what a crash leaves."""

import json
import signal
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

pytestmark = [pytest.mark.daemon, pytest.mark.compat]
FILL = "mkdir -p /data/deep; echo image > /data/file; ln -s /etc/passwd /data/deep/link; chown -R 33:33 /data; chmod 750 /data"


@pytest.fixture(scope="module")
def filled(daemon_of_its_own):
    """A daemon with an image that has something at /data, owned by 33, and calls that a volume."""
    daemon = daemon_of_its_own
    archive = str(daemon.root / "filled.tar")
    for words in (
        ("run", "--name", "filler", "busybox", "sh", "-c", FILL),
        ("export", "-o", archive, "filler"),
        ("rm", "filler"),
        ("import", "-c", 'CMD ["sh"]', "-c", "VOLUME /data", archive, "filled"),
    ):
        done = daemon.docker(*words)
        assert done.returncode == 0, done.stderr
    return daemon


@pytest.fixture(params=["docker", "havre"])
def run(request, filled):
    """One CLI, and every volume gone afterwards."""
    cli = filled.docker if request.param == "docker" else filled.havre
    yield cli
    if names := cli("ps", "-aq").stdout.split():
        cli("rm", "-f", "-v", *names)
    if names := cli("volume", "ls", "-q").stdout.split():
        assert cli("volume", "rm", *names).returncode == 0


def names(run) -> list[str]:
    return run("volume", "ls", "-q").stdout.split()


def test_what_is_written_to_a_named_volume_outlives_the_container(run) -> None:
    assert run("run", "--rm", "-v", "data:/d", "busybox", "sh", "-c", "echo kept > /d/x").returncode == 0
    assert (
        run("run", "--rm", "--mount", "type=volume,src=data,dst=/e,ro", "busybox", "cat", "/e/x").stdout
        == "kept\n"
    )
    refused = run("run", "--rm", "-v", "data:/d:ro", "busybox", "touch", "/d/y")
    assert "Read-only file system" in refused.stderr
    assert names(run) == ["data"]


def test_an_empty_volume_gets_what_the_image_has_with_owners_and_modes(run) -> None:
    shown = run(
        "run",
        "--rm",
        "-v",
        "data:/data",
        "filled",
        "sh",
        "-c",
        "cat /data/file; stat -c '%u %g %a' /data /data/deep; readlink /data/deep/link",
    )
    assert shown.stdout == "image\n33 33 750\n33 33 755\n/etc/passwd\n", shown.stderr
    run("run", "--rm", "-v", "data:/data", "filled", "sh", "-c", "echo mine > /data/file")
    assert run("run", "--rm", "-v", "data:/data", "filled", "cat", "/data/file").stdout == "mine\n"
    assert run("run", "--rm", "-v", "bare:/data:nocopy", "filled", "ls", "/data").stdout == ""


def test_an_images_volume_is_anonymous_and_goes_with_rm_and_rm_v(run) -> None:
    assert run("run", "--rm", "filled", "cat", "/data/file").stdout == "image\n"
    assert names(run) == []
    run("run", "-d", "--name", "one", "-v", "/more", "filled", "sleep", "100")
    mounts = json.loads(run("inspect", "--format", "{{json .Mounts}}", "one").stdout)
    assert [(one["Type"], one["Destination"], one["Driver"], len(one["Name"])) for one in mounts] == [
        ("volume", "/data", "local", 64),
        ("volume", "/more", "local", 64),
    ]
    assert Path(mounts[0]["Source"], "file").read_text() == "image\n"
    assert sorted(names(run)) == sorted(one["Name"] for one in mounts)
    run("rm", "-f", "one")
    assert len(names(run)) == 2
    pruned = run("volume", "prune", "-f")
    assert "Total reclaimed space: " in pruned.stdout and len(pruned.stdout.splitlines()) == 5
    run("run", "--name", "two", "filled", "true")
    run("rm", "-v", "two")
    assert names(run) == []


def test_a_volume_in_use_stays(run) -> None:
    run("create", "--name", "holder", "-v", "data:/d", "busybox")
    refused = run("volume", "rm", "data")
    holder = run("inspect", "--format", "{{.Id}}", "holder").stdout.strip()
    assert (refused.returncode, refused.stderr) == (
        1,
        f"Error response from daemon: remove data: volume is in use - [{holder}]\n",
    )
    assert "data" not in run("volume", "prune", "-f", "-a").stdout
    run("rm", "-v", "holder")
    assert names(run) == ["data"]
    assert run("volume", "prune", "-f").stdout == "Total reclaimed space: 0B\n"
    assert "Deleted Volumes:\ndata\n" in run("volume", "prune", "-f", "-a").stdout


def test_volumes_from_brings_binds_and_volumes(run, tmp_path) -> None:
    (tmp_path / "host").write_text("host\n")
    run("create", "--name", "donor", "-v", "data:/d", "-v", f"{tmp_path}:/h", "busybox")
    assert (
        run(
            "run", "--rm", "--volumes-from", "donor", "busybox", "sh", "-c", "echo x > /d/x; cat /h/host"
        ).stdout
        == "host\n"
    )
    read_only = run(
        "run", "--rm", "--volumes-from", "donor:ro", "busybox", "sh", "-c", "cat /d/x; touch /d/y"
    )
    assert (read_only.stdout, "Read-only" in read_only.stderr) == ("x\n", True)
    missing = run("create", "--pull", "never", "--volumes-from", "nobody", "busybox")
    assert missing.returncode != 0 and "No such container: nobody" in missing.stderr


def test_create_inspect_and_list(run) -> None:
    assert run("volume", "create", "--label", "a=b", "data").stdout == "data\n"
    assert run("volume", "create", "data").stdout == "data\n"
    anonymous = run("volume", "create").stdout.strip()
    shown = json.loads(run("volume", "inspect", "data").stdout)[0]
    assert (shown["Name"], shown["Driver"], shown["Scope"], shown["Labels"]) == (
        "data",
        "local",
        "local",
        {"a": "b"},
    )
    assert shown["Mountpoint"].endswith("/volumes/data/_data")
    assert run("volume", "ls", "-q", "-f", "label=a").stdout == "data\n"
    assert run("volume", "ls", "-q", "-f", "name=dat", "-f", "dangling=true").stdout == "data\n"
    assert len(anonymous) == 64 and sorted(names(run)) == sorted(["data", anonymous])
    missing = run("volume", "inspect", "nothing")
    assert missing.returncode == 1 and "get nothing: no such volume" in missing.stderr
    bad = run("volume", "create", "../x")
    assert bad.returncode == 1 and "invalid characters for a local volume name" in bad.stderr
    driver = run("volume", "create", "-d", "nope", "x")
    assert 'plugin "nope" not found' in driver.stderr


def test_a_create_that_fails_leaves_no_volume(run) -> None:
    assert run("create", "-v", "new:/d", "-v", "/d2", "-v", "/:/d3:bad", "busybox").returncode != 0
    assert run("create", "-v", "new:/d", "--device", "/dev/nothing", "busybox").returncode != 0
    assert names(run) == []


def test_disk_usage_counts_what_is_there(run) -> None:
    run("create", "--name", "user", "-v", "data:/d", "busybox")
    run("run", "--rm", "-v", "data:/d", "busybox", "dd", "if=/dev/zero", "of=/d/x", "bs=1M", "count=3")
    line = next(one for one in run("system", "df").stdout.splitlines() if one.startswith("Local Volumes"))
    assert line.split()[2:5] == ["1", "1", "3.15MB"]


def test_both_clis_print_the_same(filled) -> None:
    filled.docker("volume", "create", "--label", "x=y", "data")
    for words in (
        ("volume", "ls"),
        ("volume", "inspect", "data"),
        ("volume", "ls", "--format", "json"),
        ("volume", "ls", "--format", '{{.Name}} {{.Label "x"}} {{.Mountpoint}}'),
    ):
        assert filled.docker(*words).stdout == filled.havre(*words).stdout
    filled.docker("volume", "rm", "data")


def test_volumes_survive_kill_9_and_so_does_who_holds_them(own_daemon) -> None:
    daemon = own_daemon
    daemon.docker(
        "run", "-d", "--name", "user", "-v", "data:/d", "busybox", "sh", "-c", "echo x > /d/x; sleep 100"
    )
    daemon.docker("volume", "create", "idle")
    daemon.end(signal.SIGKILL)
    daemon.start()
    assert daemon.docker("volume", "ls", "-q").stdout == "data\nidle\n"
    assert daemon.docker("volume", "rm", "data").returncode == 1
    assert daemon.docker("run", "--rm", "-v", "data:/d", "busybox", "cat", "/d/x").stdout == "x\n"


def test_events_tell_of_volumes(own_daemon) -> None:
    daemon = own_daemon
    daemon.docker("run", "--rm", "-v", "data:/d", "busybox", "true")
    daemon.docker("volume", "rm", "data")
    words = ["docker", "-H", daemon.url, "events", "--since", "1", "--filter", "type=volume"]
    with subprocess.Popen(
        [*words, "--format", "{{.Action}} {{.Actor.ID}}"], stdout=subprocess.PIPE, text=True
    ) as events:
        assert events.stdout
        told = [events.stdout.readline().strip() for _ in range(4)]
        events.kill()
    assert told == ["create data", "mount data", "unmount data", "destroy data"]


def test_a_volume_is_never_taken_from_a_container_that_is_being_made(own_daemon) -> None:
    daemon = own_daemon
    for number in range(10):
        with ThreadPoolExecutor(4) as pool:
            making = [
                pool.submit(daemon.docker, "create", "--name", f"n{number}-{one}", "-v", "data:/d", "busybox")
                for one in range(2)
            ]
            taking = [pool.submit(daemon.docker, "volume", "rm", "data") for _ in range(2)]
        made = [one.result().returncode == 0 for one in making]
        assert all(one.result().returncode in (0, 1) for one in taking)
        assert (daemon.docker("volume", "ls", "-q").stdout == "data\n") == any(made)
        for one in range(2):
            daemon.docker("rm", f"n{number}-{one}")
        daemon.docker("volume", "rm", "-f", "data")
