"""docker diff: a container's changes, while it runs and afterwards."""

import subprocess

import pytest

pytestmark = [pytest.mark.daemon, pytest.mark.compat]
SCRIPT = "echo x > /etc/x; echo y >> /etc/passwd; rm /bin/vi; rm -r /var; mkdir -p /new/d; echo done; exec sleep 1000"
CHANGES = "C /bin\nD /bin/vi\nC /etc\nC /etc/passwd\nA /etc/x\nA /new\nA /new/d\nD /var\n"


@pytest.fixture
def changed(daemon):
    made = daemon.docker("run", "-d", "busybox", "sh", "-c", SCRIPT).stdout.strip()
    attached = subprocess.Popen(
        [*daemon.inside(), "docker", "-H", daemon.url, "logs", "-f", made], stdout=subprocess.PIPE
    )
    assert attached.stdout is not None and attached.stdout.readline() == b"done\n"
    attached.kill()
    attached.communicate()
    yield made
    daemon.docker("rm", "-f", made)


def test_diff_lists_changes_while_it_runs_and_after(daemon, changed: str, cli) -> None:
    assert cli("diff", changed).stdout == CHANGES
    daemon.docker("stop", "-t", "0", changed)
    assert cli("diff", changed).stdout == CHANGES


def test_what_was_never_started_has_no_change(daemon) -> None:
    made = daemon.docker("create", "busybox").stdout.strip()
    assert daemon.docker("diff", made).stdout == daemon.havre("diff", made).stdout == ""
    daemon.docker("rm", made)


def test_mount_points_show_as_docker_shows_them(daemon, tmp_path) -> None:
    words = ["-v", f"{tmp_path}:/data/in", "--tmpfs", "/scratch", "busybox", "true"]
    made = daemon.docker("run", "-d", *words).stdout.strip()
    daemon.docker("wait", made)
    assert daemon.docker("diff", made).stdout == "A /data\nA /data/in\nA /scratch\n"
    daemon.docker("rm", made)


def test_nobody_has_no_diff(cli) -> None:
    done = cli("diff", "nobody")
    assert (done.returncode, done.stderr) == (1, "Error response from daemon: No such container: nobody\n")
