"""The built-in hello-world: a tiny static ELF that this file assembles, in a one-layer image. Pure; the digests are always the same."""

import hashlib
import io
import json
import struct

from havre.image.tar.writer import Writer
from havre.spec.image import Platform

TEXT = b"""
Hello from Havre!
This message shows that your installation works.

What happened to print it:
 1. `havre` asked the daemon `havred` for a container; it was started if it was not there.
 2. `havred` took the image "hello-world" from the package itself: no network was needed.
 3. Its zygote forked a process into namespaces and a control group of its own,
    put the image's layer under it with overlayfs, and ran /hello.
 4. A monitor carried what /hello printed to your terminal.

Try something larger:
 $ havre run -it debian bash

"""
CREATED = "2026-11-24T00:00:00Z"
_BASE = 0x400000
_EHDR, _PHDR = 64, 56


def _x86_64(address: int, length: int) -> bytes:
    return (
        b"\xb8\x01\x00\x00\x00"  # mov eax, 1 (write)
        b"\xbf\x01\x00\x00\x00"  # mov edi, 1
        + b"\xbe"
        + struct.pack("<I", address)  # mov esi, text
        + b"\xba"
        + struct.pack("<I", length)  # mov edx, length
        + b"\x0f\x05"  # syscall
        b"\xb8\x3c\x00\x00\x00"  # mov eax, 60 (exit)
        b"\x31\xff"  # xor edi, edi
        b"\x0f\x05"
    )


def _movz(register: int, value: int) -> list[int]:
    """movz and movk of a 32-bit value."""
    return [0xD2800000 | (value & 0xFFFF) << 5 | register, 0xF2A00000 | (value >> 16) << 5 | register]


def _aarch64(address: int, length: int) -> bytes:
    words = _movz(0, 1) + _movz(1, address) + _movz(2, length) + _movz(8, 64) + [0xD4000001]  # write; svc 0
    words += [*_movz(0, 0), *_movz(8, 93), 0xD4000001]  # exit
    return struct.pack(f"<{len(words)}I", *words)


_MACHINES = {"amd64": (62, _x86_64), "arm64": (183, _aarch64)}


def program(architecture: str) -> bytes:
    """Return the ELF (elf(5)): one header, one program header, code, text. Raises KeyError for another architecture."""
    machine, code = _MACHINES[architecture]
    start = _EHDR + _PHDR
    length = len(code(0, 0))
    body = code(_BASE + start + length, len(TEXT)) + TEXT
    size = start + len(body)
    header = struct.pack(
        "<16sHHIQQQIHHHHHH",
        b"\x7fELF\x02\x01\x01",
        2,  # ET_EXEC
        machine,
        1,
        _BASE + start,
        _EHDR,
        0,
        0,
        _EHDR,
        _PHDR,
        1,
        0,
        0,
        0,
    )
    segment = struct.pack("<IIQQQQQQ", 1, 5, 0, _BASE, _BASE, size, size, 0x1000)  # PT_LOAD, read and execute
    return header + segment + body


def layer(architecture: str) -> bytes:
    """Return the layer: one file."""
    out = io.BytesIO()
    writer = Writer(out)
    writer.file(b"hello", program(architecture), 0o755)
    writer.finish()
    return out.getvalue()


def image(platform: Platform) -> tuple[bytes, bytes, bytes]:
    """Return (layer, config, manifest) for a platform. Raises KeyError for an architecture it has no code for."""
    archive = layer(platform.architecture)
    diff_id = f"sha256:{hashlib.sha256(archive).hexdigest()}"
    config = json.dumps(
        {
            "architecture": platform.architecture,
            "config": {
                "Cmd": ["/hello"],
                "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"],
                "WorkingDir": "/",
            },
            "created": CREATED,
            "history": [{"created": CREATED, "created_by": "built into havre", "comment": "havre"}],
            "os": "linux",
            "rootfs": {"type": "layers", "diff_ids": [diff_id]},
        },
        sort_keys=True,
    ).encode()
    manifest = json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": _descriptor("application/vnd.oci.image.config.v1+json", config),
            "layers": [_descriptor("application/vnd.oci.image.layer.v1.tar", archive)],
        },
        sort_keys=True,
    ).encode()
    return archive, config, manifest


def _descriptor(media_type: str, data: bytes) -> dict[str, object]:
    return {
        "mediaType": media_type,
        "digest": f"sha256:{hashlib.sha256(data).hexdigest()}",
        "size": len(data),
    }
