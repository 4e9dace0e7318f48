"""The default profile and the compiler: by a filter machine in Python, beside libseccomp, and in the kernel."""

import ctypes
import ctypes.util
import errno
import os
import platform
import re
import signal
import socket
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from havre.errors import InvalidParameter
from havre.linux import syscalls
from havre.runtime import caps
from havre.runtime.seccomp import compile_profile, compiler, default_profile, filter_flags, numbers

from . import bpf_machine as machine

EPERM, ENOSYS = machine.ERRNO | 1, machine.ERRNO | 38
NR = numbers.table(numbers.X86_64)
NR_I386 = numbers.table(numbers.I386)
NR_ARM = numbers.table(numbers.AARCH64)
DEFAULT = compile_profile(default_profile(caps.DEFAULT), "x86_64")
CLONE_NEWUSER, SIGCHLD = 0x10000000, 17


def profile(*rules, default="SCMP_ACT_ALLOW", **more):
    return {"defaultAction": default, "syscalls": list(rules), **more}


def rule(names, action="SCMP_ACT_ERRNO", args=(), **more):
    return {"names": names.split(), "action": action, "args": list(args), **more}


def arg(index, op, value, value_two=0):
    return {"index": index, "op": f"SCMP_CMP_{op}", "value": value, "valueTwo": value_two}


def ask(name, *args, held=caps.DEFAULT):
    program = DEFAULT if held is caps.DEFAULT else compile_profile(default_profile(held), "x86_64")
    return machine.answer(program, NR[name], *args)


# --- the default profile ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", "read write openat execve fork vfork futex ptrace statx rseq openat2 chroot mknod".split()
)
def test_default_allows_plain_calls(name):
    assert ask(name) == machine.ALLOW


@pytest.mark.parametrize(
    "name",
    "keyctl add_key request_key bpf io_uring_setup io_uring_enter io_uring_register userfaultfd mount umount2 unshare setns reboot "
    "init_module finit_module kexec_load swapon perf_event_open open_by_handle_at settimeofday clock_settime syslog pivot_root "
    "iopl acct quotactl sethostname move_mount fsopen fanotify_init".split(),
)
def test_default_refuses_what_reaches_the_host(name):
    assert ask(name) == EPERM


@pytest.mark.parametrize(
    ("cap", "name"),
    [
        ("CAP_SYS_ADMIN", "mount"), ("CAP_SYS_ADMIN", "unshare"), ("CAP_SYS_ADMIN", "bpf"), ("CAP_SYS_ADMIN", "clone3"),
        ("CAP_BPF", "bpf"), ("CAP_PERFMON", "perf_event_open"), ("CAP_SYSLOG", "syslog"), ("CAP_SYS_BOOT", "reboot"),
        ("CAP_SYS_MODULE", "init_module"), ("CAP_SYS_TIME", "clock_settime"), ("CAP_SYS_NICE", "mbind"),
        ("CAP_SYS_RAWIO", "iopl"), ("CAP_SYS_PACCT", "acct"), ("CAP_DAC_READ_SEARCH", "open_by_handle_at"),
        ("CAP_SYS_TTY_CONFIG", "vhangup"),
    ],
)  # fmt: skip
def test_default_allows_by_capability(cap, name):
    assert ask(name) in (EPERM, ENOSYS)
    assert ask(name, held=[*caps.DEFAULT, cap]) == machine.ALLOW


def test_default_refuses_chroot_without_its_capability():
    assert ask("chroot", held=["CAP_CHOWN"]) == EPERM


@pytest.mark.parametrize("name", ["io_uring_setup", "keyctl", "userfaultfd", "pivot_root"])
def test_default_refuses_some_calls_whatever_the_capabilities(name):
    assert ask(name, held=caps.ALL) == EPERM


@pytest.mark.parametrize(
    "flag", [0x00020000, 0x02000000, 0x04000000, 0x08000000, CLONE_NEWUSER, 0x20000000, 0x40000000]
)
def test_clone_of_a_namespace_is_refused(flag):
    assert ask("clone", flag | SIGCHLD) == EPERM
    assert ask("clone", flag | 1 << 40) == EPERM
    assert ask("clone", flag, held=["CAP_SYS_ADMIN"]) == machine.ALLOW


def test_clone_of_a_thread_is_allowed_and_clone3_unknown():
    assert ask("clone", 0x3D0F00) == machine.ALLOW
    assert ask("clone3") == ENOSYS


@pytest.mark.parametrize("family", range(64))
def test_socket_families_by_their_lower_half(family):
    wanted = EPERM if family in (38, 40) else machine.ALLOW
    for upper in (
        0,
        1 << 32,
        0xFFFFFFFF << 32,
    ):  # the kernel reads an int: the upper half must change nothing
        assert ask("socket", upper | family) == wanted


@pytest.mark.parametrize("call", range(22))
def test_socketcall_of_i386_makes_no_sockets(call):
    wanted = ENOSYS if call == 1 else machine.ALLOW if 2 <= call <= 20 else EPERM
    assert machine.answer(DEFAULT, NR_I386["socketcall"], call, arch=machine.I386) == wanted


@pytest.mark.parametrize("family", [38, 40])
def test_socket_of_i386_is_filtered_alike(family):
    assert machine.answer(DEFAULT, NR_I386["socket"], family, arch=machine.I386) == EPERM
    assert machine.answer(DEFAULT, NR_I386["socket"], 2, arch=machine.I386) == machine.ALLOW


def test_personality_only_of_known_domains():
    for domain in (0, 8, 0x20000, 0x20008, 0xFFFFFFFF):
        assert ask("personality", domain) == machine.ALLOW
    for domain in (1, 0x40000, 0x40000 | 8, 0x0040000 | 0x20000):  # ADDR_NO_RANDOMIZE
        assert ask("personality", domain) == EPERM


def test_i386_numbers_are_not_taken_for_x86_64_ones():
    assert machine.answer(DEFAULT, NR_I386["mount"], arch=machine.I386) == EPERM
    assert machine.answer(DEFAULT, NR_I386["keyctl"], arch=machine.I386) == EPERM
    assert machine.answer(DEFAULT, NR_I386["read"], arch=machine.I386) == machine.ALLOW


def test_x32_and_unknown_architectures_are_refused():
    for number in (0, 1, 0x200, 0x3FFFFFFF):
        assert machine.answer(DEFAULT, 0x40000000 | number) == EPERM
    assert machine.answer(DEFAULT, NR["read"], arch=0x40000028) == machine.KILL_PROCESS  # EM_ARM
    assert machine.answer(DEFAULT, NR_ARM["read"], arch=machine.AARCH64) == machine.KILL_PROCESS


def test_calls_newer_than_the_profile_are_unknown_not_forbidden():
    newest = NR["removexattrat"]  # the last one that the default profile allows
    assert machine.answer(DEFAULT, newest) == machine.ALLOW
    assert machine.answer(DEFAULT, newest + 1) == ENOSYS
    assert machine.answer(DEFAULT, 0x3FFFFFFF) == ENOSYS


def test_aarch64_profile_speaks_its_own_numbers():
    program = compile_profile(default_profile(caps.DEFAULT), "aarch64")

    def answer(name, *args):
        return machine.answer(program, NR_ARM[name], *args, arch=machine.AARCH64)

    assert answer("openat") == answer("socket", 2) == answer("clone", SIGCHLD) == machine.ALLOW
    assert answer("mount") == answer("socket", 38) == answer("clone", CLONE_NEWUSER) == EPERM
    assert machine.answer(program, NR["read"], arch=machine.X86_64) == machine.KILL_PROCESS


def test_default_profile_has_one_answer_for_every_known_call():
    """Nothing known is forgotten: it is allowed, filtered, bound to a capability, or refused by name."""
    allowed = {name for name in NR if ask(name, 0) == machine.ALLOW}
    from havre.runtime.seccomp import profile as lists

    guarded = {name for names in lists.BY_CAPABILITY.values() for name in names.split()}
    assert set(NR) - allowed <= guarded | lists.NEVER | lists.FILTERED


# --- the compiler ----------------------------------------------------------------------------------------------------

EDGES = (0, 1, 2, 37, 38, 39, 0xFFFFFFFE, 0xFFFFFFFF, 1 << 32, (1 << 32) | 38, 1 << 63, (1 << 64) - 1)
MEANING = {
    "EQ": lambda given, value, two: given == value,
    "NE": lambda given, value, two: given != value,
    "LT": lambda given, value, two: given < value,
    "LE": lambda given, value, two: given <= value,
    "GT": lambda given, value, two: given > value,
    "GE": lambda given, value, two: given >= value,
    "MASKED_EQ": lambda given, value, two: given & value == two,
}
WORD = st.one_of(st.sampled_from(EDGES), st.integers(0, (1 << 64) - 1))


@pytest.mark.parametrize("op", MEANING)
@given(given=WORD, value=WORD, two=WORD, index=st.integers(0, 5))
@settings(max_examples=80, deadline=None)
def test_operators_compare_all_64_bits(op, given, value, two, index):
    two &= value
    program = compile_profile(profile(rule("read", args=[arg(index, op, value, two)])), "x86_64")
    args = [0] * 6
    args[index] = given
    wanted = EPERM if MEANING[op](given, value, two) else machine.ALLOW
    assert machine.answer(program, NR["read"], *args) == wanted


def test_conditions_on_several_arguments_must_all_hold():
    program = compile_profile(
        profile(rule("ioctl", args=[arg(0, "GT", 2), arg(1, "EQ", 0x5412), arg(2, "NE", 0)])), "x86_64"
    )
    assert machine.answer(program, NR["ioctl"], 3, 0x5412, 1) == EPERM
    for args in ((2, 0x5412, 1), (3, 0x5413, 1), (3, 0x5412, 0)):
        assert machine.answer(program, NR["ioctl"], *args) == machine.ALLOW


def test_conditions_on_one_argument_are_alternatives():
    program = compile_profile(profile(rule("ioctl", args=[arg(1, "EQ", 1), arg(1, "EQ", 2)])), "x86_64")
    assert [machine.answer(program, NR["ioctl"], 0, value) for value in (0, 1, 2)] == [
        machine.ALLOW,
        EPERM,
        EPERM,
    ]


def test_each_action_has_its_kernel_value():
    for name, value in compiler.ACTIONS.items():
        program = compile_profile(profile(rule("read", name)), "x86_64")
        wanted = value | 1 if name in ("SCMP_ACT_ERRNO", "SCMP_ACT_TRACE") else value
        assert machine.answer(program, NR["read"]) == wanted


def test_errno_of_default_and_of_rule():
    program = compile_profile(
        profile(rule("read", errnoRet=5), default="SCMP_ACT_ERRNO", defaultErrnoRet=95), "x86_64"
    )
    assert machine.answer(program, NR["read"]) == machine.ERRNO | 5
    assert machine.answer(program, NR["read"] + 1) == ENOSYS  # newer than all it knows
    program = compile_profile(profile(rule("getpid"), default="SCMP_ACT_ERRNO", defaultErrnoRet=95), "x86_64")
    assert machine.answer(program, NR["write"]) == machine.ERRNO | 95


def test_an_allowing_profile_allows_unknown_calls():
    program = compile_profile(profile(rule("read")), "x86_64")
    assert machine.answer(program, 9999) == machine.ALLOW


def test_names_of_other_architectures_are_skipped():
    program = compile_profile(profile(rule("no_such_call s390_runtime_instr read")), "x86_64")
    assert machine.answer(program, NR["read"]) == EPERM


def test_native_architecture_is_always_filtered():
    program = compile_profile(profile(rule("read"), architectures=["SCMP_ARCH_X86"]), "x86_64")
    assert machine.answer(program, NR["read"]) == EPERM
    alone = compile_profile(profile(rule("read"), architectures=["SCMP_ARCH_X86_64"]), "x86_64")
    assert machine.answer(alone, NR_I386["read"], arch=machine.I386) == machine.KILL_PROCESS


@pytest.mark.parametrize(
    ("bad", "word"),
    [
        (profile(default="SCMP_ACT_NOTIFY"), "SCMP_ACT_NOTIFY"),
        (profile(default=""), "''"),
        (profile(rule("read", "ALLOW")), "'ALLOW'"),
        (profile(rule("read", errnoRet=5000)), "5000"),
        (profile(rule("read", errnoRet="1")), "'1'"),
        (profile(rule("read", args=[arg(6, "EQ", 0)])), "index 6"),
        (profile(rule("read", args=[arg(0, "LIKE", 0)])), "SCMP_CMP_LIKE"),
        (profile(rule("read", args=[arg(0, "EQ", -1)])), "value -1"),
        (profile(rule("read", args=[arg(0, "EQ", 1 << 64)])), "value"),
        (profile(rule("read", args=[{"index": 0, "op": "SCMP_CMP_EQ"}])), "value None"),
        (profile(rule("read", args=[{}])), "operator None"),
        (profile(*(rule("read", args=[arg(0, "EQ", value)]) for value in range(3000))), "too large"),
    ],
)
def test_bad_profiles_are_named(bad, word):
    with pytest.raises(InvalidParameter, match=re.escape(word)):
        compile_profile(bad, "x86_64")


def test_other_machines_are_named():
    with pytest.raises(InvalidParameter, match="riscv64"):
        compile_profile(profile(), "riscv64")


def test_flags_of_a_profile():
    assert filter_flags(profile()) == 4
    assert filter_flags(profile(flags=["SECCOMP_FILTER_FLAG_LOG", "SECCOMP_FILTER_FLAG_TSYNC"])) == 3
    with pytest.raises(InvalidParameter, match="NEW_LISTENER"):
        filter_flags(profile(flags=["SECCOMP_FILTER_FLAG_NEW_LISTENER"]))


@pytest.mark.parametrize(
    ("header", "known"),
    [
        ("x86_64-linux-gnu/asm/unistd_64.h", NR),
        ("x86_64-linux-gnu/asm/unistd_32.h", NR_I386),
        ("asm-generic/unistd.h", NR_ARM),
    ],
)
def test_numbers_agree_with_the_kernel_headers(header, known):
    path = Path("/usr/include") / header
    if not path.exists():
        pytest.skip(f"needs {path} (Debian package linux-libc-dev)")
    found = dict(re.findall(r"#define __NR(?:3264)?_(\w+)\s+(\d+)", path.read_text()))
    for name in set(found) & set(known):
        assert known[name] == int(found[name]), name
    assert len(set(found) & set(known)) > 300


# --- beside libseccomp -----------------------------------------------------------------------------------------------


class ScmpArg(ctypes.Structure):
    _fields_ = [("arg", ctypes.c_uint), ("op", ctypes.c_int), ("a", ctypes.c_uint64), ("b", ctypes.c_uint64)]


def libseccomp_filter(wanted, path):
    """The same profile as libseccomp makes it for x86_64, by runc's rules."""
    library = ctypes.CDLL(ctypes.util.find_library("seccomp"))
    library.seccomp_init.restype = ctypes.c_void_p
    context = ctypes.c_void_p(
        library.seccomp_init(ctypes.c_uint32(compiler.ACTIONS[wanted["defaultAction"]] | 1))
    )
    order = ["", "NE", "LT", "LE", "EQ", "GE", "GT", "MASKED_EQ"]
    for one in wanted["syscalls"]:
        action = compiler.ACTIONS[one["action"]] | (
            one.get("errnoRet", 1) if one["action"] == "SCMP_ACT_ERRNO" else 0
        )
        found = [
            ScmpArg(a["index"], order.index(a["op"][9:]), a["value"], a["valueTwo"])
            for a in one.get("args") or []
        ]
        for name in one["names"]:
            if name in NR:
                result = library.seccomp_rule_add_array(
                    context, ctypes.c_uint32(action), NR[name], len(found), (ScmpArg * 6)(*found)
                )
                assert result == 0, (name, result)
    with open(path, "w+b") as file:
        assert library.seccomp_export_bpf(context, file.fileno()) == 0
        file.seek(0)
        program = file.read()
    library.seccomp_release(context)
    return program


@pytest.mark.skipif(
    not ctypes.util.find_library("seccomp"), reason="needs libseccomp.so.2 (Debian package libseccomp2)"
)
@pytest.mark.skipif(platform.machine() != "x86_64", reason="libseccomp filters for the native architecture")
@pytest.mark.parametrize("held", [caps.DEFAULT, caps.ALL, ["CAP_SYS_PTRACE"]], ids=["default", "all", "one"])
def test_default_profile_means_the_same_to_libseccomp(held, tmp_path):
    wanted = default_profile(held)
    ours, theirs = compile_profile(wanted, "x86_64"), libseccomp_filter(wanted, tmp_path / "bpf")
    for number in range(NR["removexattrat"] + 1):  # runc, not libseccomp, answers ENOSYS above
        for value in (
            0,
            1,
            8,
            37,
            38,
            39,
            40,
            41,
            63,
            64,
            0x20008,
            0xFFFFFFFF,
            CLONE_NEWUSER,
            1 << 32,
            (1 << 32) | 38,
        ):
            assert machine.answer(ours, number, value) == machine.answer(theirs, number, value), (
                number,
                value,
            )
    assert len(ours) < 4096 * 8


# --- in the kernel ---------------------------------------------------------------------------------------------------


def in_child(program, act):
    """Fork, load the filter, run act; return its exit code, or minus the signal."""
    pid = os.fork()
    if pid == 0:
        code = 99
        try:
            syscalls.prctl(syscalls.PR_SET_NO_NEW_PRIVS, 1)
            syscalls.load_seccomp(program, filter_flags({}))
            code = act() or 0
        except OSError as error:
            code = error.errno
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def raw(name, *args):
    library = ctypes.CDLL(None, use_errno=True)
    result = library.syscall(ctypes.c_long(NR[name]), *[ctypes.c_long(value) for value in args])
    return ctypes.get_errno() if result < 0 else 0


kernel = pytest.mark.skipif(platform.machine() != "x86_64", reason="calls by x86_64 numbers")


@kernel
def test_kernel_takes_the_default_filter():
    def act():
        with open("/proc/self/status") as file:
            return 0 if "Seccomp:\t2" in file.read() else 1

    assert in_child(DEFAULT, act) == 0


@kernel
def test_kernel_refuses_af_alg_and_af_vsock_with_it():
    assert in_child(DEFAULT, lambda: socket.socket(38, socket.SOCK_SEQPACKET).close()) == errno.EPERM
    assert in_child(DEFAULT, lambda: socket.socket(40, socket.SOCK_STREAM).close()) == errno.EPERM
    assert in_child(DEFAULT, lambda: raw("socket", (1 << 32) | 38, socket.SOCK_SEQPACKET, 0)) == errno.EPERM
    assert in_child(DEFAULT, lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM).close()) == 0
    assert in_child(DEFAULT, lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW).close()) == 0


@kernel
def test_kernel_refuses_host_calls_with_it():
    assert in_child(DEFAULT, lambda: raw("keyctl", 0, 0, 0)) == errno.EPERM
    assert in_child(DEFAULT, lambda: raw("bpf", 0, 0, 0)) == errno.EPERM
    assert in_child(DEFAULT, lambda: raw("io_uring_setup", 1, 0)) == errno.EPERM
    assert in_child(DEFAULT, lambda: raw("unshare", CLONE_NEWUSER)) == errno.EPERM
    assert in_child(DEFAULT, lambda: raw("clone3", 0, 0)) == errno.ENOSYS
    assert in_child(DEFAULT, lambda: raw("getpid")) == 0


@kernel
def test_processes_and_threads_still_work_with_it():
    def act():
        import threading

        thread = threading.Thread(target=lambda: None)
        thread.start()
        thread.join()
        return os.waitstatus_to_exitcode(os.system("exit 7"))

    assert in_child(DEFAULT, act) == 7


@kernel
def test_kernel_kills_when_the_profile_says_so():
    program = compile_profile(profile(rule("getppid", "SCMP_ACT_KILL_PROCESS")), "x86_64")
    assert in_child(program, os.getppid) == -signal.SIGSYS
