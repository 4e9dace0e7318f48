"""The images the bench uses, made here: a busybox, and one of 300 MB in 15,000 files (the same every time)."""

import io
import random
import subprocess
import tarfile
from pathlib import Path

FILES, BYTES = 15_000, 300 << 20


def busybox_tar() -> bytes:
    """A root filesystem of the host's static busybox."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        data = Path("/bin/busybox").read_bytes()
        info = tarfile.TarInfo("bin/busybox")
        info.size, info.mode = len(data), 0o755
        tar.addfile(info, io.BytesIO(data))
        for name in subprocess.run(
            ["/bin/busybox", "--list"], capture_output=True, text=True, check=True
        ).stdout.split():
            if name != "busybox":
                info = tarfile.TarInfo(f"bin/{name}")
                info.type, info.linkname = tarfile.SYMTYPE, "busybox"
                tar.addfile(info)
    return out.getvalue()


def large_archive(path: Path) -> None:
    """Write a docker archive of one gzip layer."""
    import gzip
    import hashlib
    import json

    rng = random.Random(1)
    words = [rng.randbytes(rng.randrange(2, 12)).hex().encode() for _ in range(4000)]
    layer = io.BytesIO()
    with tarfile.open(fileobj=layer, mode="w") as tar:
        for number in range(FILES):
            size = int(BYTES / FILES * rng.uniform(0.1, 1.9))
            text = b" ".join(rng.choices(words, k=size // 12))[:size]
            info = tarfile.TarInfo(f"usr/d{number % 150}/f{number}")
            info.size, info.mode = len(text), 0o644
            tar.addfile(info, io.BytesIO(text))
    data = layer.getvalue()
    config = json.dumps(
        {
            "architecture": "amd64",
            "os": "linux",
            "config": {"Cmd": ["true"]},
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(data).hexdigest()}"]},
        }
    ).encode()
    manifest = json.dumps(
        [{"Config": "config.json", "RepoTags": ["large:1"], "Layers": ["layer.tar.gz"]}]
    ).encode()
    packed = gzip.compress(data, 6, mtime=0)
    with tarfile.open(path, "w") as tar:
        for name, content in (("layer.tar.gz", packed), ("config.json", config), ("manifest.json", manifest)):
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
