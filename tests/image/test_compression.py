"""Every compression is recognised; what is cut off, damaged or exploding is an error."""

import bz2
import gzip
import hashlib
import io
import lzma
import os
import resource

import pytest
import zstandard

from havre.image.tar import compression
from havre.image.tar.bad import BadTar
from havre.image.tar.compression import open_stream

DATA = b"".join(hashlib.sha256(b"%d" % number).digest() for number in range(5000)) * 12  # more than one chunk
PACK = {
    "none": lambda data: data,
    "gzip": lambda data: gzip.compress(data, 1, mtime=0),
    "zstd": lambda data: zstandard.ZstdCompressor(1).compress(data),
    "bzip2": lambda data: bz2.compress(data, 1),
    "xz": lambda data: lzma.compress(data, preset=0),
}


def everything(data: bytes) -> tuple[bytes, str, str]:
    source = open_stream(io.BytesIO(data))
    found = b"".join(iter(source.chunk, b""))
    return found, source.compression, source.finish()


@pytest.mark.parametrize("kind", PACK)
def test_stream_comes_out_with_its_digest(kind):
    found, said, digest = everything(PACK[kind](DATA))
    assert said == kind and found == DATA
    assert digest == f"sha256:{hashlib.sha256(DATA).hexdigest()}"


@pytest.mark.parametrize("kind", ["gzip", "zstd", "bzip2", "xz"])
def test_streams_one_after_another_are_one(kind):
    assert everything(PACK[kind](DATA[:1000]) + PACK[kind](DATA[1000:3000]))[0] == DATA[:3000]


@pytest.mark.parametrize("kind", ["gzip", "zstd", "bzip2", "xz"])
@pytest.mark.parametrize("cut", [1, 9, 5000])
def test_truncated_stream_is_an_error(kind, cut):
    with pytest.raises(BadTar, match=f"damaged {kind} data"):
        everything(PACK[kind](DATA)[:-cut])


@pytest.mark.parametrize("kind", ["gzip", "bzip2", "xz"])
def test_damaged_stream_is_an_error(kind):
    data = bytearray(PACK[kind](DATA))
    data[len(data) // 2] ^= 0xFF
    with pytest.raises(BadTar):
        everything(bytes(data))


@pytest.mark.parametrize("kind", ["zstd", "xz"])
def test_bomb_by_ratio_is_refused(kind, monkeypatch):
    monkeypatch.setattr(compression, "FREE_BYTES", 1 << 20)
    packed = PACK[kind](bytes(64 << 20))
    with pytest.raises(BadTar, match="compressed bytes grow"):
        everything(packed)


def test_bomb_by_size_is_refused(monkeypatch):
    monkeypatch.setattr(compression, "MAX_BYTES", 1 << 20)
    with pytest.raises(BadTar, match="compressed bytes grow"):
        everything(PACK["gzip"](DATA))


def test_zstd_bomb_takes_little_memory():
    packed = zstandard.ZstdCompressor(19).compress(bytes(1 << 30))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(BadTar, match="compressed bytes grow"):
        everything(packed)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 400 * 1024


def test_giant_zstd_window_is_refused():
    params = zstandard.ZstdCompressionParameters(window_log=30, compression_level=1, write_content_size=False)
    packed = zstandard.ZstdCompressor(compression_params=params).compressobj()
    with pytest.raises(BadTar, match="damaged zstd data"):
        everything(packed.compress(DATA) + packed.flush())


def test_head_may_come_in_pieces():
    reading, writing = os.pipe()
    packed = PACK["gzip"](b"hello")
    os.write(writing, packed[:1])
    with open(reading, "rb", buffering=0) as file:
        pid = os.fork()
        if not pid:
            os.write(writing, packed[1:])
            os._exit(0)
        os.close(writing)
        source = open_stream(file)
        os.waitpid(pid, 0)
        assert source.chunk() == b"hello"


def test_error_of_the_stream_itself_is_not_the_archives_fault():
    class Broken(io.RawIOBase):
        def __init__(self) -> None:
            self._data = PACK["gzip"](DATA)[:200_000]

        def read(self, size: int = -1) -> bytes:
            found, self._data = self._data[:size], self._data[size:]
            if not found:
                raise OSError(5, "Input/output error")
            return found

    source = open_stream(Broken())
    with pytest.raises(OSError, match="Input/output"):
        source.finish()
