"""HEALTHCHECK of import --change."""

import pytest

from havre.errors import InvalidParameter
from havre.image.healthcheck import parse


def test_parse_makes_what_an_image_holds() -> None:
    assert parse("NONE") == {"Test": ["NONE"]}
    assert parse("CMD curl -f http://localhost/") == {"Test": ["CMD-SHELL", "curl -f http://localhost/"]}
    assert parse('--interval=5s --retries=2 CMD ["a", "b"]') == {
        "Test": ["CMD", "a", "b"],
        "Interval": 5 * 10**9,
        "Retries": 2,
    }


@pytest.mark.parametrize(
    "text",
    [
        "CMD",
        "RUN x",
        "--interval=x CMD a",
        "--bogus=1s CMD a",
        "--retries=-1 CMD a",
        "--interval=1ns CMD a",
        "NONE x",
        "",
    ],
)
def test_bad_instructions_are_refused(text: str) -> None:
    with pytest.raises(InvalidParameter):
        parse(text)
