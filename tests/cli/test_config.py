"""What config.json and the environment change in the requests that leave: seen by a server that writes them down."""

import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from havre.client.connection import ssh_words
from havre.errors import HavreError

SRC = Path(__file__).parents[2] / "src"
ONE = {
    "Id": "a" * 64,
    "Names": ["/web"],
    "Image": "i",
    "ImageID": "sha256:b",
    "Command": "c",
    "Created": 1,
    "Status": "Up",
    "State": "running",
}
ANSWERS = {
    "/containers/json": [ONE],
    "/images/json": [{"Id": "sha256:" + "b" * 64, "RepoTags": ["x:1"], "Created": 1, "Size": 5}],
    "/networks": [{"Id": "c" * 64, "Name": "n", "Driver": "d", "Scope": "s"}],
    "/containers/create": {"Id": "d" * 64, "Warnings": []},
    "/containers/prune": {"ContainersDeleted": None, "SpaceReclaimed": 0},
}


class Ear:
    """A daemon that only listens: answers from ANSWERS, keeps (method, target, headers, body)."""

    def __init__(self, root: Path) -> None:
        self.root, self.path, self.heard = root, str(root / "ear.sock"), []
        self._sock = socket.socket(socket.AF_UNIX)
        self._sock.bind(self.path)
        self._sock.listen(8)
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            try:
                client, _ = self._sock.accept()
            except OSError:
                return
            with client, client.makefile("rb") as file:
                method, target, _ = file.readline().decode().split(" ")
                headers = {}
                while line := file.readline().decode().strip():
                    name, _, value = line.partition(": ")
                    headers[name] = value
                body = file.read(int(headers.get("Content-Length", "0")))
                self.heard.append((method, target, headers, body))
                bare = target.partition("?")[0]
                bare = "/" + bare.split("/", 2)[2] if bare.startswith("/v1.") else bare
                data = json.dumps(ANSWERS[bare]).encode()
                client.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(data), data))

    def close(self) -> None:
        self._sock.shutdown(socket.SHUT_RDWR)
        self._sock.close()
        self._thread.join(5)

    def havre(self, *words: str, config: dict | None = None, **env: str) -> subprocess.CompletedProcess[str]:
        folder = self.root / "cfg"
        folder.mkdir(exist_ok=True)
        (folder / "config.json").write_text(json.dumps(config or {}))
        kept = {name: value for name, value in os.environ.items() if not name.startswith("DOCKER")}
        known = {"PYTHONPATH": str(SRC), "DOCKER_CONFIG": str(folder), "DOCKER_HOST": f"unix://{self.path}"}
        return subprocess.run(
            [sys.executable, "-m", "havre", *words],
            env={**kept, **known, **env},
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )


@pytest.fixture
def ear(tmp_path: Path) -> Iterator[Ear]:
    one = Ear(tmp_path)
    yield one
    one.close()


def test_http_headers_of_the_config_go_with_every_request(ear) -> None:
    assert ear.havre("ps", config={"HttpHeaders": {"X-Meta": "from the file"}}).returncode == 0
    assert ear.heard[0][2]["X-Meta"] == "from the file"


def test_custom_headers_of_the_environment_replace_those_of_the_config(ear) -> None:
    config = {"HttpHeaders": {"X-Meta": "file"}}
    assert ear.havre("ps", config=config, DOCKER_CUSTOM_HEADERS="X-A=1, X-B=a=b").returncode == 0
    headers = ear.heard[0][2]
    assert (headers["X-A"], headers["X-B"], "X-Meta" in headers) == ("1", "a=b", False)


@pytest.mark.parametrize("text", ["=x", "A=1\r\nB: 2", "A:B=1", "ok=1,=2"])
def test_headers_that_would_break_the_request_are_refused(ear, text: str) -> None:
    done = ear.havre("ps", DOCKER_CUSTOM_HEADERS=text)
    assert (done.returncode, ear.heard) == (1, [])
    assert "invalid custom header" in done.stderr


def test_the_api_version_is_left_to_the_daemon_unless_it_is_named(ear) -> None:
    ear.havre("ps")
    ear.havre("ps", DOCKER_API_VERSION="1.40")
    assert [one[1] for one in ear.heard] == ["/containers/json", "/v1.40/containers/json"]


@pytest.mark.parametrize(
    ("words", "key", "template", "text"),
    [
        (["ps"], "psFormat", "{{.Names}}!", "web!\n"),
        (["images"], "imagesFormat", "{{.Repository}}:{{.Tag}}", "x:1\n"),
        (["network", "ls"], "networksFormat", "{{.Name}}/{{.Driver}}", "n/d\n"),
    ],
)
def test_formats_of_the_config_are_the_default(
    ear, words: list[str], key: str, template: str, text: str
) -> None:
    assert ear.havre(*words, config={key: template}).stdout == text
    assert ear.havre(*words, "--format", "mine", config={key: template}).stdout == "mine\n"
    assert ear.havre(*words, "-q", config={key: template}).stdout != text


def test_proxies_of_the_config_become_variables_that_the_command_line_overrules(ear) -> None:
    default = {"httpProxy": "http://p:1", "noProxy": "a,b"}
    config = {"proxies": {"default": default, f"unix://{ear.path}2": {"httpProxy": "http://other:1"}}}
    ear.havre("create", "-e", "HTTP_PROXY=mine", "x", config=config)
    assert json.loads(ear.heard[0][3])["Env"] == [
        "HTTP_PROXY=mine",
        "http_proxy=http://p:1",
        "NO_PROXY=a,b",
        "no_proxy=a,b",
    ]
    ear.havre(
        "create",
        "x",
        config={"proxies": {"default": default, f"unix://{ear.path}": {"allProxy": "http://own:1"}}},
    )
    assert json.loads(ear.heard[1][3])["Env"] == ["ALL_PROXY=http://own:1", "all_proxy=http://own:1"]


def test_the_default_platform_is_asked_for_unless_a_flag_names_one(ear) -> None:
    ear.havre("create", "x", DOCKER_DEFAULT_PLATFORM="linux/arm64")
    ear.havre("create", "--platform", "linux/386", "x", DOCKER_DEFAULT_PLATFORM="linux/arm64")
    assert [one[1] for one in ear.heard] == [
        "/containers/create?platform=linux/arm64",
        "/containers/create?platform=linux/386",
    ]


def test_prune_filters_of_the_config_are_added_unless_contradicted(ear) -> None:
    config = {"pruneFilters": ["label!=keep", "until=1h"]}
    ear.havre("container", "prune", "-f", config=config)
    ear.havre("container", "prune", "-f", "--filter", "label=keep", config=config)
    asked = [one[1] for one in ear.heard]
    assert "label%21" in asked[0] and "until" in asked[0]
    assert "label%21" not in asked[1] and "until" in asked[1]


def test_a_context_leads_to_its_daemon(ear, tmp_path) -> None:
    assert ear.havre("context", "create", "ear", "--docker", f"host=unix://{ear.path}").returncode == 0
    gone = "unix:///nowhere.sock"
    assert ear.havre("ps", DOCKER_HOST=gone).returncode == 1
    assert ear.havre("--context", "ear", "ps", DOCKER_HOST=gone).returncode == 0
    assert ear.havre("ps", DOCKER_HOST="", DOCKER_CONTEXT="ear").returncode == 0
    assert ear.havre("ps", config={"currentContext": "ear"}, DOCKER_HOST="").returncode == 0
    assert ear.havre("ps", config={"currentContext": "ear"}, DOCKER_HOST=gone).returncode == 1


@pytest.mark.parametrize(
    ("rest", "words"),
    [
        ("far", ["--", "far"]),
        ("me@far:2222", ["-l", "me", "-p", "2222", "--", "far"]),
        ("me@[::1]:22", ["-l", "me", "-p", "22", "--", "::1"]),
        ("far/run/d.sock", ["--", "far"]),
    ],
)
def test_ssh_is_told_user_port_and_host_apart(rest: str, words: list[str]) -> None:
    found = ssh_words(rest)
    assert found[4 : 4 + len(words)] == words
    assert found[-1].endswith("system dial-stdio")
    assert ("--host 'unix:///run/d.sock'" in found[-1]) == rest.endswith(".sock")


@pytest.mark.parametrize("rest", ["", "-oProxyCommand=x", "-x@far", "far:x", "u:p@far", "/only/path"])
def test_ssh_hosts_that_are_none_are_refused(rest: str) -> None:
    with pytest.raises(HavreError, match="no ssh host"):
        ssh_words(rest)


def test_a_socket_path_cannot_leave_its_quotes() -> None:
    assert (
        ssh_words("far/x';touch y;'")[-1] == r"docker --host 'unix:///x'\'';touch y;'\''' system dial-stdio"
    )
