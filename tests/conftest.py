"""Registries for the tests: Debian's docker-registry on loopback, and a scripted one that lies as it is told."""

import asyncio
import contextlib
import datetime
import gzip
import hashlib
import io
import ipaddress
import json
import os
import shutil
import signal
import socket
import ssl
import subprocess
import tarfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from havre.image.images import Images
from havre.store import Records

OCI = "application/vnd.oci.image"
USER, PASSWORD = "ann", "s3cret"
HTPASSWD = f"{USER}:$2b$04$.zIRuUH/rQOq1j9j4MGclutgpA2OZY7bEFIZ5vSw43YOuyn9Hg79y\n"


# a scripted server


@dataclass
class Asked:
    """One request a stub got."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes

    @property
    def path(self) -> str:
        return self.target.partition("?")[0]


@dataclass
class Reply:
    """What a stub answers; `cut` breaks the connection after so many bytes of the body."""

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    cut: int = -1


Handler = Callable[[Asked], "Reply | bytes | Awaitable[Reply]"]


class Stub:
    """`async with Stub(handler) as stub`: every request is kept in `asked`; the handler answers (bytes: sent raw, then closed)."""

    def __init__(self, handler: Handler, tls: ssl.SSLContext | None = None, host: str = "127.0.0.1") -> None:
        self.handler, self.tls, self.host = handler, tls, host
        self.asked: list[Asked] = []
        self.name = ""
        self._open: dict[asyncio.Task[Any], asyncio.StreamWriter] = {}

    async def __aenter__(self) -> "Stub":
        self._server = await asyncio.start_server(self._serve, self.host, 0, ssl=self.tls)
        self.name = f"{self.host}:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for writer in self._open.values():
            writer.transport.abort()
        await asyncio.gather(*self._open)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task
        self._open[task] = writer
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            while await self._one(reader, writer):
                pass
        writer.close()
        del self._open[task]

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        method, target, _ = head[0].split(" ")
        headers = dict(line.lower().split(": ", 1) for line in head[1:] if line)
        exact = {line.split(": ", 1)[0].lower(): line.split(": ", 1)[1] for line in head[1:] if line}
        body = await reader.readexactly(int(headers.get("content-length", "0")))
        asked = Asked(method, target, exact, body)
        self.asked.append(asked)
        reply = self.handler(asked)
        if isinstance(reply, Awaitable):
            reply = await reply
        if isinstance(reply, bytes):
            writer.write(reply)
            await writer.drain()
            return False
        lines = {"Content-Length": str(len(reply.body)), **reply.headers}
        text = "".join(f"{key}: {value}\r\n" for key, value in lines.items())
        writer.write(f"HTTP/1.1 {reply.status} X\r\n{text}\r\n".encode("latin-1"))
        if method != "HEAD":
            writer.write(reply.body if reply.cut < 0 else reply.body[: reply.cut])
        await writer.drain()
        return reply.cut < 0


# images made of bytes


def layer_tar(files: dict[str, bytes]) -> bytes:
    """A layer archive."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return out.getvalue()


def digest_of(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


class Shop:
    """A registry's content in memory, and the honest answers to what is asked of it; `twist` may answer first."""

    def __init__(self) -> None:
        self.blobs: dict[str, bytes] = {}
        self.manifests: dict[str, tuple[str, bytes]] = {}  # by tag and by digest
        self.twist: Callable[[Asked], Reply | bytes | None] = lambda asked: None

    def blob(self, data: bytes) -> dict[str, Any]:
        """Keep a blob; return its descriptor without a type."""
        self.blobs[digest_of(data)] = data
        return {"digest": digest_of(data), "size": len(data)}

    def manifest(self, document: dict[str, Any], tag: str = "") -> dict[str, Any]:
        """Keep a manifest or an index under its digest (and a tag); return its descriptor."""
        data = json.dumps(document).encode()
        kind = document.get("mediaType", "")
        self.manifests[digest_of(data)] = (kind, data)
        if tag:
            self.manifests[tag] = (kind, data)
        return {"mediaType": kind, "digest": digest_of(data), "size": len(data)}

    def image(self, *layers: bytes, tag: str = "", architecture: str = "amd64") -> dict[str, Any]:
        """Keep an image of uncompressed layer archives (sent gzipped); return the manifest's descriptor."""
        packed = [gzip.compress(layer, mtime=0) for layer in layers]
        config = {
            "os": "linux",
            "architecture": architecture,
            "config": {"Cmd": ["/hello"]},
            "rootfs": {"type": "layers", "diff_ids": [digest_of(layer) for layer in layers]},
        }
        return self.manifest(
            {
                "schemaVersion": 2,
                "mediaType": f"{OCI}.manifest.v1+json",
                "config": {"mediaType": f"{OCI}.config.v1+json", **self.blob(json.dumps(config).encode())},
                "layers": [{"mediaType": f"{OCI}.layer.v1.tar+gzip", **self.blob(data)} for data in packed],
            },
            tag,
        )

    def index(self, entries: list[dict[str, Any]], tag: str = "") -> dict[str, Any]:
        kind = f"{OCI}.index.v1+json"
        return self.manifest({"schemaVersion": 2, "mediaType": kind, "manifests": entries}, tag)

    def __call__(self, asked: Asked) -> Reply | bytes:
        twisted = self.twist(asked)
        if twisted is not None:
            return twisted
        kind, _, name = asked.path.rpartition("/")
        if kind.endswith("/manifests") and name in self.manifests:
            media_type, data = self.manifests[name]
            return Reply(200, data, {"Content-Type": media_type, "Docker-Content-Digest": digest_of(data)})
        if kind.endswith("/blobs") and name in self.blobs:
            return self._blob(asked, self.blobs[name])
        if asked.path.endswith("/tags/list"):
            tags = [tag for tag in self.manifests if not tag.startswith("sha256:")]
            return Reply(200, json.dumps({"tags": tags}).encode())
        return Reply(404, b'{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown"}]}')

    @staticmethod
    def _blob(asked: Asked, data: bytes) -> Reply:
        wanted = asked.headers.get("range", "")
        if not wanted:
            return Reply(200, data)
        start = int(wanted.removeprefix("bytes=").partition("-")[0])
        return Reply(206, data[start:], {"Content-Range": f"bytes {start}-{len(data) - 1}/{len(data)}"})


@pytest.fixture
def stub() -> type[Stub]:
    return Stub


@pytest.fixture
def shop() -> Shop:
    return Shop()


@pytest.fixture
def reply() -> type[Reply]:
    return Reply


@pytest.fixture
def make_layer() -> Callable[[dict[str, bytes]], bytes]:
    return layer_tar


@pytest.fixture
def make_images(tmp_path: Path) -> Callable[[str], Images]:
    """Make an image room in its own directory; the same name again is the same room after a restart."""

    def make(name: str = "images") -> Images:
        folder = tmp_path / name
        folder.mkdir(exist_ok=True)
        return Images(folder / "image", Records(folder / "havre.db"))

    return make


# a real registry


@dataclass(frozen=True)
class Real:
    """A running docker-registry."""

    name: str  # host:port
    ca: Path  # of a registry with TLS


def certificates(folder: Path) -> None:
    """Write ca.crt and server.crt, server.key, client.cert, client.key signed by it."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    now = datetime.datetime.now(datetime.UTC)

    def make(name: str, issuer: Any, signer: Any, key: Any) -> Any:
        builder = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
            .issuer_name(issuer or x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(hours=1))
            .not_valid_after(now + datetime.timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=issuer is None, path_length=None), critical=True)
            .add_extension(
                x509.SubjectAlternativeName(
                    [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
                ),
                critical=False,
            )
        )
        return builder.sign(signer, hashes.SHA256())

    ca_key = ec.generate_private_key(ec.SECP256R1())
    ca = make("havre test CA", None, ca_key, ca_key)
    pem = serialization.Encoding.PEM
    (folder / "ca.crt").write_bytes(ca.public_bytes(pem))
    for name, suffix in (("server", "crt"), ("client", "cert")):
        key = ec.generate_private_key(ec.SECP256R1())
        (folder / f"{name}.{suffix}").write_bytes(make(name, ca.subject, ca_key, key).public_bytes(pem))
        (folder / f"{name}.key").write_bytes(
            key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        )


@pytest.fixture
def certs(tmp_path: Path) -> Path:
    folder = tmp_path / "certs"
    folder.mkdir()
    certificates(folder)
    return folder


@pytest.fixture
def real_registry(tmp_path: Path) -> Iterator[Callable[..., Real]]:
    """Start docker-registry: real_registry(password=True, certs=folder, client_ca=True)."""
    if not (program := shutil.which("docker-registry")):
        pytest.skip("docker-registry is not installed")
    with contextlib.ExitStack() as stack:

        def start(*, password: bool = False, certs: Path | None = None, client_ca: bool = False) -> Real:
            with socket.create_server(("127.0.0.1", 0)) as free:
                name = f"127.0.0.1:{free.getsockname()[1]}"
            number = os.urandom(4).hex()
            http: dict[str, Any] = {"addr": name}
            if certs:
                tls = {"certificate": str(certs / "server.crt"), "key": str(certs / "server.key")}
                http["tls"] = {**tls, **({"clientcas": [str(certs / "ca.crt")]} if client_ca else {})}
            config: dict[str, Any] = {
                "version": 0.1,
                "log": {"level": "error", "accesslog": {"disabled": True}},
                "storage": {
                    "filesystem": {"rootdirectory": str(tmp_path / number)},
                    "delete": {"enabled": True},
                },
                "http": http,
            }
            if password:
                (tmp_path / "htpasswd").write_text(HTPASSWD)
                config["auth"] = {"htpasswd": {"realm": "r", "path": str(tmp_path / "htpasswd")}}
            path = tmp_path / f"registry-{number}.yml"
            path.write_text(json.dumps(config))  # JSON is YAML
            process = subprocess.Popen(
                [program, "serve", str(path)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
            )
            stack.callback(process.wait)
            stack.callback(process.send_signal, signal.SIGKILL)
            _wait_for(name, process)
            return Real(name, (certs or tmp_path) / "ca.crt")

        yield start


def _wait_for(name: str, process: "subprocess.Popen[bytes]") -> None:
    host, _, port = name.partition(":")
    end = time.monotonic() + 10
    while time.monotonic() < end:
        if process.poll() is not None:
            pytest.fail(f"docker-registry ended with {process.returncode}")
        with contextlib.suppress(OSError), socket.create_connection((host, int(port)), 1):
            return
        time.sleep(0.02)
    pytest.fail("docker-registry does not listen")


async def one_chunk(data: bytes) -> AsyncIterator[bytes]:
    yield data
