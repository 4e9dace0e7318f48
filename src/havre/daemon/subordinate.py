"""Who may map which ids: /etc/passwd, /etc/group, /etc/subuid, /etc/subgid (subuid(5)), with dockerd's checks and words. Blocking.

`Accounts` reads one directory of such files; NSS is asked for users that the files do not have. Nothing is written here.
"""

import grp
import pwd
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

from havre import log
from havre.errors import InvalidParameter
from havre.spec.idmaps import IdMaps, Span, chained

DEFAULT_USER = "dockremap"  # who --userns-remap=default means
MAX_ID = 0xFFFFFFFE
MAX_LINES = 340  # UID_GID_MAP_MAX_EXTENTS, kernel/user_namespace.c
# For containers with a range of their own when nobody has a line for them. systemd's table of uids calls 1879048192-2147352575 unused.
POOL: Span = (1879048192, 1024 * 65536)


class Accounts:
    """The account files below one directory."""

    def __init__(self, etc: Path = Path("/etc")) -> None:
        self.etc = etc

    def rows(self, name: str) -> Iterator[list[str]]:
        """Return the fields of each line; nothing for a file that is not there."""
        try:
            text = (self.etc / name).read_text(encoding="utf-8", errors="replace")
        except FileNotFoundError:
            return
        for line in text.splitlines():
            if line.strip() and not line.startswith("#"):
                yield line.strip().split(":")

    def user(self, word: str | int) -> tuple[str, int] | None:
        """Return (name, uid) of a name or a uid."""
        for row in self.rows("passwd"):
            if len(row) > 2 and row[2].isdigit() and word in (row[0], int(row[2])):
                return row[0], int(row[2])
        try:
            entry = pwd.getpwuid(word) if isinstance(word, int) else pwd.getpwnam(word)
        except (KeyError, OverflowError):
            return None
        return entry.pw_name, entry.pw_uid

    def group(self, word: str | int) -> tuple[str, int] | None:
        """Return (name, gid) of a name or a gid."""
        for row in self.rows("group"):
            if len(row) > 2 and row[2].isdigit() and word in (row[0], int(row[2])):
                return row[0], int(row[2])
        try:
            entry = grp.getgrgid(word) if isinstance(word, int) else grp.getgrnam(word)
        except (KeyError, OverflowError):
            return None
        return entry.gr_name, entry.gr_gid

    def ranges(self, name: str, *owners: str) -> list[Span]:
        """Return the ranges of a user (by name or uid) in subuid or subgid, all of them without owners, in the file's order.

        Raises InvalidParameter for a line that is no range, ranges that meet, or more of them than the kernel maps.
        """
        found: list[Span] = []
        for row in self.rows(name):
            if owners and row[0] not in owners:
                continue
            start, size = (int(word) if word.isdigit() else -1 for word in [*row, "", ""][1:3])
            if len(row) != 3 or start < 0 or size < 0 or start + size - 1 > MAX_ID:
                if owners:
                    raise InvalidParameter(
                        f"{':'.join(row)!r} is no range of ids", context=str(self.etc / name)
                    )
                continue
            if size:
                found.append((start, size))
        if owners and _meet(found):
            raise InvalidParameter(f"the ranges of {owners[0]!r} overlap", context=str(self.etc / name))
        if len(found) > MAX_LINES and owners:
            raise InvalidParameter(
                f"{owners[0]!r} has {len(found)} ranges, the kernel maps {MAX_LINES}",
                context=str(self.etc / name),
            )
        return found


def _meet(spans: list[Span]) -> bool:
    ordered = sorted(spans)
    return any(start + size > following for (start, size), (following, _) in pairwise(ordered))


def read_remap(accounts: Accounts, word: str) -> tuple[str, IdMaps | None]:
    """Return ("user:group", maps) of a --userns-remap word; no maps for root, who cannot be remapped with itself.

    "default", "user", "uid", "user:group", "uid:gid" and mixtures. Raises InvalidParameter in dockerd's words.
    """
    user, group = _parse(accounts, word)
    if user[0] == "root":
        log.warn("User namespaces: root cannot be remapped with itself; user namespaces are OFF")
        return f"{user[0]}:{group}", None
    maps = []
    for name in ("subuid", "subgid"):
        spans = accounts.ranges(name, user[0], str(user[1]))
        if not spans:
            raise InvalidParameter(
                f'Can\'t create ID mappings: no {name} ranges found for user "{user[0]}"',
                hint=f"echo {user[0]}:{next_start(accounts)}:65536 | tee -a {accounts.etc}/subuid {accounts.etc}/subgid",
            )
        maps.append(spans)
    return f"{user[0]}:{group}", chained(*maps)


def _parse(accounts: Accounts, text: str) -> tuple[tuple[str, int], str]:
    name, colon, group_word = text.partition(":")
    if not name or ":" in group_word or (colon and not group_word):
        raise InvalidParameter(
            f'invalid user/group specification in --userns-remap: "{text}"',
            hint="default, USER, USER:GROUP or UID:GID",
        )
    name = DEFAULT_USER if name == "default" else name
    user = accounts.user(int(name) if name.isdigit() else name)
    if user is None:
        said = (
            f"Uid {name} has no entry in /etc/passwd"
            if name.isdigit()
            else f'Error during uid lookup for "{name}": no such user'
        )
        raise InvalidParameter(said, hint=f"useradd --system {name if not name.isdigit() else DEFAULT_USER}")
    wanted: str | int = group_word or (user[1] if name.isdigit() else user[0])
    if isinstance(wanted, str) and wanted.isdigit():
        wanted = int(wanted)
    group = accounts.group(wanted)
    if group is None:
        if isinstance(wanted, int):
            raise InvalidParameter(f"Gid {wanted} has no entry in /etc/group")
        raise InvalidParameter(
            f'Error during gid lookup for "{wanted}": no such group', hint=f"groupadd --system {wanted}"
        )
    return user, group[0]


def next_start(accounts: Accounts) -> int:
    """Where the next range may begin: behind all others, as useradd does."""
    every = [*accounts.ranges("subuid"), *accounts.ranges("subgid")]
    return max([100000, *(start + size for start, size in every if start < POOL[0])])


def read_pool(accounts: Accounts, user: str) -> tuple[Span, ...]:
    """Return the ids for containers with a range of their own: those of `user` in subuid and subgid, else POOL if nobody has any of it."""
    names = [user, *(str(found[1]) for found in [accounts.user(user)] if found)]
    uids, gids = (accounts.ranges(name, *names) for name in ("subuid", "subgid"))
    if uids or gids:
        return tuple(_common(uids, gids))
    every = [*accounts.ranges("subuid"), *accounts.ranges("subgid")]
    if any(start < POOL[0] + POOL[1] and POOL[0] < start + size for start, size in every):
        return ()
    return (POOL,)


def _common(uids: list[Span], gids: list[Span]) -> Iterator[Span]:
    """What is in both: a container has the same numbers as users and as groups."""
    for one_start, one_size in uids:
        for start, size in gids:
            low, high = max(one_start, start), min(one_start + one_size, start + size)
            if low < high:
                yield low, high - low
