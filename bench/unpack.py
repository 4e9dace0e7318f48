"""Unpack: our load and layer unpack beside `tar -xz`, on tmpfs, alternating. Run as root: python bench/unpack.py [ROUNDS]

The image is made here: 300 MB in 15,000 files, the same bytes every time. Needs room on /dev/shm for four times that.
"""

import gzip
import hashlib
import io
import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from havre.image.images import Images
from havre.image.tar.writer import Writer
from havre.image.tree import remove_tree
from havre.spec.platform import host_platform
from havre.store import Records

FILES, FILES_PER_DIRECTORY = 15_000, 50
SIZES = (300, 1500, 4000, 20_000, 75_000)  # bytes; about 300 MB in all


def layer_bytes(files: int = FILES) -> bytes:
    """Return a deterministic layer: text-like files that gzip to about a third."""
    dice = random.Random(7)
    words = [dice.randbytes(dice.randint(2, 9)).hex().encode() for _ in range(5000)]
    pool = b" ".join(dice.choice(words) for _ in range(400_000))
    out = io.BytesIO()
    writer = Writer(out)
    for number in range(files):
        size = dice.choice(SIZES)
        start = dice.randrange(len(pool) - size)
        name = f"usr/share/d{number // FILES_PER_DIRECTORY:03}/file{number:05}.txt"
        writer.file(name.encode(), pool[start : start + size])
    writer.finish()
    return out.getvalue()


def docker_archive(layer: bytes, packed: bytes, name: str = "bench:1") -> bytes:
    """Return what `docker load` takes: one image of one gzip layer."""
    config = json.dumps(
        {
            "architecture": host_platform().architecture,
            "os": "linux",
            "config": {"Cmd": ["sh"]},
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(layer).hexdigest()}"]},
        }
    ).encode()
    out = io.BytesIO()
    writer = Writer(out)
    writer.file(b"config.json", config)
    writer.file(b"layer.tar.gz", packed)
    listing = [{"Config": "config.json", "RepoTags": [name], "Layers": ["layer.tar.gz"]}]
    writer.file(b"manifest.json", json.dumps(listing).encode())
    writer.finish()
    return out.getvalue()


def seconds(work: Callable[[], object]) -> tuple[float, float]:
    """Return (wall, CPU of all threads and children): on a busy machine only the second can be compared."""
    start, used = time.perf_counter(), sum(os.times()[:4])
    work()
    return time.perf_counter() - start, sum(os.times()[:4]) - used


def round_of(place: Path, archive: Path, packed: Path) -> dict[str, tuple[float, float]]:
    """One round: tar, our unpack, our load, each into a fresh directory that is gone afterwards."""
    found: dict[str, tuple[float, float]] = {}
    (place / "tar").mkdir()
    command = ["tar", "-xzf", packed, "-C", place / "tar"]
    found["tar -xz"] = seconds(lambda: subprocess.run(command, check=True))
    for name in ("havre unpack", "havre load"):
        root = place / "havre"
        root.mkdir()
        records = Records(root / "db")
        images = Images(root / "image", records)
        if name == "havre unpack":
            with packed.open("rb", buffering=0) as layer:
                found[name] = seconds(lambda file=layer, room=images: room.layers.unpack(file, ""))
        else:
            with archive.open("rb") as whole:
                found[name] = seconds(lambda file=whole, room=images: room.load(file, lambda _: None))
        records.close()
        remove_tree(None, str(root))
    remove_tree(None, str(place / "tar"))
    return found


def main(rounds: int = 5) -> None:
    place = Path(tempfile.mkdtemp(prefix="havre-bench-unpack-", dir="/dev/shm"))
    try:
        layer = layer_bytes()
        packed = gzip.compress(layer, 6, mtime=0)
        (place / "l.tgz").write_bytes(packed)
        (place / "image.tar").write_bytes(docker_archive(layer, packed))
        print(
            f"{len(layer) / 1e6:.0f} MB, {FILES} files, {len(packed) / 1e6:.0f} MB packed, {os.cpu_count()} cores"
        )
        found = [round_of(place, place / "image.tar", place / "l.tgz") for _ in range(rounds)]
        for name in found[0]:
            figures = []
            for part, word in enumerate(("wall", "CPU")):
                base = statistics.median(one["tar -xz"][part] for one in found)
                median = statistics.median(one[name][part] for one in found)
                figures.append(f"{word} {median:5.2f} s {median / base:5.2f}x")
            print(f"{name:14}", "   ".join(figures))
    finally:
        shutil.rmtree(place, ignore_errors=True)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 5)
