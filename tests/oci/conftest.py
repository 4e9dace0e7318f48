"""Real bundles for tests: a busybox root, `havre oci` as a program, a state root and control groups of their own, all gone afterwards."""

import contextlib
import glob
import itertools
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import havre
from havre.oci import describe

BUSYBOX = "/bin/busybox"
APPLETS = (
    "sh cat echo env false true grep head hostname id ionice ip ls mkdir mount ps pwd readlink sleep sort stat stty touch tr tty wc cut"
).split()
SRC = str(Path(havre.__file__).parent.parent)


def fill_root(root: Path) -> Path:
    """Lay out a busybox root."""
    for name in ("bin", "dev", "proc", "sys", "etc", "tmp", "root", "home/ann"):
        (root / name).mkdir(parents=True)
    shutil.copy(BUSYBOX, root / "bin/busybox")
    for name in APPLETS:
        (root / "bin" / name).symlink_to("busybox")
    (root / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/sh\nann:x:1000:1001:Ann:/home/ann:/bin/sh\n")
    (root / "etc/group").write_text("root:x:0:\nann:x:1001:\naudio:x:29:ann\n")
    return root


@pytest.fixture(scope="session")
def busybox(tmp_path_factory):
    if os.geteuid() != 0:
        pytest.skip("needs root")
    if not os.path.exists(BUSYBOX):
        pytest.skip("needs /bin/busybox (Debian package busybox-static)")
    return fill_root(tmp_path_factory.mktemp("busybox") / "root")


def link_program(source, target):
    """The program is shared between bundles, files that tests write to are not."""
    return os.link(source, target) if source.endswith("/busybox") else shutil.copy2(source, target)


class Oci:
    """One state root, its bundles, and the program under test."""

    numbers = itertools.count()

    def __init__(self, busybox: Path, folder: Path) -> None:
        self.busybox = busybox
        self.folder = folder
        self.folder.chmod(0o711)
        self.root = folder / "state"
        self.group = f"havre-oci-test-{os.getpid()}-{next(self.numbers)}"
        self.program = [sys.executable, "-m", "havre.oci", "--root", str(self.root)]
        self.env = {**os.environ, "PYTHONPATH": SRC}

    def bundle(self, *args, edit=None, **process):
        """Return a fresh bundle's folder; `edit(config)` changes what the example config has, keywords its process."""
        number = next(self.numbers)
        place = self.folder / f"b{number}"
        shutil.copytree(self.busybox, place / "rootfs", symlinks=True, copy_function=link_program)
        place.chmod(0o755)
        config = describe.example()
        config["process"].update(
            {"args": list(args), "terminal": False, "noNewPrivileges": False, "rlimits": []} | process
        )
        config["root"]["readonly"] = False
        config["linux"]["cgroupsPath"] = f"/{self.group}/c{number}"
        if edit:
            edit(config)
        (place / "config.json").write_text(json.dumps(config))
        return place

    def __call__(self, *words, **kwargs):
        """Run one command to its end."""
        options = {
            "capture_output": True,
            "text": True,
            "timeout": 60,
            "env": self.env,
            "stdin": subprocess.DEVNULL,
        }
        return subprocess.run([*self.program, *map(str, words)], **{**options, **kwargs}, check=False)

    def run(self, *args, edit=None, prepare=None, **process):
        """Run a command in a container of its own; `prepare(rootfs)` first."""
        place = self.bundle(*args, edit=edit, **process)
        if prepare:
            prepare(place / "rootfs")
        return self("run", "-b", place, place.name)

    def status(self, name):
        return json.loads(self("state", name).stdout)["status"]

    def create(self, *args, edit=None, **process):
        """Create a container whose stdio goes to files beside the bundle; return its folder (its name is the container's)."""
        place = self.bundle(*args, edit=edit, **process)
        with open(place / "out", "wb") as out:
            done = self("create", "-b", place, place.name, capture_output=False, stdout=out, stderr=out)
        assert done.returncode == 0, (place / "out").read_text()
        return place

    def left(self):
        """What is still on the host."""
        mounts = Path("/proc/self/mountinfo").read_text()
        groups = glob.glob(f"/sys/fs/cgroup/**/{self.group}/*/", recursive=True)
        return groups + [line for line in mounts.splitlines() if str(self.folder) in line]

    def close(self):
        """Remove everything; return what should not have been there any more."""
        for name in os.listdir(self.root) if self.root.exists() else []:
            self("delete", "--force", name)
        left = self.left()
        for path in glob.glob(f"/sys/fs/cgroup/**/{self.group}", recursive=True):
            for folder, _, _ in os.walk(path, topdown=False):
                with contextlib.suppress(OSError):
                    os.rmdir(folder)
        return left


@pytest.fixture
def oci(busybox, tmp_path):
    found = Oci(busybox, tmp_path)
    yield found
    assert found.close() == []
