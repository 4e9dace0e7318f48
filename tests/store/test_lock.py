"""Two daemons on one data root: the second is refused."""

import os
from pathlib import Path

import pytest

from havre.errors import Conflict
from havre.store import lock_data_root


def test_second_lock_is_refused_and_names_the_pid(tmp_path: Path) -> None:
    fd = lock_data_root(tmp_path)
    with pytest.raises(Conflict, match=f"pid {os.getpid()}"):
        lock_data_root(tmp_path)
    os.close(fd)
    os.close(lock_data_root(tmp_path))
