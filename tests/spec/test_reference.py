"""References parse as Docker parses them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from havre.errors import InvalidParameter
from havre.spec import reference as references

HEX = "a" * 64


@pytest.mark.parametrize(
    ("text", "canonical", "familiar"),
    [
        ("busybox", "docker.io/library/busybox:latest", "busybox:latest"),
        ("busybox:1.36", "docker.io/library/busybox:1.36", "busybox:1.36"),
        ("docker.io/busybox", "docker.io/library/busybox:latest", "busybox:latest"),
        ("index.docker.io/library/busybox", "docker.io/library/busybox:latest", "busybox:latest"),
        ("nginx/unit", "docker.io/nginx/unit:latest", "nginx/unit:latest"),
        ("localhost/a", "localhost/a:latest", "localhost/a:latest"),
        ("localhost:5000/a/b:1", "localhost:5000/a/b:1", "localhost:5000/a/b:1"),
        ("127.0.0.1:5057/ha/bb", "127.0.0.1:5057/ha/bb:latest", "127.0.0.1:5057/ha/bb:latest"),
        ("[::1]:5000/a", "[::1]:5000/a:latest", "[::1]:5000/a:latest"),
        ("Host/a", "Host/a:latest", "Host/a:latest"),
        ("a/b/c", "docker.io/a/b/c:latest", "a/b/c:latest"),
        ("a__b/c-d.e--f", "docker.io/a__b/c-d.e--f:latest", "a__b/c-d.e--f:latest"),
        (f"busybox@sha256:{HEX}", f"docker.io/library/busybox@sha256:{HEX}", f"busybox@sha256:{HEX}"),
        (f"a:1@sha256:{HEX}", f"docker.io/library/a:1@sha256:{HEX}", f"a:1@sha256:{HEX}"),
        ("a:" + "t" * 128, "docker.io/library/a:" + "t" * 128, "a:" + "t" * 128),
        ("a:_x", "docker.io/library/a:_x", "a:_x"),
    ],
)
def test_reference_has_its_full_and_its_familiar_form(text: str, canonical: str, familiar: str) -> None:
    found = references.parse(text)
    assert found.canonical() == canonical
    assert found.familiar() == familiar
    assert references.parse(found.canonical()) == found


@pytest.mark.parametrize(
    "text",
    [
        *(
            "",
            " ",
            ":",
            "@",
            "a:",
            "a@",
            "/a",
            "a/",
            "a//b",
            "-a",
            "a-",
            "a..b",
            "a___b",
            "a:-x",
            "a:" + "t" * 129,
        ),
        *(
            "a b",
            "a\n",
            "a:x\n",
            "ä",
            "a:ä",
            "http://a/b",
            "a@sha256:abc",
            f"a@sha256:{HEX.upper()}",
            f"a@md5:{HEX}",
        ),
        *("a/../b", "..", ".", "a\0", "a%2fb", f"a@sha256:{HEX}@sha256:{HEX}", "host:x/a", "docker.io/"),
    ],
)
def test_reference_is_refused_in_dockers_words(text: str) -> None:
    with pytest.raises(InvalidParameter, match="invalid reference format"):
        references.parse(text)


def test_upper_case_is_said_to_be_the_reason() -> None:
    with pytest.raises(
        InvalidParameter,
        match=r"invalid reference format: repository name \(library/BusyBox\) must be lowercase",
    ):
        references.parse("BusyBox")


def test_bare_hexadecimal_id_is_no_name() -> None:
    with pytest.raises(InvalidParameter, match="64-byte hexadecimal"):
        references.parse(HEX)


def test_long_name_is_refused_and_not_echoed_whole() -> None:
    with pytest.raises(InvalidParameter, match="must not be more than 255 characters") as caught:
        references.parse("a/" * 5000 + "b")
    assert len(str(caught.value)) < 1000


def test_tag_is_left_out_when_asked() -> None:
    assert references.parse("a", default_tag=False).tag == ""
    assert references.parse("a:1", default_tag=False).with_tag("2").canonical() == "docker.io/library/a:2"


@given(st.text(max_size=80))
def test_anything_parses_or_is_refused_cleanly(text: str) -> None:
    try:
        found = references.parse(text)
    except InvalidParameter:
        return
    assert references.parse(found.canonical()) == found
    assert references.parse(found.familiar()) == found
    assert not any(char.isspace() or char == "\0" for char in found.canonical())
