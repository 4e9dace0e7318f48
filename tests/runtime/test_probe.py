"""A probe's output is kept short, and its whole tree ends with it."""

import os
import subprocess
from pathlib import Path

import pytest

from havre.runtime.probe import OUTPUT_BYTES, Head, kill_tree


def test_head_keeps_the_beginning_and_says_what_was_cut() -> None:
    head = Head()
    head.write(b"stdout", b"a" * 10, 0)
    assert head.text() == b"a" * 10
    head.write(b"stderr", b"b" * OUTPUT_BYTES, 0)
    head.write(b"stdout", b"c", 0)
    assert head.text() == b"a" * 10 + b"b" * (OUTPUT_BYTES - 10) + b"..."


def test_head_of_exactly_the_limit_is_whole() -> None:
    head = Head()
    head.write(b"stdout", b"a" * OUTPUT_BYTES, 0)
    assert head.text() == b"a" * OUTPUT_BYTES


@pytest.mark.kernel
def test_kill_tree_takes_children_that_left_the_session() -> None:
    if not Path("/proc/self/task").exists() or not Path(f"/proc/self/task/{os.getpid()}/children").exists():
        pytest.skip("this kernel lists no children in /proc")
    script = "setsid sleep 4311 & echo $!; sleep 4312 & echo $!; wait"
    child = subprocess.Popen(["sh", "-c", script], stdout=subprocess.PIPE, text=True, start_new_session=True)
    assert child.stdout is not None
    pids = [int(child.stdout.readline()), int(child.stdout.readline())]
    held = [os.pidfd_open(pid) for pid in pids]
    kill_tree(child.pid)
    assert child.wait(20) == -9
    import select

    for fd in held:
        assert select.select([fd], [], [], 20)[0]
        os.close(fd)
    child.stdout.close()
