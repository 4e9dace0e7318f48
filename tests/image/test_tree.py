"""Trees of any depth go without following a link; the trash is emptied in the background and after a crash."""

import os
import time
from pathlib import Path

from havre.image.tree import Trash, remove_tree


def _deep(root: Path, depth: int) -> None:
    fd = os.open(root, os.O_RDONLY)
    for _ in range(depth):
        os.mkdir("d", dir_fd=fd)
        os.close(os.open("f", os.O_CREAT | os.O_WRONLY, dir_fd=fd))
        inner = os.open("d", os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = inner
    os.close(fd)


def test_remove_tree_takes_very_deep_trees(tmp_path):
    root = tmp_path / "t"
    root.mkdir()
    _deep(root, 2500)
    before = len(os.listdir("/proc/self/fd"))
    remove_tree(None, str(root))
    assert not root.exists()
    assert len(os.listdir("/proc/self/fd")) == before


def test_remove_tree_does_not_follow_links(tmp_path):
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/f").write_text("x")
    root = tmp_path / "t"
    (root / "a").mkdir(parents=True)
    (root / "a/l").symlink_to(tmp_path / "outside")
    os.mkfifo(root / "a/fifo")
    remove_tree(None, str(root))
    assert (tmp_path / "outside/f").read_text() == "x" and not root.exists()


def test_remove_tree_of_nothing_is_fine(tmp_path):
    remove_tree(None, str(tmp_path / "missing"))


def test_throw_takes_the_name_at_once_and_the_bytes_soon(tmp_path):
    trash = Trash(tmp_path)
    folder = tmp_path / "x"
    folder.mkdir()
    (folder / "f").write_text("1")
    trash.throw(folder)
    assert not folder.exists()
    trash.throw(folder)  # a missing one
    deadline = time.monotonic() + 10
    while os.listdir(tmp_path / "trash") and time.monotonic() < deadline:
        trash.empty()
    assert os.listdir(tmp_path / "trash") == []


def test_trash_left_by_a_crash_goes_at_the_next_start(tmp_path):
    (tmp_path / "trash/old/dir").mkdir(parents=True)
    Trash(tmp_path).empty()
    assert os.listdir(tmp_path / "trash") == []
