"""Contexts: what docker makes havre reads, and the other way round; the same words, the same files."""

import io
import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from havre.cli.contextarchive import MOST_BYTES, packed, unpacked
from havre.cli.contextstore import Store, check_name
from havre.errors import HavreError, InvalidParameter

SRC = Path(__file__).parents[2] / "src"
PEM = "-----BEGIN CERTIFICATE-----\nMA==\n-----END CERTIFICATE-----\n"
HOST = "unix:///h.sock"
STEPS = [
    f"create one --description first --docker host={HOST}",
    "create one",
    "create bad!name",
    "create x",
    "create default",
    "create three --from one --description d3",
    "create four --docker host=bogus://x",
    "create five --docker nope=1",
    "create seven --docker host=ssh://u@h:22",
    "create default2 --from default",
    "ls",
    "ls -q",
    "ls --format json",
    "ls --format {{.Name}}|{{.Current}}|{{.Description}}|{{.DockerEndpoint}}|{{.Error}}",
    "ls --format {{.Nope}}",
    "ls extra",
    "show",
    "show extra",
    "inspect one",
    "inspect one -f {{.Name}}-{{.Endpoints.docker.Host}}",
    "inspect one nope",
    "inspect",
    "use one",
    "show",
    "ls",
    "inspect",
    "use nope",
    "update one --description new",
    "update nope --description x",
    "update default --description x",
    "update one --docker host=unix:///other",
    "inspect one",
    "export three three.tar",
    "export three three.tar",
    "import imp three.tar",
    "import imp three.tar",
    "import default three.tar",
    "inspect imp",
    "rm one",
    "rm three nope",
    "rm -f nope",
    "rm default",
    "rm -f one",
    "show",
    "use imp",
    "use default",
    "ls",
    "create",
    "rm",
]


SAME_WORDS = 28  # the docker CLI whose words ours are


class Side:
    """One of the two programs with a configuration directory of its own."""

    def __init__(self, words: list[str], root: Path) -> None:
        self._words, self.root = words, root
        root.mkdir()

    def run(self, words: list[str], **more: str) -> tuple[int, str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("DOCKER")}
        env = {**kept, "PYTHONPATH": str(SRC), "DOCKER_CONFIG": str(self.root / "cfg"), **more}
        done = subprocess.run(
            [*self._words, *words],
            cwd=self.root,
            env=env,
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
        texts = [
            text.replace(str(self.root), "ROOT").replace("havre", "docker")
            for text in (done.stdout, done.stderr)
        ]
        return done.returncode, texts[0].replace("/run/docker/docker.sock", "/var/run/docker.sock"), texts[1]

    def files(self) -> dict[str, tuple[int, bytes]]:
        """Mode and content of every file of the configuration."""
        found = {}
        for path in sorted((self.root / "cfg" / "contexts").rglob("*")):
            if path.is_file():
                place = str(path.relative_to(self.root))
                data = path.read_bytes().replace(b"/run/havre/havre.sock", b"/var/run/docker.sock")
                found[place] = (path.stat().st_mode, data)
        return found


@pytest.fixture
def sides(tmp_path: Path) -> tuple[Side, Side]:
    if (docker := shutil.which("docker")) is None:
        pytest.skip("needs the stock docker CLI")
    told = subprocess.run([docker, "--version"], capture_output=True, text=True, check=True).stdout
    if int(re.findall(r"\d+", told)[0]) < SAME_WORDS:
        pytest.skip(f"needs docker {SAME_WORDS} or newer: older ones say some things in other words")
    return Side([docker], tmp_path / "theirs"), Side([sys.executable, "-m", "havre"], tmp_path / "ours")


def plain(told: tuple[int, str, str]) -> tuple[int, str, str]:
    """Without what differs on purpose: our default socket is longer, docker mixes See and Run, we say what to type next."""
    code, out, err = told
    return (
        code,
        re.sub(" +", " ", out),
        re.sub(r" \(try: [^)]*\)", "", err.replace("See 'docker", "Run 'docker")),
    )


def test_every_step_says_and_writes_what_docker_does(sides) -> None:
    theirs, ours = sides
    for step in STEPS:
        words = ["context", *step.split()]
        assert plain(ours.run(words)) == plain(theirs.run(words)), step
        assert ours.files() == theirs.files(), step


def test_each_uses_what_the_other_has_made(sides, tmp_path) -> None:
    theirs, ours = sides
    (tmp_path / "ca.pem").write_text(PEM)
    shared = {"DOCKER_CONFIG": str(tmp_path / "shared")}
    words = [
        "context",
        "create",
        "secure",
        "--docker",
        f"host=tcp://h:1,ca={tmp_path}/ca.pem,skip-tls-verify=true",
    ]
    assert ours.run(words, **shared)[0] == 0
    assert theirs.run(["context", "inspect", "secure"], **shared) == ours.run(
        ["context", "inspect", "secure"], **shared
    )
    assert theirs.run(["context", "export", "secure", str(tmp_path / "e.tar")], **shared)[0] == 0
    assert ours.run(["context", "export", "secure", str(tmp_path / "f.tar")], **shared)[0] == 0
    archives = [(tmp_path / name).read_bytes() for name in ("e.tar", "f.tar")]
    assert unpacked(archives[0]) == unpacked(archives[1])
    assert ours.run(["context", "import", "again", str(tmp_path / "e.tar")], **shared)[0] == 0
    assert theirs.run(["context", "import", "more", str(tmp_path / "f.tar")], **shared)[0] == 0
    assert (tmp_path / "shared/contexts").exists()
    store = Store(str(tmp_path / "shared"))
    assert store.names() == ["again", "more", "secure"]
    assert store.files("again") == store.files("more") == {"docker/ca.pem": PEM.encode()}
    assert theirs.run(["context", "use", "more"], **shared)[0] == 0
    assert ours.run(["context", "show"], **shared)[1] == "more\n"


@pytest.mark.parametrize(
    ("flags", "env", "name"),
    [
        ([], {}, "default"),
        ([], {"DOCKER_CONTEXT": "imp"}, "imp"),
        ([], {"DOCKER_HOST": "unix:///z"}, "default"),
        ([], {"DOCKER_HOST": "unix:///z", "DOCKER_CONTEXT": "imp"}, "default"),
        (["--context", "imp"], {"DOCKER_HOST": "unix:///z"}, "imp"),
        (["-H", "unix:///q"], {"DOCKER_CONTEXT": "imp"}, "default"),
    ],
)
def test_flags_go_before_the_environment(sides, flags: list[str], env: dict[str, str], name: str) -> None:
    for side in sides:
        assert side.run([*flags, "context", "show"], **env)[1] == f"{name}\n"
        assert side.run([*flags, "context", "ls"], **env)[0] == 0


def test_a_context_that_is_not_there_is_named(sides) -> None:
    for side in sides:
        code, _, err = side.run(["--context", "nope", "ps"])
        assert code == 1
        assert err.startswith(
            'Failed to initialize: unable to resolve docker endpoint: context "nope": context not found'
        )
        assert side.run(["--context", "a", "-H", "unix:///x", "ps"])[2].startswith("conflicting options")


@pytest.mark.parametrize("name", ["", "x", "../x", "a/b", "-a", "a b", "default", "é" * 5])
def test_bad_names_are_refused(name: str) -> None:
    with pytest.raises(HavreError):
        check_name(name)


META = b'{"Name":"x","Metadata":{},"Endpoints":{"docker":{"Host":"unix:///x"}}}'


def tar_of(*members: tuple[str, bytes, bytes]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, data, kind in members:
            info = tarfile.TarInfo(name)
            info.size, info.type, info.linkname = len(data), kind, "/etc/passwd"
            tar.addfile(info, io.BytesIO(data))
    return out.getvalue()


def test_an_archive_comes_back_as_it_went() -> None:
    files = {"docker/ca.pem": b"1", "docker/key.pem": b"2"}
    assert unpacked(packed(META, files))[1] == files
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("meta.json", META)
        archive.writestr("tls/docker/ca.pem", b"1")
    assert unpacked(out.getvalue())[1] == {"docker/ca.pem": b"1"}


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"garbage",
        b"PKgarbage",
        bytes(MOST_BYTES + 1),
        tar_of(("tls/docker/ca.pem", b"1", tarfile.REGTYPE)),
        tar_of(("meta.json", b"[]", tarfile.REGTYPE)),
        tar_of(("meta.json", b"{", tarfile.REGTYPE)),
        *(
            tar_of(("meta.json", META, tarfile.REGTYPE), (name, b"x", tarfile.REGTYPE))
            for name in (
                "tls/docker/../../x",
                "/etc/x",
                "tls/x",
                "tls/a/b/c",
                "../meta.json",
                "tls//x",
                "tls/./x",
            )
        ),
        tar_of(("meta.json", META, tarfile.REGTYPE), ("tls/docker/ca.pem", b"", tarfile.SYMTYPE)),
        tar_of(("meta.json", b"", tarfile.LNKTYPE)),
        tar_of(("meta.json", META, tarfile.REGTYPE), ("tls/docker/key.pem", b"x" * 5000, tarfile.REGTYPE))[
            :3000
        ],
    ],
)
def test_hostile_archives_are_refused(data: bytes) -> None:
    with pytest.raises((InvalidParameter, HavreError)):
        unpacked(data)
