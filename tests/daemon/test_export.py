"""docker export: a container's files as one tar."""

import contextlib
import http.client
import io
import os
import socket
import stat
import tarfile
import time
from pathlib import Path

import pytest

pytestmark = [pytest.mark.daemon, pytest.mark.compat]
LIMIT_S = 20
SCRIPT = (
    "echo text > /etc/x; ln /etc/x /etc/y; ln -s x /etc/z; mkfifo /fifo; mknod /null c 1 3; rm /bin/vi; mkdir -p /a/b; "
    "chown 5:6 /a/b; chmod 1770 /a/b; echo $LONG > /a/$LONG; exec sleep 1000"
)
LONG = "n" * 150


def members(archive: bytes) -> dict[str, tarfile.TarInfo]:
    return {one.name: one for one in tarfile.open(fileobj=io.BytesIO(archive)).getmembers()}


def connect(daemon, path: str) -> http.client.HTTPResponse:
    sock = socket.socket(socket.AF_UNIX)
    sock.settimeout(LIMIT_S)
    sock.connect(daemon.socket)
    sock.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    answer = http.client.HTTPResponse(sock)
    answer.begin()
    answer.sock = sock
    return answer


def helpers(daemon) -> list[str]:
    """The exporting processes of this daemon's zygote."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if (folder / "comm").read_text() != "havre-export\n":
                continue
            if os.readlink(folder / "ns/net") == os.readlink(f"/proc/{daemon.pid}/ns/net"):
                found.append(folder.name)
    return found


def wait_for(condition) -> None:
    until = time.monotonic() + LIMIT_S
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.01)


@pytest.fixture
def container(daemon, tmp_path):
    (tmp_path / "secret").write_text("of the host")
    words = ["-e", f"LONG={LONG}", "-v", f"{tmp_path}:/data/in", "busybox", "sh", "-c", SCRIPT]
    made = daemon.docker("run", "-d", *words).stdout.strip()
    wait_for(lambda: "sleep" in daemon.docker("top", made, "-o", "pid,comm").stdout)
    yield made
    daemon.docker("rm", "-f", made)


def export(daemon, name: str) -> bytes:
    return connect(daemon, f"/containers/{name}/export").read()


def test_everything_is_in_it_while_it_runs_and_after(daemon, container: str) -> None:
    running = export(daemon, container)
    found = members(running)
    assert (found["etc/x"].isreg(), found["etc/x"].size) == (True, 5)
    assert (found["etc/y"].islnk(), found["etc/y"].linkname) == (True, "etc/x")
    assert (found["etc/z"].issym(), found["etc/z"].linkname) == (True, "x")
    assert found["fifo"].isfifo()
    assert (found["null"].ischr(), found["null"].devmajor, found["null"].devminor) == (True, 1, 3)
    folder = found["a/b"]
    assert (folder.uid, folder.gid, stat.S_IMODE(folder.mode)) == (5, 6, 0o1770)
    assert found[f"a/{LONG}"].size == len(LONG) + 1
    assert "bin/vi" not in found and "bin/busybox" in found
    assert "data/in" in found and "data/in/secret" not in found  # what is mounted is not the container's
    assert not [name for name in found if name.startswith("proc/")]
    daemon.docker("stop", "-t", "0", container)
    assert export(daemon, container) == running


def test_export_is_an_image_again(daemon, container: str, tmp_path) -> None:
    target = tmp_path / "tree.tar"
    assert daemon.havre("export", "-o", str(target), container).returncode == 0
    assert daemon.docker("export", "-o", str(tmp_path / "other.tar"), container).returncode == 0
    assert target.read_bytes() == (tmp_path / "other.tar").read_bytes()
    assert daemon.docker("import", str(target), "again").returncode == 0
    done = daemon.docker("run", "--rm", "again", "sh", "-c", "cat /etc/y; test -p /fifo && stat -c %u /a/b")
    assert done.stdout == "text\n5\n"
    daemon.docker("rmi", "again")


def test_attributes_of_files_are_kept(daemon) -> None:
    out = io.BytesIO()
    capability = bytes.fromhex("0100000200040000000000000000000000000000")
    with tarfile.open(
        fileobj=out, mode="w", format=tarfile.PAX_FORMAT, encoding="utf-8", errors="surrogateescape"
    ) as tar:
        info = tarfile.TarInfo("able")
        info.pax_headers = {"SCHILY.xattr.security.capability": capability.decode("utf-8", "surrogateescape")}
        tar.addfile(info)
    assert daemon.docker("import", "-", "able", stdin=out.getvalue()).returncode == 0
    made = daemon.docker("create", "able", "x").stdout.strip()
    found = members(export(daemon, made))["able"].pax_headers["SCHILY.xattr.security.capability"]
    assert found.encode("utf-8", "surrogateescape") == capability
    daemon.docker("rm", made)
    daemon.docker("rmi", "able")


def test_client_that_leaves_ends_the_helper_and_nothing_is_mounted_meanwhile(daemon, container: str) -> None:
    assert (
        daemon.docker(
            "exec", container, "dd", "if=/dev/zero", "of=/big", "bs=1M", "seek=99", "count=1"
        ).returncode
        == 0
    )
    before = Path(f"/proc/{daemon.pid}/mountinfo").read_text()
    answer = connect(daemon, f"/containers/{container}/export")
    assert answer.status == 200
    wait_for(lambda: len(helpers(daemon)) == 1)
    assert Path(f"/proc/{daemon.pid}/mountinfo").read_text() == before
    answer.sock.close()
    answer.close()
    wait_for(lambda: not helpers(daemon))
    assert Path(f"/proc/{daemon.pid}/mountinfo").read_text() == before


def test_archive_of_a_container_that_is_removed_meanwhile_is_cut(daemon, container: str) -> None:
    assert (
        daemon.docker(
            "exec", container, "dd", "if=/dev/zero", "of=/big", "bs=1M", "seek=99", "count=1"
        ).returncode
        == 0
    )
    answer = connect(daemon, f"/containers/{container}/export")
    assert daemon.docker("rm", "-f", container).returncode == 0
    with pytest.raises(http.client.IncompleteRead):
        answer.read()


def test_event_tells_of_it(daemon, container: str) -> None:
    export(daemon, container)
    shown = daemon.docker(
        "events", "--since", "1h", "--until", f"{time.time() + 1:.0f}", "-f", f"container={container}"
    )
    assert f"container export {container}" in shown.stdout


def test_what_cannot_be_exported_is_said(daemon, cli) -> None:
    done = cli("export", "nobody")
    assert (done.returncode, done.stderr) == (1, "Error response from daemon: No such container: nobody\n")
    done = cli("export", "-o", "/no/such/folder/file", "nobody")
    assert "invalid output path" in done.stderr
