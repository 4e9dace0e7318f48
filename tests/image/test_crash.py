"""kill -9 at any moment of load, remove, prepare and import: the next start finds either before or after, and nothing half-made."""

import hashlib
import io
import json
import os
import random
import signal
import time
from collections.abc import Callable

import pytest

from havre.image.images import Images
from havre.spec.platform import host_platform

ROUNDS = 25


def _archive(tar) -> bytes:
    layers = [
        tar.layer_of({f"l{layer}/f{number}": os.urandom(3000) for number in range(60)}) for layer in range(3)
    ]
    config = json.dumps(
        {
            "architecture": host_platform().architecture,
            "os": "linux",
            "rootfs": {"type": "layers", "diff_ids": [tar.digest_of(layer) for layer in layers]},
        }
    ).encode()
    listing = [{"Config": "c", "RepoTags": ["app:1"], "Layers": [f"{number}" for number in range(3)]}]
    parts = [tar.member(b"%d" % number, layer) for number, layer in enumerate(layers)]
    return tar.archive(
        tar.member(b"c", config), *parts, tar.member(b"manifest.json", json.dumps(listing).encode())
    ).getvalue()


def _work(images: Images, archive: bytes) -> None:
    for number in range(1000):
        images.load(io.BytesIO(archive), lambda _: None)
        image = images.resolve("app:1")
        images.snapshots.prepare(image.chain_id, f"{os.getpid()}-{number}")
        images.tag("app:1", "app:2")
        images.snapshots.remove(f"{os.getpid()}-{number}")
        images.remove("app:1", force=True, used_by=lambda _: [])
        images.remove("app:2", force=True, used_by=lambda _: [])


def _check(images: Images) -> None:
    """What is visible is whole; what is on the disk has a record."""
    images.collect()
    for digest in images.content.all():
        assert f"sha256:{hashlib.sha256(images.content.path(digest).read_bytes()).hexdigest()}" == digest
    for digest in images.targets():
        image = images.resolve(digest)
        stack = images.layers.stack(image.chain_id)
        assert [len(os.listdir(f"{one}/l{2 - number}")) for number, one in enumerate(stack)] == [60, 60, 60]
    for digest in images.names().values():
        assert digest in images.targets()
    for key in list(images.snapshots.keys()):
        images.snapshots.remove(key)
    images.collect()
    used = {
        one.split("/")[-2]
        for digest in images.targets()
        for one in images.layers.stack(images.resolve(digest).chain_id)
    }
    assert set(os.listdir(images.root / "layers")) == used
    assert os.listdir(images.root / "snapshots") == []
    assert [name for name in os.listdir(images.root / "ingest") if "work" in name] == []


@pytest.mark.slow
def test_killed_at_any_moment(tar, reopen: Callable[[], Images]):
    archive = _archive(tar)
    dice = random.Random(3)
    for _ in range(ROUNDS):
        pid = os.fork()
        if not pid:
            try:
                _work(reopen(), archive)
            finally:
                os._exit(1)
        time.sleep(dice.uniform(0.005, 0.15))
        os.kill(pid, signal.SIGKILL)
        assert os.WIFSIGNALED(os.waitpid(pid, 0)[1])
        _check(reopen())
