"""Containers with a user namespace of their own, through Runtime and Monitor: layers idmapped, streams, execs, terminals, joins."""

import os
from pathlib import Path

import pytest

from havre.errors import InvalidParameter
from havre.runtime import link

from .conftest import split
from .test_link import execute, run, stop

pytestmark = pytest.mark.kernel
BASE = 400000


def mapped(harness, *args, **changes):
    """A plan whose container has a user namespace; the upper directory belongs to its root."""
    kinds = ["mount", "pid", "network", "ipc", "uts", "cgroup", "user"]
    plan = harness.plan(*args, namespaces=kinds, **changes)
    maps = [{"containerID": 0, "hostID": BASE, "size": 65536}]
    plan["config"]["linux"].update(uidMappings=maps, gidMappings=maps)
    os.chown(plan["overlay"]["upper"], BASE, BASE)
    return plan


def test_layers_are_idmapped_and_what_is_written_has_the_hosts_numbers(harness, client):
    plan = mapped(
        harness, "sh", "-c", "stat -c %u:%g /etc/passwd /bin/busybox; chown 33:44 /etc/passwd; echo x > /made"
    )

    async def main(runtime):
        return await run(runtime, plan, client)

    code, output = harness.run(main)
    assert code == 0 and link_text(output) == "0:0\n0:0\n"
    upper = Path(plan["overlay"]["upper"])
    assert [(upper / "etc/passwd").stat().st_uid, (upper / "etc/passwd").stat().st_gid] == [
        BASE + 33,
        BASE + 44,
    ]
    assert (upper / "made").stat().st_uid == BASE
    assert (harness.root / "etc/passwd").stat().st_uid == 0


def link_text(frames):
    return b"".join(split(frames)).decode()


@pytest.mark.parametrize("user", ["", "ann", "1234:5678"])
def test_streams_can_be_opened_again_by_every_user(harness, client, user):
    async def main(runtime):
        plan = mapped(harness, "sh", "-c", "echo out > /dev/stdout; echo err > /dev/stderr; id -u", user=user)
        return await run(runtime, plan, client)

    code, output = harness.run(main)
    assert code == 0 and sorted(link_text(output).split()) == sorted(
        ["out", "err", {"": "0", "ann": "1000"}.get(user, "1234")]
    )


def test_exec_is_inside_with_the_right_ids(harness, client):
    async def main(runtime):
        monitor = await runtime.start(mapped(harness, "sleep", "1000"))
        script = "id -u; readlink /proc/self/ns/user; echo again > /dev/stdout; cat /proc/self/uid_map"
        code, output = await execute(monitor, harness, client, "sh", "-c", script, user="ann")
        link_ = os.readlink(f"/proc/{monitor.pid}/ns/user")
        tty = await execute(monitor, harness, client, "sh", "-c", "stat -c %u $(tty)", tty=True, user="ann")
        return code, link_text(output), link_, tty, await stop(monitor)

    code, text, namespace, tty, _ = harness.run(main)
    assert code == 0 and text.split() == ["1000", namespace, "again", "0", str(BASE), "65536"]
    assert tty == (0, b"1000\r\n")


def test_terminal_belongs_to_the_user_and_its_group_is_tty(harness, client):
    async def main(runtime):
        plan = mapped(harness, "sh", "-c", "tty; stat -c %u:%g /dev/pts/0 /dev/console", tty=True, user="ann")
        return await run(runtime, plan, client)

    assert harness.run(main) == (0, b"/dev/pts/0\r\n1000:5\r\n1000:5\r\n")


def test_user_namespace_is_joined_and_its_helper_reaped(harness, client):
    async def main(runtime):
        first = await runtime.start(mapped(harness, "sleep", "1000"))
        plan = mapped(harness, "sleep", "1000")
        namespaces = plan["config"]["linux"]["namespaces"]
        for one in namespaces:
            if one["type"] in ("user", "network"):
                name = {"network": "net"}.get(one["type"], one["type"])
                one["path"] = f"/proc/{first.pid}/ns/{name}"
        second = await runtime.start(plan)
        links = [
            [os.readlink(f"/proc/{one.pid}/ns/{name}") for one in (first, second)]
            for name in ("user", "net", "pid")
        ]
        uid = os.stat(f"/proc/{second.pid}/root/etc/passwd").st_uid
        await execute(second, harness, client, "true")  # its monitor's loop turns: the start is over
        parent = int(Path(f"/proc/{second.pid}/stat").read_text().rpartition(")")[2].split()[1])
        children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
        await stop(second)
        await stop(first)
        return links, uid, children, str(second.pid)

    links, uid, children, pid = harness.run(main)
    assert [first == second for first, second in links] == [True, True, False]
    assert uid == BASE and children == [pid]


def test_join_of_a_namespace_that_has_gone_leaves_nothing(harness):
    async def main(runtime):
        plan = mapped(harness, "true")
        plan["config"]["linux"]["namespaces"][-1]["path"] = "/proc/1/ns/nothing"
        with pytest.raises(link.KernelError, match="/proc/1/ns/nothing"):
            await runtime.start(plan)

    harness.run(main)


def test_user_that_is_not_mapped_is_told_what_to_do(harness):
    async def main(runtime):
        with pytest.raises(InvalidParameter, match="70000:0: the user or group has no id") as caught:
            await runtime.start(mapped(harness, "true", user="70000"))
        return caught.value.hint

    assert harness.run(main) == "--userns auto:size=NUMBER"


def test_layers_on_a_file_system_that_cannot_are_named(harness):
    async def main(runtime):
        plan = mapped(harness, "true")
        plan["overlay"]["lower"].append("/proc")
        with pytest.raises(InvalidParameter, match=r"/proc \(proc\): this file system cannot be shown"):
            await runtime.start(plan)

    harness.run(main)
