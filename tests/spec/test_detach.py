"""Detach keys: what they are, and how they are found in what is typed."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from havre.errors import InvalidParameter
from havre.spec.detach import DEFAULT, DetachKeys, parse


@pytest.mark.parametrize(
    ("text", "keys"),
    [
        ("", DEFAULT),
        ("ctrl-p,ctrl-q", b"\x10\x11"),
        ("a,b", b"ab"),
        ("ctrl-@,ctrl-[,ctrl-_,DEL,Z", b"\x00\x1b\x1f\x7fZ"),
    ],
)
def test_keys_are_read(text: str, keys: bytes) -> None:
    assert parse(text) == keys


@pytest.mark.parametrize("text", ["ctrl-", "ctrl-P", "aa", "a,,b", "ctrl-p,", "é", "ctrl-1"])
def test_bad_keys_are_refused_in_dockers_words(text: str) -> None:
    with pytest.raises(InvalidParameter, match=r"Invalid detach keys \(.*\) provided"):
        parse(text)


def typed(keys: bytes, *pieces: bytes) -> tuple[bytes, bool]:
    watch, out = DetachKeys(keys), b""
    for piece in pieces:
        passed, done = watch.feed(piece)
        out += passed
        if done:
            return out, True
    return out, False


def test_sequence_ends_it_and_is_not_passed_on() -> None:
    assert typed(DEFAULT, b"ls\n\x10\x11rm -rf /\n") == (b"ls\n", True)
    assert typed(DEFAULT, b"ls\n\x10", b"\x11x") == (b"ls\n", True)
    assert typed(b"x", b"abxc") == (b"ab", True)


def test_beginning_is_held_back_until_it_is_broken() -> None:
    assert typed(DEFAULT, b"a\x10") == (b"a", False)
    assert typed(DEFAULT, b"a\x10", b"b") == (b"a\x10b", False)
    assert typed(DEFAULT, b"\x10\x10\x11") == (b"\x10", True)


@given(st.lists(st.binary(max_size=6).map(lambda data: bytes(byte % 3 for byte in data)), max_size=6))
def test_everything_else_passes_in_any_pieces(pieces: list[bytes]) -> None:
    keys, data = b"\x01\x02", b"".join(pieces)
    before, found, _ = data.partition(keys)
    out, done = typed(keys, *pieces)
    assert done == bool(found)
    held = b"\x01" if not found and before.endswith(b"\x01") else b""
    assert out + held == before
