"""Driver fluentd: the forward protocol's message mode, [tag, time, record, option] in msgpack, over tcp, tls or a unix socket.

https://github.com/fluent/fluentd/wiki/Forward-Protocol-Specification-v1. With request-ack a message stays here until its chunk id came
back: what a lost connection may have swallowed is sent again.
"""

import os

from havre.logs.link import Ended, Feed, Link

ACK_S = 30.0
MAX_RETRY_S = 60.0  # fluent-logger-golang's longest pause
TYPE_CHECKING = False
if TYPE_CHECKING:
    from havre.logs.lines import Partial
    from havre.logs.sender import Message
    from havre.spec.runplan import LogPlan


class Fluentd:
    def __init__(self, plan: "LogPlan", feed: Feed) -> None:
        remote = plan["remote"]
        self._link = Link(remote["address"], feed, {})
        self._link.retries = remote["retries"]
        self._link.backoff_s, self._link.growth = max(0.001, remote["retry_wait_s"]), 1.5
        self._link.max_backoff_s = MAX_RETRY_S
        if remote["interval_s"]:
            self._link.backoff_s, self._link.growth = remote["interval_s"], 1.0
        self._link.write_timeout_s = max(0.0, remote["write_timeout_s"])
        self._sub_second = remote["sub_second"]
        self._ack = remote["ack"]
        self._tag = text(remote["tag"].encode("utf-8", "replace"))
        self._fields = {
            name.encode("utf-8", "replace"): value.encode("utf-8", "replace")
            for name, value in remote["fields"].items()
        }

    def connect(self) -> None:
        self._link.connect()

    def log(self, messages: "list[Message]") -> int:
        if not self._ack:
            return self._link.send([self._encode(message, b"\x80") for message in messages])
        ids = [os.urandom(12).hex().encode() for _ in messages]
        waiting = {
            key: self._encode(message, b"\x81" + text(b"chunk") + text(key))
            for key, message in zip(ids, messages, strict=True)
        }
        lost, attempts = 0, 0
        while waiting:
            if attempts > self._link.retries:
                return lost + len(waiting)
            lost += self._link.send(list(waiting.values()))
            if self._collect(waiting):
                attempts = 0
            else:
                attempts += 1
                self._link.close()
        return lost

    def _collect(self, waiting: dict[bytes, bytes]) -> bool:
        """Take what was acknowledged out of `waiting`; False when the other side said nothing, or left."""
        said, some = b"", False
        try:
            while waiting and (data := self._link.receive(ACK_S)):
                said += data
                for key in [key for key in waiting if key in said]:
                    del waiting[key]
                    some = True
                said = said[-64:]
        except Ended:
            raise
        except OSError:
            pass
        return some

    def _encode(self, message: "Message", option: bytes) -> bytes:
        source, line, nanos, partial = message
        fields = {
            **self._fields_of(source, line),
            **self._fields,
            **(_pieces(partial) if partial is not None else {}),
        }
        record = _map_head(len(fields)) + b"".join(text(name) + text(value) for name, value in fields.items())
        return b"\x94" + self._tag + self._time(nanos) + record + option

    def _fields_of(self, source: bytes, line: bytes) -> dict[bytes, bytes]:
        return {b"source": source, b"log": line}

    def _time(self, nanos: int) -> bytes:
        second, rest = divmod(nanos, 1_000_000_000)
        if self._sub_second:  # EventTime: fixext 8 of type 0
            return b"\xd7\x00" + second.to_bytes(4, "big") + rest.to_bytes(4, "big")
        return b"\xce" + second.to_bytes(4, "big")


def _pieces(partial: "Partial") -> dict[bytes, bytes]:
    return {
        b"partial_message": b"true",
        b"partial_id": partial.id,
        b"partial_ordinal": b"%d" % partial.ordinal,
        b"partial_last": b"true" if partial.last else b"false",
    }


def text(data: bytes) -> bytes:
    """A msgpack str."""
    size = len(data)
    if size < 32:
        return bytes((0xA0 | size,)) + data
    if size < 1 << 8:
        return b"\xd9" + size.to_bytes(1, "big") + data
    if size < 1 << 16:
        return b"\xda" + size.to_bytes(2, "big") + data
    return b"\xdb" + size.to_bytes(4, "big") + data


def _map_head(size: int) -> bytes:
    return bytes((0x80 | size,)) if size < 16 else b"\xde" + size.to_bytes(2, "big")
