"""ssh:// hosts: a stand-in for ssh runs the far side's command here; the far side has `havre` (and `docker`) of ours."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.daemon, pytest.mark.compat]
SRC = Path(__file__).parents[2] / "src"
SSH = """#!/bin/sh
echo "$@" >>"$SSH_LOG"
while [ "$1" != -- ]; do shift; done
shift 2
PATH=$FAR:/usr/bin:/bin
exec sh -c "$*"
"""


@pytest.fixture
def far(daemon, tmp_path: Path) -> dict[str, str]:
    """The environment of the near side: its ssh leads to the daemon."""
    for name in ("near", "far"):
        (tmp_path / name).mkdir()
    ours = f'#!/bin/sh\nPYTHONPATH={SRC} DOCKER_HOST={daemon.url} exec {sys.executable} -m havre "$@"\n'
    for name, text in (("near/ssh", SSH), ("far/havre", ours), ("far/docker", ours)):
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    return {
        **os.environ,
        "PYTHONPATH": str(SRC),
        "PATH": f"{tmp_path}/near:{os.environ['PATH']}",
        "FAR": f"{tmp_path}/far",
        "SSH_LOG": str(tmp_path / "log"),
        "DOCKER_CONFIG": str(tmp_path / "config"),
    }


@pytest.mark.parametrize("program", [["docker"], [sys.executable, "-m", "havre"]], ids=["docker", "havre"])
def test_run_and_its_streams_work_over_ssh(far, program: list[str]) -> None:
    words = [*program, "-H", "ssh://me@far.example:2222", "run", "--rm", "-i", "--network", "none", "busybox"]
    script = "cat; echo err >&2; exit 5"
    done = subprocess.run(
        [*words, "sh", "-c", script], env=far, input="in\n", capture_output=True, text=True, timeout=60
    )
    assert (done.stdout, done.returncode) == ("in\n", 5), done.stderr
    assert "err\n" in done.stderr
    log = Path(far["SSH_LOG"]).read_text()
    assert "-l me -p 2222 -- far.example" in log


def test_an_ssh_that_fails_is_told(far) -> None:
    (Path(far["PATH"].partition(":")[0]) / "ssh").write_text("#!/bin/sh\necho no route >&2; exit 255\n")
    done = subprocess.run(
        [sys.executable, "-m", "havre", "-H", "ssh://x", "ps"],
        env=far,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 1
    assert done.stderr.startswith("no route\n")
    assert "closed the connection without an answer" in done.stderr
