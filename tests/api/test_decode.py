import json
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from havre.api import decode
from havre.errors import HavreError, InvalidParameter
from havre.http.head import parse_query
from havre.spec.engine import ContainerCreate, ContainerUpdate, ExecCreate


def query(text: str) -> SimpleNamespace:
    return SimpleNamespace(query=parse_query(text))


def create(value: object) -> ContainerCreate:
    return decode.decode(json.dumps(value).encode(), ContainerCreate)


FULL = {
    "Image": "busybox",
    "Env": None,
    "HostConfig": {
        "PortBindings": {"80/tcp": [{"HostIp": "", "HostPort": "8080"}], "81/tcp": None},
        "NetworkMode": "none",
        "Mounts": [{"Target": "/x", "BindOptions": {"Propagation": "rslave"}}],
        "LogConfig": {"Type": "", "Config": {"max-size": "1m"}},
    },
    "NetworkingConfig": {"EndpointsConfig": {"default": {"IPAMConfig": {"IPv4Address": "10.0.0.9"}}}},
    "Labels": {"Image": "kept", "hostconfig": "kept too"},
}


def folded(value: object, change) -> object:
    """The same with every key of a struct changed; the keys of maps are the caller's own."""
    maps = {"PortBindings", "EndpointsConfig", "Labels", "Config", "BindOptions"}

    def walk(one: object, inside_map: bool = False) -> object:
        if isinstance(one, dict):
            return {
                key if inside_map else change(key): walk(inner, key in maps and not inside_map)
                for key, inner in one.items()
            }
        return [walk(inner) for inner in one] if isinstance(one, list) else one

    return walk(value)


@pytest.mark.parametrize("change", [str.lower, str.upper, str.swapcase])
def test_keys_in_any_case_mean_the_same_at_every_depth(change) -> None:
    assert create(folded(FULL, change)) == create(FULL)


def test_maps_keep_their_keys() -> None:
    found = create(folded(FULL, str.lower))
    assert found.labels == {"Image": "kept", "hostconfig": "kept too"}
    assert found.host_config.port_bindings["80/tcp"][0].host_port == "8080"
    assert found.networking_config.endpoints_config["default"].ipam_config.ipv4_address == "10.0.0.9"


def test_nulls_inside_lists_and_maps_are_zero_values_as_in_go() -> None:
    found = create({"Cmd": ["a", None], "Labels": {"x": None}, "HostConfig": {"Ulimits": [None]}})
    assert found.cmd == ["a", ""]
    assert found.labels == {"x": ""}
    assert found.host_config.ulimits[0].name is None


def test_unknown_keys_are_ignored_and_the_last_of_two_wins() -> None:
    found = decode.decode(b'{"Image":"a","image":"b","Nonsense":{"x":[1]},"IMAGE":"c"}', ContainerCreate)
    assert found.image == "c"


def test_null_is_an_empty_body_as_for_go() -> None:
    assert decode.decode(b"null", ContainerCreate) == ContainerCreate()


@pytest.mark.parametrize(
    "data",
    [
        b"[]",
        b'"x"',
        b"{",
        b'{"Image":"a"} trailing',
        b'{"Image":1}',
        b'{"Tty":"true"}',
        b'{"Image":NaN}',
        b'{"HostConfig":{"Memory":1e999}}',
        b'{"HostConfig":{"Memory":99999999999999999999}}',
        b'{"HostConfig":{"Memory":1.5}}',
        b'{"HostConfig":[]}',
        b'{"Image":"\xff"}',
        b'{"Image":"\\ud800"}',
        b"[" * 100_000,
        b'{"a":' * 100_000,
    ],
)
def test_bad_bodies_are_refused(data: bytes) -> None:
    with pytest.raises(InvalidParameter):
        decode.decode(data, ContainerCreate)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda inner: (
            st.lists(inner)
            | st.dictionaries(
                st.sampled_from(["Image", "cmd", "HOSTCONFIG", "Memory", "Binds", "Labels", "x"]), inner
            )
        ),
    )
)
def test_no_json_makes_another_error(value) -> None:
    for kind in (ContainerCreate, ExecCreate, ContainerUpdate):
        try:
            decode.decode(json.dumps(value).encode(), kind)
        except HavreError:
            pass


@given(st.binary(max_size=200))
def test_no_bytes_make_another_error(data: bytes) -> None:
    try:
        decode.decode(data, ContainerCreate)
    except InvalidParameter:
        pass


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("", False),
        ("a", False),
        ("a=", False),
        ("a=0", False),
        ("a=False", False),
        ("a=no", False),
        ("a=NONE", False),
        ("a=1", True),
        ("a=true", True),
        ("a=x", True),
    ],
)
def test_flags_follow_dockers_rule(text: str, wanted: bool) -> None:
    assert decode.flag(query(text), "a") is wanted


@pytest.mark.parametrize("text", ["x", "1.5", "1_0", "٣", "9" * 30, "0x1", "--1"])
def test_bad_numbers_are_refused_by_name(text: str) -> None:
    with pytest.raises(InvalidParameter, match="for t"):
        decode.number(query(f"t={text}"), "t")


def test_numbers_have_defaults() -> None:
    assert decode.number(query("t=-1"), "t") == -1
    assert decode.number(query("t="), "t") is None
    assert decode.number(query(""), "t", 7) == 7


@pytest.mark.parametrize("text", ["h=1", "h=1&w=-1", "h=65536&w=1", "h=a&w=1", "h=&w=1"])
def test_bad_terminal_sizes_are_refused(text: str) -> None:
    with pytest.raises(InvalidParameter):
        decode.terminal_size(query(text))


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        ('{"label":["a=b","c"]}', {"label": ["a=b", "c"]}),
        ('{"type":{"container":true,"image":false}}', {"type": ["container"]}),
        ("{}", {}),
        ("", {}),
    ],
)
def test_filters_are_read_in_both_forms(value: str, wanted: dict[str, list[str]]) -> None:
    assert decode.filters(query(f"filters={value}")) == wanted


@pytest.mark.parametrize("value", ["x", "[]", '{"a":"b"}', '{"a":[1]}', '{"a":null}', "[" * 100_000])
def test_bad_filters_are_refused(value: str) -> None:
    with pytest.raises(InvalidParameter, match="invalid filter"):
        decode.filters(query(f"filters={value}"))


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        ("", 0),
        ("0", 0),
        ("1700000000", 1_700_000_000 * 10**9),
        ("1700000000.5", 1_700_000_000_500_000_000),
        ("1700000000.123456789", 1_700_000_000_123_456_789),
        ("2023-11-14T22:13:20Z", 1_700_000_000 * 10**9),
        ("2023-11-14T23:13:20+01:00", 1_700_000_000 * 10**9),
    ],
)
def test_timestamps_are_read(value: str, wanted: int) -> None:
    assert decode.nanos(value) == wanted


@pytest.mark.parametrize("value", ["x", "1.x", "1.-5", "²", "1e9", "2023-99-99", "--5"])
def test_bad_timestamps_are_refused(value: str) -> None:
    with pytest.raises(InvalidParameter, match="timestamp"):
        decode.nanos(value)
