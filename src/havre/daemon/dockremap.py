"""The user of --userns-remap=default, made when it is not there, as dockerd does; in place of useradd, which a daemon may not run.

Under the lock that useradd takes (lckpwdf(3): a write lock on /etc/.pwd.lock). Each file is written beside and renamed.
"""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from havre import log
from havre.daemon.subordinate import DEFAULT_USER, Accounts, next_start
from havre.errors import HavreError, Unavailable

LOCK_TIMEOUT_S = 15.0  # as glibc's lckpwdf
LOCK_PAUSE_S = 0.1
SIZE = 65536
SYSTEM_IDS = range(999, 100, -1)  # Debian's SYS_UID_MAX down, as useradd --system takes them


def make(accounts: Accounts) -> None:
    """Add the group, the user and its ranges, each if it is missing. Raises HavreError with the commands to type instead."""
    if _complete(accounts):
        return
    try:
        with _locked(accounts.etc / ".pwd.lock"):
            _add(accounts)
    except OSError as error:
        raise HavreError(
            f"cannot make the user {DEFAULT_USER}: {error.filename}: {(error.strerror or '').lower()}",
            hint=f"useradd --system --user-group {DEFAULT_USER} && "
            f"echo {DEFAULT_USER}:{next_start(accounts)}:{SIZE} | tee -a {accounts.etc}/subuid {accounts.etc}/subgid",
        ) from error
    log.info("made the user of --userns-remap=default", user=DEFAULT_USER)


def _complete(accounts: Accounts) -> bool:
    user = accounts.user(DEFAULT_USER)
    names = [DEFAULT_USER, *([str(user[1])] if user else [])]
    return bool(
        user
        and accounts.group(DEFAULT_USER)
        and accounts.ranges("subuid", *names)
        and accounts.ranges("subgid", *names)
    )


def _add(accounts: Accounts) -> None:
    user, group = accounts.user(DEFAULT_USER), accounts.group(DEFAULT_USER)
    number = user[1] if user else group[1] if group else _free_id(accounts)
    if group is None:
        _append(accounts.etc / "group", f"{DEFAULT_USER}:x:{number}:")
    if user is None:
        gid = group[1] if group else number
        _append(accounts.etc / "passwd", f"{DEFAULT_USER}:*:{number}:{gid}::/nonexistent:/usr/sbin/nologin")
    start = next_start(accounts)
    for name in ("subuid", "subgid"):
        if not accounts.ranges(name, DEFAULT_USER, str(number)):
            _append(accounts.etc / name, f"{DEFAULT_USER}:{start}:{SIZE}")


def _free_id(accounts: Accounts) -> int:
    """A number that is neither a user's nor a group's."""
    for number in SYSTEM_IDS:
        if accounts.user(number) is None and accounts.group(number) is None:
            return number
    raise HavreError("no system user id from 101 to 999 is free", hint=f"useradd {DEFAULT_USER}")


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        until = time.monotonic() + LOCK_TIMEOUT_S
        while not _lock(fd):
            if time.monotonic() > until:
                raise Unavailable(f"{path} is locked by another program", hint=f"fuser {path}")
            time.sleep(LOCK_PAUSE_S)
        yield
    finally:
        os.close(fd)


def _lock(fd: int) -> bool:
    try:
        fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    return True


def _append(path: Path, line: str) -> None:
    """Put a line at a file's end, in one step; owner and mode stay."""
    try:
        before, status = path.read_bytes(), path.stat()
        mode, owner = status.st_mode & 0o7777, (status.st_uid, status.st_gid)
    except FileNotFoundError:
        before, mode, owner = b"", 0o644, (0, 0)
    gap = b"" if not before or before.endswith(b"\n") else b"\n"
    real = Path(os.path.realpath(path))
    beside = real.with_name(f"{real.name}.havre")
    try:
        fd = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        with open(fd, "wb") as file:
            file.write(before + gap + line.encode() + b"\n")
            file.flush()
            os.fchown(fd, *owner)
            os.fchmod(fd, mode)
            os.fsync(fd)
        os.rename(beside, real)
    except OSError as error:
        beside.unlink(missing_ok=True)
        raise OSError(error.errno, error.strerror, str(path)) from error
