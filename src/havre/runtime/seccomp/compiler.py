"""OCI linux.seccomp to classic BPF (linux/filter.h, linux/seccomp.h). Pure.

Per architecture a balanced tree over runs of system calls with the same answer: about seven comparisons for any call.
"""

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import msgspec

from havre.errors import InvalidParameter
from havre.runtime.seccomp.numbers import AARCH64, I386, X86_64, table

# linux/bpf_common.h
LD_ABS, JA, JEQ, JGT, JGE, JSET, AND, RET = 0x20, 0x05, 0x15, 0x25, 0x35, 0x45, 0x54, 0x06
NR_OFFSET, ARCH_OFFSET, ARGS_OFFSET = 0, 4, 16  # struct seccomp_data
X32_BIT = 0x40000000
ARCHITECTURES = {  # linux/audit.h
    "SCMP_ARCH_X86_64": (0xC000003E, X86_64),
    "SCMP_ARCH_X86": (0x40000003, I386),
    "SCMP_ARCH_AARCH64": (0xC00000B7, AARCH64),
}
NATIVE = {"x86_64": ("SCMP_ARCH_X86_64", "SCMP_ARCH_X86"), "aarch64": ("SCMP_ARCH_AARCH64",)}
ACTIONS = {  # linux/seccomp.h
    "SCMP_ACT_KILL": 0x00000000,
    "SCMP_ACT_KILL_THREAD": 0x00000000,
    "SCMP_ACT_KILL_PROCESS": 0x80000000,
    "SCMP_ACT_TRAP": 0x00030000,
    "SCMP_ACT_ERRNO": 0x00050000,
    "SCMP_ACT_TRACE": 0x7FF00000,
    "SCMP_ACT_LOG": 0x7FFC0000,
    "SCMP_ACT_ALLOW": 0x7FFF0000,
}
EPERM = 1
Instruction = tuple[int, int, int, int]  # code, jt, jf, k


@dataclass(frozen=True, slots=True)
class Condition:
    index: int
    op: str
    value: int
    value_two: int


@dataclass(frozen=True, slots=True)
class Branch:
    """An answer that holds when all conditions do."""

    conditions: tuple[Condition, ...]
    action: int


def compile_profile(profile: dict[str, Any], machine: str = "x86_64") -> bytes:
    """Return the filter as bytes, 8 an instruction. Raises InvalidParameter naming what is wrong in the profile."""
    return _compile(msgspec.json.encode(profile), machine)


@lru_cache(maxsize=32)
def _compile(text: bytes, machine: str) -> bytes:
    profile = msgspec.json.decode(text)
    default = _action(profile.get("defaultAction", ""), profile.get("defaultErrnoRet"))
    wanted = profile.get("architectures") or list(NATIVE[machine])
    native = [name for name in NATIVE[machine] if name in wanted or name == NATIVE[machine][0]]
    code: list[Instruction] = [(LD_ABS, 0, 0, ARCH_OFFSET)]
    for name in native:
        audit, numbers = ARCHITECTURES[name]
        body = _architecture(
            table(numbers), profile.get("syscalls") or [], default, x32=name == "SCMP_ARCH_X86_64"
        )
        code += [(JEQ, 1, 0, audit), (JA, 0, 0, len(body)), *body]
    code.append((RET, 0, 0, _action("SCMP_ACT_KILL_PROCESS", None)))
    if len(code) > 4096:
        raise InvalidParameter(
            f"seccomp profile is too large: {len(code)} instructions, the kernel takes 4096"
        )
    return b"".join(struct.pack("=HBBI", *instruction) for instruction in code)


def _action(name: str, errno: int | None) -> int:
    if name == "SCMP_ACT_NOTIFY" or name not in ACTIONS:
        raise InvalidParameter(f"seccomp action {name!r} is not supported", hint=", ".join(ACTIONS))
    data = (EPERM if errno is None else errno) & 0xFFFF if name in ("SCMP_ACT_ERRNO", "SCMP_ACT_TRACE") else 0
    return ACTIONS[name] | data


def _architecture(
    numbers: dict[str, int], rules: Sequence[dict[str, Any]], default: int, *, x32: bool
) -> list[Instruction]:
    answers: dict[int, tuple[Branch, ...]] = {}
    for rule in rules:
        action = _action(rule.get("action", ""), rule.get("errnoRet"))
        branches = _branches(rule.get("args") or [], action)
        for name in rule.get("names") or []:
            if (
                number := numbers.get(name)
            ) is not None:  # a name this architecture lacks cannot be called here
                answers[number] = (*answers.get(number, ()), *branches)
    runs = _runs(answers, default)
    head: list[Instruction] = [(LD_ABS, 0, 0, NR_OFFSET)]
    if x32:
        head += [(JGE, 0, 1, X32_BIT), (RET, 0, 0, ACTIONS["SCMP_ACT_ERRNO"] | EPERM)]
    return head + _tree(runs, default)


def _branches(args: Sequence[dict[str, Any]], action: int) -> tuple[Branch, ...]:
    """Conditions on different arguments must all hold; on the same argument any of them (libseccomp's reading)."""
    found = [
        Condition(int(arg["index"]), str(arg["op"]), int(arg["value"]), int(arg.get("valueTwo") or 0))
        for arg in args
    ]
    if len({condition.index for condition in found}) < len(found):
        return tuple(Branch((condition,), action) for condition in found)
    return (Branch(tuple(found), action),)


Run = tuple[int, tuple[Branch, ...]]  # first number, its answers; it reaches to the next run


def _runs(answers: dict[int, tuple[Branch, ...]], default: int) -> list[Run]:
    rest = (Branch((), default),)
    runs: list[Run] = [(0, answers.get(0, rest))]
    for number in sorted({*answers, *(number + 1 for number in answers)}):
        branches = answers.get(number, rest)
        if branches != runs[-1][1]:
            runs.append((number, branches))
    return runs


def _tree(runs: list[Run], default: int) -> list[Instruction]:
    if len(runs) == 1:
        return _leaf(runs[0][1], default)
    middle = len(runs) // 2
    left, right = _tree(runs[:middle], default), _tree(runs[middle:], default)
    pivot = runs[middle][0]
    if len(left) <= 255:
        return [(JGE, len(left), 0, pivot), *left, *right]
    return [(JGE, 0, 1, pivot), (JA, 0, 0, len(left)), *left, *right]


def _leaf(branches: tuple[Branch, ...], default: int) -> list[Instruction]:
    code: list[Instruction] = []
    for branch in branches:
        tests = [test for condition in branch.conditions for test in _test(condition)]
        body = _resolve(tests, 1) + [(RET, 0, 0, branch.action)]
        code += body
        if not branch.conditions:
            return code
    return [*code, (RET, 0, 0, default)]


TRUE, FALSE = -1, -2  # jump targets until the length is known: next condition, or past the RET
Test = tuple[int, int, int, int]


def _resolve(tests: list[Test], behind: int) -> list[Instruction]:
    """Turn FALSE into a jump behind the RET and TRUE into a jump to the next condition's first test."""
    code: list[Instruction] = []
    for place, (opcode, jt, jf, k) in enumerate(tests):
        out = len(tests) - place - 1 + behind
        ahead = _next_load(tests, place)
        code.append((opcode, *(out if j == FALSE else ahead if j == TRUE else j for j in (jt, jf)), k))  # type: ignore[arg-type]
    return code


def _next_load(tests: list[Test], place: int) -> int:
    """Distance to the start of the next condition (marked by jf 255 on its first load), or to the RET."""
    for ahead in range(place + 1, len(tests)):
        if tests[ahead][0] == LD_ABS and tests[ahead][1] == 1:
            return ahead - place - 1
    return len(tests) - place - 1


def _test(condition: Condition) -> list[Test]:
    """64-bit comparison in two 32-bit halves. The first load carries jt=1 as a mark; the kernel ignores jt of a load."""
    low_at = ARGS_OFFSET + 8 * condition.index
    value = condition.value & 0xFFFFFFFFFFFFFFFF
    load_high: Test = (LD_ABS, 1, 0, low_at + 4)
    load_low: Test = (LD_ABS, 0, 0, low_at)
    if condition.op == "SCMP_CMP_MASKED_EQ":
        mask, wanted = value, condition.value_two
        return [
            load_high,
            (AND, 0, 0, mask >> 32),
            (JEQ, 0, FALSE, wanted >> 32 & 0xFFFFFFFF),
            load_low,
            (AND, 0, 0, mask & 0xFFFFFFFF),
            (JEQ, TRUE, FALSE, wanted & 0xFFFFFFFF),
        ]
    high, low = value >> 32, value & 0xFFFFFFFF
    shapes: dict[str, list[Test]] = {
        "SCMP_CMP_EQ": [load_high, (JEQ, 0, FALSE, high), load_low, (JEQ, TRUE, FALSE, low)],
        "SCMP_CMP_NE": [load_high, (JEQ, 0, TRUE, high), load_low, (JEQ, FALSE, TRUE, low)],
        "SCMP_CMP_GT": [
            load_high,
            (JGT, TRUE, 0, high),
            (JEQ, 0, FALSE, high),
            load_low,
            (JGT, TRUE, FALSE, low),
        ],
        "SCMP_CMP_GE": [
            load_high,
            (JGT, TRUE, 0, high),
            (JEQ, 0, FALSE, high),
            load_low,
            (JGE, TRUE, FALSE, low),
        ],
        "SCMP_CMP_LT": [
            load_high,
            (JGT, FALSE, 0, high),
            (JEQ, 0, TRUE, high),
            load_low,
            (JGE, FALSE, TRUE, low),
        ],
        "SCMP_CMP_LE": [
            load_high,
            (JGT, FALSE, 0, high),
            (JEQ, 0, TRUE, high),
            load_low,
            (JGT, FALSE, TRUE, low),
        ],
    }
    if condition.op not in shapes or not 0 <= condition.index < 6:
        raise InvalidParameter(
            f"seccomp argument filter {condition.op!r} on argument {condition.index} is not known"
        )
    return shapes[condition.op]
