"""What a word under the cursor may become, and that the three shells show it."""

import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from havre.cli.completing import candidates

SRC = Path(__file__).parents[2] / "src"
NAMES = {
    "running": ["web", "db"], "containers": ["web", "db", "old"], "images": ["busybox", "registry:5000/x:1"], "networks": ["bridge", "mine"],
    "volumes": ["data"], "paused": [], "contexts": ["default", "far"],
}  # fmt: skip


def words(line: str) -> "list[str] | None":
    found = candidates(line.split(" "), lambda kind: [(name, kind) for name in NAMES[kind]])
    return None if found is None else [word for word, _ in found]


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("st", ["start", "stats", "stop"]),
        ("netw", ["network"]),
        ("network c", ["create"]),
        ("network rm m", ["mine"]),
        ("-H unix:///x st", ["start", "stats", "stop"]),
        ("--log-level ", ["debug", "error", "fatal", "info", "warn"]),
        ("stop ", ["db", "web"]),
        ("stop web ", ["db"]),
        ("stop --time 3 w", ["web"]),
        ("container stop w", ["web"]),
        ("rm o", ["old"]),
        ("logs -", None),
        ("logs --fol", ["--follow"]),
        ("logs web ", []),
        ("run b", ["busybox"]),
        ("run -it --name x -p 80:80 b", ["busybox"]),
        ("run --network m", ["mine"]),
        ("run --network=m", ["--network=mine"]),
        ("run --restart un", ["unless-stopped"]),
        ("run --name ", []),
        ("exec -it w", ["web"]),
        ("rmi reg", ["registry:5000/x:1"]),
        ("context use f", ["far"]),
        ("completion z", ["zsh"]),
        ("nonsense ", []),
        ("container --help x", []),
    ],
)
def test_words_that_may_follow(line, found) -> None:
    if found is None:
        assert all(word.startswith("--") for word in words(line) or ["x"])
    else:
        assert words(line) == found


@pytest.mark.parametrize(
    "line", ["run busybox ", "run busybox -", "exec web ", "load -i ", "run --env-file ", "load "]
)
def test_files_or_anything_may_follow(line) -> None:
    assert words(line) is None


def test_without_a_daemon_none_is_started(tmp_path) -> None:
    env = {**os.environ, "PYTHONPATH": str(SRC), "HAVRE_HOST": f"unix://{tmp_path}/none.sock"}
    env.pop("DOCKER_HOST", None)
    words = [sys.executable, "-m", "havre", "__complete"]
    done = subprocess.run([*words, "stop", ""], env=env, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert list(tmp_path.iterdir()) == []
    done = subprocess.run([*words, "network", "l"], env=env, capture_output=True, text=True)
    assert done.stdout.splitlines() == ["list\tList networks", "ls\tList networks"]


@pytest.fixture
def program(tmp_path) -> dict[str, str]:
    """An environment with `havre` on PATH."""
    path = tmp_path / "bin/havre"
    path.parent.mkdir()
    path.write_text(f'#!/bin/sh\nPYTHONPATH={SRC} exec {sys.executable} -m havre "$@"\n')
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return {
        "PATH": f"{path.parent}:/usr/bin:/bin",
        "HOME": str(tmp_path),
        "HAVRE_HOST": f"unix://{tmp_path}/none.sock",
    }


def run_shell(name: str, script: str, env: dict[str, str]) -> list[str]:
    shell = shutil.which(name)
    if shell is None:
        pytest.skip(f"needs {name}")
    options = {"bash": ["--norc"], "zsh": ["-f"], "fish": ["--no-config"]}[name]
    done = subprocess.run(
        [shell, *options, "-c", script], env=env, capture_output=True, text=True, timeout=60
    )
    return done.stdout.split()


BASH = """eval "$(havre completion bash)"
compopt() { :; }
COMP_WORDS=(%s) COMP_CWORD=%d
_havre
printf '%%s\\n' "${COMPREPLY[@]}"
"""


@pytest.mark.parametrize(
    ("line", "found"),
    [
        (["havre", "sto"], ["stop"]),
        (["havre", "container", "ls", "--fo"], ["--format"]),
        (["havre", "run", "--restart", "al"], ["always"]),
    ],
)
def test_bash_shows_them(program, line, found) -> None:
    script = BASH % (" ".join(line), len(line) - 1)
    assert run_shell("bash", script, program) == found


def test_fish_shows_them(program) -> None:
    script = "havre completion fish | source; complete -C 'havre network l'"
    assert [word for word in run_shell("fish", script, program) if word in ("ls", "list")] == ["list", "ls"]


def test_zsh_shows_them(program, tmp_path) -> None:
    """Through a terminal of its own, as zsh completes nowhere else."""
    (tmp_path / "_havre").write_text(run_output(program, "zsh"))
    script = (
        f"fpath=({tmp_path} $fpath); zmodload zsh/zpty; zpty z zsh -f -i; zpty -w z 'PS1= ; fpath=({tmp_path} $fpath); "
        "autoload -U compinit; compinit -D -u; echo rea\"\"dy'; zpty -r z line '*ready*'; zpty -n -w z $'havre network pru\\t'; "
        "zpty -r -m z line '*prune*' && echo found; zpty -d z"
    )
    assert run_shell("zsh", script, program)[-1:] == ["found"]


def run_output(env: dict[str, str], shell: str) -> str:
    return subprocess.run(
        ["havre", "completion", shell], env=env, capture_output=True, text=True, check=True
    ).stdout
