"""System calls that `os` does not have, each keeping its errno. Lean: it is in the zygote (ctypes and os only).

PyDLL, not CDLL: the GIL stays held, so a raw clone has no Python thread state to lose. Numbers are x86_64's and, from 424 on,
the same on every architecture (asm-generic/unistd.h); where aarch64 differs it stands beside.
"""

import ctypes
import os

from havre.errors import KernelError

_libc = ctypes.PyDLL(None, use_errno=True)
_syscall = _libc.syscall
_syscall.restype = ctypes.c_long
_ARM = os.uname().machine == "aarch64"

# asm/unistd_64.h | asm-generic/unistd.h
SYS_CLONE = 220 if _ARM else 56
SYS_PIVOT_ROOT = 41 if _ARM else 155
SYS_SECCOMP = 277 if _ARM else 317
SYS_KEYCTL = 219 if _ARM else 250
SYS_CAPSET = 91 if _ARM else 126
SYS_CAPGET = 90 if _ARM else 125
SYS_PERSONALITY = 92 if _ARM else 135
SYS_IOPRIO_SET = 30 if _ARM else 251
SYS_SCHED_SETATTR = 274 if _ARM else 314
SYS_OPEN_TREE = 428
SYS_MOVE_MOUNT = 429
SYS_FSOPEN = 430
SYS_FSCONFIG = 431
SYS_FSMOUNT = 432
SYS_PIDFD_OPEN = 434
SYS_CLOSE_RANGE = 436
SYS_OPENAT2 = 437
SYS_PIDFD_GETFD = 438
SYS_MOUNT_SETATTR = 442
SYS_PIDFD_SEND_SIGNAL = 424

# linux/sched.h
CLONE_NEWTIME = 0x00000080
CLONE_PARENT = 0x00008000
CLONE_NEWNS = 0x00020000
CLONE_NEWCGROUP = 0x02000000
CLONE_NEWUTS = 0x04000000
CLONE_NEWIPC = 0x08000000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000

# linux/mount.h
MS_RDONLY, MS_REC, MS_PRIVATE, MS_SLAVE, MS_SHARED, MS_UNBINDABLE = (
    1,
    1 << 14,
    1 << 18,
    1 << 19,
    1 << 20,
    1 << 17,
)
MNT_DETACH = 2
MOUNT_ATTR_RDONLY, MOUNT_ATTR_NOSUID, MOUNT_ATTR_NODEV, MOUNT_ATTR_NOEXEC = 1, 2, 4, 8
MOUNT_ATTR__ATIME, MOUNT_ATTR_NOATIME, MOUNT_ATTR_STRICTATIME, MOUNT_ATTR_NODIRATIME = 0x70, 0x10, 0x20, 0x80
MOUNT_ATTR_IDMAP, MOUNT_ATTR_NOSYMFOLLOW = 0x00100000, 0x00200000
OPEN_TREE_CLONE = 1
MOVE_MOUNT_F_EMPTY_PATH, MOVE_MOUNT_T_EMPTY_PATH = 0x4, 0x40
FSCONFIG_SET_FLAG, FSCONFIG_SET_STRING, FSCONFIG_CMD_CREATE = 0, 1, 6
AT_FDCWD, AT_EMPTY_PATH, AT_RECURSIVE, AT_SYMLINK_NOFOLLOW = -100, 0x1000, 0x8000, 0x100
CLOEXEC = os.O_CLOEXEC

# linux/openat2.h
RESOLVE_NO_XDEV, RESOLVE_NO_MAGICLINKS, RESOLVE_NO_SYMLINKS, RESOLVE_BENEATH, RESOLVE_IN_ROOT = 1, 2, 4, 8, 16

# linux/prctl.h
PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_SET_KEEPCAPS, PR_SET_NAME, PR_CAPBSET_READ, PR_CAPBSET_DROP = (
    1,
    4,
    8,
    15,
    23,
    24,
)
PR_SET_CHILD_SUBREAPER, PR_SET_NO_NEW_PRIVS, PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL = 36, 38, 47, 4
PR_CAP_AMBIENT_RAISE = 2

# linux/seccomp.h, linux/keyctl.h, linux/capability.h, linux/magic.h
SECCOMP_SET_MODE_FILTER = 1
KEYCTL_JOIN_SESSION_KEYRING = 1
CAPABILITY_VERSION_3 = 0x20080522
PROC_SUPER_MAGIC, DEVPTS_SUPER_MAGIC = 0x9FA0, 0x1CD1
CLOSE_RANGE_CLOEXEC = 4


def _call(name: str, target: str, number: int, *args: object) -> int:
    """Do a raw system call; every argument is an int, bytes or a ctypes pointer. Raises KernelError."""
    wide = [ctypes.c_long(arg) if isinstance(arg, int) else arg for arg in args]
    while True:
        result: int = _syscall(ctypes.c_long(number), *wide)
        if result >= 0:
            return result
        error = ctypes.get_errno()
        if error != 4:  # EINTR
            raise KernelError(name, target, error)


def clone(flags: int, signal: int) -> int:
    """fork(2) with namespace flags: 0 in the child. Only from a single-threaded process."""
    return _call("clone", f"{flags:#x}", SYS_CLONE, flags | signal, 0, 0, 0, 0)


def unshare(flags: int) -> None:
    if _libc.unshare(flags) != 0:
        raise KernelError("unshare", f"{flags:#x}", ctypes.get_errno())


def setns(fd: int, flags: int, target: str = "") -> None:
    """Join a namespace, or several at once through a pidfd (Linux 5.8)."""
    if _libc.setns(fd, flags) != 0:
        raise KernelError("setns", target or str(fd), ctypes.get_errno())


def pidfd_open(pid: int) -> int:
    return _call("pidfd_open", str(pid), SYS_PIDFD_OPEN, pid, 0)


def pidfd_send_signal(fd: int, number: int) -> None:
    _call("pidfd_send_signal", str(number), SYS_PIDFD_SEND_SIGNAL, fd, number, 0, 0)


def pivot_root(new: bytes, old: bytes) -> None:
    _call("pivot_root", os.fsdecode(new), SYS_PIVOT_ROOT, new, old)


def mount_propagation(target: bytes, flags: int) -> None:
    """Change the propagation of a mount: MS_PRIVATE, MS_SLAVE, MS_SHARED, MS_UNBINDABLE, with MS_REC."""
    if _libc.mount(None, target, None, ctypes.c_ulong(flags), None) != 0:
        raise KernelError("mount", os.fsdecode(target), ctypes.get_errno())


def mount(source: str, target: str, kind: str, flags: int, data: str) -> None:
    """mount(2), where fsconfig(2)'s strings are too short: `data` is one page."""
    words = [os.fsencode(word) for word in (source, target, kind, data)]
    if _libc.mount(words[0], words[1], words[2], ctypes.c_ulong(flags), words[3]) != 0:
        raise KernelError("mount", target, ctypes.get_errno())


def umount(target: bytes, flags: int = MNT_DETACH) -> None:
    if _libc.umount2(target, flags) != 0:
        raise KernelError("umount2", os.fsdecode(target), ctypes.get_errno())


def fsopen(kind: str) -> int:
    return _call("fsopen", kind, SYS_FSOPEN, kind.encode(), 1)


def fsconfig_string(fd: int, key: str, value: str, target: str) -> None:
    name = f"{target} {key}={value}"
    _call("fsconfig", name, SYS_FSCONFIG, fd, FSCONFIG_SET_STRING, key.encode(), os.fsencode(value), 0)


def fsconfig_flag(fd: int, key: str, target: str) -> None:
    _call("fsconfig", f"{target} {key}", SYS_FSCONFIG, fd, FSCONFIG_SET_FLAG, key.encode(), 0, 0)


def fsmount(fd: int, attributes: int, target: str) -> int:
    """Create the superblock and return a detached mount."""
    _call("fsconfig", f"{target} create", SYS_FSCONFIG, fd, FSCONFIG_CMD_CREATE, 0, 0, 0)
    return _call("fsmount", target, SYS_FSMOUNT, fd, 1, attributes)


def open_tree(path: str, flags: int, directory: int = AT_FDCWD) -> int:
    """Open a mount tree; with OPEN_TREE_CLONE a detached copy of it."""
    return _call("open_tree", path, SYS_OPEN_TREE, directory, os.fsencode(path), flags | CLOEXEC)


def move_mount(fd: int, target_fd: int, target: str) -> None:
    """Attach a detached mount on what `target_fd` (O_PATH) points at."""
    flags = MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH
    _call("move_mount", target, SYS_MOVE_MOUNT, fd, b"", target_fd, b"", flags)


class _MountAttr(ctypes.Structure):
    """struct mount_attr, linux/mount.h."""

    _fields_ = [(name, ctypes.c_uint64) for name in ("attr_set", "attr_clr", "propagation", "userns_fd")]


def mount_setattr(
    fd: int, target: str, *, add: int = 0, clear: int = 0, propagation: int = 0, recursive: bool = False
) -> None:
    """Change attributes or propagation of a mount held by fd."""
    attributes = _MountAttr(add, clear, propagation, 0)
    flags = AT_EMPTY_PATH | (AT_RECURSIVE if recursive else 0)
    size = ctypes.sizeof(attributes)
    _call("mount_setattr", target, SYS_MOUNT_SETATTR, fd, b"", flags, ctypes.byref(attributes), size)


def mount_idmap(fd: int, target: str, userns: int, *, recursive: bool = False) -> None:
    """Show a detached mount through the id maps of a user namespace (Linux 5.12)."""
    attributes = _MountAttr(MOUNT_ATTR_IDMAP, 0, 0, userns)
    flags = AT_EMPTY_PATH | (AT_RECURSIVE if recursive else 0)
    size = ctypes.sizeof(attributes)
    _call("idmap", target, SYS_MOUNT_SETATTR, fd, b"", flags, ctypes.byref(attributes), size)


class _OpenHow(ctypes.Structure):
    """struct open_how, linux/openat2.h."""

    _fields_ = [(name, ctypes.c_uint64) for name in ("flags", "mode", "resolve")]


RACE_TRIES = 128
_HOW_SIZE = ctypes.sizeof(_OpenHow)


def openat2(directory: int, path: str | bytes, flags: int, *, mode: int = 0, resolve: int) -> int:
    """open(2) below a directory with RESOLVE_* rules; always close-on-exec.

    EAGAIN says that something was renamed or mounted while ".." was resolved: somebody else's renames must not make us fail.
    """
    how = _OpenHow(flags | CLOEXEC, mode, resolve)
    name, raw = os.fsdecode(path), os.fsencode(path)
    for _ in range(RACE_TRIES):
        try:
            return _call("openat2", name, SYS_OPENAT2, directory, raw, ctypes.byref(how), _HOW_SIZE)
        except KernelError as error:
            if error.errno != 11:  # EAGAIN
                raise
    raise KernelError("openat2", name, 11)


def prctl(option: int, value: int, name: str = "prctl") -> int:
    result: int = _libc.prctl(option, ctypes.c_ulong(value), 0, 0, 0)
    if result < 0:
        raise KernelError("prctl", name, ctypes.get_errno())
    return result


def set_name(name: bytes) -> None:
    """Name this process in ps and top (15 bytes)."""
    _libc.prctl(PR_SET_NAME, ctypes.c_char_p(name), 0, 0, 0)


def raise_ambient(capability: int) -> None:
    """Add a capability to the ambient set; it must be permitted and inheritable."""
    if (
        _libc.prctl(PR_CAP_AMBIENT, ctypes.c_ulong(PR_CAP_AMBIENT_RAISE), ctypes.c_ulong(capability), 0, 0)
        < 0
    ):
        raise KernelError("prctl", f"ambient capability {capability}", ctypes.get_errno())


def title_area() -> tuple[int, int, int]:
    """Where this process's arguments begin and end, and its environment ends: fields 48, 49, 51 of proc_pid_stat(5)."""
    with open("/proc/self/stat", "rb") as file:
        fields = file.read().rpartition(b")")[2].split()
    return int(fields[45]), int(fields[46]), int(fields[48])


def set_title(area: tuple[int, int, int], words: list[bytes]) -> None:
    """Show these words as the command line, and an empty environment: what was inherited there is nobody's to read."""
    start, end, last = area
    text = b"\0".join(words)[: max(0, end - start - 1)]
    ctypes.memset(start, 0, last - start)
    ctypes.memmove(start, text, len(text))


class _CapHeader(ctypes.Structure):
    _fields_ = [("version", ctypes.c_uint32), ("pid", ctypes.c_int)]


def capset(effective: int, permitted: int, inheritable: int) -> None:
    """Set this process's capability sets, each a 64-bit mask."""
    words = (ctypes.c_uint32 * 6)(
        *[mask >> shift & 0xFFFFFFFF for shift in (0, 32) for mask in (effective, permitted, inheritable)]
    )
    header = _CapHeader(CAPABILITY_VERSION_3, 0)
    _call("capset", f"{permitted:#x}", SYS_CAPSET, ctypes.byref(header), words)


def capget() -> tuple[int, int, int]:
    """Return this process's (effective, permitted, inheritable) masks."""
    words = (ctypes.c_uint32 * 6)()
    header = _CapHeader(CAPABILITY_VERSION_3, 0)
    _call("capget", "self", SYS_CAPGET, ctypes.byref(header), words)
    return words[0] | words[3] << 32, words[1] | words[4] << 32, words[2] | words[5] << 32


class _SockFprog(ctypes.Structure):
    """struct sock_fprog, linux/filter.h."""

    _fields_ = [("len", ctypes.c_ushort), ("filter", ctypes.c_char_p)]


def load_seccomp(program: bytes, flags: int = 0) -> None:
    """Load a BPF filter (8 bytes an instruction) for this thread."""
    fprog = _SockFprog(len(program) // 8, program)
    _call(
        "seccomp",
        f"{len(program) // 8} instructions",
        SYS_SECCOMP,
        SECCOMP_SET_MODE_FILTER,
        flags,
        ctypes.byref(fprog),
    )


def join_new_keyring(name: str) -> None:
    """Start an anonymous-to-others session keyring, so that the caller's keys are not seen."""
    _call("keyctl", name, SYS_KEYCTL, KEYCTL_JOIN_SESSION_KEYRING, name.encode())


def close_on_exec_from(first: int) -> None:
    """Mark every fd from `first` on close-on-exec."""
    _call("close_range", str(first), SYS_CLOSE_RANGE, first, 0xFFFFFFFF, CLOSE_RANGE_CLOEXEC)


def set_hostname(name: str) -> None:
    text = os.fsencode(name)
    if _libc.sethostname(text, len(text)) != 0:
        raise KernelError("sethostname", name, ctypes.get_errno())


def set_domainname(name: str) -> None:
    text = os.fsencode(name)
    if _libc.setdomainname(text, len(text)) != 0:
        raise KernelError("setdomainname", name, ctypes.get_errno())


def filesystem_magic(fd: int) -> int:
    """f_type of fstatfs(2): which filesystem an fd really lives on."""
    buffer = (ctypes.c_long * 32)()
    if _libc.fstatfs(fd, buffer) != 0:
        raise KernelError("fstatfs", str(fd), ctypes.get_errno())
    return int(buffer[0])


def personality(domain: int) -> None:
    _call("personality", f"{domain:#x}", SYS_PERSONALITY, domain)


def ioprio_set(value: int) -> None:
    """Set this process's I/O class and level (linux/ioprio.h)."""
    _call("ioprio_set", f"{value:#x}", SYS_IOPRIO_SET, 1, 0, value)  # IOPRIO_WHO_PROCESS, the caller


class _SchedAttr(ctypes.Structure):
    """struct sched_attr, linux/sched/types.h, first version."""

    _fields_ = [
        ("size", ctypes.c_uint32),
        ("policy", ctypes.c_uint32),
        ("flags", ctypes.c_uint64),
        ("nice", ctypes.c_int32),
        ("priority", ctypes.c_uint32),
        ("runtime", ctypes.c_uint64),
        ("deadline", ctypes.c_uint64),
        ("period", ctypes.c_uint64),
    ]


def sched_setattr(
    policy: int, flags: int, nice: int, priority: int, runtime: int, deadline: int, period: int
) -> None:
    attributes = _SchedAttr(
        ctypes.sizeof(_SchedAttr), policy, flags, nice, priority, runtime, deadline, period
    )
    _call("sched_setattr", f"policy {policy}", SYS_SCHED_SETATTR, 0, ctypes.byref(attributes), 0)
