"""Runs a test's body in a forked child with its own network namespace."""

import os
import sys
import tempfile
import traceback
from collections.abc import Callable

import pytest

from havre.linux.syscalls import CLONE_NEWNET, unshare


@pytest.fixture
def in_netns() -> Callable[[Callable[[], None]], None]:
    """Return a function that runs a body in a child and fails the test with the child's traceback."""
    if os.geteuid() != 0:
        pytest.skip("needs root: it makes network namespaces")

    def in_child(body: Callable[[], None]) -> None:
        with tempfile.TemporaryFile("w+") as report:
            pid = os.fork()
            if pid == 0:
                code = 1
                try:
                    unshare(CLONE_NEWNET)
                    body()
                    code = 0
                except pytest.skip.Exception as skipped:
                    report.write(str(skipped))
                    code = 77
                except BaseException:
                    traceback.print_exc(file=report)
                finally:
                    report.flush()
                    sys.stderr.flush()
                    os._exit(code)
            _, status = os.waitpid(pid, 0)
            report.seek(0)
            if os.waitstatus_to_exitcode(status) == 77:
                pytest.skip(report.read())
            if status:
                pytest.fail(report.read() or f"the child ended with status {status}", pytrace=False)

    return in_child
