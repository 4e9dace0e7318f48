"""Open compressed streams, with limits: a bomb is refused by its ratio and its size, a cut-off stream is an error. Blocking.

Every format is decoded in this process; no decompressor program is ever looked up.
"""

import bz2
import hashlib
import io
import lzma
import queue
import threading
from typing import Any, BinaryIO, Protocol, cast

import zstandard
from isal import igzip
from isal.igzip_lib import IsalError

from havre.image.tar.bad import BadTar

MAX_BYTES = 1 << 40
FREE_BYTES = 256 << 20  # below this no ratio is asked for
MAX_RATIO = 1100  # gzip cannot do more than 1032
CHUNK_BYTES = 1 << 20
CHUNKS_AHEAD = 4
MAX_ZSTD_WINDOW = 1 << 27
ZSTD_STEP_BYTES = 2048  # 4 bytes may become 128 KiB: at most 64 MiB come out at once
XZ_STEP_BYTES = 4096  # xz packs up to 7000 times
XZ_MEMORY_BYTES = 128 << 20  # xz -9 needs 65 MB
_MAGIC = (
    (b"\x1f\x8b", "gzip"),
    (b"\x28\xb5\x2f\xfd", "zstd"),
    (b"BZh", "bzip2"),
    (b"\xfd7zXZ\x00", "xz"),
)
_DAMAGED: tuple[type[Exception], ...] = (
    OSError,
    EOFError,
    cast("type[Exception]", IsalError),
    lzma.LZMAError,
    zstandard.ZstdError,
    ValueError,
)


class _Readable(Protocol):
    def read(self, size: int, /) -> bytes: ...


def kind_of(head: bytes) -> str:
    """Return gzip, zstd, bzip2, xz or none by the first bytes."""
    if head[1:4] == b"\x2a\x4d\x18" and head[:1] and head[0] & 0xF0 == 0x50:
        return "zstd"  # a skippable frame comes first
    return next((name for magic, name in _MAGIC if head.startswith(magic)), "none")


class Compressed(io.RawIOBase):
    """The compressed side: counts what is read through it, and gives the first bytes a second time."""

    def __init__(self, raw: _Readable) -> None:
        self._raw = raw
        self.count = 0
        self.failure: OSError | None = None
        self._head = b""
        while len(self._head) < 8 and (data := raw.read(8 - len(self._head))):
            self._head += data
        self.kind = kind_of(self._head)

    def readable(self) -> bool:
        return True

    def read(self, size: int | None = -1) -> bytes:
        if self._head:
            data, self._head = self._head, b""
        else:
            try:
                data = self._raw.read(-1 if size is None else size)
            except OSError as error:
                self.failure = error  # not the archive's fault
                raise
        self.count += len(data)
        return data

    def readinto(self, buffer: Any) -> int:
        data = self.read(len(buffer)) if len(buffer) >= 8 or not self._head else self._split(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def _split(self, size: int) -> bytes:
        data, self._head = self._head[:size], self._head[size:]
        self.count += len(data)
        return data


class _Framed:
    """zstd and xz, frame after frame, with an error where a frame is cut off (zstandard's own reader is silent there)."""

    def __init__(self, source: Compressed, kind: str) -> None:
        self._source, self._kind = source, kind
        self._step = ZSTD_STEP_BYTES if kind == "zstd" else XZ_STEP_BYTES
        self._decoder: Any = None
        self._rest = b""

    def read(self, size: int, /) -> bytes:
        parts, have = [], 0
        while have < size and (data := self._next()) is not None:
            parts.append(data)
            have += len(data)
        return b"".join(parts)

    def _next(self) -> bytes | None:
        data = self._rest or self._source.read(self._step)
        self._rest = b""
        if not data:
            if self._decoder is not None:
                raise EOFError("it is cut off")
            return None
        if self._decoder is None:
            if self._kind == "xz" and not data.strip(b"\0"):
                return b""  # padding between streams
            self._decoder = self._new_decoder()
        found: bytes = self._decoder.decompress(data)
        if self._decoder.eof:
            self._rest, self._decoder = self._decoder.unused_data, None
        return found

    def _new_decoder(self) -> Any:
        if self._kind == "xz":
            return lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=XZ_MEMORY_BYTES)
        return zstandard.ZstdDecompressor(max_window_size=MAX_ZSTD_WINDOW).decompressobj()


class Unpacked:
    """The uncompressed side of a stream: chunks for the tar reader, the digest when everything was read."""

    def __init__(self, raw: _Readable, *, hashed: bool = True) -> None:
        self._source = Compressed(raw)
        self.compression = self._source.kind
        self._inner = self._open(self.compression)
        self._hash = hashlib.sha256() if hashed else None
        self.count = 0

    def _open(self, kind: str) -> _Readable:
        source: Any = self._source
        found: Any = source
        if kind == "gzip":
            found = igzip.IGzipFile(fileobj=source, mode="rb")  # type: ignore[no-untyped-call]
        elif kind in ("zstd", "xz"):
            found = _Framed(source, kind)
        elif kind == "bzip2":
            found = bz2.BZ2File(source)
        readable: _Readable = found
        return readable

    def chunk(self) -> bytes:
        """Return the next bytes, b"" at the end. Raises BadTar for damaged or exploding data."""
        try:
            data = self._inner.read(CHUNK_BYTES)
        except _DAMAGED as error:
            if self._source.failure is not None:
                raise self._source.failure from None
            raise BadTar(f"damaged {self.compression} data: {error}") from error
        self._check(len(data))
        if self._hash is not None:
            self._hash.update(data)
        return data

    def _check(self, more: int) -> None:
        self.count += more
        if self.count > MAX_BYTES or (
            self.count > FREE_BYTES and self.count > MAX_RATIO * max(1, self._source.count)
        ):
            raise BadTar(f"refused: {self._source.count} compressed bytes grow to more than {self.count}")

    def finish(self) -> str:
        """Read to the end (what stands behind the archive counts too) and return the digest of all uncompressed bytes."""
        while self.chunk():
            pass
        return "" if self._hash is None else f"sha256:{self._hash.hexdigest()}"


class Ahead:
    """Decompress and hash on a thread of its own, a few chunks ahead: both let the interpreter go on. Leave it as a context manager."""

    def __init__(self, source: Unpacked) -> None:
        self._source = source
        self._chunks: queue.Queue[bytes | BaseException] = queue.Queue(CHUNKS_AHEAD)
        self._stopped = False
        self._ended = False
        self._thread = threading.Thread(target=self._work, name="havre-inflate", daemon=True)
        self._thread.start()

    def _work(self) -> None:
        chunk: bytes | BaseException = b"-"
        while chunk and not self._stopped:
            try:
                chunk = self._source.chunk()
            except BaseException as error:  # noqa: BLE001  raised again by the reader
                chunk, self._stopped = error, True
            self._chunks.put(chunk)

    def chunk(self) -> bytes:
        """Return the next bytes, b"" at the end. Raises what the source raised."""
        if self._ended:
            return b""
        found = self._chunks.get()
        if isinstance(found, BaseException):
            self._ended = True
            raise found
        self._ended = not found
        return found

    def finish(self) -> str:
        """Read to the end; return the digest of all uncompressed bytes."""
        while self.chunk():
            pass
        return self._source.finish()

    def __enter__(self) -> "Ahead":
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped = True
        while self._thread.is_alive():
            try:
                self._chunks.get(timeout=0.01)  # the thread may wait for room
            except queue.Empty:
                pass
        self._thread.join()


def open_stream(raw: BinaryIO, *, hashed: bool = True) -> Unpacked:
    """Return the uncompressed side of a stream of any known compression."""
    return Unpacked(raw, hashed=hashed)
