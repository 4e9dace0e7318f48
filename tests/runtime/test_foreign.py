"""The same containers through an installed runc and crun: streams, codes, terminals, execs, errors; nothing of them is left."""

import os
import shutil

import pytest

from havre.errors import CommandNotExecutable, CommandNotFound, HavreError, InvalidParameter

pytestmark = pytest.mark.kernel
UNIFIED = "/sys/fs/cgroup/unified"


@pytest.fixture(params=["runc", "crun"])
def other(request, harness):
    path = shutil.which(request.param, path="/usr/sbin:/usr/bin:/sbin:/bin")
    if path is None:
        pytest.skip(f"needs {request.param} (Debian package {request.param})")
    if request.param == "crun" and os.path.exists(UNIFIED):
        # crun refuses a host with controllers in both trees: show it only the v1 ones
        hide = f'umount {UNIFIED} && exec "$@"'
        harness.before_zygote = ["unshare", "--mount", "sh", "-c", hide, "sh"]
    return path


async def finish(monitor):
    monitor.kill(9)
    return (await monitor.exited)["code"]


async def execute(monitor, harness, client, *args, **changes):
    one = client(stdin=changes.get("open_stdin", False))
    plan = harness.exec_plan(os.urandom(4).hex(), *args, **changes)
    await monitor.exec(plan, one.attached)
    one.given()
    one.end_stdin()
    output = await one.read()
    return await monitor.exec_exited(plan["exec_id"]), output


def test_streams_and_code(harness, client, other):
    async def main(runtime):
        one = client(stdin=True)
        script = "cat; echo err >&2; id -u; hostname; exit 7"
        plan = harness.plan("sh", "-c", script, runtime=other, open_stdin=True, stdin_once=True, user="ann")
        monitor = await runtime.start(plan, [one.attached])
        one.given()
        await one.send(b"typed\n")
        one.end_stdin()
        out, err = await one.streams()
        record = await monitor.exited
        assert not os.path.exists(f"{plan['run_dir']}/runtime/{plan['id']}")
        assert os.path.getsize(plan["log"]["path"]) > 50
        return out, err, record["code"], plan["id"]

    out, err, code, name = harness.run(main)
    assert (out, err, code) == (f"typed\n1000\n{name}\n".encode(), b"err\n", 7)


def test_no_signal_is_ignored_from_outside(harness, client, other):
    async def main(runtime):
        one = client()
        monitor = await runtime.start(
            harness.plan("grep", "SigIgn", "/proc/self/status", runtime=other), [one.attached]
        )
        one.given()
        output, _ = await one.streams()
        await monitor.exited
        return output

    assert harness.run(main) == b"SigIgn:\t0000000000000000\n"


def test_terminal_and_resize(harness, client, other):
    async def main(runtime):
        one = client(stdin=True)
        plan = harness.plan("sh", "-c", "read a; stty size; exit 3", tty=True, open_stdin=True, runtime=other)
        monitor = await runtime.start(plan, [one.attached])
        one.given()
        await monitor.resize("", 12, 34)
        await one.send(b"go\n")
        output = await one.read()
        return output, (await monitor.exited)["code"]

    assert harness.run(main) == (b"go\r\n12 34\r\n", 3)


@pytest.mark.parametrize(
    ("args", "changes", "error", "words"),
    [
        (["nothing-here"], {}, CommandNotFound, "executable file not found"),
        (["/etc/plain"], {}, CommandNotExecutable, "permission denied"),
        (["true"], {"user": "nobody-known"}, InvalidParameter, "unable to find user nobody-known"),
        (["true"], {"init": True}, HavreError, "--init needs Havre's own runtime"),
        (["true"], {"runtime_args": ["--no-such-flag"]}, HavreError, "failed|flag|argument|option"),
    ],
)
def test_start_fails_clearly_and_leaves_nothing(harness, client, other, args, changes, error, words):
    async def main(runtime):
        one = client()
        plan = harness.plan(*args, runtime=other, **changes)
        with pytest.raises(error, match=words):
            await runtime.start(plan, [one.attached])
        one.given()
        assert await one.read() == b""

    harness.run(main)


def test_missing_runtime_is_named(harness):
    async def main(runtime):
        with pytest.raises(
            HavreError, match="cannot run the OCI runtime /missing/runc: no such file or directory"
        ):
            await runtime.start(harness.plan("true", runtime="/missing/runc"))

    harness.run(main)


def test_exec(harness, client, other):
    async def main(runtime):
        monitor = await runtime.start(harness.plan("sleep", "1000", runtime=other))
        script = "id -u; pwd; echo $WORD; exit 5"
        code, output = await execute(
            monitor, harness, client, "sh", "-c", script, env=["WORD=w"], cwd="/etc", user="ann"
        )
        assert code == 5 and output[8:].replace(output[:1] + b"\0\0\0", b"").split()[:1] == [b"1000"]
        assert b"/etc\n" in output and b"w\n" in output
        code, output = await execute(monitor, harness, client, "sh", "-c", "tty; exit 4", tty=True)
        assert code == 4 and output.startswith(b"/dev/")
        with pytest.raises(CommandNotFound):
            await execute(monitor, harness, client, "nothing-here")
        with pytest.raises(InvalidParameter, match="nobody-known"):
            await execute(monitor, harness, client, "true", user="nobody-known")
        for _ in range(3):
            assert await execute(monitor, harness, client, "true") == (0, b"")
        return await finish(monitor)

    assert harness.run(main) == 137


def test_no_mount_is_left_on_the_host(harness, other):
    async def main(runtime):
        plan = harness.plan("sleep", "1000", runtime=other)
        monitor = await runtime.start(plan)
        with open("/proc/self/mountinfo", encoding="utf-8") as file:
            assert plan["id"] not in file.read()
        await finish(monitor)

    harness.run(main)
