"""A terminal, end to end: a pty on our side, the CLI, the daemon, the container's own pty."""

import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from fcntl import ioctl
from pathlib import Path

import pytest

pytestmark = [pytest.mark.daemon, pytest.mark.compat]
SRC = Path(__file__).parents[2] / "src"
LIMIT_S = 20


class Terminal:
    """A program on a pty, read until a text shows up."""

    def __init__(self, words: list[str], config: str) -> None:
        self.master, slave = pty.openpty()
        self.resize(31, 97)
        env = {**os.environ, "PYTHONPATH": str(SRC), "DOCKER_CONFIG": config, "TERM": "xterm"}
        self.process = subprocess.Popen(
            words,
            stdin=slave,
            stdout=slave,
            stderr=slave,
            env=env,
            start_new_session=True,
            preexec_fn=lambda: ioctl(0, termios.TIOCSCTTY, 0),
        )
        os.close(slave)
        self.seen = ""

    def resize(self, rows: int, columns: int) -> None:
        ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def type(self, text: str) -> None:
        os.write(self.master, text.encode())

    def until(self, text: str) -> str:
        """Return everything up to and with `text`."""
        end = time.monotonic() + LIMIT_S
        while text not in self.seen:
            left = end - time.monotonic()
            assert left > 0, f"no {text!r} in {self.seen!r}"
            if select.select([self.master], [], [], left)[0]:
                try:
                    self.seen += os.read(self.master, 65536).decode(errors="replace")
                except OSError:
                    assert text in self.seen, f"no {text!r} in {self.seen!r}"
        found, _, self.seen = self.seen.partition(text)
        return found + text

    def raw(self) -> bool:
        """Whether lines are not edited any more: what a program that was ended must not leave behind."""
        return not termios.tcgetattr(self.master)[3] & termios.ICANON

    def code(self) -> int:
        return self.process.wait(LIMIT_S)

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait()
        os.close(self.master)


@pytest.fixture(params=["docker", "havre", "havre on dockerd"])
def engine(request: pytest.FixtureRequest):
    """(program, url, a function that runs the stock CLI): both clients on our daemon, ours on a real dockerd too."""
    if request.param != "havre on dockerd":
        daemon = request.getfixturevalue("daemon")
        program = ["docker"] if request.param == "docker" else [sys.executable, "-m", "havre"]
        return program, daemon.url, daemon.docker
    real = request.getfixturevalue("real_docker")
    real.docker("import -c 'CMD [\"sh\"]' - busybox", real.rootfs)
    return [sys.executable, "-m", "havre"], real.url, lambda *words: real.docker(" ".join(words))


@pytest.fixture
def terminal(engine, tmp_path):
    opened: list[Terminal] = []

    def open_terminal(*words: str) -> Terminal:
        program, url, _ = engine
        opened.append(Terminal([*program, "-H", url, *words], str(tmp_path)))
        return opened[-1]

    yield open_terminal
    for one in opened:
        one.close()


def test_run_it_has_a_terminal_of_the_right_size_and_ends_with_the_shells_code(terminal) -> None:
    shell = terminal("run", "-it", "--rm", "busybox", "sh")
    shell.until("# ")
    shell.type("tty; stty size; echo $TERM\n")
    assert "/dev/pts/0" in shell.until("/dev/pts/0")
    shell.until("31 97")
    shell.until("xterm")
    shell.resize(40, 120)
    os.kill(shell.process.pid, signal.SIGWINCH)
    shell.type("sleep 0.3; stty size\n")
    shell.until("40 120")
    shell.type("exit 6\n")
    assert shell.code() == 6


def test_detach_keys_leave_the_shell_alive_and_attach_comes_back(terminal, engine) -> None:
    shell = terminal("run", "-it", "--name", "term", "busybox", "sh")
    try:
        shell.until("# ")
        shell.type(
            "mark=here; echo set$((1+1))\n"
        )  # the prompt may be drawn twice: the answer tells that it has run
        shell.until("set2")
        shell.type("\x10\x11")
        assert shell.code() == 0
        again = terminal("attach", "term")
        again.type("\n")
        again.until("# ")
        again.type("echo $mark again\n")
        again.until("here again")
        again.type("exit 4\n")
        assert again.code() == 4
    finally:
        engine[2]("rm", "-f", "term")


def test_exec_it_has_a_terminal_of_its_own(terminal, engine) -> None:
    engine[2]("run", "-d", "--name", "host", "busybox", "sleep", "100")
    try:
        shell = terminal("exec", "-it", "host", "sh", "-c", "tty; read word; stty size; exit 3")
        shell.until("/dev/pts/0")
        shell.type("go\n")  # a dockerd before API 1.42 hears the size only after the start
        shell.until("31 97")
        assert shell.code() == 3
    finally:
        engine[2]("rm", "-f", "host")


SCRIPT = "trap 'exit 9' TERM; trap 'exit 8' HUP INT; echo up; while :; do sleep 0.1; done"


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 9), (signal.SIGHUP, 8), (signal.SIGINT, 8)])
def test_signals_go_through_to_the_container_and_the_terminal_comes_back(
    terminal, number: int, code: int
) -> None:
    one = terminal("run", "-it", "--rm", "busybox", "sh", "-c", SCRIPT)
    one.until("up")
    one.process.send_signal(number)
    assert one.code() == code
    assert not one.raw()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGINT])
def test_a_signal_that_ends_an_exec_gives_the_terminal_back(havre_terminal, daemon, number: int) -> None:
    daemon.docker("run", "-d", "--name", "held", "busybox", "sleep", "100")
    try:
        one = havre_terminal("exec", "-it", "held", "sh", "-c", "echo up; sleep 50")
        one.until("up")
        assert one.raw()
        one.process.send_signal(number)
        assert one.code() == 128 + number
        assert not one.raw()
    finally:
        daemon.docker("rm", "-f", "held")


@pytest.fixture
def havre_terminal(daemon):
    """Our own CLI on a pty."""
    opened: list[Terminal] = []

    def open_terminal(*words: str) -> Terminal:
        program = [sys.executable, "-m", "havre", "-H", daemon.url]
        opened.append(Terminal([*program, *words], str(daemon.root / "config")))
        return opened[-1]

    yield open_terminal
    for one in opened:
        one.close()


def test_screen_follows_containers_and_gives_the_cursor_back(daemon, havre_terminal) -> None:
    screen = havre_terminal("stats")
    screen.until("CONTAINER ID")
    made = daemon.docker("run", "-d", "--name", "seen", "busybox", "sleep", "1000").stdout.strip()
    screen.until(made[:12])
    screen.until("KiB")
    screen.resize(10, 30)
    screen.process.send_signal(signal.SIGWINCH)
    screen.until("\033[2J")
    shown = screen.until("\033[J")
    assert max(len(line.replace("\033[H", "").replace("\033[K", "")) for line in shown.split("\r\n")) <= 30
    daemon.docker("rm", "-f", made)
    screen.until("\033[J")
    screen.process.send_signal(signal.SIGINT)
    screen.until("\033[?25h")
    assert screen.code() == 130


def test_screen_of_named_containers_ends_with_them(daemon, havre_terminal) -> None:
    made = daemon.docker("run", "-d", "--name", "alone", "busybox", "sleep", "1000").stdout.strip()
    screen = havre_terminal("stats", "alone")
    screen.until("alone")
    daemon.docker("rm", "-f", made)
    screen.until("\033[?25h")
    assert screen.code() == 0


def test_own_detach_keys_leave_the_usual_ones_to_the_program(terminal, engine) -> None:
    """Client and daemon both watch: the daemon's default must not detach who asked for other keys."""
    shell = terminal("run", "-it", "--name", "keys", "--detach-keys", "ctrl-x", "busybox", "sh")
    try:
        shell.until("# ")
        again = terminal("exec", "-it", "--detach-keys", "ctrl-x", "keys", "sh")
        again.until("# ")
        for one in (shell, again):
            one.type("\x10\x11\x15echo $((40+2))\n")
            one.until("42")
            one.type("\x18")
            one.code()
        assert "true" in terminal("inspect", "-f", "{{.State.Running}}", "keys").until("true")
    finally:
        engine[2]("rm", "-f", "keys")
