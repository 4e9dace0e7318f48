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
FLAGS = {  # linux/seccomp.h
    "SECCOMP_FILTER_FLAG_TSYNC": 1,
    "SECCOMP_FILTER_FLAG_LOG": 2,
    "SECCOMP_FILTER_FLAG_SPEC_ALLOW": 4,
    "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV": 32,
}
EPERM, ENOSYS = 1, 38
MAX_ERRNO = 4095  # linux/err.h
MAX_VALUE = 0xFFFFFFFFFFFFFFFF
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
    if machine not in NATIVE:
        raise InvalidParameter(
            f"seccomp is not supported on {machine}", hint="--security-opt seccomp=unconfined"
        )
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


def filter_flags(profile: dict[str, Any]) -> int:
    """Return the flags of seccomp(2); speculation stays allowed when none is named, as in runc. Raises InvalidParameter."""
    names = profile.get("flags") or ["SECCOMP_FILTER_FLAG_SPEC_ALLOW"]
    for name in names:
        if name not in FLAGS:
            raise InvalidParameter(f"seccomp flag {name!r} is not known", hint=", ".join(FLAGS))
    return sum(FLAGS[name] for name in set(names))


def _action(name: str, errno: int | None) -> int:
    if name not in ACTIONS:
        raise InvalidParameter(f"seccomp action {name!r} is not supported", hint=", ".join(ACTIONS))
    if name not in ("SCMP_ACT_ERRNO", "SCMP_ACT_TRACE"):
        return ACTIONS[name]
    number = EPERM if errno is None else _number({"errnoRet": errno}, "errnoRet", MAX_ERRNO)
    return ACTIONS[name] | number


def _architecture(
    numbers: dict[str, int], rules: Sequence[dict[str, Any]], default: int, *, x32: bool
) -> list[Instruction]:
    answers: dict[int, tuple[Branch, ...]] = {}
    for rule in rules:
        action = _action(rule.get("action", ""), rule.get("errnoRet"))
        branches = _branches(rule.get("args") or [], action)
        for name in rule.get("names") or []:
            number = numbers.get(name)
            if number is not None:  # a name this architecture lacks cannot be called here
                answers[number] = (*answers.get(number, ()), *branches)
    runs = _runs(answers, default)
    if answers and default not in (ACTIONS["SCMP_ACT_ALLOW"], ACTIONS["SCMP_ACT_LOG"]):
        runs = _end_at(runs, max(answers) + 1)
    head: list[Instruction] = [(LD_ABS, 0, 0, NR_OFFSET)]
    if x32:
        head += [(JGE, 0, 1, X32_BIT), (RET, 0, 0, ACTIONS["SCMP_ACT_ERRNO"] | EPERM)]
    return head + _tree(runs, default)


def _end_at(runs: list["Run"], end: int) -> list["Run"]:
    """Calls newer than every call the profile knows answer ENOSYS, so that a libc falls back to the old one (as in runc)."""
    unknown = (Branch((), ACTIONS["SCMP_ACT_ERRNO"] | ENOSYS),)
    return [*(run for run in runs if run[0] < end), (end, unknown)]


def _branches(args: Sequence[dict[str, Any]], action: int) -> tuple[Branch, ...]:
    """Conditions on different arguments must all hold; on the same argument any of them (runc's reading)."""
    found = [_condition(arg) for arg in args]
    if len({condition.index for condition in found}) < len(found):
        return tuple(Branch((condition,), action) for condition in found)
    return (Branch(tuple(found), action),)


def _condition(arg: dict[str, Any]) -> Condition:
    if arg.get("op") not in OPERATORS:
        raise InvalidParameter(f"seccomp operator {arg.get('op')!r} is not known", hint=", ".join(OPERATORS))
    value, value_two = _number(arg, "value", MAX_VALUE), _number(arg, "valueTwo", MAX_VALUE, 0)
    return Condition(_number(arg, "index", 5), arg["op"], value, value_two)


def _number(arg: dict[str, Any], key: str, highest: int, default: int | None = None) -> int:
    value = arg.get(key, default)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= highest:
        raise InvalidParameter(f"seccomp {key} {value!r} is not a number from 0 to {highest}")
    return value


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
        body = [*_resolve(tests, 1), (RET, 0, 0, branch.action)]
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
    load_high: Test = (LD_ABS, 1, 0, low_at + 4)
    load_low: Test = (LD_ABS, 0, 0, low_at)
    high, low = _halves(condition.value)
    if condition.op == "SCMP_CMP_MASKED_EQ":
        wanted_high, wanted_low = _halves(condition.value_two)
        return [
            load_high,
            (AND, 0, 0, high),
            (JEQ, 0, FALSE, wanted_high),
            load_low,
            (AND, 0, 0, low),
            (JEQ, TRUE, FALSE, wanted_low),
        ]
    above, equal = OPERATORS[condition.op]
    if condition.op in ("SCMP_CMP_EQ", "SCMP_CMP_NE"):
        return [
            load_high,
            (JEQ, 0, _goto(not equal), high),
            load_low,
            (JEQ, _goto(equal), _goto(not equal), low),
        ]
    last = JGT if above != equal else JGE  # GT and LE part behind the value, GE and LT before it
    return [
        load_high,
        (JGT, _goto(above), 0, high),
        (JEQ, 0, _goto(not above), high),
        load_low,
        (last, _goto(above), _goto(not above), low),
    ]


def _halves(value: int) -> tuple[int, int]:
    return value >> 32, value & 0xFFFFFFFF


def _goto(holds: bool) -> int:
    return TRUE if holds else FALSE


# Whether the comparison holds above the value, and at it.
OPERATORS = {
    "SCMP_CMP_NE": (True, False),
    "SCMP_CMP_LT": (False, False),
    "SCMP_CMP_LE": (False, True),
    "SCMP_CMP_EQ": (False, True),
    "SCMP_CMP_GE": (True, True),
    "SCMP_CMP_GT": (True, False),
    "SCMP_CMP_MASKED_EQ": (False, True),
}
