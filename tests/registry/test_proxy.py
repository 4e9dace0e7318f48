"""Which proxy is used for whom."""

import pytest

from havre.registry.origin import origin_of
from havre.registry.proxy import proxy_for

ENV = {"https_proxy": "http://u:p%40@proxy:3128", "HTTP_PROXY": "proxy2:80"}


def test_proxy_is_chosen_by_scheme_and_keeps_its_password_out_of_repr() -> None:
    found = proxy_for(origin_of("https://r.example"), ENV)
    assert found and str(found.origin) == "proxy:3128" and found.authorization == "Basic dTpwQA=="
    assert "dTpwQA" not in repr(found)
    plain = proxy_for(origin_of("http://r.example"), ENV)
    assert plain and str(plain.origin) == "proxy2" and plain.authorization == ""


@pytest.mark.parametrize("url", ["https://127.0.0.1:5000", "https://localhost", "https://[::1]:5000"])
def test_no_proxy_for_this_machine(url: str) -> None:
    assert proxy_for(origin_of(url), ENV) is None


@pytest.mark.parametrize(
    ("no_proxy", "url", "direct"),
    [
        ("*", "https://a.example", True),
        ("example", "https://a.example", True),
        (".example", "https://a.example", True),
        ("ample", "https://a.example", False),
        ("a.example:5000", "https://a.example:5000", True),
        ("a.example:5000", "https://a.example", False),
        ("10.0.0.0/8, x", "https://10.1.2.3", True),
        ("10.0.0.0/8", "https://11.1.2.3", False),
        ("", "https://a.example", False),
    ],
)
def test_no_proxy_words(no_proxy: str, url: str, direct: bool) -> None:
    assert (proxy_for(origin_of(url), {**ENV, "NO_PROXY": no_proxy}) is None) == direct


def test_no_proxy_at_all_without_variables() -> None:
    assert proxy_for(origin_of("https://a.example"), {}) is None
