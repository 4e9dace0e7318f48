"""Driver gelf: GELF 1.1 over udp (compressed, in chunks) or tcp (each message ends with a null byte). Empty lines are not sent, as in dockerd."""

import os

from havre.logs.link import Feed, Link

CHUNK_BYTES = 1420  # with its 12-byte head it passes every usual mtu
MAX_CHUNKS = 128  # GELF via UDP
LEVEL = {b"stdout": 6, b"stderr": 3}
TYPE_CHECKING = False
if TYPE_CHECKING:
    from havre.logs.lines import Partial
    from havre.logs.sender import Message
    from havre.spec.runplan import LogPlan


class Gelf:
    def __init__(self, plan: "LogPlan", feed: Feed) -> None:
        import json  # only here: every zygote and monitor carries this module
        import zlib

        self._quote, self._compressor = json.dumps, zlib.compressobj
        self._bits = zlib.MAX_WBITS
        remote = plan["remote"]
        self._link = Link(remote["address"], feed)
        self._udp = remote["address"][0] == "udp"
        self._compression = remote["compression"]
        self._level = remote["level"]
        self._head = f'{{"version":"1.1","host":{self._quote(os.uname().nodename)},"short_message":'
        self._extra = remote["extra"]
        if not self._udp:
            self._link.retries = remote["retries"]
            self._link.backoff_s, self._link.growth = max(0.01, remote["delay_s"]), 1.0

    def connect(self) -> None:
        self._link.connect()

    def log(self, messages: "list[Message]") -> int:
        texts = [self._encode(*message) for message in messages if message[1]]
        if not self._udp:
            return self._link.send([text + b"\0" for text in texts])
        datagrams: list[bytes] = []
        too_large = 0
        for text in texts:
            pieces = chunks(self._pack(text))
            too_large += not pieces
            datagrams += pieces
        self._link.send(datagrams)
        return too_large

    def _encode(self, source: bytes, text: bytes, nanos: int, partial: "Partial | None") -> bytes:
        short = self._quote(text.decode("utf-8", "replace"), ensure_ascii=False)
        pieces = ""
        if partial is not None:
            pieces = (
                f'"_partial_message":"true","_partial_id":"{partial.id.decode()}",'
                f'"_partial_ordinal":"{partial.ordinal}","_partial_last":"{"true" if partial.last else "false"}",'
            )
        millis = nanos // 1_000_000
        when = f"{millis // 1000}.{millis % 1000:03d}"
        return (
            f'{self._head}{short},"timestamp":{when},"level":{LEVEL[source]},{pieces}{self._extra}'.encode()
        )

    def _pack(self, text: bytes) -> bytes:
        if self._compression == "none" or self._level == 0:
            return text
        bits = self._bits | 16 if self._compression == "gzip" else self._bits
        packer = self._compressor(self._level, wbits=bits)
        return packer.compress(text) + packer.flush()


def chunks(data: bytes) -> list[bytes]:
    """The datagrams of one message; none when it is too large for 128 of them."""
    if len(data) <= CHUNK_BYTES:
        return [data]
    number = -(-len(data) // (CHUNK_BYTES - 12))
    if number > MAX_CHUNKS:
        return []
    head = b"\x1e\x0f" + os.urandom(8)
    size = CHUNK_BYTES - 12
    return [head + bytes((n, number)) + data[n * size : (n + 1) * size] for n in range(number)]
