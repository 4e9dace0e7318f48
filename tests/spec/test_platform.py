"""Platforms: parsed, normalised and matched as containerd does."""

import pytest

from havre.errors import InvalidParameter
from havre.spec import platform as platforms
from havre.spec.image import Platform


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("linux/amd64", "linux/amd64"),
        ("linux/x86_64", "linux/amd64"),
        ("Linux/AMD64", "linux/amd64"),
        ("linux/aarch64", "linux/arm64"),
        ("linux/arm64/v8", "linux/arm64"),
        ("linux/arm", "linux/arm/v7"),
        ("linux/armhf", "linux/arm/v7"),
        ("linux/arm/6", "linux/arm/v6"),
        ("linux/i386", "linux/386"),
        ("windows/amd64", "windows/amd64"),
    ],
)
def test_platform_is_normalised(text: str, shown: str) -> None:
    assert str(platforms.parse(text)) == shown


def test_half_a_platform_is_completed_from_the_host() -> None:
    host = platforms.host_platform()
    assert platforms.parse("linux") == Platform("linux", host.architecture, host.variant)
    assert platforms.parse("arm64") == Platform("linux", "arm64")


@pytest.mark.parametrize(
    "text", ["", "/", "linux/", "linux/amd64/v1/x", "vax", "linux/a b", "../..", "linux/\n"]
)
def test_nonsense_is_refused(text: str) -> None:
    with pytest.raises(InvalidParameter, match="invalid platform"):
        platforms.parse(text)


def test_best_offer_is_chosen() -> None:
    offered = [
        platforms.parse(one)
        for one in ("linux/386", "linux/arm/v6", "linux/arm/v7", "linux/amd64", "windows/amd64")
    ]
    assert platforms.choose(offered, Platform("linux", "amd64")) == 3
    assert platforms.choose(offered[:3], Platform("linux", "amd64")) == 0
    assert platforms.choose(offered, Platform("linux", "arm64")) == 2
    assert platforms.choose(offered, platforms.parse("linux/arm/v6")) == 1
    assert platforms.choose(offered, platforms.parse("linux/arm/v5")) == -1
    assert platforms.choose(offered, platforms.parse("linux/s390x")) == -1
    assert platforms.choose([], Platform("linux", "amd64")) == -1
