"""A log with a process of its own: what waits, what is held back, what is dropped and said, and who never waits."""

import os
import re
import signal
import time
from pathlib import Path

import pytest

from havre.logs import plan, queue
from havre.logs.subject import Subject
from havre.logs.wire import Records, pack

SUBJECT = Subject("0" * 64, "web", "sh", (), "", "img", "", (), {})
MANY = 20_000
FLOOD = 30_000  # of 1 kB: more than the kernel keeps for a connection over loopback


def to(server, **words):
    given = {name.replace("_", "-"): value for name, value in words.items()}
    address = {"syslog-address": f"tcp://127.0.0.1:{server.port}", "cache-disabled": "true", "tag": "t"}
    return plan.make("syslog", {**address, **given}, SUBJECT, Path("/nowhere"))


def numbers(data):
    return [int(text) for text in re.findall(rb"line (\d+)\n", data)]


@pytest.mark.parametrize("cut", [1, 13, 14, 1000])
def test_records_come_back_however_they_are_cut(cut):
    data = b"".join(
        pack(name, b"x" * size, 7) for name in (b"stdout", b"stderr", b"notice") for size in (0, 1, 5000)
    )
    records, found = Records(), []
    for place in range(0, len(data), cut):
        found += records.feed(data[place : place + cut])
    assert [(number, nanos, len(text)) for number, nanos, text in found] == [
        (n, 7, s) for n in (1, 2, 3) for s in (0, 1, 5000)
    ]


def test_every_line_arrives_in_order_when_all_is_well(hand, serve):
    server = serve()
    log = hand(to(server))
    log.lines(0, MANY)
    log.close()
    server.wait(lambda one: one.data.endswith(b"line %d\n" % (MANY - 1)))
    assert numbers(server.data) == list(range(MANY))


def test_blocking_holds_back_and_loses_nothing_when_the_remote_stops_reading(hand, serve):
    server = serve()
    log = hand(to(server), grace_s=20)
    server.reading.clear()
    log.lines(0, FLOOD, 1000)
    assert log.state()["full"]
    server.reading.set()
    log.lines(FLOOD, FLOOD + 10)
    log.close()
    server.wait(lambda one: one.data.endswith(b"line %d\n" % (FLOOD + 9)))
    assert numbers(server.data) == list(range(FLOOD + 10))


def test_non_blocking_drops_the_newest_and_says_how_many(hand, serve):
    server = serve()
    log = hand(to(server, mode="non-blocking", max_buffer_size="100k"))
    server.reading.clear()
    log.lines(0, FLOOD, 1000)
    state = log.state()
    assert not state["full"] and state["dropped"] > 1000
    server.reading.set()
    kept = FLOOD - state["dropped"]
    server.wait(lambda one: one.data.endswith(b"line %d\n" % (kept - 1)))
    log.write(f"line {FLOOD}\n")
    log.close()
    server.wait(lambda one: one.data.endswith(b"line %d\n" % FLOOD))
    assert numbers(server.data) == [*range(kept), FLOOD]
    said = f": havre: {state['dropped']} log lines were dropped: the buffer of 102400 bytes was full\n"
    assert said.encode() in server.data and b"<27>" in server.data


def test_lines_go_on_in_order_when_the_remote_comes_back(hand, serve):
    """The server is closed between two lines and another one comes at the same place: nothing is lost or turned round."""
    first = serve()
    log = hand(to(first))
    log.lines(0, 100)
    first.wait(lambda one: one.data.endswith(b"line 99\n"))
    first.close()
    log.lines(100, 200)
    log.state()
    second = serve(port=first.port)
    second.wait(lambda one: one.data.endswith(b"line 199\n"))
    log.lines(200, 300)
    log.close()
    second.wait(lambda one: one.data.endswith(b"line 299\n"))
    assert numbers(first.data) + numbers(second.data) == list(range(300))


def test_end_does_not_wait_for_a_remote_that_takes_nothing(hand, serve, running_logs):
    """Both leave: the one that held the container, and the log's process after its grace."""
    server = serve()
    server.reading.clear()
    log = hand(to(server), grace_s=0.2)
    log.write("x\n")
    server.close()
    log.lines(0, 1000)
    log.close()
    until = time.monotonic() + 20
    while running_logs():
        assert time.monotonic() < until
        os.sched_yield()


def test_process_that_was_killed_is_started_again(hand, serve, running_logs):
    server = serve()
    log = hand(to(server))
    log.lines(0, 10)
    server.wait(lambda one: one.data.endswith(b"line 9\n"))
    before = running_logs()
    for pid in before:
        os.kill(pid, signal.SIGKILL)
    until = time.monotonic() + 30
    while b"line 77\n" not in server.data:  # not before RESTART_S
        assert time.monotonic() < until
        log.lines(77, 78)
        log.state()
    log.close()
    assert running_logs() & before == set()


@pytest.mark.parametrize(
    ("driver", "name"), [("json-file", "c-json.log"), ("local", "local-logs/container.log")]
)
def test_file_without_blocking_is_whole_when_the_container_has_ended(hand, tmp_path, driver, name):
    from havre.logs import files

    subject = Subject("c", "web", "sh", (), "", "img", "", (), {})
    made = plan.make(driver, {"mode": "non-blocking", "max-buffer-size": "64m"}, subject, tmp_path)
    log = hand(made)
    log.lines(0, 5000)
    log.close()
    assert made["path"] == str(tmp_path / name)
    cursor = files.Cursor(made["path"], tail=None, since_nanos=0, follow=False, form=made["format"])
    rows = []
    while (some := cursor.next_rows()) is not None:
        rows += some
    cursor.close()
    assert [row[2] for row in rows] == [b"line %d\n" % n for n in range(5000)]


def test_copy_for_the_daemon_is_written_beside_what_is_sent(hand, serve, tmp_path):
    from havre.logs import entries

    server = serve()
    words = {"syslog-address": f"tcp://127.0.0.1:{server.port}", "tag": "t"}
    made = plan.make("syslog", words, SUBJECT, tmp_path)
    log = hand(made)
    log.lines(0, 5)
    log.close()
    server.wait(lambda one: one.data.endswith(b"line 4\n"))
    rows = entries.Parser().parse(Path(made["path"]).read_bytes())[0]
    assert [row[2] for row in rows] == [b"line %d\n" % n for n in range(5)]


class Pipe:
    """A process that never reads: what is in the queue stays there."""

    def send(self, data):
        raise BlockingIOError

    def fileno(self):
        return -1

    def setblocking(self, on):
        pass


def lossy(monkeypatch, limit):
    monkeypatch.setattr(queue.Queue, "_start", lambda self, answer: Pipe())
    return queue.Queue({"remote": {}, "buffer_bytes": limit})


def waiting(log):
    return [(number, text) for number, _, text in Records().feed(b"".join(log._chunks))]


def test_line_that_is_cut_off_by_a_full_buffer_ends_there(monkeypatch):
    log = lossy(monkeypatch, 40)
    log.write(b"stdout", b"whole\nbegun ", 1)
    log.write(b"stdout", b"y" * 100, 2)
    log.write(b"stdout", b"yy\nlost too" + b"z" * 100 + b"\n", 3)
    assert waiting(log) == [(1, b"whole\nbegun "), (1, b"\n")]
    assert log.dropped == 2
    log._lose()
    log.dropped = 2
    log.write(b"stdout", b"fits\n", 4)
    assert waiting(log) == [
        (3, b"havre: 2 log lines were dropped: the buffer of 40 bytes was full\n"),
        (1, b"fits\n"),
    ]


def test_line_longer_than_the_buffer_is_taken_when_nothing_waits(monkeypatch):
    log = lossy(monkeypatch, 10)
    log.write(b"stdout", b"x" * 50 + b"\nmore\n", 1)
    assert waiting(log) == [(1, b"x" * 50 + b"\n")]
    assert log.dropped == 1


def test_lossy_queue_keeps_whole_lines_only(monkeypatch):
    log = lossy(monkeypatch, 1000)
    for number in range(200):
        log.write(b"stdout" if number % 2 else b"stderr", b"line %d\nline %d\n" % (number, number), 1)
    assert all(text.endswith(b"\n") for _, text in waiting(log))
    assert log.dropped + sum(text.count(b"\n") for _, text in waiting(log)) == 400
    assert not log.full
