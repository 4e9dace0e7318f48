"""Installed on a Debian of its own, with systemd, control groups v2 and Debian's kernel, in a virtual machine. By hand:

sudo sh tests/machine/make.sh /var/tmp/machine && sudo HAVRE_TEST_MACHINE=/var/tmp/machine .venv/bin/python -m pytest tests/machine
"""

import io
import json
import os
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.kernel]
HERE = Path(__file__).parent
ROOT = HERE.parents[1]
BOOT_S = 1500  # without KVM, beside others
LAYERS = 90  # more than one fsconfig string names
# install.sh inside, as if systemd ran: it writes and enables the units, and systemd starts them at the boot
INSTALL = """
mount --bind "$1" "$1" && cd "$1"
mount -t proc proc proc && mount --rbind /sys sys && mount --rbind /dev dev && mount -t tmpfs none run && mkdir -p run/systemd/system
mount --bind /etc/resolv.conf etc/resolv.conf
exec chroot . env -i HOME=/root PATH=/usr/sbin:/usr/bin:/sbin:/bin SYSTEMD_OFFLINE=1 sh /root/havre/install.sh --no-run
"""


@pytest.fixture(scope="module")
def machine() -> Path:
    folder = os.environ.get("HAVRE_TEST_MACHINE")
    if not folder:
        pytest.skip("needs HAVRE_TEST_MACHINE, a folder made by tests/machine/make.sh")
    for tool in ("qemu-system-x86_64", "mke2fs"):
        if shutil.which(tool) is None:
            pytest.skip(f"needs {tool}")
    return Path(folder)


def install(root: Path) -> None:
    """Put the checkout into the machine and run its install.sh there, at this host's speed."""
    shutil.rmtree(root / "root/havre", ignore_errors=True)
    (root / "root/havre").mkdir(parents=True)
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout
    for name in filter(None, listed.decode().split("\0")):
        if (ROOT / name).is_file():
            (root / "root/havre" / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, root / "root/havre" / name)
    for path in (
        "/etc/pip.conf",
        "/etc/ssl/certs/ca-certificates.crt",
    ):  # how this host reaches a package index
        if Path(path).exists():
            shutil.copy2(path, root / path[1:])
    words = ["unshare", "--mount", "--propagation", "private", "sh", "-ec", INSTALL, "sh", str(root)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def layered() -> bytes:
    """An image archive of many layers, each with one file; /bin is in the first."""
    layers, out = [], io.BytesIO()
    for number in range(LAYERS):
        files = {f"layers/{number}": b""}
        if number == 0:
            files["bin/busybox"] = Path("/bin/busybox").read_bytes()
        layers.append(
            tar_of(
                files,
                links={"bin/sh": "busybox", "bin/ls": "busybox", "bin/wc": "busybox"} if not number else {},
            )
        )
    config = {
        "os": "linux",
        "architecture": "amd64",
        "config": {"Cmd": ["sh"]},
        "rootfs": {"type": "layers", "diff_ids": []},
    }
    import hashlib

    config["rootfs"]["diff_ids"] = [f"sha256:{hashlib.sha256(layer).hexdigest()}" for layer in layers]
    names = [f"{number}/layer.tar" for number in range(LAYERS)]
    manifest = [{"Config": "config.json", "RepoTags": ["layered:latest"], "Layers": names}]
    files = {
        "manifest.json": json.dumps(manifest).encode(),
        "config.json": json.dumps(config).encode(),
        **dict(zip(names, layers, strict=True)),
    }
    out.write(tar_of(files, links={}))
    return out.getvalue()


def tar_of(files: dict[str, bytes], links: dict[str, str]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size, info.mode = len(data), 0o755
            tar.addfile(info, io.BytesIO(data))
        for name, target in links.items():
            info = tarfile.TarInfo(name)
            info.type, info.linkname = tarfile.SYMTYPE, target
            tar.addfile(info)
    return out.getvalue()


def furnish(root: Path) -> None:
    """The check, and what it makes images of."""
    box = root / "root/box"
    shutil.rmtree(box, ignore_errors=True)
    for name in ("bin", "tmp", "etc", "proc", "sys", "dev"):
        (box / name).mkdir(parents=True)
    shutil.copy2("/bin/busybox", box / "bin/busybox")
    for applet in subprocess.run(
        ["/bin/busybox", "--list"], capture_output=True, text=True, check=True
    ).stdout.split():
        if applet != "busybox":
            (box / "bin" / applet).symlink_to("busybox")
    (root / "root/layered.tar").write_bytes(layered())
    text = (HERE / "check.sh").read_text()
    load = "tar -C /root/box -c . | havre import -c 'CMD [\"sh\"]' - box >/dev/null\n"
    assert load in text
    (root / "root/check.sh").write_text(
        text.replace(load, load + "havre load -i /root/layered.tar >/dev/null\n")
    )


def boot(machine: Path, folder: Path) -> str:
    """Boot a copy of the machine and return what the check wrote."""
    image, out = folder / "disk", folder / "out"
    with image.open("wb") as file:
        file.truncate(3 << 30)
    subprocess.run(["mke2fs", "-q", "-t", "ext4", "-d", str(machine / "root"), str(image)], check=True)
    words = [
        "qemu-system-x86_64",
        "-accel",
        "tcg,thread=multi",
        "-cpu",
        "max",
        "-m",
        "1500",
        "-smp",
        "2",
        "-display",
        "none",
    ]
    words += [
        "-serial",
        f"file:{folder}/console",
        "-serial",
        f"file:{out}",
        "-no-reboot",
        "-nic",
        "none",
        "-monitor",
        "none",
    ]
    words += [
        "-drive",
        f"file={image},if=virtio,format=raw,cache=unsafe",
        "-append",
        "console=ttyS0 root=/dev/vda rw panic=-1 quiet",
    ]
    words += ["-kernel", str(machine / "vmlinuz"), "-initrd", str(machine / "initrd")]
    try:
        subprocess.run(words, timeout=BOOT_S, check=True, stdin=subprocess.DEVNULL)
    finally:
        image.unlink()
    return out.read_text(errors="replace")


def test_every_check_passes_on_a_machine_with_systemd_and_control_groups_v2(machine, tmp_path) -> None:
    install(machine / "root")
    furnish(machine / "root")
    told = boot(machine, tmp_path)
    lines = told.splitlines()
    assert [line for line in lines if line.startswith("not ok")] == [], told
    assert lines[-1] == "done" and sum(line.startswith("ok ") for line in lines) > 40, told
