"""bpf(2): the device program of a v2 control group. Lean: ctypes and os only."""

import ctypes
import os

from havre.errors import KernelError
from havre.linux.syscalls import _call

SYS_BPF = 280 if os.uname().machine == "aarch64" else 321
# linux/bpf.h
PROG_LOAD, PROG_ATTACH = 5, 8
PROG_TYPE_CGROUP_DEVICE, ATTACH_CGROUP_DEVICE = 15, 6
F_ALLOW_MULTI = 2  # every program of this group and of those above must allow


class _Load(ctypes.Structure):
    """union bpf_attr for BPF_PROG_LOAD, first part."""

    _fields_ = [
        ("prog_type", ctypes.c_uint32),
        ("insn_cnt", ctypes.c_uint32),
        ("insns", ctypes.c_uint64),
        ("license", ctypes.c_uint64),
        ("log_level", ctypes.c_uint32),
        ("log_size", ctypes.c_uint32),
        ("log_buf", ctypes.c_uint64),
        ("kern_version", ctypes.c_uint32),
        ("prog_flags", ctypes.c_uint32),
    ]


class _Attach(ctypes.Structure):
    """union bpf_attr for BPF_PROG_ATTACH, first part."""

    _fields_ = [
        (name, ctypes.c_uint32) for name in ("target_fd", "attach_bpf_fd", "attach_type", "attach_flags")
    ]


def load_device_program(program: bytes) -> int:
    """Give the kernel a program (8 bytes an instruction); return its fd. Raises KernelError."""
    instructions = ctypes.create_string_buffer(program, len(program))
    licence = ctypes.create_string_buffer(b"Apache-2.0")
    attributes = _Load(
        PROG_TYPE_CGROUP_DEVICE, len(program) // 8, ctypes.addressof(instructions), ctypes.addressof(licence)
    )
    return _bpf("device program", PROG_LOAD, attributes)


def attach_device_program(group: str, program: bytes) -> None:
    """Let a program judge all device access in a v2 group (a directory); it goes with the group. Raises KernelError."""
    loaded = load_device_program(program)
    try:
        target = os.open(group, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        os.close(loaded)
        raise KernelError("open", group, error.errno or 0) from None
    try:
        _bpf(group, PROG_ATTACH, _Attach(target, loaded, ATTACH_CGROUP_DEVICE, F_ALLOW_MULTI))
    finally:
        os.close(target)
        os.close(loaded)


def _bpf(target: str, command: int, attributes: ctypes.Structure) -> int:
    return _call("bpf", target, SYS_BPF, command, ctypes.byref(attributes), ctypes.sizeof(attributes))
