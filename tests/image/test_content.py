"""Blobs: nothing visible before it is right, resumable parts, several writers of one digest, path tricks, a full disk."""

import hashlib
import os
import threading
import time
from pathlib import Path

import pytest

from havre.errors import InvalidParameter, NotFound, Unavailable
from havre.image.content import Content, DigestMismatch
from havre.image.tree import Trash

DATA = os.urandom(300_000)
DIGEST = f"sha256:{hashlib.sha256(DATA).hexdigest()}"


@pytest.fixture
def content(tmp_path: Path) -> Content:
    return Content(tmp_path, Trash(tmp_path))


def parts(tmp_path: Path) -> list[str]:
    return os.listdir(tmp_path / "ingest")


def test_ingest_is_visible_only_after_commit(content, tmp_path):
    with content.ingest(DIGEST, len(DATA)) as writer:
        writer.write(DATA)
        assert not content.has(DIGEST)
        writer.commit()
    assert content.path(DIGEST).read_bytes() == DATA and content.size(DIGEST) == len(DATA)
    assert parts(tmp_path) == [] and list(content.all()) == [DIGEST]


def test_ingest_resumes_where_it_was_broken_off(content, tmp_path):
    with content.ingest(DIGEST, len(DATA)) as writer:
        writer.write(DATA[:100_000])
    again = Content(tmp_path, Trash(tmp_path))  # as after kill -9
    with again.ingest(DIGEST, len(DATA)) as writer:
        assert writer.offset == 100_000
        writer.write(DATA[100_000:])
        writer.commit()
    assert again.path(DIGEST).read_bytes() == DATA


def test_commit_of_a_short_blob_keeps_the_part(content, tmp_path):
    with content.ingest(DIGEST, len(DATA)) as writer:
        writer.write(DATA[:10])
        with pytest.raises(DigestMismatch, match="cut short: 10 of 300000"):
            writer.commit()
    assert len(parts(tmp_path)) == 1 and not content.has(DIGEST)


def test_commit_of_wrong_bytes_leaves_nothing(content, tmp_path):
    with content.ingest(DIGEST, len(DATA)) as writer:
        writer.write(bytes(len(DATA)))
        with pytest.raises(DigestMismatch, match="does not match"):
            writer.commit()
    assert parts(tmp_path) == [] and not content.has(DIGEST)


def test_too_many_bytes_are_refused_at_once(content, tmp_path):
    with (
        content.ingest(DIGEST, 10) as writer,
        pytest.raises(DigestMismatch, match="larger than the 10 bytes"),
    ):
        writer.write(DATA)
    assert parts(tmp_path) == []


def test_wrong_part_of_an_earlier_try_cannot_poison_put(content, tmp_path):
    data = b"{}"
    digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
    (tmp_path / "ingest" / digest.replace(":", "-")).write_bytes(b"x")
    assert content.put(data) == digest and content.read(digest) == data


def test_put_checks_the_promised_digest(content):
    with pytest.raises(DigestMismatch):
        content.put(b"other", DIGEST)


def test_sha512_blobs(content):
    digest = f"sha512:{hashlib.sha512(DATA).hexdigest()}"
    content.put(DATA, digest)
    assert list(content.all()) == [digest] and content.read(digest) == DATA


@pytest.mark.parametrize(
    "digest",
    [
        "",
        "sha256:",
        "sha256:../../etc/passwd",
        "sha256:" + "A" * 64,
        "md5:" + "a" * 32,
        "sha256:" + "a" * 64 + "\n",
        "sha256:" + "a" * 63 + "/",
    ],
)
def test_what_is_no_digest_is_no_path(content, digest):
    for call in (content.path, content.has, content.read, content.delete, lambda one: content.ingest(one, 1)):
        with pytest.raises(InvalidParameter, match="invalid digest"):
            call(digest)


def test_read_is_bounded_and_missing_blobs_have_a_name(content):
    content.put(DATA)
    with pytest.raises(InvalidParameter, match="too large"):
        content.read(DIGEST, limit=10)
    with pytest.raises(NotFound, match="sha256:00"):
        content.read("sha256:" + "0" * 64)


def test_two_writers_of_one_digest_do_not_mix(content, tmp_path):
    first = content.ingest(DIGEST, len(DATA))
    first.write(DATA[:1000])
    second = content.ingest(DIGEST, len(DATA))
    assert second.offset == 0
    second.write(DATA)
    second.commit()
    first.write(DATA[1000:])
    first.commit()
    assert content.path(DIGEST).read_bytes() == DATA and parts(tmp_path) == []


def test_many_writers_at_once_leave_one_whole_blob(content, tmp_path):
    errors: list[BaseException] = []

    def work() -> None:
        try:
            for _ in range(5):
                with content.ingest(DIGEST, len(DATA)) as writer:
                    for at in range(writer.offset, len(DATA), 50_000):
                        writer.write(DATA[at : at + 50_000])
                    writer.commit()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work) for _ in range(6)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    assert errors == [] and content.path(DIGEST).read_bytes() == DATA and parts(tmp_path) == []


def test_start_throws_away_what_cannot_be_resumed(content, tmp_path):
    work = content.workspace()
    (work / "file").write_text("1")
    with content.ingest(DIGEST, len(DATA)) as writer:
        writer.write(b"1")
    old = tmp_path / "ingest" / "sha256-old"
    old.write_text("x")
    os.utime(old, (time.time() - 30 * 86400,) * 2)
    Content(tmp_path, Trash(tmp_path))
    assert parts(tmp_path) == [DIGEST.replace(":", "-")]


def test_full_disk_is_said_and_leaves_no_bytes(content, tmp_path, monkeypatch):
    real = os.write

    def full(fd: int, data: memoryview) -> int:
        if len(data) > 1000:
            return real(fd, data[:1000])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("havre.image.content.os.write", full)
    with content.ingest(DIGEST, -1) as writer, pytest.raises(Unavailable, match="no space left on device"):
        writer.write(DATA[:1500])
    assert [os.stat(tmp_path / "ingest" / name).st_size for name in parts(tmp_path)] in ([], [0])


def test_delete_tells_the_bytes(content):
    content.put(DATA)
    assert content.delete(DIGEST) == len(DATA) and content.delete(DIGEST) == 0 and not content.has(DIGEST)
