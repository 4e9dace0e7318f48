"""The default profile: deny by default; everything known and harmless is allowed, the rest goes by capability.

The effect is Docker's (docs.docker.com/engine/security/seccomp), the list is made the other way round: from the kernel's whole table
we take out what reaches the host or is a standing source of holes.
"""

from collections.abc import Iterable, Sequence
from typing import Any

from havre.runtime.seccomp.numbers import AARCH64, I386, X86_64, table

ENOSYS = 38
CLONE_NAMESPACES = (
    0x7E020000  # CLONE_NEW{NS,CGROUP,UTS,IPC,USER,PID,NET}: a new user namespace opens the whole kernel
)
AF_ALG, AF_VSOCK = 38, 40  # copy.fail (2026) and host channels: Docker 29.4 closed both
AF_LAST = 63  # linux/socket.h ends at 45; the rest is room for new ones
SYS_SOCKET, SYS_BIND, SYS_SENDMMSG = 1, 2, 20  # linux/net.h
LOW_HALF = 0xFFFFFFFF
PERSONALITIES = (0x0, 0x0008, 0x20000, 0x20008, 0xFFFFFFFF)  # PER_LINUX, PER_LINUX32, UNAME26, both, ask

# Allowed only with the capability that the kernel would ask for anyway.
BY_CAPABILITY: dict[str, str] = {
    "CAP_DAC_READ_SEARCH": "open_by_handle_at",
    "CAP_SYS_ADMIN": "bpf clone clone3 fanotify_init fsconfig fsmount fsopen fspick lookup_dcookie mount mount_setattr move_mount "
    "open_tree open_tree_attr perf_event_open quotactl quotactl_fd setdomainname sethostname setns syslog umount umount2 unshare "
    "statmount listmount lsm_set_self_attr",
    "CAP_BPF": "bpf",
    "CAP_PERFMON": "perf_event_open",
    "CAP_SYSLOG": "syslog",
    "CAP_SYS_BOOT": "reboot kexec_load kexec_file_load",
    "CAP_SYS_CHROOT": "chroot",
    "CAP_SYS_MODULE": "delete_module init_module finit_module",
    "CAP_SYS_PACCT": "acct",
    "CAP_SYS_PTRACE": "kcmp pidfd_getfd process_madvise process_vm_readv process_vm_writev ptrace",
    "CAP_SYS_RAWIO": "iopl ioperm",
    "CAP_SYS_TIME": "settimeofday stime clock_settime clock_settime64",
    "CAP_SYS_TTY_CONFIG": "vhangup",
    "CAP_SYS_NICE": "get_mempolicy mbind set_mempolicy set_mempolicy_home_node move_pages migrate_pages",
}
# Since Linux 4.8 ptrace cannot get around a filter, so these need no capability of their own, as in Docker.
HARMLESS_SINCE_4_8 = frozenset(
    "kcmp pidfd_getfd process_madvise process_vm_readv process_vm_writev ptrace".split()
)
# Never, whatever the capabilities: gone from the kernel, or not namespaced, or io_uring (its own large attack surface).
NEVER = frozenset(
    "add_key keyctl request_key userfaultfd io_uring_setup io_uring_enter io_uring_register swapon swapoff nfsservctl pivot_root "
    "_sysctl sysfs ustat uselib vm86 vm86old create_module get_kernel_syms query_module afs_syscall tuxcall security vserver "
    "getpmsg putpmsg epoll_ctl_old epoll_wait_old bdflush break ftime gtty stty lock mpx prof profil ulimit idle".split()
)
FILTERED = frozenset("clone clone3 personality socket socketcall".split())


def default_profile(capabilities: Sequence[str]) -> dict[str, Any]:
    """Return an OCI `linux.seccomp` object for a container with these capabilities."""
    held = set(capabilities)
    guarded = {name for names in BY_CAPABILITY.values() for name in names.split()} - HARMLESS_SINCE_4_8
    granted = {name for cap, names in BY_CAPABILITY.items() if cap in held for name in names.split()}
    known = set(table(X86_64)) | set(table(I386)) | set(table(AARCH64))
    plain = (known - NEVER - FILTERED - guarded) | (granted - {"clone3"})
    rules: list[dict[str, Any]] = [_allow(sorted(plain)), *_personality(), *_socket()]
    if "CAP_SYS_ADMIN" in held:
        rules.append(_allow(["clone3"]))
    else:
        rules.append(_allow(["clone"], [_arg(0, CLONE_NAMESPACES, "SCMP_CMP_MASKED_EQ", 0)]))
        rules.append(_refuse(["clone3"]))
    return {
        "defaultAction": "SCMP_ACT_ERRNO",
        "defaultErrnoRet": 1,
        "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_AARCH64"],
        "syscalls": rules,
    }


def _personality() -> Iterable[dict[str, Any]]:
    return [_allow(["personality"], [_arg(0, value, "SCMP_CMP_EQ")]) for value in PERSONALITIES]


def _socket() -> Iterable[dict[str, Any]]:
    """Every family but AF_ALG and AF_VSOCK, by the 32 bits the kernel reads: 64-bit comparisons can be led astray by the upper half.

    On i386, socketcall hides its family in memory: making a socket that way answers ENOSYS, and libc goes on to socket(2).
    """
    yield from (_allow(["socket"], [arg]) for arg in _ranges(0, AF_ALG - 1))
    yield from (_allow(["socket"], [arg]) for arg in _ranges(AF_ALG + 1, AF_VSOCK - 1))
    yield from (_allow(["socket"], [arg]) for arg in _ranges(AF_VSOCK + 1, AF_LAST))
    yield from (_allow(["socketcall"], [arg]) for arg in _ranges(SYS_BIND, SYS_SENDMMSG))
    yield _refuse(["socketcall"], [_arg(0, LOW_HALF, "SCMP_CMP_MASKED_EQ", SYS_SOCKET)])


def _ranges(first: int, last: int) -> Iterable[dict[str, Any]]:
    """Return masked comparisons of argument 0 that together say first <= arg <= last: one for each aligned block."""
    while first <= last:
        size = first & -first or 1 << 32
        while first + size - 1 > last:
            size >>= 1
        yield _arg(0, LOW_HALF & -size, "SCMP_CMP_MASKED_EQ", first)
        first += size


def _refuse(names: list[str], args: list[dict[str, Any]] | None = None) -> dict[str, Any]:
    return {
        "names": names,
        "action": "SCMP_ACT_ERRNO",
        "errnoRet": ENOSYS,
        **({"args": args} if args else {}),
    }


def _allow(names: list[str], args: list[dict[str, Any]] | None = None) -> dict[str, Any]:
    return {"names": names, "action": "SCMP_ACT_ALLOW", **({"args": args} if args else {})}


def _arg(index: int, value: int, op: str, value_two: int = 0) -> dict[str, Any]:
    return {"index": index, "value": value, "valueTwo": value_two, "op": op}
