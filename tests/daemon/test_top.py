"""docker top, beside the host's own ps."""

import shutil
import subprocess
import time

import pytest

pytestmark = [pytest.mark.daemon, pytest.mark.compat]

READY_S = 20
COLUMNS = "pid,ppid,pgid,sid,user,ruser,uid,gid,group,nlwp,ni,pri,tty,stat,psr,vsz,sz,cls,ignored,caught,lstart,time,comm,args"


@pytest.fixture
def sleeper(daemon):
    started = daemon.docker("run", "-d", "-u", "33", "busybox", "sh", "-c", "sleep 1000 & exec sleep 2000")
    assert started.returncode == 0, started.stderr
    name = started.stdout.strip()
    until = time.monotonic() + READY_S
    while daemon.docker("top", name, "-o", "pid,comm").stdout.count("sleep") != 2:  # sh has become sleep
        assert time.monotonic() < until
    yield name
    daemon.docker("rm", "-f", name)


def test_top_shows_the_containers_processes(daemon, sleeper: str, cli) -> None:
    done = cli("top", sleeper)
    lines = [line.split() for line in done.stdout.splitlines()]
    assert lines[0] == ["UID", "PID", "PPID", "C", "STIME", "TTY", "TIME", "CMD"]
    assert [line[-2:] for line in lines[1:]] == [["sleep", "2000"], ["sleep", "1000"]]
    assert lines[2][2] == lines[1][1]  # host numbers: the second is the first one's child
    inspected = daemon.docker("inspect", "-f", "{{.State.Pid}}", sleeper).stdout.strip()
    assert lines[1][1] == inspected


def test_columns_agree_with_ps(daemon, sleeper: str) -> None:
    if shutil.which("ps") is None:
        pytest.skip("needs ps (procps)")
    shown = daemon.docker("top", sleeper, "-o", COLUMNS).stdout.splitlines()
    pids = [line.split()[0] for line in shown[1:]]
    words = ["ps", "-o", COLUMNS.replace(",args", ",args:200"), "-p", ",".join(pids)]
    real = subprocess.run(words, capture_output=True, text=True, check=True).stdout.splitlines()
    assert [line.split() for line in shown] == [line.split() for line in real]


def test_top_sees_what_an_exec_started(daemon, sleeper: str) -> None:
    daemon.docker("exec", "-d", sleeper, "sleep", "3000")  # answers when the command has been executed
    assert "sleep 3000" in daemon.docker("top", sleeper, "-o", "pid,cmd").stdout


def test_threads_and_children_have_their_rows(daemon, sleeper: str) -> None:
    assert daemon.docker("top", sleeper, "-eLf").stdout.split()[3] == "LWP"
    tree = daemon.docker("top", sleeper, "axfo", "pid,args").stdout.splitlines()
    assert tree[2].split(maxsplit=1)[1] == "\\_ sleep 1000"


def test_top_is_refused_in_words(daemon, sleeper: str, cli) -> None:
    assert "Couldn't find PID field" in cli("top", sleeper, "-o", "cmd").stderr
    assert "-p selects processes" in cli("top", sleeper, "-p", "1").stderr
    daemon.docker("stop", "-t", "0", sleeper)
    done = cli("top", sleeper)
    assert done.returncode == 1
    assert "is not running" in done.stderr


def test_both_clis_print_the_same_table(daemon, sleeper: str) -> None:
    for words in ((), ("aux",), ("-o", "pid,ppid,user,args")):
        assert daemon.havre("top", sleeper, *words).stdout == daemon.docker("top", sleeper, *words).stdout
