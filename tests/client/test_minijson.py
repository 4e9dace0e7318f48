"""Our JSON against the library's."""

import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from havre.client import minijson
from havre.errors import HavreError

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # a busy machine is no fault
@given(VALUES)
def test_dumps_is_read_back_by_the_library_and_by_us(value: object) -> None:
    for indent in (0, 4):
        text = minijson.dumps(value, indent)
        assert json.loads(text) == value
        assert minijson.loads(text.encode("utf-8", "surrogatepass").decode("utf-8", "surrogatepass")) == value


@pytest.mark.parametrize("text", ["", "{", "[1,]", "nul", '{"a":1}x', "'a'"])
def test_what_is_no_json_is_refused(text: str) -> None:
    with pytest.raises(HavreError):
        minijson.loads(text)


def test_objects_of_a_stream_come_out_whole() -> None:
    found, rest = minijson.objects('{"a":1}\r\n{"b":2}\n{"c":')
    assert (found, rest) == ([{"a": 1}, {"b": 2}], '{"c":')
