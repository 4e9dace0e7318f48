"""Project quotas: the bytes the kernel is given, and a clear refusal where there are none."""

import errno
import fcntl
import os
import shutil
import struct
import subprocess

import pytest

from havre.errors import KernelError
from havre.linux import quota


def test_project_keeps_the_other_attributes(tmp_path, monkeypatch):
    seen = []

    def ioctl(fd, request, data):
        seen.append((request, bytes(data)))
        return struct.pack("=5I8x", 0x8, 1, 2, 3, 4)

    monkeypatch.setattr(fcntl, "ioctl", ioctl)
    quota.set_project(str(tmp_path), 77)
    assert seen[1] == (0x401C5820, struct.pack("=5I8x", 0x208, 1, 2, 77, 4))


def test_limit_is_in_kibibytes_rounded_up(tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(
        quota, "_call", lambda *words: seen.append((words[2], words[4:6], bytes(words[6]._obj)[:16]))
    )
    quota.set_limit(str(tmp_path), 77, 1025)
    assert seen == [(443, (0x80000802, 77), struct.pack("=2Q", 2, 2))]


def test_a_file_system_without_quotas_says_so(tmp_path):
    with pytest.raises(KernelError) as caught:
        quota.set_limit(str(tmp_path), 77, 1 << 20)
    assert caught.value.errno in (errno.ENOSYS, errno.ESRCH, errno.ENOTTY, errno.EPERM, errno.EOPNOTSUPP)
    assert str(tmp_path) in str(caught.value)


@pytest.mark.kernel
def test_the_kernel_enforces_the_limit(tmp_path):
    if os.geteuid() != 0:
        pytest.skip("needs root")
    if shutil.which("mkfs.ext4") is None:
        pytest.skip("needs mkfs.ext4 (Debian package e2fsprogs)")
    image, place = tmp_path / "disk", tmp_path / "m"
    place.mkdir()
    with image.open("wb") as file:
        file.truncate(64 << 20)
    made = subprocess.run(
        ["mkfs.ext4", "-q", "-O", "project,quota", str(image)], capture_output=True, check=False
    )
    if made.returncode:
        pytest.skip("needs mkfs.ext4 with quotas (Debian package e2fsprogs)")
    code = (
        "from havre.linux import quota; import os, sys\n"
        "os.mkdir(sys.argv[1]); quota.set_project(sys.argv[1], 9); quota.set_limit(sys.argv[1], 9, 1 << 20)\n"
        "try:\n"
        "    with open(sys.argv[1] + '/f', 'wb', 0) as file:\n"
        "        for _ in range(8): file.write(bytes(1 << 19))\n"
        "except OSError as error: print(error.errno)\n"
    )
    script = f'mount -o loop,prjquota {image} {place} || exit 99; "$0" -c "$1" {place}/d'
    words = ["unshare", "-m", "sh", "-c", script, os.sys.executable, code]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode == 99:
        pytest.skip("this kernel has no project quotas on ext4 (CONFIG_QFMT_V2)")
    assert done.stdout.strip() in (str(errno.EDQUOT), str(errno.ENOSPC)), done.stderr
