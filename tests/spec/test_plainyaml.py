"""The YAML that machines write, and what is refused."""

import pytest

from havre.errors import InvalidParameter
from havre.spec.plainyaml import load

TEXT = """---
# a comment
a: 1
"b": 'it''s'
list:
- x: true
  y: ~
- [p, "q, r", 3]
-
  z: /a:b # not a: key
nested:
    deep:
        - - 1
          - 0x10
        - 0644
empty:
json: {"k": ["v"]}
url: http://h:80/#x
"""


def test_blocks_lists_and_words_are_read() -> None:
    assert load(TEXT.replace('[p, "q, r", 3]', '["p", "q, r", 3]')) == {
        "a": 1,
        "b": "it's",
        "list": [{"x": True, "y": None}, ["p", "q, r", 3], {"z": "/a:b"}],
        "nested": {"deep": [[1, 16], 0o644]},
        "empty": None,
        "json": {"k": ["v"]},
        "url": "http://h:80/#x",
    }


def test_small_documents() -> None:
    assert load("") is None
    assert load("# only a comment\n") is None
    assert load("[a, b]") == ["a", "b"]
    assert load("- 1\n- -5\n- -x") == [1, -5, "-x"]
    assert load('k: "a # b"') == {"k": "a # b"}


@pytest.mark.parametrize(
    "text",
    ["a: &x 1", "a: *x", "a: |\n  text", "a: >\n  text", "a: !tag 1", "\ta: 1", "a: 1\na: 2", 'a: "open', "a: [1, [2]", "a: {b: c}",
     "a: 1\n  b: 2", "- " * 40 + "x", "a: 'open"],
)  # fmt: skip
def test_what_is_not_read_is_refused(text: str) -> None:
    with pytest.raises(InvalidParameter):
        load(text)
