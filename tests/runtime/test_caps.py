"""Capabilities: Docker's rules of adding and dropping, and what the kernel then shows."""

import os
from pathlib import Path

import pytest

from havre.errors import InvalidParameter
from havre.linux import syscalls
from havre.runtime import caps, identity


def test_default_is_dockers_mask():
    assert len(caps.DEFAULT) == 14
    assert caps.mask(caps.DEFAULT) == 0xA80425FB


def test_numbers_follow_the_kernel():
    assert caps.NUMBERS["CAP_CHOWN"] == 0
    assert caps.NUMBERS["CAP_SYS_ADMIN"] == 21
    assert caps.NUMBERS["CAP_CHECKPOINT_RESTORE"] == 40
    last = int(Path("/proc/sys/kernel/cap_last_cap").read_text())
    assert len(caps.ALL) >= min(last, 40) + 1


@pytest.mark.parametrize(
    ("add", "drop", "extra", "missing"),
    [
        ([], [], set(), set()),
        (["NET_ADMIN"], [], {"CAP_NET_ADMIN"}, set()),
        (["cap_net_admin", " sys_time "], [], {"CAP_NET_ADMIN", "CAP_SYS_TIME"}, set()),
        ([], ["MKNOD"], set(), {"CAP_MKNOD"}),
        (["CHOWN"], ["CHOWN"], set(), set()),
        (["SYS_ADMIN"], ["CAP_CHOWN"], {"CAP_SYS_ADMIN"}, {"CAP_CHOWN"}),
    ],
)
def test_resolve_changes_the_default(add, drop, extra, missing):
    assert set(caps.resolve(add, drop, False)) == (set(caps.DEFAULT) | extra) - missing


def test_resolve_all_words():
    assert caps.resolve(["ALL"], [], False) == list(caps.ALL)
    assert set(caps.resolve(["all"], ["sys_admin"], False)) == set(caps.ALL) - {"CAP_SYS_ADMIN"}
    assert caps.resolve([], ["ALL"], False) == []
    assert caps.resolve(["CHOWN"], ["all"], False) == ["CAP_CHOWN"]
    assert caps.resolve(["ALL"], ["ALL"], False) == list(caps.ALL)  # as Docker: adding wins


def test_resolve_of_privileged_is_everything():
    assert caps.resolve([], ["CHOWN"], True) == list(caps.ALL)


def test_resolve_is_in_the_kernels_order():
    assert caps.resolve(["SYSLOG", "NET_ADMIN"], ["ALL"], False) == ["CAP_NET_ADMIN", "CAP_SYSLOG"]


@pytest.mark.parametrize("word", ["SYS_ADMN", "", "CAP_", "CAP_CAP_CHOWN", "NET_ADMIN,CHOWN", "ß"])
@pytest.mark.parametrize("side", ["add", "drop"])
def test_unknown_capability_is_named(word, side):
    with pytest.raises(InvalidParameter) as caught:
        caps.resolve([word] if side == "add" else [], [word] if side == "drop" else [], side == "add")
    full = word.upper() if word.startswith("CAP_") else f"CAP_{word.upper()}"
    assert caught.value.message == f'unknown capability: "{full}"'


def test_unknown_capability_names_its_neighbour():
    with pytest.raises(InvalidParameter, match="CAP_SYS_ADMIN"):
        caps.normalise("SYS_ADMN")


def test_oci_object_leaves_inheritable_and_ambient_empty():
    found = caps.oci_capabilities(["CAP_CHOWN"])
    assert found["bounding"] == found["effective"] == found["permitted"] == ["CAP_CHOWN"]
    assert found["inheritable"] == found["ambient"] == []
    assert caps.masks(found) == {
        "bounding": 1,
        "effective": 1,
        "permitted": 1,
        "inheritable": 0,
        "ambient": 0,
    }
    assert caps.masks(None) == dict.fromkeys(found, 0)


def status_of(uid, names, **more):
    """Become a container's process in a child; return its Cap* lines and NoNewPrivs as the kernel shows them."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        process = {
            "caps": caps.masks(caps.oci_capabilities(names)),
            "seccomp": b"",
            "seccomp_flags": 0,
            "no_new_privileges": False,
        }
        try:
            identity.become({**process, **more}, uid, uid, [])
            with open("/proc/self/status", "rb") as file:
                os.write(writer, file.read())
        finally:
            os._exit(0)
    os.close(writer)
    with open(reader, "rb") as file:
        text = file.read().decode()
    os.waitpid(pid, 0)
    return {
        line.split(":")[0]: line.split()[1]
        for line in text.splitlines()
        if line.startswith(("Cap", "NoNew", "Uid"))
    }


@pytest.fixture
def held():
    if os.geteuid() != 0:
        pytest.skip("needs root")
    return syscalls.capget()[1]


@pytest.mark.kernel
def test_root_gets_exactly_the_named_capabilities(held):
    found = status_of(0, caps.DEFAULT)
    wanted = f"{caps.mask(caps.DEFAULT) & held:016x}"
    assert found["CapBnd"] == found["CapPrm"] == found["CapEff"] == wanted
    assert int(found["CapInh"], 16) == int(found["CapAmb"], 16) == 0


@pytest.mark.kernel
def test_no_capability_at_all(held):
    found = status_of(0, [])
    assert {int(found[name], 16) for name in ("CapBnd", "CapPrm", "CapEff", "CapInh", "CapAmb")} == {0}


@pytest.mark.kernel
def test_capabilities_the_host_lacks_are_left_out(held):
    assert int(status_of(0, caps.ALL)["CapEff"], 16) == held & caps.mask(caps.ALL)


@pytest.mark.kernel
def test_another_user_keeps_the_bounding_set(held):
    found = status_of(1000, caps.DEFAULT)
    assert found["Uid"] == "1000"
    assert int(found["CapBnd"], 16) == caps.mask(caps.DEFAULT) & held
    assert int(found["CapInh"], 16) == int(found["CapAmb"], 16) == 0
