"""An image's root filesystem with this registry in it: the Python that runs now, its library, what is imported, and their shared objects.

No network, no package manager: everything is copied from this machine. `havre registry image` hands it to a daemon as `docker import` would.
"""

import importlib.metadata
import io
import os
import re
import subprocess
import sys
import sysconfig
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

HOME = "usr/local/lib/havre"
LEFT_OUT = frozenset(  # of the standard library: tests, screens, packagers
    "__pycache__ test tests idlelib tkinter turtledemo ensurepip lib2to3 site-packages dist-packages distutils pydoc_data venv".split()
)
NEEDED = ("PyYAML", "bcrypt", "PyJWT", "cryptography", "cffi", "msgspec", "httptools", "zstandard", "isal")
CHANGES = (
    'ENTRYPOINT ["registry"]',
    'CMD ["serve", "/etc/docker/registry/config.yml"]',
    "ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    f"ENV LD_LIBRARY_PATH=/{HOME}/lib",
    "EXPOSE 5000",
    "VOLUME /var/lib/registry",
)
CONFIG = """version: 0.1
storage:
  filesystem: {rootdirectory: /var/lib/registry}
  delete: {enabled: true}
http:
  addr: :5000
"""
START = f"""#!/{HOME}/bin/python3 -IS
import sys
sys.path.append("/{HOME}/packages")
from havre.registry.server.command import main
sys.exit(main(sys.argv[1:]))
"""
_LIBRARY = re.compile(r"(?:=>\s*)?(/\S+) \(0x")


def write(out: IO[bytes]) -> None:
    """Write the tar. Raises OSError."""
    with tarfile.open(fileobj=out, mode="w|", format=tarfile.GNU_FORMAT) as tar:
        shared: set[Path] = set()
        for source, target in _files():
            tar.add(source, target, recursive=False, filter=_plain)
            if target.endswith("bin/python3") or ".so" in os.path.basename(target):
                shared.add(source)
        for library in sorted(_libraries(shared)):
            loader = library.name.startswith("ld-linux")
            target = _loader(library) if loader else f"{HOME}/lib/{library.name}"
            tar.add(library.resolve(), target, recursive=False, filter=_plain)
        _text(tar, "usr/local/bin/registry", START, 0o755)
        _text(tar, "etc/docker/registry/config.yml", CONFIG)
        _text(tar, "etc/passwd", "root:x:0:0:root:/root:/bin/sh\n")
        _text(tar, "etc/group", "root:x:0:\n")
        for name, mode in (("tmp", 0o1777), ("var/lib/registry", 0o755), ("root", 0o700)):
            _folder(tar, name, mode)


def _loader(library: Path) -> str:
    """The interpreter is asked for by its absolute name (PT_INTERP), which on x86-64 is a link to where it lies."""
    return "lib64/" + library.name if "x86-64" in library.name else "lib/" + library.name


def _plain(info: tarfile.TarInfo) -> tarfile.TarInfo:
    info.uid = info.gid = 0
    info.uname = info.gname = "root"
    return info


def _text(tar: tarfile.TarFile, name: str, text: str, mode: int = 0o644) -> None:
    info = tarfile.TarInfo(name)
    info.size, info.mode = len(text.encode()), mode
    tar.addfile(info, io.BytesIO(text.encode()))


def _folder(tar: tarfile.TarFile, name: str, mode: int) -> None:
    info = tarfile.TarInfo(name)
    info.type, info.mode = tarfile.DIRTYPE, mode
    tar.addfile(info)


def _files() -> Iterator[tuple[Path, str]]:
    """Yield (file, its name in the image)."""
    version = f"python{sys.version_info[0]}.{sys.version_info[1]}"
    yield Path(os.path.realpath(sys.executable)), f"{HOME}/bin/python3"
    library = Path(sysconfig.get_path("stdlib"))
    yield from _tree(library, f"{HOME}/lib/{version}")
    dynamic = next((Path(one) for one in sys.path if one.endswith("lib-dynload")), None)
    if dynamic is not None and library not in dynamic.parents:
        yield from _tree(dynamic, f"{HOME}/lib/{version}/lib-dynload")
    own = Path(__file__).parents[2]
    yield from _tree(own, f"{HOME}/packages/havre")
    for name in NEEDED:
        yield from _distribution(name)
    certificates = Path("/etc/ssl/certs/ca-certificates.crt")
    if certificates.exists():
        yield certificates, "etc/ssl/certs/ca-certificates.crt"


def _tree(folder: Path, target: str) -> Iterator[tuple[Path, str]]:
    for entry in sorted(folder.iterdir()):
        if entry.name in LEFT_OUT or entry.name.startswith("config-"):
            continue
        if entry.is_dir():
            yield from _tree(entry, f"{target}/{entry.name}")
        elif entry.is_file() and entry.suffix != ".pyc" and entry.suffix != ".a":
            yield entry.resolve(), f"{target}/{entry.name}"


def _distribution(name: str) -> Iterator[tuple[Path, str]]:
    """The files an installed package brought along."""
    try:
        found = importlib.metadata.files(name) or []
    except importlib.metadata.PackageNotFoundError:
        return  # nothing here asks for it, then
    for one in found:
        path = Path(str(one.locate()))
        if ".." not in one.parts and one.suffix != ".pyc" and path.is_file():
            yield path, f"{HOME}/packages/{one}"


def _libraries(objects: set[Path]) -> set[Path]:
    """The shared objects these load, by ldd(1)."""
    done = subprocess.run(["ldd", *sorted(map(str, objects))], capture_output=True, text=True, check=False)
    return {Path(match[1]) for match in _LIBRARY.finditer(done.stdout)}
