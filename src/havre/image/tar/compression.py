"""Open compressed streams, with limits: a bomb is refused by its ratio and its size, a cut-off stream is an error. Blocking."""

import bz2
import hashlib
import io
import lzma
from typing import IO, Any, BinaryIO, cast

import zstandard
from isal import igzip

from havre.errors import InvalidParameter
from havre.image.tar.reader import BadTar

MAX_BYTES = 1 << 40
FREE_BYTES = 256 << 20  # below this no ratio is asked for
MAX_RATIO = 1100  # gzip cannot do more than 1032
BUFFER_BYTES = 1 << 20
_MAGIC = ((b"\x1f\x8b", "gzip"), (b"\x28\xb5\x2f\xfd", "zstd"), (b"BZh", "bzip2"), (b"\xfd7zXZ", "xz"))


def kind_of(head: bytes) -> str:
    """Return gzip, zstd, bzip2, xz or none by the first bytes."""
    return next((name for magic, name in _MAGIC if head.startswith(magic)), "none")


class Counted(io.RawIOBase):
    """A stream that counts and hashes what is read through it."""

    def __init__(self, inner: IO[bytes], hashed: bool) -> None:
        self._inner = inner
        self.count = 0
        self.hash = hashlib.sha256() if hashed else None

    def readable(self) -> bool:
        return True

    def read(self, size: int | None = -1) -> bytes:
        data = self._inner.read(-1 if size is None else size)
        self.count += len(data)
        if self.hash is not None:
            self.hash.update(data)
        return data

    def readinto(self, buffer: Any) -> int:
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)


class Unpacked:
    """The uncompressed side of a stream: read() for the tar reader, diff_id when everything was read."""

    def __init__(self, raw: IO[bytes]) -> None:
        buffered = (
            raw
            if isinstance(raw, io.BufferedReader)
            else io.BufferedReader(cast("io.RawIOBase", raw), BUFFER_BYTES)
        )
        self.compression = kind_of(buffered.peek(8)[:8])
        self._source = Counted(buffered, hashed=False)
        self._inner = self._open(self.compression)
        self._count = 0
        self._hash = hashlib.sha256()

    def _open(self, kind: str) -> IO[bytes]:
        source = cast("Any", self._source)
        if kind == "gzip":
            return cast("IO[bytes]", igzip.IGzipFile(fileobj=source, mode="rb"))
        if kind == "zstd":
            return cast(
                "IO[bytes]",
                zstandard.ZstdDecompressor(max_window_size=1 << 27).stream_reader(
                    source, read_across_frames=True
                ),
            )
        if kind == "bzip2":
            return cast("IO[bytes]", bz2.BZ2File(source))
        if kind == "xz":
            return cast("IO[bytes]", lzma.LZMAFile(source))
        return cast("IO[bytes]", self._source)

    def read(self, size: int = -1) -> bytes:
        """Return exactly `size` bytes, fewer only at the end. Raises BadTar for damaged or exploding data."""
        parts = []
        left = size if size >= 0 else MAX_BYTES
        while left:
            try:
                data = self._inner.read(min(left, BUFFER_BYTES))
            except (OSError, EOFError, lzma.LZMAError, zstandard.ZstdError, ValueError) as error:
                raise BadTar(f"damaged {self.compression} data: {error}") from error
            if not data:
                break
            self._check(len(data))
            self._hash.update(data)
            parts.append(data)
            left -= len(data)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _check(self, more: int) -> None:
        self._count += more
        if self._count > MAX_BYTES or (
            self._count > FREE_BYTES and self._count > MAX_RATIO * max(1, self._source.count)
        ):
            raise InvalidParameter(
                f"refused: {self._source.count} compressed bytes grow to more than {self._count}"
            )

    def finish(self) -> str:
        """Read to the end (what stands behind the archive counts too) and return the digest of all uncompressed bytes."""
        while self.read(BUFFER_BYTES):
            pass
        return f"sha256:{self._hash.hexdigest()}"


def open_stream(raw: BinaryIO) -> Unpacked:
    """Return the uncompressed side of a stream of any known compression."""
    return Unpacked(raw)
