"""Device rules: v1 lines, and the v2 program by a machine in Python and in the kernel."""

import itertools
import os
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from havre.errors import InvalidParameter, KernelError
from havre.linux import bpf
from havre.runtime.cgroup.devices import ACCESS, TYPES, emulate, v1_writes, v2_program


def rule(allow, kind="a", major=None, minor=None, access="rwm"):
    return {"allow": allow, "type": kind, "major": major, "minor": minor, "access": access}


DOCKER = [
    rule(False),
    rule(True, "c", access="m"),
    rule(True, "b", access="m"),
    rule(True, "c", 1, 3),
    rule(True, "c", 1, 5),
    rule(True, "c", 136),
    rule(True, "c", 5, 2),
    rule(False, "c", 10, 229),
]


def run(program, kind, major, minor, access):
    """The kernel's eBPF machine, as far as these programs need it."""
    if not program:
        return True
    asked = sum(ACCESS[letter] for letter in access) << 16 | TYPES[kind]
    memory = {0: asked, 4: major, 8: minor}
    registers, at = [0] * 11, 0
    while True:
        opcode, places, offset, value = struct.unpack_from("=BBhi", program, at * 8)
        target, source = places & 15, places >> 4
        at += 1
        if opcode == 0x61:
            assert source == 1
            registers[target] = memory[offset]
        elif opcode == 0xBC:
            registers[target] = registers[source] & 0xFFFFFFFF
        elif opcode == 0x54:
            registers[target] &= value & 0xFFFFFFFF
        elif opcode == 0x74:
            registers[target] >>= value
        elif opcode == 0xB7:
            registers[target] = value
        elif opcode == 0x95:
            return bool(registers[0])
        elif opcode in (0x15, 0x55):
            at += offset if (registers[target] == value) == (opcode == 0x15) else 0
        else:
            raise AssertionError(hex(opcode))


def judge(rules, kind, major, minor, access):
    """What security/device_cgroup.c answers: one exception must allow all of it, or none may deny any of it."""
    allowed, exceptions = emulate(rules)
    asked = sum(ACCESS[letter] for letter in access)
    hits = [
        bits
        for (its_kind, its_major, its_minor), bits in exceptions.items()
        if its_kind in ("a", kind) and its_major in (-1, major) and its_minor in (-1, minor)
    ]
    return not any(bits & asked for bits in hits) if allowed else any(asked & ~bits == 0 for bits in hits)


def test_v1_lines():
    assert v1_writes(DOCKER) == [
        ("devices.deny", "a"),
        ("devices.allow", "c *:* m"),
        ("devices.allow", "b *:* m"),
        ("devices.allow", "c 1:3 rwm"),
        ("devices.allow", "c 1:5 rwm"),
        ("devices.allow", "c 136:* rwm"),
        ("devices.allow", "c 5:2 rwm"),
        ("devices.deny", "c 10:229 rwm"),
    ]


def test_v2_program_of_dockers_rules():
    program = v2_program(DOCKER)
    assert run(program, "c", 1, 3, "rw")
    assert run(program, "c", 136, 77, "rw")
    assert run(program, "b", 8, 0, "m")
    assert not run(program, "b", 8, 0, "r")
    assert not run(program, "c", 10, 229, "r")
    assert not run(program, "c", 1, 4, "w")
    assert not run(program, "c", 1, 4, "mw")


def test_v2_program_is_empty_when_everything_is_allowed():
    assert (
        v2_program([])
        == v2_program([rule(True)])
        == v2_program([rule(False), rule(True, "c", 1, 3), rule(True)])
        == b""
    )


def test_v2_program_that_denies_all():
    program = v2_program([rule(False)])
    assert not any(run(program, kind, 1, 3, access) for kind in "bc" for access in "rwm")


def test_rules_on_the_same_device_add_up_and_are_taken_back():
    assert run(
        v2_program([rule(False), rule(True, "c", 1, 3, "r"), rule(True, "c", 1, 3, "w")]), "c", 1, 3, "rw"
    )
    taken = v2_program([rule(False), rule(True, "c", 1, 3), rule(False, "c", 1, 3, "w")])
    assert run(taken, "c", 1, 3, "r")
    assert not run(taken, "c", 1, 3, "rw")


def test_exceptions_of_an_allowing_list_deny():
    program = v2_program([rule(True), rule(False, "b", 8, access="w")])
    assert not run(program, "b", 8, 1, "rw")
    assert run(program, "b", 8, 1, "r")
    assert run(program, "c", 8, 1, "w")


NUMBER = st.sampled_from([None, -1, 0, 1, 3, 8])
RULES = st.lists(
    st.builds(
        rule,
        st.booleans(),
        st.sampled_from("abc"),
        NUMBER,
        NUMBER,
        st.sampled_from(["r", "w", "m", "rw", "rwm", ""]),
    ),
    max_size=8,
)


@given(RULES)
@settings(max_examples=60, deadline=None)
def test_v2_program_answers_as_the_v1_controller(rules):
    program = v2_program(rules)
    for kind, major, minor, access in itertools.product(
        "bc", (0, 1, 3, 8, 9), (0, 1, 3), ("r", "w", "m", "rw", "rm")
    ):
        assert run(program, kind, major, minor, access) == judge(rules, kind, major, minor, access)


@pytest.mark.parametrize(
    ("bad", "word"),
    [
        (rule(True, "p"), "'p'"),
        (rule(True, "c", 1, 3, "x"), "'x'"),
        (rule(True, "c", 1 << 40, 3), "1099511627776"),
    ],
)
def test_bad_rules_are_named(bad, word):
    for make in (v1_writes, v2_program):
        with pytest.raises(InvalidParameter, match=word):
            make([bad])


# --- in the kernel: a cgroup2 group judges devices on hybrid hosts too ------------------------------------------------


@pytest.fixture
def group():
    if os.geteuid() != 0:
        pytest.skip("needs root")
    for mount in ("/sys/fs/cgroup", "/sys/fs/cgroup/unified"):
        if os.path.exists(f"{mount}/cgroup.subtree_control"):
            path = f"{mount}/havre-test-devices-{os.getpid()}"
            os.mkdir(path)
            yield path
            os.rmdir(path)
            return
    pytest.skip("needs a cgroup2 mount")


def opened(group, path, flags):
    """Open path from inside the group; return 0 or the errno."""
    pid = os.fork()
    if pid == 0:
        code = 99
        try:
            with open(f"{group}/cgroup.procs", "w") as file:
                file.write("0")
            os.close(os.open(path, flags))
            code = 0
        except OSError as error:
            code = error.errno
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


@pytest.mark.kernel
def test_kernel_obeys_the_program(group):
    program = v2_program([rule(False), rule(True, "c", 1, 3), rule(True, "c", 1, 5, "r")])
    bpf.attach_device_program(group, program)
    assert opened(group, "/dev/null", os.O_RDWR) == 0
    assert opened(group, "/dev/zero", os.O_RDONLY) == 0
    assert opened(group, "/dev/zero", os.O_RDWR) == 1
    assert opened(group, "/dev/full", os.O_RDONLY) == 1


@pytest.mark.kernel
@given(RULES)
@settings(max_examples=20, deadline=None)
def test_kernel_verifies_every_program(rules):
    if os.geteuid() != 0:
        pytest.skip("needs root")
    if program := v2_program(rules):
        os.close(bpf.load_device_program(program))


@pytest.mark.kernel
def test_kernel_refusal_names_the_call(group):
    with pytest.raises(KernelError) as caught:
        bpf.attach_device_program(group, b"\0" * 8)
    assert (caught.value.call, caught.value.errno) == ("bpf", 22)
    with pytest.raises(KernelError) as caught:
        bpf.attach_device_program(group + "/none", v2_program([rule(False)]))
    assert caught.value.errno == 2
