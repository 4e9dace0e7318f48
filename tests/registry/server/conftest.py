"""A registry server of its own for each test: a process, a folder, a port."""

import hashlib
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

SRC = Path(__file__).parents[3] / "src"
IMAGE = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"


def sha256(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def code(self) -> str:
        """The specification's error code."""
        return self.json["errors"][0]["code"]


class Server:
    """`havre registry serve`."""

    def __init__(self, root: Path, config: dict[str, Any]) -> None:
        self.root = root
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.name = f"127.0.0.1:{self.port}"
        storage = {"filesystem": {"rootdirectory": str(root / "data")}, "delete": {"enabled": True}}
        http_section = {"addr": self.name, **config.pop("http", {})}
        self.config = {
            "version": 0.1,
            "storage": {**storage, **config.pop("storage", {})},
            "http": http_section,
            **config,
        }
        self.file = root / "config.yml"
        self.start()

    def start(self) -> None:
        self.file.write_text(yaml.safe_dump(self.config))
        environment = {**os.environ, "PYTHONPATH": str(SRC), "PYTHONUNBUFFERED": "1"}
        command = [sys.executable, "-m", "havre", "registry", "serve", str(self.file)]
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment)
        said = []
        assert self.process.stderr
        for line in self.process.stderr:
            said.append(line)
            if "registry is ready" in line:
                return
        raise AssertionError("".join(said))

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(10)

    def close(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(20) == 0
        assert self.process.stderr
        self.process.stderr.close()

    def ask(self, method: str, path: str, body: Any = None, **headers: str) -> Answer:
        """One request; an absolute Location may be given as path."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        wanted = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(
            method, path, body, wanted, encode_chunked=not isinstance(body, (bytes, type(None)))
        )
        answer = connection.getresponse()
        found = Answer(
            answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()
        )
        connection.close()
        return found

    def push_blob(self, name: str, data: bytes) -> str:
        answer = self.ask("POST", f"/v2/{name}/blobs/uploads/?digest={sha256(data)}", data)
        assert answer.status == 201, answer
        return sha256(data)

    def push_manifest(self, name: str, reference: str, value: dict[str, Any], kind: str = IMAGE) -> str:
        data = json.dumps(value).encode()
        answer = self.ask(
            "PUT",
            f"/v2/{name}/manifests/{reference.replace('DIGEST', sha256(data))}",
            data,
            Content_Type=kind,
        )
        assert answer.status == 201, answer
        return answer.headers["docker-content-digest"]

    def push_image(self, name: str, tag: str, **more: Any) -> str:
        """An image of one config and one layer; return the manifest's digest."""
        layer = f"layer of {name} {tag}".encode()
        config = b"{}"
        self.push_blob(name, layer)
        self.push_blob(name, config)
        return self.push_manifest(name, tag, image(config, layer, **more))

    def files(self) -> set[str]:
        """Every file of the folder, below its root."""
        root = self.root / "data"
        return {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()}


def image(config: bytes, *layers: bytes, **more: Any) -> dict[str, Any]:
    kind = "application/vnd.oci.image.layer.v1.tar"
    return {
        "schemaVersion": 2,
        "mediaType": IMAGE,
        "config": {
            "mediaType": "application/vnd.oci.image.config.v1+json",
            "digest": sha256(config),
            "size": len(config),
        },
        "layers": [{"mediaType": kind, "digest": sha256(one), "size": len(one)} for one in layers],
        **more,
    }


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Any]:
    """Return a function that starts a server with these sections of config.yml."""
    servers: list[Server] = []

    def start(**config: Any) -> Server:
        root = tmp_path / f"registry{len(servers)}"
        root.mkdir()
        servers.append(Server(root, config))
        return servers[-1]

    yield start
    for one in servers:
        one.close()
