"""Archives made by hand, and an image room in a temporary directory."""

import hashlib
import io
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from havre.image.images import Images
from havre.store import Records


@pytest.fixture(autouse=True)
def _root_only() -> None:
    status = Path("/proc/self/status").read_text()
    capabilities = int(status.partition("CapEff:")[2].split()[0], 16)
    if not capabilities >> 21 & 1:
        pytest.skip("devices and trusted attributes of layers need CAP_SYS_ADMIN")


@pytest.fixture
def images(tmp_path: Path) -> Iterator[Images]:
    records = Records(tmp_path / "db")
    yield Images(tmp_path / "image", records)
    records.close()


@pytest.fixture
def reopen(tmp_path: Path) -> Callable[[], Images]:
    """A second look at the same data root, as after kill -9."""
    return lambda: Images(tmp_path / "image", Records(tmp_path / "db"))


@pytest.fixture
def tar() -> type["Tar"]:
    return Tar


class Tar:
    """Pieces of archives, every field as the test wants it."""

    @staticmethod
    def block(
        name: bytes,
        kind: bytes = b"0",
        size: int = 0,
        *,
        link: bytes = b"",
        mode: int = 0o644,
        magic: bytes = b"ustar\x0000",
        size_field: bytes = b"",
        device: tuple[int, int] = (0, 0),
        mtime: int = 0,
        extra: dict[int, bytes] | None = None,
    ) -> bytes:
        """One header block, every field as the test wants it."""
        head = bytearray(512)
        head[0 : len(name)] = name
        head[100:108] = b"%07o\0" % mode
        head[108:116] = head[116:124] = b"%07o\0" % 0
        head[124:136] = size_field or b"%011o\0" % size
        head[136:148] = b"%011o\0" % mtime
        head[156:157] = kind
        head[157 : 157 + len(link)] = link
        head[257:265] = magic.ljust(8, b"\0")
        head[329:337], head[337:345] = b"%07o\0" % device[0], b"%07o\0" % device[1]
        for place, value in (extra or {}).items():
            head[place : place + len(value)] = value
        head[148:156] = b" " * 8
        head[148:156] = b"%06o\0 " % sum(head)
        return bytes(head)

    @staticmethod
    def pad(data: bytes) -> bytes:
        return data + bytes(-len(data) % 512)

    @staticmethod
    def member(name: bytes, data: bytes = b"", **fields) -> bytes:
        return Tar.block(name, size=len(data), **fields) + Tar.pad(data)

    @staticmethod
    def folder(name: bytes, mode: int = 0o755, **fields) -> bytes:
        return Tar.block(name, b"5", mode=mode, **fields)

    @staticmethod
    def symlink(name: bytes, target: bytes) -> bytes:
        return Tar.block(name, b"2", link=target)

    @staticmethod
    def hardlink(name: bytes, target: bytes) -> bytes:
        return Tar.block(name, b"1", link=target)

    @staticmethod
    def pax(records: dict[bytes, bytes] | list[tuple[bytes, bytes]], kind: bytes = b"x") -> bytes:
        pairs = records.items() if isinstance(records, dict) else records
        data = b""
        for key, value in pairs:
            bare = len(key) + len(value) + 3
            length = bare + len(str(bare))
            length = bare + len(str(length))
            data += b"%d %s=%s\n" % (length, key, value)
        return Tar.block(b"PaxHeaders/x", kind, len(data)) + Tar.pad(data)

    @staticmethod
    def archive(*parts: bytes) -> io.BytesIO:
        return io.BytesIO(b"".join(parts) + bytes(1024))

    @staticmethod
    def layer_of(files: dict[str, bytes]) -> bytes:
        """A plain layer archive."""
        out = io.BytesIO()
        with tarfile.open(fileobj=out, mode="w") as tar:
            for name, data in files.items():
                info = tarfile.TarInfo(name)
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
        return out.getvalue()

    @staticmethod
    def digest_of(data: bytes) -> str:
        return f"sha256:{hashlib.sha256(data).hexdigest()}"
