"""Drivers that send, against receivers of ours: what arrives, byte for byte, over every transport."""

import gzip
import json
import os
import re
import zlib
from pathlib import Path

import msgspec
import pytest

from havre.logs import gelf, journald, plan
from havre.logs.subject import Subject

AT = 1_795_521_600_123_456_789  # 2026-11-24T12:00:00.123456789Z
SUBJECT = Subject("0123456789abcdef" * 4, "web", "sh", ("-c", "x"), "sha256:" + "a" * 64, "img", "2026-01-01T00:00:00Z", ("E=v",), {"l": "w"})  # fmt: skip


def make(driver, **words):
    given = {name.replace("_", "-"): value for name, value in words.items()}
    return plan.make(driver, {"cache-disabled": "true", **given}, SUBJECT, Path("/nowhere"))


def lines(server):
    return server.data.splitlines()


# syslog


@pytest.mark.parametrize(
    ("form", "pattern"),
    [
        ("", rb"<30>Nov 24 \d\d:00:00 web\[\d+\]: hello\n"),
        ("rfc3164", rb"<30>Nov 24 \d\d:00:00 \S+ web\[\d+\]: hello\n"),
        ("rfc5424", rb"<30>1 2026-11-24T\d\d:00:00(Z|[+-]\d\d:\d\d) \S+ web \d+ web - hello\n"),
        ("rfc5424micro", rb"<30>1 2026-11-24T\d\d:00:00\.123456(Z|[+-]\d\d:\d\d) \S+ web \d+ web - hello\n"),
    ],
)
@pytest.mark.parametrize("kind", ["tcp", "udp", "unix", "unixgram"])
def test_syslog_is_dockerds_in_every_form_and_transport(hand, serve, tmp_path, form, pattern, kind):
    path = str(tmp_path / "sock") if kind.startswith("unix") else ""
    server = serve(kind, path=path)
    address = f"{kind}://{path or f'127.0.0.1:{server.port}'}"
    log = hand(make("syslog", syslog_address=address, syslog_format=form, tag="{{.Name}}"))
    assert log.said == {"open": True}
    log.write("hello\n")
    log.write("wrong\n", "stderr")
    log.close()
    server.wait(lambda one: one.data.count(b"\n") == 2)
    first, second = server.data.splitlines(keepends=True)
    assert re.fullmatch(pattern, first), first
    assert second.startswith(b"<27>") and second.endswith(b"wrong\n")


def test_syslog_attributes_are_structured_data_when_the_form_has_a_place_for_them(hand, serve):
    server = serve()
    words = {"syslog_address": f"tcp://127.0.0.1:{server.port}", "env": "E", "labels": "l"}
    log = hand(make("syslog", syslog_format="rfc5424", syslog_facility="local3", **words))
    log.write("x\n")
    log.close()
    server.wait(lambda one: one.data.endswith(b"\n"))
    assert server.data.startswith(b"<158>1 ")
    assert b' [havre@32473 E="v" l="w"] x\n' in server.data


def test_syslog_over_tls_counts_its_bytes_and_shows_its_certificate(hand, serve, tls):
    server = serve("tls", context=tls.context(ask_client=True))
    files = {f"syslog_tls_{name.replace('-', '_')}": str(tls.folder / file) for name, file in
             (("ca-cert", "ca.pem"), ("cert", "client.pem"), ("key", "client.key"))}  # fmt: skip
    log = hand(
        make("syslog", syslog_address=f"tcp+tls://127.0.0.1:{server.port}", syslog_format="rfc5424", **files)
    )
    assert log.said == {"open": True}
    log.write("a\nb\n")
    log.close()
    server.wait(lambda one: one.data.endswith(b"- b\n"))
    length, _, rest = server.data.partition(b" ")
    assert rest[: int(length)].endswith(b"- a\n")
    assert rest[int(length) :].startswith(length + b" <30>1 ")


def test_syslog_refuses_a_certificate_it_does_not_know_unless_told_otherwise(hand, serve, tls):
    server = serve("tls", context=tls.context())
    address = f"tcp+tls://127.0.0.1:{server.port}"
    refused = hand(make("syslog", syslog_address=address))
    assert "failed to initialize logging driver: tls: failed to verify certificate" in refused.said["error"]
    log = hand(make("syslog", syslog_address=address, syslog_tls_skip_verify="true"))
    log.write("trusted\n")
    log.close()
    server.wait(lambda one: one.data.endswith(b": trusted\n"))


def test_lines_beyond_16_kib_are_several_messages(hand, serve):
    server = serve()
    log = hand(make("syslog", syslog_address=f"tcp://127.0.0.1:{server.port}"))
    log.write("x" * 40_000 + "\nnext\n")
    log.close()
    server.wait(lambda one: one.data.endswith(b"next\n"))
    assert [line.count(b"x") for line in lines(server)] == [16384, 16384, 40_000 - 2 * 16384, 1]


# gelf


def unpack_gelf(datagrams):
    """Put chunks together and unpack, as Graylog does."""
    whole, parts = [], {}
    for data in datagrams:
        if data[:2] == b"\x1e\x0f":
            pieces = parts.setdefault(data[2:10], {})
            pieces[data[10]] = data[12:]
            if len(pieces) < data[11]:
                continue
            data = b"".join(pieces[n] for n in sorted(pieces))
        if data[:2] == b"\x1f\x8b":
            data = gzip.decompress(data)
        elif data[:1] == b"\x78":
            data = zlib.decompress(data)
        whole.append(json.loads(data))
    return whole


@pytest.mark.parametrize("kind", ["gzip", "zlib", "none"])
def test_gelf_over_udp_is_packed_and_cut_as_asked(hand, serve, kind):
    server = serve("udp")
    words = {"gelf_address": f"udp://127.0.0.1:{server.port}", "gelf_compression_type": kind, "env": "E"}
    log = hand(make("gelf", gelf_compression_level="9", **words))
    noise = os.urandom(4000).hex()
    log.write('say "hi"\n\n' + noise + "\n")
    log.write("wrong\n", "stderr")
    log.close()
    server.wait(lambda one: len(unpack_gelf(one.datagrams)) == 3)
    first, second, third = unpack_gelf(server.datagrams)
    assert first == {
        "version": "1.1", "host": os.uname().nodename, "short_message": 'say "hi"', "timestamp": 1795521600.123,
        "level": 6, "_container_id": SUBJECT.id, "_container_name": "web", "_image_id": SUBJECT.image_id,
        "_image_name": "img", "_command": "sh -c x", "_tag": SUBJECT.id[:12], "_created": SUBJECT.created, "_E": "v",
    }  # fmt: skip
    assert second["short_message"] == noise
    assert (third["short_message"], third["level"]) == ("wrong", 3)
    assert max(map(len, server.datagrams)) <= gelf.CHUNK_BYTES


def test_gelf_over_tcp_ends_with_a_null_byte(hand, serve):
    server = serve()
    log = hand(make("gelf", gelf_address=f"tcp://127.0.0.1:{server.port}"))
    log.write("one\n" + "y" * 20_000 + "\n")
    log.close()
    server.wait(lambda one: one.data.count(b"\0") == 3)
    found = [json.loads(text) for text in server.data.split(b"\0") if text]
    assert [len(one["short_message"]) for one in found] == [3, 16384, 20_000 - 16384]
    assert [one.get("_partial_ordinal") for one in found] == [None, "1", "2"]
    assert [one.get("_partial_last") for one in found] == [None, "false", "true"]


def test_gelf_gives_up_what_needs_more_than_128_chunks():
    assert gelf.chunks(b"x" * (128 * 1408)) and not gelf.chunks(b"x" * (128 * 1408 + 1))


# fluentd


def messages(server):
    """Everything whole that has come: a list of [tag, time, record, option]."""
    decoder = msgspec.msgpack.Decoder()
    found, data = [], server.data
    while data:
        for size in range(len(data), 0, -1):
            try:
                found.append(decoder.decode(data[:size]))
            except msgspec.DecodeError:
                continue
            data = data[size:]
            break
        else:
            return found
    return found


def split(data):
    """Messages begin with a four-element array and the tag."""
    mark = b"\x94\xac" + SUBJECT.id[:12].encode()
    return [msgspec.msgpack.decode(mark + piece) for piece in data.split(mark)[1:]]


@pytest.mark.parametrize("kind", ["tcp", "unix"])
def test_fluentd_speaks_the_forward_protocol(hand, serve, tmp_path, kind):
    path = str(tmp_path / "sock") if kind == "unix" else ""
    server = serve(kind, path=path)
    address = f"unix://{path}" if path else f"127.0.0.1:{server.port}"
    log = hand(make("fluentd", fluentd_address=address, env="E", labels="l"))
    log.write("hello\n")
    log.write("z" * 20_000 + "\n", "stderr")
    log.close()
    server.wait(lambda one: one.data.count(b"partial_last") == 2 and one.data.endswith(b"true\x80"))
    first, *pieces = split(server.data)
    assert first == [
        SUBJECT.id[:12],
        1_795_521_600,
        {"container_id": SUBJECT.id, "container_name": "/web", "source": "stdout", "log": "hello", "E": "v", "l": "w"},
        {},
    ]  # fmt: skip
    assert [len(one[2]["log"]) for one in pieces] == [16384, 20_000 - 16384]
    assert [
        (one[2]["partial_message"], one[2]["partial_ordinal"], one[2]["partial_last"]) for one in pieces
    ] == [
        ("true", "1", "false"),
        ("true", "2", "true"),
    ]
    assert pieces[0][2]["partial_id"] == pieces[1][2]["partial_id"]


def test_fluentd_has_nanoseconds_when_asked(hand, serve):
    server = serve()
    log = hand(
        make("fluentd", fluentd_address=f"127.0.0.1:{server.port}", fluentd_sub_second_precision="true")
    )
    log.write("x\n")
    log.close()
    server.wait(lambda one: one.data.endswith(b"\x80"))
    when = split(server.data)[0][1]
    assert (when.code, bytes(when.data)) == (
        0,
        (1_795_521_600).to_bytes(4, "big") + (123_456_789).to_bytes(4, "big"),
    )


def test_fluentd_sends_again_what_was_not_acknowledged(hand, serve):
    """The first connection takes everything and says nothing; the second acknowledges."""
    silent = [True]

    def answer(data):
        chunks = re.findall(rb"\xa5chunk\xb8([0-9a-f]{24})", data)
        if silent[0]:
            silent[0] = False
            return b""
        return b"".join(b"\x81\xa3ack\xb8" + one for one in chunks)

    server = serve(answer=answer, limit=1)
    log = hand(
        make(
            "fluentd",
            fluentd_address=f"127.0.0.1:{server.port}",
            fluentd_request_ack="true",
            fluentd_retry_wait="1ms",
        )
    )
    log.write("precious\n")
    log.close()
    server.wait(lambda one: one.data.count(b"precious") == 2)


def test_fluentd_refuses_the_start_when_nobody_is_there(hand, serve):
    port = serve().port
    serve_closed = serve()
    serve_closed.close()
    refused = hand(make("fluentd", fluentd_address=f"127.0.0.1:{serve_closed.port}"))
    assert refused.said["error"] == (
        "failed to create task for container: failed to initialize logging driver: "
        f"dial tcp 127.0.0.1:{serve_closed.port}: connect: connection refused"
    )
    assert port


def test_fluentd_async_starts_without_anybody_and_delivers_in_order_later(hand, serve):
    gone = serve()
    gone.close()
    words = {"fluentd_async": "true", "fluentd_retry_wait": "10ms"}
    log = hand(make("fluentd", fluentd_address=f"127.0.0.1:{gone.port}", **words), grace_s=10)
    assert log.said == {"open": True}
    log.lines(0, 500)
    log.state()
    server = serve(port=gone.port)
    server.wait(lambda one: b"line 499" in one.data)
    log.close()
    assert [one[2]["log"] for one in split(server.data)] == [f"line {n}" for n in range(500)]


@pytest.mark.parametrize(
    ("driver", "words", "error"),
    [
        ("syslog", {"syslog_address": "tcp://127.0.0.1:1"}, "dial tcp 127.0.0.1:1: connect: connection refused"),
        ("syslog", {"syslog_address": "udp://no.such.host.invalid:1"}, "dial udp: lookup no.such.host.invalid: no such host"),
        ("gelf", {"gelf_address": "tcp://127.0.0.1:1"}, "dial tcp 127.0.0.1:1: connect: connection refused"),
        ("fluentd", {"fluentd_address": "unix:///no/such"}, "dial unix /no/such: connect: no such file or directory"),
        ("journald", {}, "journald is not enabled on this host"),
    ],
)  # fmt: skip
def test_start_fails_in_dockerds_words_when_nobody_is_there(hand, driver, words, error):
    said = hand(make(driver, **words)).said
    assert said == {
        "error": f"failed to create task for container: failed to initialize logging driver: {error}"
    }


# journald


def journal_fields(data):
    found, place = {}, 0
    while place < len(data):
        end = data.index(b"\n", place)
        name, mark, value = data[place:end].partition(b"=")
        place = end + 1
        if not mark:
            size = int.from_bytes(data[place : place + 8], "little")
            value = data[place + 8 : place + 8 + size]
            place += 8 + size + 1
        found[name.decode()] = value
    return found


def test_journald_gets_dockerds_fields(hand, serve, tmp_path):
    server = serve("unixgram", path=str(tmp_path / "socket"))
    log = hand(make("journald", labels="l", tag="{{.Name}}"), journal=str(tmp_path / "socket"))
    assert log.said == {"open": True}
    log.write("hello\n")
    log.write("bad \x01\n", "stderr")
    log.close()
    server.wait(lambda one: len(one.datagrams) == 2)
    first, second = map(journal_fields, server.datagrams)
    epoch = first.pop("CONTAINER_LOG_EPOCH")
    assert len(epoch) == 64 and second["CONTAINER_LOG_EPOCH"] == epoch
    assert first == {
        "MESSAGE": b"hello", "PRIORITY": b"6", "CONTAINER_ID": SUBJECT.id[:12].encode(), "CONTAINER_ID_FULL": SUBJECT.id.encode(),
        "CONTAINER_NAME": b"web", "CONTAINER_TAG": b"web", "IMAGE_NAME": b"img", "SYSLOG_IDENTIFIER": b"web", "L": b"w",
        "SYSLOG_TIMESTAMP": b"2026-11-24T12:00:00.123456789Z", "CONTAINER_LOG_ORDINAL": b"1",
    }  # fmt: skip
    assert (second["MESSAGE"], second["PRIORITY"], second["CONTAINER_LOG_ORDINAL"]) == (
        b"bad \x01",
        b"3",
        b"2",
    )


def test_journald_marks_the_pieces_of_a_long_line(hand, serve, tmp_path):
    server = serve("unixgram", path=str(tmp_path / "socket"))
    log = hand(make("journald"), journal=str(tmp_path / "socket"))
    log.write("p" * 20_000 + "\n")
    log.close()
    server.wait(lambda one: len(one.datagrams) == 2)
    first, second = map(journal_fields, server.datagrams)
    assert (first["CONTAINER_PARTIAL_ORDINAL"], first["CONTAINER_PARTIAL_LAST"]) == (b"1", b"false")
    assert first["CONTAINER_PARTIAL_MESSAGE"] == b"true" and "CONTAINER_PARTIAL_MESSAGE" not in second
    assert first["CONTAINER_PARTIAL_ID"] == second["CONTAINER_PARTIAL_ID"]


def test_journald_takes_what_is_too_large_for_a_datagram_as_a_sealed_file(serve, tmp_path):
    """wmem_max bounds a datagram; the attributes of a container may be larger."""
    import socket

    from havre.logs.link import Feed

    server = serve("unixgram", path=str(tmp_path / "socket"))
    link = journald._Journal(("unixgram", str(tmp_path / "socket"), 0), Feed(socket.socketpair()[0]))
    link.connect()
    data = journald.field(b"MESSAGE", b"m" * (4 << 20))
    assert link.send([data]) == 0
    link.close()
    server.wait(lambda one: one.fds)
    assert os.pread(server.fds[0], len(data) + 1, 0) == data
    with pytest.raises(PermissionError):
        os.write(server.fds[0], b"x")
    os.close(server.fds[0])
