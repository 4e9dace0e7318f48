"""The images that are measured: busybox, and a big one of 300 MB in 15,000 files and five layers, served by docker-registry."""

import gzip
import hashlib
import http.client
import io
import json
import os
import platform
import random
import shutil
import tarfile
from pathlib import Path

from bench.place import Place, wait_until

BUSYBOX = "/bin/busybox"
LINKS = ("sh", "true", "sleep", "yes", "head", "cat", "echo")
REGISTRY_PORT = 5000
BIG, BIG_LAYERS = "127.0.0.1:5000/bench/big:1", 5
OCI = "application/vnd.oci.image"
ARCHITECTURE = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())


def rootfs(folder: Path) -> Path:
    """Make a root filesystem of the static busybox."""
    for name in ("bin", "proc", "sys", "dev", "tmp", "etc"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    shutil.copy(BUSYBOX, folder / "bin" / "busybox")
    for link in LINKS:
        (folder / "bin" / link).symlink_to("busybox")
    return folder


def _config(diff_ids: list[str]) -> bytes:
    found = {
        "architecture": ARCHITECTURE,
        "os": "linux",
        "config": {"Cmd": ["sh"], "Env": ["PATH=/bin"]},
        "rootfs": {"type": "layers", "diff_ids": diff_ids},
    }
    return json.dumps(found).encode()


def _digest(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


def archive(root: Path, target: Path, name: str) -> Path:
    """Write what `docker save` writes for a one-layer image of a root filesystem."""
    layer = io.BytesIO()
    with tarfile.open(fileobj=layer, mode="w") as tar:
        tar.add(root, arcname=".")
    data = layer.getvalue()
    config = _config([_digest(data)])
    manifest = [{"Config": "config.json", "RepoTags": [name], "Layers": ["layer.tar"]}]
    with tarfile.open(target, "w") as tar:
        for member, content in (
            ("config.json", config),
            ("layer.tar", data),
            ("manifest.json", json.dumps(manifest).encode()),
        ):
            info = tarfile.TarInfo(member)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return target


def _layer(number: int, files: int, size: int) -> bytes:
    """Files as in a distribution: half of the bytes compress well, a fifth of the files are tiny."""
    chance = random.Random(number)
    text = b"/usr/share/doc/package/copyright: permission is hereby granted, free of charge\n" * 2000
    out = io.BytesIO()
    mean = size // files
    with tarfile.open(fileobj=out, mode="w") as tar:
        for count in range(files):
            if count % 100 == 0:
                folder = tarfile.TarInfo(f"usr/lib/l{number}/d{count // 100}")
                folder.type, folder.mode = tarfile.DIRTYPE, 0o755
                tar.addfile(folder)
            length = 200 if count % 5 == 0 else int(mean * 1.25)
            data = chance.randbytes(length // 2) + text[: length - length // 2]
            info = tarfile.TarInfo(f"usr/lib/l{number}/d{count // 100}/file{count}")
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return out.getvalue()


def fill_registry(place: Place, storage: Path, *, megabytes: int, files: int) -> None:
    """Push the big image into a registry that is only up for this."""
    enter = place.namespace("filling")
    registry = start_registry(place, enter, storage, "filling")
    pid = registry.pid
    layers, diff_ids = [], []
    with _inside(pid):
        connection = http.client.HTTPConnection("127.0.0.1", REGISTRY_PORT)
        connection.connect()
    for number in range(BIG_LAYERS):
        data = _layer(number, files // BIG_LAYERS, megabytes * 1_000_000 // BIG_LAYERS)
        diff_ids.append(_digest(data))
        packed = gzip.compress(data, 1, mtime=0)
        layers.append({"mediaType": f"{OCI}.layer.v1.tar+gzip", **_upload(connection, packed)})
    config = {"mediaType": f"{OCI}.config.v1+json", **_upload(connection, _config(diff_ids))}
    kind = f"{OCI}.manifest.v1+json"
    manifest = {"schemaVersion": 2, "mediaType": kind, "config": config, "layers": layers}
    _ask(connection, "PUT", "/v2/bench/big/manifests/1", json.dumps(manifest).encode(), kind)
    connection.close()
    registry.terminate()
    registry.wait()


class _inside:
    """Be in another process's network namespace for a moment (sockets stay where they were made)."""

    def __init__(self, pid: int) -> None:
        self._there, self._home = (
            os.open(f"/proc/{pid}/ns/net", os.O_RDONLY),
            os.open("/proc/self/ns/net", os.O_RDONLY),
        )

    def __enter__(self) -> None:
        _setns(self._there)

    def __exit__(self, *_: object) -> None:
        _setns(self._home)
        os.close(self._there)
        os.close(self._home)


def _setns(fd: int) -> None:
    import ctypes

    if ctypes.CDLL(None, use_errno=True).setns(fd, 0x40000000) < 0:  # CLONE_NEWNET
        raise OSError(ctypes.get_errno(), "setns")


def start_registry(place: Place, enter: list[str], storage: Path, label: str) -> "object":
    """Serve `storage` on 127.0.0.1:5000 of a peer's own namespace."""
    config = place.root / f"registry-{label}.json"
    config.write_text(
        json.dumps(
            {
                "version": 0.1,
                "log": {"level": "error", "accesslog": {"disabled": True}},
                "storage": {"filesystem": {"rootdirectory": str(storage)}},
                "http": {"addr": f"127.0.0.1:{REGISTRY_PORT}"},
            }
        )
    )
    process = place.start([*enter, "docker-registry", "serve", str(config)], f"registry-{label}")

    def listens() -> bool:
        import socket

        with _inside(process.pid), socket.create_connection(("127.0.0.1", REGISTRY_PORT), 1):
            return True

    wait_until(listens, 20, "docker-registry")
    return process


def _ask(
    connection: http.client.HTTPConnection,
    method: str,
    path: str,
    body: bytes = b"",
    kind: str = "application/octet-stream",
) -> str:
    connection.request(method, path, body, {"Content-Type": kind})
    answer = connection.getresponse()
    said = answer.read()
    if answer.status not in (201, 202):
        raise RuntimeError(f"docker-registry: {method} {path}: {answer.status} {said[:200]!r}")
    return answer.headers.get("Location", "")


def _upload(connection: http.client.HTTPConnection, data: bytes) -> dict[str, object]:
    digest = _digest(data)
    location = _ask(connection, "POST", "/v2/bench/big/blobs/uploads/")
    path = "/" + location.split("/", 3)[3] if "://" in location else location
    _ask(connection, "PUT", f"{path}&digest={digest}", data)
    return {"digest": digest, "size": len(data)}
