"""/proc read as values, seen from a process of ours."""

import os
import signal
import threading

from havre.linux import proc


def test_own_process_is_read() -> None:
    one = proc.read_process(os.getpid())
    assert one is not None
    assert (one.pid, one.ppid, one.session) == (os.getpid(), os.getppid(), os.getsid(0))
    assert one.uids == (os.getuid(), os.geteuid())
    assert one.arguments and one.state in "RS"
    assert one.threads == len(proc.threads(os.getpid())) == threading.active_count()


def test_name_with_brackets_is_whole() -> None:
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        with open("/proc/self/comm", "w") as file:
            file.write("a) R (b 1 2")
        os.write(writing, b"x")
        signal.pause()
        os._exit(0)
    os.read(reading, 1)
    one = proc.read_process(child)
    os.kill(child, 9)
    os.waitpid(child, 0)
    os.close(reading)
    os.close(writing)
    assert one is not None
    assert (one.name, one.ppid) == ("a) R (b 1 2", os.getpid())
    assert proc.read_process(child) is None
    assert proc.threads(child) == []


def test_clock_of_the_machine() -> None:
    assert proc.boot_seconds() > 0
    assert proc.uptime_seconds() > 0
    assert proc.memory_bytes() % 1024 == 0 < proc.memory_bytes()
