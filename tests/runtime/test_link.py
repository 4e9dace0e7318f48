"""Whole containers through Runtime and Monitor: streams, codes, execs, terminals, failures that leave nothing behind."""

import asyncio
import os
import re
import signal
import socket
import time

import pytest

from havre.errors import (
    CommandNotExecutable,
    CommandNotFound,
    HavreError,
    InvalidParameter,
    KernelError,
    NotFound,
)
from havre.runtime import link

pytestmark = pytest.mark.kernel


async def run(runtime, plan, client, **asked):
    """Start, give the stdin, wait for the end; return (code, output)."""
    data = asked.pop("data", None)
    one = client(stdin=data is not None, **asked)
    monitor = await runtime.start(plan, [one.attached])
    one.given()

    async def give():
        if data:
            await one.send(data)
        one.end_stdin()

    output, _ = await asyncio.gather(one.read(), give())
    record = await monitor.exited
    return record["code"], output


async def execute(monitor, harness, client, *args, data=None, **changes):
    """Exec with everything attached; return (code, output)."""
    one = client(stdin=data is not None)
    plan = harness.exec_plan(os.urandom(4).hex(), *args, open_stdin=data is not None, **changes)
    await monitor.exec(plan, one.attached)
    one.given()
    if data is not None:
        await one.send(data)
    one.end_stdin()
    output = await one.read()
    return await monitor.exec_exited(plan["exec_id"]), output


async def sleeper(runtime, harness, *args, **changes):
    return await runtime.start(harness.plan(*(args or ("sleep", "1000")), **changes))


async def stop(monitor):
    monitor.kill(9)
    return (await monitor.exited)["code"]


def test_output_and_code_arrive(harness, client):
    async def main(runtime):
        one = client()
        monitor = await runtime.start(
            harness.plan("sh", "-c", "echo out; echo err >&2; exit 7"), [one.attached]
        )
        one.given()
        return await one.streams(), await monitor.exited

    streams, record = harness.run(main)
    assert streams == (b"out\n", b"err\n")
    assert record["code"] == 7 and not record["oom_killed"] and record["error"] == ""
    assert abs(record["at_nanos"] - time.time_ns()) < 60e9


def test_only_asked_streams_are_sent(harness, client):
    async def main(runtime):
        plan = harness.plan("sh", "-c", "echo out; echo err >&2")
        clients = [client(stdout=True, stderr=False), client(stdout=False, stderr=True)]
        monitor = await runtime.start(plan, [one.attached for one in clients])
        for one in clients:
            one.given()
        streams = [await one.streams() for one in clients]
        await monitor.exited
        return streams

    assert harness.run(main) == [(b"out\n", b""), (b"", b"err\n")]


@pytest.mark.parametrize(
    ("command", "code"),
    [
        ("kill -9 $$", 137),
        ("kill -TERM $$", 0),
        ("trap 'exit 3' TERM; kill -TERM $$; sleep 5", 3),
        ("exit 255", 255),
    ],
)
def test_code_follows_signals(harness, client, command, code):
    """Init of a pid namespace ignores what it has no handler for, also from itself."""

    async def main(runtime):
        return (await run(runtime, harness.plan("sh", "-c", command), client))[0]

    expected = (
        0 if command == "kill -9 $$" else code
    )  # SIGKILL from inside its own namespace is ignored as well
    assert harness.run(main) == expected


def test_kill_ends_the_container_with_128_plus_n(harness):
    async def main(runtime):
        monitor = await sleeper(runtime, harness)
        assert os.path.exists(f"/proc/{monitor.pid}")
        code = await stop(monitor)
        with pytest.raises(NotFound):
            monitor.kill(9)
        with pytest.raises(NotFound):
            await monitor.resize("", 1, 1)
        return code

    assert harness.run(main) == 137


@pytest.mark.parametrize(
    ("args", "error", "words"),
    [
        (["nothing-here"], CommandNotFound, "executable file not found"),
        (["/bin/nothing-here"], CommandNotFound, "no such file or directory"),
        (["/etc/plain"], CommandNotExecutable, "permission denied"),
        (["/etc"], CommandNotExecutable, "permission denied"),
    ],
)
def test_start_names_the_command_when_it_cannot_run(harness, client, args, error, words):
    plans = []

    async def main(runtime):
        one = client()
        plans.append(harness.plan(*args))
        with pytest.raises(error, match=words):
            await runtime.start(plans[0], [one.attached])
        one.given()
        assert await one.read() == b""
        assert await runtime.adopt(plans[0]["run_dir"]) is None

    harness.run(main)
    assert os.listdir(plans[0]["run_dir"]) == []


@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        ({"user": "nobody-known"}, InvalidParameter, "unable to find user nobody-known"),
        (
            {
                "log": {
                    "driver": "json-file",
                    "path": "/missing/x",
                    "max_size_bytes": 0,
                    "max_files": 1,
                    "attributes": {},
                    "format": "json",
                    "compress": False,
                    "buffer_bytes": 0,
                    "remote": {},
                }
            },
            KernelError,
            "open /missing/x",
        ),
        (
            {
                "log": {
                    "driver": "splunk",
                    "path": "/x",
                    "max_size_bytes": 0,
                    "max_files": 1,
                    "attributes": {},
                    "format": "json",
                    "compress": False,
                    "buffer_bytes": 0,
                    "remote": {},
                }
            },
            HavreError,
            "splunk",
        ),
        (
            {"overlay": {"lower": ["/missing"], "upper": "/missing", "work": "/missing"}},
            KernelError,
            "overlay",
        ),
    ],
)
def test_start_fails_clearly_and_leaves_nothing(harness, changes, error, words):
    async def main(runtime):
        plan = harness.plan("true", **changes)
        with pytest.raises(error, match=words):
            await runtime.start(plan)
        assert os.listdir(plan["run_dir"]) == []

    harness.run(main)


def test_process_has_three_descriptors_and_nothing_of_the_host(harness, client):
    script = "ls /proc/self/fd; readlink /proc/self/cwd; readlink /proc/1/exe"

    async def main(runtime):
        _, first = await run(runtime, harness.plan("sh", "-c", script), client, stderr=False)
        monitor = await sleeper(runtime, harness)
        _, second = await execute(monitor, harness, client, "sh", "-c", script)
        await stop(monitor)
        return first, second

    for output in harness.run(main):  # the fourth is the directory that ls reads
        words = re.sub(rb"\x01\0\0\0\0\0\0.", b"", output, flags=re.S).split()
        assert words == [b"0", b"1", b"2", b"3", b"/", b"/bin/busybox"]


def test_no_signal_is_ignored_or_blocked_from_outside(harness, client):
    async def main(runtime):
        args = ("grep", "-E", "Sig(Ign|Blk)", "/proc/self/status")
        _, first = await run(runtime, harness.plan(*args), client)
        monitor = await sleeper(runtime, harness)
        _, second = await execute(monitor, harness, client, *args)
        await stop(monitor)
        return first[8:], second[8:]

    clean = b"SigBlk:\t0000000000000000\nSigIgn:\t0000000000000000\n"
    assert harness.run(main) == (clean, clean)


def test_stdin_ends_when_the_client_half_closes(harness, client):
    async def main(runtime):
        return await run(
            runtime, harness.plan("wc", "-c", open_stdin=True, stdin_once=True), client, data=b"12345"
        )

    code, output = harness.run(main)
    assert code == 0 and output[8:] == b"5\n"


def test_stdin_that_ended_before_the_start_is_kept(harness, client):
    async def main(runtime):
        one = client(stdin=True)
        await one.send(b"early\n")
        one.end_stdin()
        monitor = await runtime.start(harness.plan("cat", open_stdin=True, stdin_once=True), [one.attached])
        one.given()
        output = await one.streams()
        return output, (await monitor.exited)["code"]

    assert harness.run(main) == ((b"early\n", b""), 0)


def test_stdin_stays_open_when_it_is_not_once(harness, client):
    async def main(runtime):
        monitor = await runtime.start(harness.plan("cat", open_stdin=True))
        for word in (b"one\n", b"two\n"):
            one = client(stdin=True)
            await monitor.attach(one.attached)
            one.given()
            await one.send(word)
            assert (await one.read_until(word))[8:] == word
            one.sock.close()
        return await stop(monitor)

    assert harness.run(main) == 137


def test_stdin_is_discarded_when_the_process_does_not_read(harness, client):
    async def main(runtime):
        plan = harness.plan("sh", "-c", "exec <&-; sleep 0.3; echo done", open_stdin=True, stdin_once=True)
        return await run(runtime, plan, client, data=b"x" * 5_000_000)

    code, output = harness.run(main)
    assert code == 0 and output[8:] == b"done\n"


@pytest.mark.parametrize("megabytes", [32, pytest.param(1024, marks=pytest.mark.slow)])
def test_much_goes_through_stdin_and_stdout_in_bounded_memory(harness, client, megabytes):
    async def main(runtime):
        plan = harness.plan(
            "cat", open_stdin=True, stdin_once=True, log={**harness.plan("x")["log"], "driver": "none"}
        )
        one = client(stdin=True)
        monitor = await runtime.start(plan, [one.attached])
        one.given()
        pid = monitor_of(monitor.pid)
        piece = os.urandom(1 << 20)

        async def give():
            for _ in range(megabytes):
                await one.send(piece)
            one.end_stdin()

        async def take():
            received = 0
            while data := await asyncio.get_running_loop().sock_recv(one.sock, 1 << 20):
                received += len(data)
                if received > (megabytes - 1) << 20 and not used:
                    used.append(private_kb(pid))
            return received

        used = []
        given = asyncio.create_task(give())
        received = await take()
        await given
        assert (await monitor.exited)["code"] == 0
        assert used[0] < 6 << 10  # 1.2 MB, and a few buffers
        return received

    received = harness.run(main)
    assert received >= megabytes << 20
    assert received - (megabytes << 20) < (megabytes << 20) // 100  # frame headers


def test_last_output_is_never_lost_when_the_process_ends_at_once(harness, client):
    """50 here, 1000 in the slow test below."""
    fast_runs(harness, client, 50)


@pytest.mark.slow
def test_last_output_is_never_lost_in_a_thousand_runs(harness, client):
    fast_runs(harness, client, 1000)


def fast_runs(harness, client, count):
    async def main(runtime):
        for number in range(count):
            plan = harness.plan("sh", "-c", f"echo out {number}; echo err {number} >&2")
            one = client()
            monitor = await runtime.start(plan, [one.attached])
            one.given()
            streams = await one.streams()
            assert streams == (f"out {number}\n".encode(), f"err {number}\n".encode())
            assert (await monitor.exited)["code"] == 0
            with open(plan["log"]["path"], "rb") as file:
                assert file.read().count(b"\n") == 2

    harness.run(main)


def test_twenty_start_at_once(harness, client):
    async def main(runtime):
        plans = [harness.plan("sh", "-c", f"exit {number}") for number in range(20)]
        return [code for code, _ in await asyncio.gather(*(run(runtime, plan, client) for plan in plans))]

    assert harness.run(main) == list(range(20))


def test_out_of_memory_is_recorded(harness):
    async def main(runtime):
        plan = harness.plan(
            "sh",
            "-c",
            "x=x; while :; do x=$x$x; done",
            resources={"memory": {"limit": 16 << 20, "swap": 16 << 20}},
        )
        return await (await runtime.start(plan)).exited

    record = harness.run(main)
    assert record["oom_killed"] and record["code"] == 137


# terminals


def test_terminal_is_raw_and_has_the_asked_size(harness, client):
    async def main(runtime):
        plan = harness.plan(
            "sh", "-c", "tty; stty size; readlink /proc/self/fd/2", tty=True, tty_size=(33, 99)
        )
        return await run(runtime, plan, client)

    code, output = harness.run(main)
    assert code == 0 and b"33 99\r\n" in output and b"not a tty" not in output


def test_resize_reaches_the_process(harness, client):
    async def main(runtime):
        script = "trap 'stty size; exit' WINCH; echo ready; while :; do sleep 0.01; done"
        one = client()
        monitor = await runtime.start(harness.plan("sh", "-c", script, tty=True), [one.attached])
        one.given()
        await one.read_until(b"ready")
        await monitor.resize("", 40, 120)
        output = await one.read()
        await monitor.exited
        return output

    assert b"40 120" in harness.run(main)


def test_terminal_stays_open_when_the_client_half_closes(harness, client):
    async def main(runtime):
        one = client(stdin=True)
        plan = harness.plan(
            "sh", "-c", "read a; echo got $a; sleep 0.2; echo end", tty=True, open_stdin=True, stdin_once=True
        )
        monitor = await runtime.start(plan, [one.attached])
        one.given()
        await one.send(b"word\n")
        one.end_stdin()
        return await one.read(), (await monitor.exited)["code"]

    output, code = harness.run(main)
    assert output == b"word\r\ngot word\r\nend\r\n" and code == 0


def test_terminal_lives_on_when_the_process_closes_it_for_a_while(harness, client):
    """systemd as pid 1 does so; a master without any slave open would have ended."""

    async def main(runtime):
        script = "echo one; exec >/dev/null 2>&1 </dev/null; sleep 0.2; echo two > /dev/console"
        return await run(runtime, harness.plan("sh", "-c", script, tty=True), client)

    assert harness.run(main) == (0, b"one\r\ntwo\r\n")


def test_much_output_of_a_terminal_is_whole(harness, client):
    async def main(runtime):
        return await run(runtime, harness.plan("seq", "1", "50000", tty=True), client)

    code, output = harness.run(main)
    assert code == 0 and output.split() == [str(number).encode() for number in range(1, 50001)]


# exec


def test_exec_has_its_own_environment_directory_user_and_code(harness, client):
    async def main(runtime):
        monitor = await sleeper(runtime, harness, env=["OUTER=1"])
        script = "echo $WORD; pwd; id -u; id -g; cat; exit 5"
        result = await execute(
            monitor,
            harness,
            client,
            "sh",
            "-c",
            script,
            data=b"typed",
            env=["WORD=hello"],
            cwd="/etc",
            user="ann",
        )
        await stop(monitor)
        return result

    code, output = harness.run(main)
    assert code == 5
    assert re.sub(rb"\x01\0\0\0\0\0\0.", b"", output, flags=re.S) == b"hello\n/etc\n1000\n1001\ntyped"


def test_exec_is_in_all_namespaces_and_the_cgroup_of_the_container(harness, client):
    async def main(runtime):
        monitor = await sleeper(runtime, harness)
        script = "for kind in mnt pid net ipc uts cgroup; do readlink /proc/self/ns/$kind; done; cat /proc/self/cgroup"
        _, inside = await execute(monitor, harness, client, "sh", "-c", script)
        expected = [
            os.readlink(f"/proc/{monitor.pid}/ns/{kind}")
            for kind in ("mnt", "pid", "net", "ipc", "uts", "cgroup")
        ]
        await stop(monitor)
        return inside, expected

    inside, expected = harness.run(main)
    for name in expected:
        assert name.encode() in inside
    assert harness.group.encode() not in inside  # a cgroup namespace: the container's own group is "/"


@pytest.mark.parametrize(
    ("args", "error"),
    [
        (["nothing-here"], CommandNotFound),
        (["/etc/plain"], CommandNotExecutable),
        (["true"], InvalidParameter),
    ],
)
def test_exec_fails_clearly_and_the_container_goes_on(harness, client, args, error):
    async def main(runtime):
        monitor = await sleeper(runtime, harness)
        one = client()
        user = "nobody-known" if error is InvalidParameter else ""
        with pytest.raises(error):
            await monitor.exec(harness.exec_plan("e", *args, user=user), one.attached)
        one.given()
        assert await one.read() == b""
        assert await execute(monitor, harness, client, "true") == (0, b"")
        await stop(monitor)

    harness.run(main)


def test_exec_has_a_terminal_of_the_asked_size(harness, client):
    async def main(runtime):
        monitor = await sleeper(runtime, harness)
        one = client(stdin=True)
        plan = harness.exec_plan(
            "t", "sh", "-c", "stty size; read a; stty size; exit 4", tty=True, tty_size=(11, 22)
        )
        await monitor.exec(plan, one.attached)
        one.given()
        first = await one.read_until(b"\n")
        await monitor.resize("t", 33, 44)
        await one.send(b"go\n")
        second = await one.read()
        code = await monitor.exec_exited("t")
        with pytest.raises(NotFound):
            await monitor.resize("t", 1, 1)
        await stop(monitor)
        return first, second, code

    assert harness.run(main) == (b"11 22\r\n", b"go\r\n33 44\r\n", 4)


def test_execs_end_with_the_container(harness):
    async def main(runtime):
        monitor = await sleeper(runtime, harness)
        await monitor.exec(harness.exec_plan("e", "sleep", "1000"), None)
        ended = monitor.exec_exited("e")
        await stop(monitor)
        assert await ended == 137
        with pytest.raises(NotFound):
            await monitor.exec(harness.exec_plan("f", "true"), None)

    harness.run(main)


def test_exec_leaves_when_a_child_of_it_keeps_its_streams(harness, client):
    async def main(runtime):
        monitor = await sleeper(runtime, harness)
        result = await asyncio.wait_for(
            execute(monitor, harness, client, "sh", "-c", "sleep 1000 & echo hi"), 5
        )
        await stop(monitor)
        return result

    code, output = harness.run(main)
    assert code == 0 and output[8:] == b"hi\n"


def test_many_execs_leave_nothing_in_the_monitor(harness, client):
    async def main(runtime):
        monitor = await sleeper(runtime, harness)
        pid = monitor_of(monitor.pid)
        await execute(monitor, harness, client, "true")
        before = os.listdir(f"/proc/{pid}/fd"), private_kb(pid)
        for _ in range(60):
            await execute(monitor, harness, client, "true")
        assert os.listdir(f"/proc/{pid}/fd") == before[0]
        assert private_kb(pid) - before[1] < 200
        await asyncio.sleep(0)
        assert monitor._execs == {}
        await stop(monitor)

    harness.run(main)


def test_exec_into_a_frozen_container_blocks_nobody(harness, client):
    from havre.runtime.cgroup import files as cgroup
    from havre.runtime.cgroup import layout, plan

    async def main(runtime):
        run_plan = harness.plan("sleep", "1000")
        monitor = await runtime.start(run_plan)
        freezer = plan.make_plan(layout.host_layout(), run_plan["config"]["linux"]["cgroupsPath"], {})[
            "freezer"
        ]
        if not freezer:
            pytest.skip("this host has no freezer")
        cgroup.freeze(freezer)
        try:
            waiting = asyncio.create_task(monitor.exec(harness.exec_plan("e", "true"), None))
            await asyncio.sleep(0.2)
            assert not waiting.done()
            await asyncio.wait_for(monitor.resize("", 1, 1), 2)  # the monitor answers
        finally:
            cgroup.thaw(freezer)
        await asyncio.wait_for(waiting, 5)
        assert await monitor.exec_exited("e") == 0
        await stop(monitor)

    harness.run(main)


# who does not read


@pytest.mark.parametrize("attach_late", [False, True])
def test_reader_that_stops_does_not_block_the_others(harness, client, attach_late):
    """The other one gets all 20 MB; the stuck one is cut off."""

    async def main(runtime):
        plan = harness.plan(
            "sh",
            "-c",
            "sleep 0.2; yes | head -c 20000000",
            log={**harness.plan("x")["log"], "driver": "none"},
        )
        stuck, good = client(), client()
        monitor = await runtime.start(plan, [] if attach_late else [stuck.attached, good.attached])
        if attach_late:
            await monitor.attach(stuck.attached)
            await monitor.attach(good.attached)
        stuck.given()
        good.given()
        data = await good.read()
        code = (await monitor.exited)["code"]
        stuck.sock.close()
        return len(data), code

    size, code = harness.run(main)
    assert size > 20_000_000 and code == 0


def test_sole_reader_that_pauses_loses_nothing(harness, client):
    async def main(runtime):
        plan = harness.plan("seq", "1", "600000")
        one = client()
        monitor = await runtime.start(plan, [one.attached])
        one.given()
        await asyncio.sleep(0.5)
        assert not monitor.exited.done()  # 4 MB do not fit into the buffers: the process is held back
        output, _ = await one.streams()
        assert (await monitor.exited)["code"] == 0
        return output

    assert harness.run(main) == b"".join(b"%d\n" % number for number in range(1, 600_001))


def test_end_is_told_when_a_client_does_not_read(harness, client, monkeypatch):
    async def main(runtime):
        plan = harness.plan("sh", "-c", "yes | head -c 700000")
        one = client()
        monitor = await runtime.start(plan, [one.attached])
        one.given()
        record = await asyncio.wait_for(monitor.exited, 20)
        return record["code"], len(await one.read())  # and what it has not read yet, it still gets

    code, size = harness.run(main)
    assert code == 0 and size >= 700_000


def test_monitor_sleeps_when_a_client_has_half_closed(harness, client):
    async def main(runtime):
        one = client(stdin=True)
        monitor = await runtime.start(
            harness.plan("sleep", "1000", open_stdin=True, stdin_once=True), [one.attached]
        )
        one.given()
        one.end_stdin()
        await asyncio.sleep(0.2)
        pid = monitor_of(monitor.pid)
        before = cpu_ticks(pid)
        await asyncio.sleep(0.5)
        used = cpu_ticks(pid) - before
        await stop(monitor)
        return used

    assert harness.run(main) <= 1


def test_log_has_everything_when_it_rotates_under_load(harness, client):
    async def main(runtime):
        plan = harness.plan("seq", "1", "100000")
        plan["log"].update(max_size_bytes=500_000, max_files=50)
        monitor = await runtime.start(plan)
        assert (await monitor.exited)["code"] == 0
        return plan["log"]

    from havre.logs import reader

    log = harness.run(main)

    async def collect():
        done = asyncio.Event()
        done.set()
        return [int(line) async for _, _, line in reader.read(log, ended=done)]

    assert asyncio.run(collect()) == list(range(1, 100_001))
    assert os.path.exists(log["path"] + ".9")


# who goes away


FAKE_DAEMON = """
import asyncio, json, socket, sys
from havre.runtime import link
async def main():
    runtime = link.Runtime(socket.socket(fileno=int(sys.argv[1])))
    monitor = await runtime.start(json.loads(sys.argv[2]))
    await monitor.exec(json.loads(sys.argv[3]), None)
    print(monitor.pid, flush=True)
    await asyncio.sleep(1000)
asyncio.run(main())
"""


@pytest.mark.parametrize("ended_meanwhile", [False, True])
def test_container_goes_on_when_the_daemon_is_killed(harness, client, ended_meanwhile):
    import json
    import subprocess
    import sys

    ours = harness.open_zygote()
    os.set_inheritable(ours.fileno(), True)
    plan = harness.plan("sh", "-c", "for i in $(seq 1 1000); do echo line $i; sleep 0.02; done")
    execed = harness.exec_plan("e", "sh", "-c", "sleep 0.1; exit 9")
    code = [sys.executable, "-c", FAKE_DAEMON, str(ours.fileno()), json.dumps(plan), json.dumps(execed)]
    daemon = subprocess.Popen(code, pass_fds=[ours.fileno()], stdout=subprocess.PIPE)
    ours.close()
    pid = int(daemon.stdout.readline())
    os.kill(daemon.pid, signal.SIGKILL)
    daemon.wait()
    assert harness.zygote.wait(10) == 0  # the zygote goes, the container stays
    size = os.path.getsize(plan["log"]["path"])
    deadline = time.monotonic() + 10
    while os.path.getsize(plan["log"]["path"]) <= size and time.monotonic() < deadline:
        time.sleep(0.01)
    assert os.path.getsize(plan["log"]["path"]) > size  # and it is still logged
    if ended_meanwhile:
        os.kill(pid, signal.SIGKILL)
        while not os.path.exists(plan["run_dir"] + "/exit") and time.monotonic() < deadline:
            time.sleep(0.01)

    async def main(runtime):
        found = await runtime.adopt(plan["run_dir"])
        if ended_meanwhile:
            return found["code"], None, None
        assert found.pid == pid
        one = client()
        await found.attach(one.attached)
        one.given()
        await one.read_until(b"line")
        exec_code = await asyncio.wait_for(found.exec_exited("e"), 5)
        started = await execute(found, harness, client, "true")
        return await stop(found), exec_code, started

    result = harness.run(main)
    assert result == ((137, None, None) if ended_meanwhile else (137, 9, (0, b"")))


def test_container_ends_with_its_monitor(harness):
    async def main(runtime):
        plan = harness.plan("sleep", "1000")
        monitor = await runtime.start(plan)
        os.kill(monitor_of(monitor.pid), signal.SIGKILL)
        record = await asyncio.wait_for(monitor.exited, 5)
        assert not os.path.exists(f"/proc/{monitor.pid}/exe")
        return record

    record = harness.run(main)
    assert record["code"] == link.LOST and "monitor was killed" in record["error"]


def test_adopt_ends_a_container_whose_monitor_was_killed_meanwhile(harness):
    async def main(runtime):
        plan = harness.plan("sleep", "1000")
        monitor = await runtime.start(plan)
        monitor._close()  # as if the daemon had been away
        os.kill(monitor_of(monitor.pid), signal.SIGKILL)
        found = await runtime.adopt(plan["run_dir"])
        assert not os.path.exists(f"/proc/{monitor.pid}/exe")
        return found, await runtime.adopt(plan["run_dir"])

    found, again = harness.run(main)
    assert found["code"] == link.LOST and again is None


def test_start_says_so_when_the_zygote_has_gone(harness, monkeypatch):
    said = []
    monkeypatch.setattr(link.log, "error", lambda text, **fields: said.append(text))

    async def main(runtime):
        monitor = await sleeper(runtime, harness)
        harness.zygote.kill()
        harness.zygote.wait()
        await asyncio.sleep(0.05)
        assert said == ["the zygote has gone: no container can start"]
        with pytest.raises(HavreError, match="zygote has gone"):
            await runtime.start(harness.plan("true"))
        return await stop(monitor)

    assert harness.run(main) == 137


def test_start_that_is_cancelled_leaves_nothing(harness):
    async def main(runtime):
        plan = harness.plan("sleep", "1000")
        starting = asyncio.create_task(runtime.start(plan))
        await asyncio.sleep(0)
        starting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await starting
        while not os.path.exists(plan["run_dir"] + "/exit"):
            await asyncio.sleep(0.01)

    harness.run(main)


def test_more_clients_than_one_message_carries(harness, client):
    async def main(runtime):
        clients = [client() for _ in range(230)]
        monitor = await runtime.start(
            harness.plan("sh", "-c", "sleep 0.5; echo hi"), [one.attached for one in clients]
        )
        for one in clients:
            one.given()
        outputs = [await one.streams() for one in clients]
        await monitor.exited
        return set(outputs)

    assert harness.run(main) == {(b"hi\n", b"")}


def test_monitor_takes_little_memory(harness):
    async def main(runtime):
        monitor = await sleeper(runtime, harness)
        await asyncio.sleep(0.1)
        used = private_kb(monitor_of(monitor.pid))
        await stop(monitor)
        return used

    assert harness.run(main) <= 1536


def test_other_users_cannot_reach_the_monitor(harness):
    async def main(runtime):
        plan = harness.plan("sleep", "1000")
        monitor = await runtime.start(plan)
        os.chmod(plan["run_dir"], 0o755)
        os.chmod(os.path.dirname(plan["run_dir"]), 0o755)
        assert os.stat(plan["run_dir"] + "/sock").st_mode & 0o777 == 0o600
        os.chmod(plan["run_dir"] + "/sock", 0o666)
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            os.chdir(plan["run_dir"])
            os.setresuid(1000, 1000, 1000)
            sock.connect("sock")
            os.write(writing, b"refused" if sock.recv(100) == b"" else b"let in")
            os._exit(0)
        os.waitpid(child, 0)
        await stop(monitor)
        return os.read(reading, 100)

    assert harness.run(main) == b"refused"


def monitor_of(pid):
    """The parent of a container's init."""
    with open(f"/proc/{pid}/stat", encoding="ascii") as file:
        return int(file.read().rpartition(")")[2].split()[1])


def private_kb(pid):
    with open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as file:
        return sum(int(line.split()[1]) for line in file if line.startswith("Private_Dirty"))


def cpu_ticks(pid):
    with open(f"/proc/{pid}/stat", encoding="ascii") as file:
        return sum(int(word) for word in file.read().rpartition(")")[2].split()[11:13])
