"""Bytes to the inside of a JSON string, as dockerd's json-file driver writes them. Lean and fast: whole buffers, no loop over bytes.

Escaped: quote and backslash, control characters (`\\n` and `\\r` by name, the rest as `\\u00xx`), `<`, `>`, `&`, U+2028 and U+2029.
Every byte that is not valid UTF-8 becomes `\\ufffd`, one by one as Go's decoder does it.
"""

_NAMED = {0x0A: b"\\n", 0x0D: b"\\r", 0x22: b'\\"', 0x5C: b"\\\\"}
_SPECIAL = [*range(0x20), 0x22, 0x26, 0x3C, 0x3E, 0x5C]
ESCAPES = {byte: _NAMED.get(byte) or b"\\u%04x" % byte for byte in _SPECIAL}
PLAIN = bytes(
    byte for byte in range(256) if byte not in ESCAPES
)  # what needs no escape when the whole is valid UTF-8
_STAND_IN = b"\x01"  # escaped text has no control characters left, so this one is free


def escape(data: bytes, *, newlines: bool = True) -> bytes:
    """Return `data` escaped. With `newlines` False each newline stays as it is, for the caller to replace."""
    special = set(data.translate(None, PLAIN))
    if not newlines:
        special.discard(0x0A)
    if 0x5C in special:  # before all others, which add backslashes
        data = data.replace(b"\\", b"\\\\")
        special.discard(0x5C)
    for byte in special:
        data = data.replace(bytes((byte,)), ESCAPES[byte])
    return data if data.isascii() else _escape_unicode(data)


def _escape_unicode(data: bytes) -> bytes:
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        # In C from end to end: a bad byte becomes a surrogate, which cannot be encoded and becomes "?"; real ones step aside.
        text = data.replace(b"?", _STAND_IN).decode("utf-8", "surrogateescape")
        data = text.encode("utf-8", "replace").replace(b"?", b"\\ufffd").replace(_STAND_IN, b"?")
    if b"\xe2\x80" in data:
        data = data.replace(b"\xe2\x80\xa8", b"\\u2028").replace(b"\xe2\x80\xa9", b"\\u2029")
    return data
