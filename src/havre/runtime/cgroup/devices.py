"""Device rules of OCI linux.resources: writes for the v1 controller, an eBPF program for v2. Pure.

A list of rules means what the v1 controller makes of it (security/device_cgroup.c): a rule for everything resets the list, others add
exceptions to it or take exactly the same exception back. v2 has no files: a program answers each open and mknod
(struct bpf_cgroup_dev_ctx, linux/bpf.h).
"""

import struct
from collections.abc import Iterable, Sequence
from typing import Any

from havre.errors import InvalidParameter

Key = tuple[str, int, int]  # type "a", "b" or "c"; major and minor, -1 for any
ANY = -1
TYPES = {"a": 0, "b": 1, "c": 2}  # linux/bpf.h BPF_DEVCG_DEV_*
ACCESS = {"m": 1, "r": 2, "w": 4}  # BPF_DEVCG_ACC_*
EVERYTHING: Key = ("a", ANY, ANY)
MAX_NUMBER = 0x7FFFFFFF

# linux/bpf_common.h, linux/bpf.h: load a word; jump if equal, if not equal; 32-bit move, and, shift; 64-bit move; return
LOAD, JUMP_EQ, JUMP_NE, MOVE32, AND32, SHIFT32, SET, EXIT = 0x61, 0x15, 0x55, 0xBC, 0x54, 0x74, 0xB7, 0x95
RESULT, CONTEXT, ASKED, TYPE, MAJOR, MINOR, SCRATCH = 0, 1, 2, 3, 4, 5, 6  # registers
Instruction = tuple[int, int, int, int, int]  # opcode, destination, source, offset, immediate


def v1_writes(rules: Sequence[dict[str, Any]]) -> list[tuple[str, str]]:
    """Return (file, line) for each rule, in order."""
    lines: list[tuple[str, str]] = []
    for rule in rules:
        kind, major, minor = key = _key(rule)
        file = "devices.allow" if rule.get("allow") else "devices.deny"
        numbers = ":".join("*" if number == ANY else str(number) for number in (major, minor))
        lines.append((file, "a" if key == EVERYTHING else f"{kind} {numbers} {_access(rule)}"))
    return lines


def v2_program(rules: Sequence[dict[str, Any]]) -> bytes:
    """Return the program of a list of rules; empty when it would allow everything."""
    allowed, exceptions = emulate(rules)
    if allowed and not exceptions:
        return b""
    code: list[Instruction] = [
        (LOAD, ASKED, CONTEXT, 0, 0),  # access << 16 | type
        (MOVE32, TYPE, ASKED, 0, 0),
        (AND32, TYPE, 0, 0, 0xFFFF),
        (SHIFT32, ASKED, 0, 0, 16),
        (LOAD, MAJOR, CONTEXT, 4, 0),
        (LOAD, MINOR, CONTEXT, 8, 0),
    ]
    for key, access in exceptions.items():
        code += _exception(key, access, allowed)
    code += _answer(allowed)
    return b"".join(struct.pack("=BBhi", op, dst | src << 4, off, imm) for op, dst, src, off, imm in code)


def emulate(rules: Iterable[dict[str, Any]]) -> tuple[bool, dict[Key, int]]:
    """Return what the v1 controller would hold: whether it allows by default, and the exceptions with their access bits."""
    allowed, exceptions = True, dict[Key, int]()
    for rule in rules:
        key, allow = _key(rule), bool(rule.get("allow"))
        access = sum(ACCESS[letter] for letter in set(_access(rule)))
        if key == EVERYTHING:
            allowed, exceptions = allow, {}
        elif allow == allowed:
            left = exceptions.pop(key, 0) & ~access
            if left:
                exceptions[key] = left
        else:
            exceptions[key] = exceptions.get(key, 0) | access
    return allowed, exceptions


def _exception(key: Key, access: int, allowed: bool) -> list[Instruction]:
    """Answer if all of the wish is in an allowing exception, or any of it in a denying one; else go on behind."""
    kind, major, minor = key
    answer = _answer(not allowed)
    tests: list[Instruction] = []  # each jumps over the answer; the distance is set below
    if kind != "a":
        tests.append((JUMP_NE, TYPE, 0, 0, TYPES[kind]))
    if access != sum(ACCESS.values()):
        tests.append((MOVE32, SCRATCH, ASKED, 0, 0))
        tests.append((AND32, SCRATCH, 0, 0, access if allowed else sum(ACCESS.values()) & ~access))
        tests.append((JUMP_EQ if allowed else JUMP_NE, SCRATCH, 0, 0, 0))
    tests += [
        (JUMP_NE, register, 0, 0, number)
        for register, number in ((MAJOR, major), (MINOR, minor))
        if number != ANY
    ]
    size = len(tests)
    placed = [
        (op, dst, src, size - place - 1 + len(answer), imm)
        if op in (JUMP_NE, JUMP_EQ)
        else (op, dst, src, off, imm)
        for place, (op, dst, src, off, imm) in enumerate(tests)
    ]
    return [*placed, *answer]


def _answer(allow: bool) -> list[Instruction]:
    return [(SET, RESULT, 0, 0, int(allow)), (EXIT, 0, 0, 0, 0)]


def _key(rule: dict[str, Any]) -> Key:
    kind = {"u": "c"}.get(rule.get("type") or "a", rule.get("type") or "a")
    if kind not in TYPES:
        raise InvalidParameter(f"invalid type of a device rule: {kind!r}", hint="a, b or c")
    major, minor = (_number(rule.get(name)) for name in ("major", "minor"))
    return kind, major, minor


def _number(value: int | None) -> int:
    if value is None or value < 0:
        return ANY
    if value > MAX_NUMBER:
        raise InvalidParameter(f"invalid number in a device rule: {value}")
    return value


def _access(rule: dict[str, Any]) -> str:
    access = rule.get("access") or "rwm"
    if set(access) - set(ACCESS):
        raise InvalidParameter(f"invalid access of a device rule: {access!r}", hint="r, w and m")
    return str(access)
