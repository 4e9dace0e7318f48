"""escape() against a slow reading of the rules, and against a JSON decoder."""

import json

from hypothesis import example, given
from hypothesis import strategies as st

from havre.logs.escape import escape


def slow(data: bytes) -> bytes:
    """Byte by byte, as Go's utf8.DecodeRune would walk it."""
    out, place = [], 0
    while place < len(data):
        size = next((n for n in (1, 2, 3, 4) if decodes(data[place : place + n])), 0)
        char = data[place : place + size].decode() if size else ""
        if not size:
            out.append("\\ufffd")
        elif char in '"\\':
            out.append("\\" + char)
        elif char in "\n\r":
            out.append({"\n": "\\n", "\r": "\\r"}[char])
        elif char < " " or char in "<>&\u2028\u2029":
            out.append(f"\\u{ord(char):04x}")
        else:
            out.append(char)
        place += size or 1
    return "".join(out).encode()


def decodes(piece: bytes) -> bool:
    try:
        return len(piece.decode()) == 1
    except UnicodeDecodeError:
        return False


PIECES = st.one_of(
    st.binary(max_size=8),
    st.sampled_from(
        [b"?", b"\\", b'"', b"\xe2\x80", b"\xe2\x80\xa8", b"\xed\xa0\x80", b"\xc0\x80", b"\x01", b"&lt;"]
    ),
    st.text(max_size=6).map(lambda text: text.encode("utf-8", "ignore")),
)


@given(st.lists(PIECES, max_size=12).map(b"".join))
@example(b"\xf0\x9f\x98")
@example(b"a?\xff?\x01")
def test_escape_is_what_go_writes_when_bytes_are_arbitrary(data):
    assert escape(data) == slow(data)


@given(st.text())
def test_escape_can_be_read_back_when_text_is_valid(text):
    valid = text.encode("utf-8", "ignore").decode()
    assert json.loads(b'"' + escape(valid.encode()) + b'"') == valid


def test_escape_leaves_newlines_when_asked():
    assert escape(b'a\nb"\n', newlines=False) == b'a\nb\\"\n'
