"""Files without records are set aside, not swept."""

from pathlib import Path

from havre.daemon.lost import set_aside


def test_files_are_moved_when_the_records_are_gone(tmp_path: Path) -> None:
    (tmp_path / "containers/c1").mkdir(parents=True)
    (tmp_path / "image/layers/1/diff").mkdir(parents=True)
    set_aside(tmp_path)
    (place,) = tmp_path.glob("lost-*")
    assert (place / "containers/c1").is_dir() and (place / "image/layers/1/diff").is_dir()
    assert not any((tmp_path / "containers").iterdir()) and not (tmp_path / "image").exists()


def test_nothing_is_moved_beside_records_or_on_a_first_start(tmp_path: Path) -> None:
    (tmp_path / "containers").mkdir()
    for name in ("layers", "snapshots", "blobs/sha256"):
        (tmp_path / "image" / name).mkdir(parents=True)
    set_aside(tmp_path)
    assert not list(tmp_path.glob("lost-*"))
    (tmp_path / "containers/c1").mkdir()
    (tmp_path / "havre.db").touch()
    set_aside(tmp_path)
    assert not list(tmp_path.glob("lost-*"))
