"""Loop, Streams and Control with pipes and sockets alone: no root, no container."""

import os
import pty
import socket
import time

import pytest

from havre.runtime import streams, wire
from havre.runtime.control import Control
from havre.runtime.loop import IN, Loop
from havre.runtime.streams import Streams


class Log:
    full = False

    def __init__(self):
        self.rows = []

    def write(self, stream, data, nanos):
        self.rows.append((stream, data))

    def close(self):
        pass


class Process:
    """Streams over pipes; `stdin`, `stdout`, `stderr` are the process's own ends."""

    def __init__(self, *, keep_stdin=False, stdin=True):
        self.loop, self.log = Loop(), Log()
        self.streams = Streams(self.loop, tty=False, keep_stdin=keep_stdin, log=self.log)
        self.stdin, ours_in = os.pipe()
        ours_out, self.stdout = os.pipe()
        ours_err, self.stderr = os.pipe()
        self.ours = (ours_in if stdin else -1, ours_out, ours_err)

    def open(self):
        self.streams.open_pipes(*self.ours)
        return self

    def attach(self, *, stdin=True, stdout=True, stderr=True):
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        self.streams.attach(theirs, stdin, stdout, stderr)
        return ours

    def turn(self, count=5):
        for _ in range(count):
            self.loop.turn(0)


@pytest.fixture
def process():
    return Process().open()


def frame(stream, data):
    return bytes((stream, 0, 0, 0)) + len(data).to_bytes(4, "big") + data


def test_output_is_framed_and_logged_by_stream(process):
    client = process.attach()
    os.write(process.stdout, b"out")
    process.turn()
    os.write(process.stderr, b"err")
    process.turn()
    assert client.recv(100) == frame(1, b"out") + frame(2, b"err")
    assert process.log.rows == [(b"stdout", b"out"), (b"stderr", b"err")]


def test_output_before_any_client_is_logged_only(process):
    os.write(process.stdout, b"early")
    process.turn()
    client = process.attach()
    process.turn()
    with pytest.raises(BlockingIOError):
        client.recv(1)
    assert process.log.rows == [(b"stdout", b"early")]


def test_stdin_comes_from_every_client_and_ends_with_the_first_that_ends(process):
    one, two = process.attach(), process.attach()
    one.send(b"1")
    process.turn()
    two.send(b"2")
    process.turn()
    assert os.read(process.stdin, 10) == b"12"
    one.shutdown(socket.SHUT_WR)
    process.turn()
    assert os.read(process.stdin, 10) == b""


def test_stdin_ends_when_its_client_vanishes(process):
    client = process.attach()
    client.send(b"last words")
    client.close()
    process.turn()
    assert os.read(process.stdin, 100) == b"last words"
    assert os.read(process.stdin, 100) == b""
    assert process.streams.clients == []


def test_stdin_stays_when_it_is_kept(process):
    kept = Process(keep_stdin=True).open()
    client = kept.attach()
    client.close()
    kept.turn()
    os.set_blocking(kept.stdin, False)
    with pytest.raises(BlockingIOError):
        os.read(kept.stdin, 1)


def test_client_without_stdin_never_types():
    process = Process().open()
    client = process.attach(stdin=False)
    client.send(b"nothing")
    client.shutdown(socket.SHUT_WR)
    process.turn()
    os.set_blocking(process.stdin, False)
    with pytest.raises(BlockingIOError):
        os.read(process.stdin, 10)
    os.write(process.stdout, b"still")
    process.turn()
    assert client.recv(100) == frame(1, b"still")


def test_typed_before_the_process_is_there_waits_for_it():
    process = Process()
    client = process.attach()
    client.send(b"early")
    client.shutdown(socket.SHUT_WR)
    process.turn()
    process.open()
    process.turn()
    assert os.read(process.stdin, 10) + os.read(process.stdin, 10) == b"early"


def test_typed_goes_nowhere_when_there_is_no_stdin():
    process = Process(stdin=False)
    client = process.attach()
    client.send(b"early")
    process.turn()
    process.open()
    for _ in range(100):
        client.setblocking(True)
        client.send(b"x" * 65536)
        process.turn()


def test_blocked_stdin_stops_reading_the_client_and_goes_on_later(process):
    client = process.attach()
    sent = 0
    while True:
        try:
            sent += client.send(b"x" * 65536)
        except BlockingIOError:
            process.turn()
            try:
                sent += client.send(b"x" * 65536)
            except BlockingIOError:
                break
    assert sum(len(piece) for piece in process.streams._typed) <= streams.CHUNK_BYTES
    received = 0
    client.shutdown(socket.SHUT_WR)
    while data := os.read(process.stdin, 1 << 20):
        received += len(data)
        process.turn()
    assert received == sent


def fill(process, amount):
    for _ in range(amount // 32768):
        os.write(process.stdout, b"y" * 32768)
        process.turn(2)


def test_sole_stuck_client_holds_the_process_back_and_loses_nothing(process):
    client = process.attach()
    os.set_blocking(process.stdout, False)
    written = 0
    with pytest.raises(BlockingIOError):
        while True:
            written += os.write(process.stdout, b"y" * 32768)
            process.turn(2)
    assert process.streams.held
    assert process.streams.clients[0].buffered < streams.BUFFER_BYTES + 2 * streams.CHUNK_BYTES
    process.streams.cut_stuck(0)
    assert len(process.streams.clients) == 1
    received = b""
    os.close(process.stdout)
    while len(received) < written:
        try:
            received += client.recv(1 << 20)
        except BlockingIOError:
            process.turn()
        if received.count(b"y") == written:
            break
    assert received.count(b"y") == written and not process.streams.held


def test_stuck_client_is_cut_off_when_another_one_waits(process):
    stuck, good = process.attach(), process.attach()
    total = 0
    while not process.streams.held:
        fill(process, 32768)
        good.recv(1 << 20)
        total += 32768
    time.sleep(0.02)
    process.streams.cut_stuck(0.01)
    assert len(process.streams.clients) == 1 and not process.streams.held
    fill(process, 32768)
    assert good.recv(1 << 20)
    stuck.setblocking(True)
    while stuck.recv(1 << 20):
        pass  # what it had got, and then the end


def test_finish_reads_what_is_left_and_closes(process):
    client = process.attach()
    os.write(process.stdout, b"last")
    process.streams.finish()
    process.streams.close_clients()
    assert client.recv(100) == frame(1, b"last") and client.recv(100) == b""
    assert process.log.rows == [(b"stdout", b"last")]


def test_finish_does_not_wait_for_a_stray_that_writes_on(process, monkeypatch):
    read = os.read

    def endless(fd, size):
        os.write(process.stdout, b"z")
        return read(fd, size)

    monkeypatch.setattr(os, "read", endless)
    os.write(process.stdout, b"z")
    process.streams.finish()
    assert len(process.log.rows) <= streams.LAST_READS


def test_terminal_survives_a_close_of_its_other_side():
    loop, log = Loop(), Log()
    one = Streams(loop, tty=True, keep_stdin=False, log=log)
    master, slave = pty.openpty()
    name = os.ttyname(slave)
    one.open_master(master)
    os.write(slave, b"one")
    loop.turn(5)
    os.close(slave)
    loop.turn(0)
    again = os.open(name, os.O_RDWR | os.O_NOCTTY)
    os.write(again, b"two")
    loop.turn(5)  # the kernel hands it over from a work queue
    assert b"".join(data for _, data in log.rows) == b"onetwo"
    one.resize(12, 34)
    assert os.get_terminal_size(again) == os.terminal_size((34, 12))
    os.close(again)
    one.finish()


def test_loop_gives_no_old_event_to_a_new_descriptor():
    loop, seen = Loop(), []
    first, second = socket.socketpair(), socket.socketpair()

    def on_first(events):
        for sock in (first[0], second[0]):
            loop.forget(sock.fileno())
        number = second[0].fileno()
        second[0].close()
        fresh = socket.socketpair()
        os.dup2(fresh[0].fileno(), number)
        loop.watch(number, IN, lambda events: seen.append(events))
        keep.append(fresh)

    keep = []
    for pair in (first, second):
        pair[1].send(b"x")
        loop.watch(pair[0].fileno(), IN, on_first)
    loop.turn(0)
    assert seen == [] and len(keep) == 1


def test_control_queues_for_a_daemon_that_does_not_read_and_keeps_the_order():
    loop, requests, closed = Loop(), [], []
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    control = Control(loop, theirs, lambda *args: requests.append(args), closed.append)
    for number in range(2000):
        control.send(("exec", str(number), 0, b"x" * 500))
    assert control.waiting
    ours.setblocking(False)
    seen = []
    while len(seen) < 2000:
        try:
            seen.append(wire.receive(ours)[0][1])
        except BlockingIOError:
            loop.turn(0)
    assert seen == [str(number) for number in range(2000)] and not control.waiting
    ours.close()
    loop.turn(0)
    assert closed == [control]
    control.send(("nobody",))


def test_control_passes_requests_with_their_descriptors():
    loop, requests = Loop(), []
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    Control(loop, theirs, lambda control, message, fds: requests.append((message, fds)), lambda control: None)
    reading, writing = os.pipe()
    wire.send(ours, (1, "attach", "y" * 100_000), [writing])  # too large for a packet: travels in a memfd
    loop.turn(0)
    ((message, fds),) = requests
    assert message == (1, "attach", "y" * 100_000) and len(fds) == 1
    os.write(fds[0], b"through")
    assert os.read(reading, 10) == b"through"
    assert not os.get_inheritable(fds[0])


def test_control_leaves_a_peer_that_talks_nonsense():
    loop, closed = Loop(), []
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    Control(loop, theirs, lambda *args: None, closed.append)
    ours.send(b"no marshal")
    loop.turn(0)
    assert len(closed) == 1
