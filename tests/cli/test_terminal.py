"""Detach keys and frames."""

import os

import pytest

from havre.cli.terminal import Detached, Frames, Keys, parse_keys
from havre.errors import InvalidParameter


def test_detach_keys_are_read_and_refused() -> None:
    assert parse_keys("ctrl-p,ctrl-q") == b"\x10\x11"
    assert parse_keys("a,ctrl-@") == b"a\0"
    with pytest.raises(InvalidParameter):
        parse_keys("ctrl-p,word")


def test_sequence_is_held_back_until_it_is_broken_or_complete() -> None:
    keys = Keys(b"\x10\x11")
    assert keys.filter(b"ab\x10") == b"ab"
    assert keys.filter(b"c") == b"\x10c"
    assert keys.filter(b"\x10\x10") == b"\x10"
    with pytest.raises(Detached):
        keys.filter(b"\x11")


def test_frames_go_to_stdout_and_stderr_also_when_they_come_in_pieces(capfd) -> None:
    frames = Frames()
    data = b"\x01\0\0\0\0\0\0\x03out\x02\0\0\0\0\0\0\x03err"
    for place in range(len(data)):
        frames.feed(data[place : place + 1])
    out, err = capfd.readouterr()
    assert (out, err) == ("out", "err")
    assert os.fstat(1)
