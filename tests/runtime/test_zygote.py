"""The zygote alone: what it imports, what it keeps of the daemon, when it leaves."""

import os
import socket
import subprocess
import sys

from havre.runtime import wire, zygote

SRC = os.path.dirname(os.path.dirname(os.path.dirname(zygote.__file__)))
LEAN = {
    "argparse",
    "asyncio",
    "dataclasses",
    "inspect",
    "json",
    "logging",
    "msgspec",
    "re",
    "subprocess",
    "threading",
    "typing",
}


def test_imports_stay_lean():
    code = f"import sys; sys.path.insert(0, {SRC!r}); import havre.runtime.zygote, havre.logs.jsonfile; print(*sys.modules)"
    out = subprocess.run(
        [sys.executable, "-IS", "-c", code], capture_output=True, text=True, check=True
    ).stdout
    assert set(out.split()) & LEAN == set()


def start():
    """A zygote as the daemon forks it, in a process that holds a stray descriptor."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    reading, writing = os.pipe()
    code = f"import socket, sys; sys.path.insert(0, {SRC!r}); from havre.runtime import zygote; zygote.serve(socket.socket(fileno={theirs.fileno()}), lambda plan: None)"
    child = subprocess.Popen([sys.executable, "-IS", "-c", code], pass_fds=[theirs.fileno(), writing])
    theirs.close()
    os.close(writing)
    return ours, child, reading


def test_it_keeps_no_descriptor_of_the_daemon_and_leaves_with_it():
    ours, child, reading = start()
    assert os.read(reading, 1) == b""  # the writing end was closed, by a process that still runs
    assert child.poll() is None
    with open(f"/proc/{child.pid}/comm", encoding="ascii") as file:
        assert file.read() == "havre-zygote\n"
    ours.close()
    assert child.wait(10) == 0


def test_it_survives_signals_meant_for_the_daemon():
    ours, child, reading = start()
    os.read(reading, 1)
    for number in (1, 2, 15):
        os.kill(child.pid, number)
    ours.setblocking(False)
    assert child.poll() is None
    ours.close()
    assert child.wait(10) == 0
    os.close(reading)


def test_a_message_travels_whole_whatever_its_size():
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    for size in (1, wire.PACKET_BYTES - 10, wire.PACKET_BYTES, 5_000_000):
        wire.send(ours, ("start", b"x" * size))
        message, fds = wire.receive(theirs)
        assert message == ("start", b"x" * size) and fds == []
    ours.close()
    assert wire.receive(theirs) == (None, [])


def test_a_socket_path_may_be_longer_than_the_kernel_allows(tmp_path):
    folder = tmp_path / ("a" * 100) / ("b" * 100)
    folder.mkdir(parents=True)
    listener = wire.listen(str(folder))
    sock = wire.connect(str(folder))
    accepted, _ = listener.accept()
    wire.send(sock, ("hello",))
    accepted.setblocking(True)
    assert wire.receive(accepted)[0] == ("hello",)
    assert (folder / "sock").stat().st_mode & 0o777 == 0o600


def test_a_start_imports_nothing(harness, tmp_path):
    """What a monitor, its helper or an init imports, each of them imports again, on every start."""
    seen = tmp_path / "imports"
    hook = f"import os; log = os.open({str(seen)!r}, os.O_CREAT | os.O_APPEND | os.O_WRONLY); os.dup2(log, 250)\n"
    hook += "sys.addaudithook(lambda name, args: name == 'import' and report(args))\n"
    hook += "def report(args):\n    try: os.write(250, (args[0] + ' ').encode())\n    except OSError: pass\n"
    serve = "from havre.runtime import zygote\n"
    close = "os.closerange = lambda low, high: None\n"  # the hook's descriptor must stay
    harness.code = harness.code.replace(serve, serve + hook + close)

    async def main(runtime):
        monitor = await runtime.start(harness.plan("true", process={"oomScoreAdj": 10}))
        return (await monitor.exited)["code"]

    assert harness.run(main) == 0
    assert seen.read_text().split() == []
