"""Console sockets and the relay of a terminal in the foreground."""

import fcntl
import os
import select
import socket
import struct
import subprocess
import termios
import time

import pytest

from havre.errors import HavreError
from havre.oci import console


def test_send_hands_the_descriptor_to_the_socket(tmp_path):
    deep = tmp_path / ("d" * 100)
    deep.mkdir()
    with socket.socket(socket.AF_UNIX) as listener:
        os.chdir(deep)
        listener.bind("s")
        listener.listen(1)
        master, slave = os.openpty()
        console.send(master, str(deep / "s"))
        peer, _ = listener.accept()
        _, fds, _, _ = socket.recv_fds(peer, 100, 1)
    os.chdir("/")
    os.write(slave, b"x")
    assert os.read(fds[0], 10) == b"x"
    for fd in (master, slave, fds[0]):
        os.close(fd)
    peer.close()


def test_send_says_so_when_nobody_listens(tmp_path):
    with pytest.raises(HavreError, match="connect to console socket"):
        console.send(0, str(tmp_path / "none"))


def test_resize_sets_the_window(tmp_path):
    master, slave = os.openpty()
    console.resize(master, 40, 132)
    assert struct.unpack("HHHH", fcntl.ioctl(slave, termios.TIOCGWINSZ, b"\0" * 8))[:2] == (40, 132)
    os.close(master)
    os.close(slave)


def read_until(fd, word, limit_s=20):
    data, deadline = b"", time.monotonic() + limit_s
    while word not in data:
        assert select.select([fd], [], [], deadline - time.monotonic())[0], f"no {word!r} in {data!r}"
        data += os.read(fd, 1024)
    return data


@pytest.mark.kernel
def test_create_sends_the_terminal_to_the_console_socket(oci):
    size = {"height": 33, "width": 99}
    place = oci.bundle("sh", "-c", "read x; stty size; echo got $x", terminal=True, consoleSize=size)
    refused = oci("create", "-b", place, "refused")
    assert refused.returncode == 1 and "without setting console socket" in refused.stderr
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(oci.folder / "c"))
        listener.listen(1)
        assert oci("create", "-b", place, "--console-socket", oci.folder / "c", "tty").returncode == 0
        peer, _ = listener.accept()
    _, (master, *_), _, _ = socket.recv_fds(peer, 100, 1)
    peer.close()
    assert oci("start", "tty").returncode == 0
    os.write(master, b"word\n")
    assert b"33 99" in read_until(master, b"got word")
    os.close(master)


@pytest.mark.kernel
def test_exec_relays_a_terminal_in_the_foreground_and_restores_ours(oci):
    place = oci.create("sleep", "100")
    oci("start", place.name)
    master, slave = os.openpty()
    console.resize(master, 21, 77)
    before = termios.tcgetattr(slave)
    words = [*oci.program, "exec", "-t", place.name, "sh", "-c", "stty size; read x; echo =$x=; exit 4"]
    child = subprocess.Popen(
        words, stdin=slave, stdout=slave, stderr=slave, env=oci.env, start_new_session=True
    )
    assert b"21 77" in read_until(master, b"21 77")
    os.write(master, b"typed\n")
    read_until(master, b"=typed=")
    assert child.wait(20) == 4
    assert termios.tcgetattr(slave) == before
    os.close(master)
    os.close(slave)


@pytest.mark.kernel
def test_run_passes_signals_on(oci):
    place = oci.bundle(
        "sh", "-c", "trap 'echo caught; exit 6' TERM; echo ready; while :; do sleep 0.05; done"
    )
    child = subprocess.Popen(
        [*oci.program, "run", "-b", str(place), "sig"], stdout=subprocess.PIPE, env=oci.env
    )
    assert child.stdout.readline() == b"ready\n"
    child.terminate()
    assert child.communicate(timeout=20)[0] == b"caught\n" and child.returncode == 6
    assert oci("state", "sig").returncode == 1
