"""The first process of a container: --init as pid 1, what it shows of the host, and how it ends."""

import os
import subprocess
import sys

import pytest

from havre.linux import syscalls

pytestmark = pytest.mark.kernel


async def run(runtime, plan, client):
    one = client()
    monitor = await runtime.start(plan, [one.attached])
    one.given()
    output = await one.read()
    return (await monitor.exited)["code"], output


def test_init_is_pid_one_and_shows_nothing_of_the_host(harness, client):
    script = "tr '\\0' ' ' < /proc/1/cmdline; echo; cat /proc/1/comm; cat /proc/1/environ /proc/1/exe; echo $$; exit 3"

    async def main(runtime):
        return await run(runtime, harness.plan("sh", "-c", script, init=True, tty=True), client)

    code, output = harness.run(main)
    lines = output.decode().split("\r\n")
    assert code == 3 and lines[0].startswith("/sbin/docker-init -- sh -c tr ") and lines[1] == "docker-init"
    assert (
        lines[2].endswith("Permission denied") and lines[3].endswith("Permission denied") and lines[4] == "2"
    )
    assert b"python" not in output and b"havre" not in output


def test_init_reaps_orphans_and_ends_with_the_childs_signal(harness, client):
    zombies = "cat /proc/[0-9]*/stat 2>/dev/null | cut -d' ' -f3 | grep -q Z"
    script = f"(sleep 0.01 &); sleep 0.05; i=0; while {zombies}; do i=$((i+1)); [ $i -gt 300 ] && exit 1; done; kill -15 $$"

    async def main(runtime):
        return await run(runtime, harness.plan("sh", "-c", script, init=True, tty=True), client)

    assert harness.run(main) == (143, b"")


def test_init_passes_signals_on(harness, client):
    async def main(runtime):
        one = client()
        script = "trap 'echo caught; exit 9' USR1; echo ready; while :; do sleep 0.05; done"
        monitor = await runtime.start(harness.plan("sh", "-c", script, init=True, tty=True), [one.attached])
        one.given()
        await one.read_until(b"ready")
        monitor.kill(10)
        assert b"caught" in await one.read_until(b"caught")
        return (await monitor.exited)["code"]

    assert harness.run(main) == 9


def test_magic_links_are_refused_by_start_and_exec_with_the_words_clients_know(harness, client):
    from havre.errors import CommandNotExecutable

    async def main(runtime):
        with pytest.raises(CommandNotExecutable, match="permission denied"):
            await runtime.start(harness.plan("/proc/self/exe", "-c", "1"))
        monitor = await runtime.start(harness.plan("sleep", "100"))
        with pytest.raises(CommandNotExecutable, match="permission denied"):
            await monitor.exec(harness.exec_plan("one", "/proc/self/exe", "-c", "1"), None)
        monitor.kill(9)
        await monitor.exited

    harness.run(main)


def test_set_title_replaces_arguments_and_clears_the_environment():
    code = (
        "from havre.linux import syscalls\n"
        "syscalls.set_title(syscalls.title_area(), [b'one', b'two'])\n"
        "print(open('/proc/self/cmdline').read().rstrip(chr(0)).split(chr(0)))\n"
        "print(len(open('/proc/self/environ').read().strip(chr(0))))\n"
    )
    src = os.path.dirname(os.path.dirname(os.path.dirname(syscalls.__file__)))
    env = {"PYTHONPATH": src, "SECRET": "x" * 500}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=env, check=True)
    assert done.stdout.splitlines() == ["['one', 'two']", "0"]
