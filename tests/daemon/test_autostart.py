"""`havre` on a machine where no daemon runs: it starts one, once, and says so."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.daemon]
SRC = Path(__file__).parents[2] / "src"
# mounts, network and processes of its own: the daemon has its places at /run/havre and /var/lib/havre, and ends with the shell
OWN = ["unshare", "--mount", "--net", "--pid", "--fork", "--mount-proc", "--kill-child"]
SCRIPT = f"""
mount -t tmpfs none /run && mkdir -p /var/lib/havre && mount -t tmpfs none /var/lib/havre && ip link set lo up || exit 77
havre() {{ PYTHONPATH={SRC} {sys.executable} -m havre "$@"; }}
umask 077
"""


def run(script: str) -> subprocess.CompletedProcess[str]:
    if os.geteuid() != 0:
        pytest.skip("needs root")
    if os.path.exists("/var/lib/havre/lock"):
        pytest.skip("Havre is installed here: its places are not ours")
    env = {"PATH": os.environ["PATH"], "HOME": "/nowhere"}
    done = subprocess.run(
        [*OWN, "sh", "-c", SCRIPT + script], capture_output=True, text=True, timeout=90, env=env
    )
    if done.returncode == 77:
        pytest.skip(f"cannot make a place of its own here: {done.stderr}")
    return done


def test_three_at_once_start_one_daemon_and_all_are_served() -> None:
    done = run("""
    for number in 1 2 3; do havre run --rm --network none hello-world & done
    wait
    stat -c %a /run/havre /run/havre/havre.sock
    kill "$(cat /run/havre/havred.pid)"
    grep -c 'havred is ready' /run/havre/havred.log
    """)
    assert done.stdout.count("Hello from Havre!") == 3, done.stderr
    assert done.stdout.split()[-3:] == ["711", "660", "1"]  # umask 077 or not
    assert "havre: starting havred ..." in done.stderr


def test_daemon_that_cannot_start_is_told_with_where_to_look() -> None:
    done = run("""
    mkdir -p /run/etc && mount --bind /run/etc /etc && mkdir /etc/havre && echo '{"nonsense": 1}' >/etc/havre/daemon.json
    havre ps; echo "code $?"; cat /run/havre/havred.log
    """)
    assert "code 1" in done.stdout
    assert "havred did not start (try: tail /run/havre/havred.log)" in done.stderr
    assert "don't match any configuration option: nonsense" in done.stdout
