"""Clients that stall, leave or cheat: nobody else may notice."""

import contextlib
import io
import json
import os
import socket
import subprocess
import tarfile
import time
from collections.abc import Iterator

import pytest

pytestmark = [pytest.mark.daemon]
STALLED = 10  # more than the daemon has threads for archives


def connect(daemon) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX)
    sock.settimeout(20)
    sock.connect(daemon.socket)
    return sock


def post(path: str, *headers: str) -> bytes:
    return "\r\n".join([f"POST {path} HTTP/1.1", "Host: x", *headers, "", ""]).encode()


def archive(size: int) -> bytes:
    """A tar with one file."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        info = tarfile.TarInfo("file")
        info.size = size
        tar.addfile(info, io.BytesIO(bytes(size)))
    return out.getvalue()


def descriptors(daemon) -> int:
    return len(os.listdir(f"/proc/{daemon.pid}/fd"))


@contextlib.contextmanager
def settled(daemon) -> Iterator[None]:
    """The daemon has as many descriptors afterwards as before, within ten seconds."""
    before = descriptors(daemon)
    yield
    until = time.monotonic() + 10
    while descriptors(daemon) > before:
        assert time.monotonic() < until, f"{before} descriptors have become {descriptors(daemon)}"
        time.sleep(0.02)


def test_stalled_archives_hold_up_nobody(daemon) -> None:
    with settled(daemon), contextlib.ExitStack() as stack:
        for _ in range(STALLED):
            for request in (
                b"GET /images/busybox/get HTTP/1.1\r\nHost: x\r\n\r\n",
                post("/images/load", "Transfer-Encoding: chunked", "Content-Type: application/x-tar"),
            ):
                sock = stack.enter_context(connect(daemon))
                sock.sendall(request)
        done = daemon.docker("run", "--rm", "--network", "none", "busybox", "echo", "free", timeout=15)
        assert done.stdout == "free\n", done.stderr


def test_a_stop_does_not_wait_for_a_stalled_archive(own_daemon) -> None:
    with connect(own_daemon) as load, connect(own_daemon) as save:
        load.sendall(
            post("/images/load", "Transfer-Encoding: chunked", "Content-Type: application/x-tar")
            + b"5\r\nstart"
        )
        save.sendall(b"GET /images/busybox/get HTTP/1.1\r\nHost: x\r\n\r\n")
        assert save.recv(10)
        started = time.monotonic()
        own_daemon.end()
        assert time.monotonic() - started < 15
    own_daemon.start()


def test_a_saved_image_is_whole_for_a_slow_reader(daemon) -> None:
    with connect(daemon) as sock:
        sock.sendall(b"GET /images/busybox/get HTTP/1.0\r\n\r\n")
        found = bytearray()
        while data := sock.recv(4096):
            found += data
            if len(found) < 400_000:
                time.sleep(0.001)
    with tarfile.open(fileobj=io.BytesIO(bytes(found).partition(b"\r\n\r\n")[2])) as tar:
        assert "index.json" in tar.getnames()
        assert "oci-layout" in tar.getnames()


@pytest.mark.parametrize("cut", [100_000, 1_000_512])
def test_half_an_archive_makes_no_image(daemon, cut: int) -> None:
    """The second cut is where a tar could end as well."""
    data = archive(1_000_000)[:cut]
    before = daemon.docker("images", "-aq").stdout
    with settled(daemon):
        with connect(daemon) as sock:
            path = "/images/create?fromSrc=-&repo=half"
            sock.sendall(post(path, "Content-Type: application/x-tar", "Content-Length: 2000000") + data)
            sock.shutdown(socket.SHUT_WR)
            answer = sock.recv(65536)
        assert b"cut short" in answer
    assert daemon.docker("images", "-aq").stdout == before


def test_killed_clients_leave_no_descriptors(daemon) -> None:
    """`run` half-closes its attach at once; that it has gone shows only in the hang-up."""
    name = daemon.docker("run", "-d", "--network", "none", "busybox", "sleep", "1000").stdout.strip()
    try:
        with settled(daemon):
            words = ["docker", "-H", daemon.url]
            clients = [
                subprocess.Popen([*words, *rest], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
                for rest in (
                    ["attach", "--sig-proxy=false", name],
                    ["attach", "--no-stdin", "--sig-proxy=false", name],
                    ["logs", "-f", name],
                    ["wait", name],
                    ["events"],
                    ["exec", "-i", name, "sleep", "1"],
                )
            ]
            before = descriptors(daemon)
            until = time.monotonic() + 10
            while descriptors(daemon) < before + len(clients):
                assert time.monotonic() < until
                time.sleep(0.02)
            for one in clients:
                one.kill()
                one.wait()
    finally:
        daemon.docker("rm", "-f", name)


def test_a_removal_is_finished_though_its_client_has_left(daemon) -> None:
    for path, method in (("?force=1", "DELETE"), ("/stop?t=1", "POST")):
        name = daemon.docker("run", "-d", "--network", "none", "busybox", "sleep", "1000").stdout.strip()
        with connect(daemon) as sock:
            sock.sendall(f"{method} /containers/{name}{path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        wanted = "" if method == "DELETE" else "exited"
        until = time.monotonic() + 15
        while daemon.docker("inspect", "-f", "{{.State.Status}}", name).stdout.strip() != wanted:
            assert time.monotonic() < until
            time.sleep(0.05)
        daemon.docker("rm", "-f", name)


def test_a_start_is_finished_though_its_client_has_left(daemon) -> None:
    names = [daemon.docker("create", "busybox", "sleep", "1000").stdout.strip() for _ in range(5)]
    try:
        for name in names:
            with connect(daemon) as sock:
                sock.sendall(post(f"/containers/{name}/start", "Content-Length: 0"))
        for name in names:
            until = time.monotonic() + 15
            while daemon.docker("inspect", "-f", "{{.State.Status}}", name).stdout.strip() != "running":
                assert time.monotonic() < until
                time.sleep(0.05)
    finally:
        daemon.docker("rm", "-f", *names)


def test_input_written_by_a_client_that_leaves_arrives(daemon) -> None:
    name = daemon.docker("create", "-i", "busybox", "sh", "-c", "wc -c >/out; sleep 1000").stdout.strip()
    daemon.docker("start", name)
    try:
        with connect(daemon) as sock:
            sock.sendall(
                post(f"/containers/{name}/attach?stream=1&stdin=1", "Upgrade: tcp", "Connection: Upgrade")
            )
            assert sock.recv(4096).startswith(b"HTTP/1.1 101")
            sock.sendall(b"x" * 100_000)
            sock.shutdown(socket.SHUT_WR)
        until = time.monotonic() + 15
        while (counted := daemon.docker("exec", name, "cat", "/out").stdout.strip()) != "100000":
            assert time.monotonic() < until, counted
            time.sleep(0.05)
    finally:
        daemon.docker("rm", "-f", name)


def test_two_stuck_log_readers_do_not_disturb(daemon) -> None:
    name = daemon.docker("run", "-d", "--network", "none", "busybox", "yes", "x" * 1000).stdout.strip()
    try:
        with connect(daemon) as one, connect(daemon) as two:
            for sock in (one, two):
                sock.sendall(
                    f"GET /containers/{name}/logs?stdout=1&follow=1 HTTP/1.1\r\nHost: x\r\n\r\n".encode()
                )
            done = daemon.docker("logs", "--tail", "2", name)
            assert done.stdout.splitlines()[-1] == "x" * 1000
            assert daemon.docker("stop", "-t", "0", name).returncode == 0
    finally:
        daemon.docker("rm", "-f", name)


def test_resident_memory_stays_bounded_with_stuck_attaches(daemon) -> None:
    name = daemon.docker("create", "busybox", "yes", "x" * 1000).stdout.strip()
    status = f"/proc/{daemon.pid}/status"

    def resident() -> int:
        with open(status) as file:
            return next(int(line.split()[1]) for line in file if line.startswith("VmRSS"))

    before = resident()
    try:
        with contextlib.ExitStack() as stack:
            for _ in range(20):
                sock = stack.enter_context(connect(daemon))
                query = "stream=1&stdout=1&stderr=1"
                sock.sendall(
                    post(f"/containers/{name}/attach?{query}", "Upgrade: tcp", "Connection: Upgrade")
                )
                assert sock.recv(300).startswith(b"HTTP/1.1 101")
            daemon.docker("start", name)
            time.sleep(1)  # a flood for a second: what is held then is the bound
            grown = resident() - before
        assert grown < 40_000
    finally:
        daemon.docker("rm", "-f", name)


def test_error_in_the_middle_of_a_load_is_told(daemon) -> None:
    answer = b""
    with connect(daemon) as sock:
        data = b"no archive at all" * 1000
        head = post(
            "/images/load",
            "Content-Type: application/x-tar",
            f"Content-Length: {len(data)}",
            "Connection: close",
        )
        sock.sendall(head + data)
        while piece := sock.recv(65536):
            answer += piece
    assert answer.split(b" ", 2)[1] in (b"400", b"200")
    assert b"message" in answer


def test_events_are_flushed_at_once(daemon) -> None:
    with connect(daemon) as sock:
        sock.sendall(
            b"GET /events?filters=%7B%22type%22%3A%7B%22container%22%3Atrue%7D%7D HTTP/1.1\r\nHost: x\r\n\r\n"
        )
        assert sock.recv(1000).startswith(b"HTTP/1.1 200")
        name = daemon.docker("create", "busybox").stdout.strip()
        line = sock.recv(65536).split(b"\r\n")[1]
        event = json.loads(line)
        assert (event["Action"], event["Actor"]["ID"]) == ("create", name)
        daemon.docker("rm", name)
