"""JSON objects out of an answer that never ends, in whatever pieces it comes."""

import socket

import pytest

from havre.client.http import Response
from havre.client.objects import Objects

BODY = b'{"a":1}\n{"b":"\xc3\xa9"}\n'


def chunked(data: bytes, size: int) -> bytes:
    pieces = [data[at : at + size] for at in range(0, len(data), size)]
    return b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces)


@pytest.mark.parametrize("step", [1, 2, 7, 1000])
@pytest.mark.parametrize("size", [1, 5, 100])
def test_objects_are_found_in_any_pieces(step: int, size: int) -> None:
    ours, theirs = socket.socketpair()
    wire = chunked(BODY, size) + b"0\r\n\r\n"
    objects = Objects(Response(ours, 200, {"transfer-encoding": "chunked"}, wire[:3]))
    found = objects.taken()
    for at in range(3, len(wire), step):
        theirs.sendall(wire[at : at + step])
        found += objects.arrived()
    assert found == [{"a": 1}, {"b": "é"}]
    assert objects.ended
    objects.close()
    theirs.close()


def test_without_chunks_the_end_is_the_connections() -> None:
    ours, theirs = socket.socketpair()
    objects = Objects(Response(ours, 200, {}, BODY[:4]))
    assert objects.taken() == []
    theirs.sendall(BODY[4:])
    assert objects.arrived() == [{"a": 1}, {"b": "é"}]
    theirs.close()
    assert objects.arrived() == []
    assert objects.ended
    objects.close()
