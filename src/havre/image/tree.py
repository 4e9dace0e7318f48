"""Remove directory trees, however deep they are, without following a link; and the trash, so that removing is a rename."""

import os
import threading
from pathlib import Path

from havre import log

DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def remove_tree(parent: int | None, name: str | bytes) -> None:
    """Remove a directory and all in it; `name` stands below the fd `parent`. A missing one is fine. Raises OSError."""
    try:
        top = os.open(name, DIRECTORY, dir_fd=parent)
    except FileNotFoundError:
        return
    try:
        _empty(top)
    finally:
        os.close(top)
    os.rmdir(name, dir_fd=parent)


def _empty(top: int) -> None:
    """Every directory that is not empty is first moved up into `top`: depth costs neither fds nor recursion."""
    mark = f".rm-{os.urandom(6).hex()}-"
    waiting = _unlink_files(top)
    serial = 0
    while waiting:
        name = waiting.pop()
        try:
            os.rmdir(name, dir_fd=top)
            continue
        except OSError:  # not empty
            fd = os.open(name, DIRECTORY, dir_fd=top)
        try:
            for inner in _unlink_files(fd):
                serial += 1
                os.rename(inner, f"{mark}{serial}", src_dir_fd=fd, dst_dir_fd=top)
                waiting.append(f"{mark}{serial}")
        finally:
            os.close(fd)
        os.rmdir(name, dir_fd=top)


def _unlink_files(fd: int) -> list[str]:
    """Unlink what is no directory; return the directories' names."""
    with os.scandir(fd) as found:
        entries = list(found)
    folders = []
    for entry in entries:
        if entry.is_dir(follow_symlinks=False):
            folders.append(entry.name)
        else:
            os.unlink(entry.name, dir_fd=fd)
    return folders


class Trash:
    """root/trash: what is thrown there is gone at once; a thread of its own deletes it. A crash leaves it for the next start."""

    def __init__(self, root: Path) -> None:
        self._path = root / "trash"
        self._path.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._lock = threading.Lock()  # held while deleting
        self._state = threading.Lock()
        self._busy = self._stuck = False
        self._start()

    def throw(self, path: Path) -> None:
        """Move a file or directory (on the same filesystem) away; a missing one is fine."""
        try:
            os.rename(path, self._path / f"{path.name}-{os.urandom(6).hex()}")
        except FileNotFoundError:
            return
        self._start()

    def empty(self) -> None:
        """Delete all that is there now. Blocking. What cannot be deleted holds up nothing else; raises OSError for it at the end."""
        failure: OSError | None = None
        with self._lock:
            for entry in list(os.scandir(self._path)):
                try:
                    if entry.is_dir(follow_symlinks=False):
                        remove_tree(None, entry.path)
                    else:
                        os.unlink(entry.path)
                except OSError as error:
                    failure = error
        if failure is not None:
            raise failure

    @property
    def stuck(self) -> bool:
        """Whether something could not be deleted."""
        return self._stuck

    def again(self) -> bool:
        """Try once more, here; say whether all is gone."""
        try:
            self.empty()
        except OSError:
            return False
        self._stuck = False
        return True

    def _start(self) -> None:
        with self._state:
            if not self._busy and os.listdir(self._path):
                try:
                    threading.Thread(target=self._work, name="havre-trash", daemon=True).start()
                    self._busy = True
                except RuntimeError:
                    pass  # no more threads: the next throw or start tries again

    def _work(self) -> None:
        try:
            while True:
                self.empty()
                with self._state:
                    if not os.listdir(self._path):
                        self._busy = False
                        return
        except OSError as error:  # a full, broken, read-only or removed disk
            with self._state:
                self._busy = False
                self._stuck = True
            log.warn("could not delete what was thrown away; trying again later", error=error)
