"""The kernel's filter machine in Python: what a compiled filter answers to one system call."""

import struct

ALLOW, ERRNO, KILL_PROCESS, LOG, TRAP = 0x7FFF0000, 0x00050000, 0x80000000, 0x7FFC0000, 0x00030000
X86_64, I386, AARCH64 = 0xC000003E, 0x40000003, 0xC00000B7


def answer(program, number, *args, arch=X86_64):
    """Return the 32-bit answer of a filter (bytes, 8 an instruction)."""
    words = [arg & 0xFFFFFFFFFFFFFFFF for arg in (*args, 0, 0, 0, 0, 0, 0)[:6]]
    data = struct.pack("=IIQ6Q", number & 0xFFFFFFFF, arch, 0, *words)
    at = accumulator = 0
    while True:
        code, jt, jf, k = struct.unpack_from("=HBBI", program, at * 8)
        at += 1
        if code == 0x06:
            return k
        if code == 0x20:
            assert k % 4 == 0
            accumulator = struct.unpack_from("=I", data, k)[0]
        elif code == 0x54:
            accumulator &= k
        elif code == 0x05:
            at += k
        else:
            holds = {
                0x15: accumulator == k,
                0x25: accumulator > k,
                0x35: accumulator >= k,
                0x45: accumulator & k,
            }[code]
            at += jt if holds else jf
