"""The store of volumes: names, options, removal that survives a crash."""

from pathlib import Path

import pytest

from havre.errors import Conflict, HavreError, NotFound
from havre.store import Records
from havre.volume.volumes import KIND, Volumes


@pytest.fixture
def records(tmp_path: Path) -> Records:
    return Records(tmp_path / "havre.db")


def test_a_volume_is_a_directory_that_is_found_again(tmp_path: Path, records: Records) -> None:
    made = Volumes(tmp_path / "volumes", records).create("data", labels={"a": "b"})[0]
    Path(made.path, "file").write_text("x")
    again = Volumes(tmp_path / "volumes", records)
    assert again.get("data") == made
    assert again.create("data") == (made, False)
    assert [one.name for one in again.list()] == ["data"]
    assert (tmp_path / "volumes").stat().st_mode & 0o077 == 0o001


@pytest.mark.parametrize("name", ["", "a", "../x", "a/b", "-a", ".a", "a\0b", "a" * 256, "ä" * 3])
def test_a_name_that_is_none_never_becomes_a_path(tmp_path: Path, records: Records, name: str) -> None:
    with pytest.raises(HavreError):
        Volumes(tmp_path / "volumes", records).create(name)
    assert list((tmp_path / "volumes").iterdir()) == []


def test_a_host_directory_is_a_volume_by_bind_options(tmp_path: Path, records: Records) -> None:
    volumes = Volumes(tmp_path / "volumes", records)
    wanted = {"type": "none", "o": "bind", "device": str(tmp_path)}
    assert volumes.create("here", wanted)[0].path == str(tmp_path)
    assert volumes.size_bytes(volumes.get("here")) == -1
    with pytest.raises(Conflict):
        volumes.create("here", {**wanted, "device": "/"})
    volumes.remove("here")
    assert tmp_path.exists()


@pytest.mark.parametrize(
    "options",
    [
        {"x": "y"},
        {"type": "nfs", "o": "addr=x", "device": ":/x"},
        {"type": "none", "o": "bind"},
        {"o": "bind", "device": "x"},
    ],
)
def test_options_that_cannot_be_followed_are_refused(
    tmp_path: Path, records: Records, options: dict[str, str]
) -> None:
    volumes = Volumes(tmp_path / "volumes", records)
    with pytest.raises(HavreError):
        volumes.create("data", options)
    assert volumes.list() == []


@pytest.fixture
def cut_short(tmp_path: Path, records: Records, monkeypatch: pytest.MonkeyPatch) -> Volumes:
    """A volume whose removal a crash has cut short."""
    volumes = Volumes(tmp_path / "volumes", records)
    Path(volumes.create("data")[0].path, "file").write_text("x")
    with monkeypatch.context() as patch:
        patch.setattr(Volumes, "_drop", lambda self, name: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            volumes.remove("data")
    with pytest.raises(NotFound):
        volumes.get("data")
    return volumes


def test_a_removal_that_a_crash_cut_short_is_finished(
    cut_short: Volumes, tmp_path: Path, records: Records
) -> None:
    assert Volumes(tmp_path / "volumes", records).list() == []
    assert not (tmp_path / "volumes/data").exists()
    assert records.get(KIND, "data") is None


def test_a_new_volume_has_nothing_of_the_one_whose_removal_was_cut_short(cut_short: Volumes) -> None:
    made, new = cut_short.create("data")
    assert new
    assert list(Path(made.path).iterdir()) == []
    assert cut_short.list() == [made]
