"""Who must prove who he is."""

import asyncio
import ssl
from pathlib import Path

import pytest

from havre.errors import InvalidParameter, Unavailable
from havre.registry.origin import origin_of
from havre.registry.trust import Trust


def insecure(trust: Trust, url: str) -> bool:
    return asyncio.run(trust.is_insecure(origin_of(url)))


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://127.0.0.1:5000", True),
        ("https://127.9.9.9", True),
        ("https://localhost:5000", True),
        ("https://[::1]:5000", True),
        ("https://192.0.2.1:5000", False),
        ("https://registry.example", False),
        ("https://localhost.example", False),
    ],
)
def test_only_this_machine_is_insecure_without_configuration(
    url: str, expected: bool, tmp_path: Path
) -> None:
    assert insecure(Trust((), (str(tmp_path),)), url) == expected


def test_configured_names_and_networks_are_insecure(tmp_path: Path) -> None:
    trust = Trust(("Reg.lan:5000", "192.0.2.0/24", "http://other.lan/"), (str(tmp_path),))
    assert insecure(trust, "https://reg.lan:5000")
    assert not insecure(trust, "https://reg.lan:5001")
    assert insecure(trust, "https://192.0.2.77:5000")
    assert insecure(trust, "https://other.lan")
    assert not insecure(trust, "https://198.51.100.1")


def test_loopback_must_prove_itself_when_a_ca_is_set_up_for_it(tmp_path: Path, certs: Path) -> None:
    folder = tmp_path / "127.0.0.1:5000"
    folder.mkdir()
    (folder / "ca.crt").write_bytes((certs / "ca.crt").read_bytes())
    trust = Trust((), (str(tmp_path),))
    assert not insecure(trust, "https://127.0.0.1:5000")
    assert insecure(trust, "https://127.0.0.1:5001")
    context = trust.context(origin_of("https://127.0.0.1:5000"), insecure=False)
    assert context.verify_mode == ssl.CERT_REQUIRED
    assert any("havre test CA" in str(ca["subject"]) for ca in context.get_ca_certs())


def test_broken_ca_file_is_named(tmp_path: Path) -> None:
    folder = tmp_path / "r.example:443"
    folder.mkdir()
    (folder / "ca.crt").write_text("nonsense")
    with pytest.raises(Unavailable, match=r"cannot use .*r\.example:443/ca\.crt"):
        Trust((), (str(tmp_path),)).context(origin_of("https://r.example"), insecure=False)


def test_nonsense_network_is_refused() -> None:
    with pytest.raises(InvalidParameter, match=r"insecure registry '10\.0\.0/99' is not valid"):
        Trust(("10.0.0/99",))
