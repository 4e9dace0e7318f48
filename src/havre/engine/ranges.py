"""Ranges of host ids for containers that want one of their own: found among what is free, held until the container is stored.

What is taken stands in the containers' own records, so it survives the daemon and is given back by their removal. Pure but for
the reservations of creates that are on their way; used from the event loop only.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

from havre.errors import Conflict
from havre.spec.idmaps import IdMaps, Span, outside

SHOWN = 20  # holders that an error lists


class Held(NamedTuple):
    """A range and who has it."""

    start: int
    size: int
    holder: str


class Ranges:
    """The pool of one daemon."""

    def __init__(self, pool: Sequence[Span], first: int = 0, reserved: Iterable[Span] = ()) -> None:
        self._pool = pool
        self._first = first  # where to begin: two daemons on one pool begin in different places
        self._reserved = [Held(start, size, "userns-remap") for start, size in reserved]
        self._coming: dict[str, tuple[str, IdMaps | None]] = {}

    @contextmanager
    def hold(
        self, key: str, name: str, make: Callable[["Free"], IdMaps | None], stored: Iterable[Held]
    ) -> Iterator[IdMaps | None]:
        """Keep what `make` chooses until the container is stored or has failed. Raises Conflict when nothing is free."""
        coming = [held for who, maps in self._coming.values() for held in holds(who, maps)]
        maps = make(Free(self._pool, self._first, [*self._reserved, *stored, *coming]))
        self._coming[key] = (name, maps)
        try:
            yield maps
        finally:
            del self._coming[key]


class Free(NamedTuple):
    """What is there at one moment."""

    pool: Sequence[Span]
    first: int
    taken: Sequence[Held]

    def take(self, size: int) -> int:
        """Return the start of a free range. Raises Conflict naming the holders."""
        gaps = [gap for span in self.pool for gap in _gaps(span, self.taken)]
        later = [(max(start, self.first), start + length) for start, length in gaps]
        for start, end in [*later, *((start, start + length) for start, length in gaps)]:
            if end - start >= size:
                return start
        raise Conflict(
            f"no {size} ids in a row are free for a user namespace: {describe(self.pool, self.taken)}",
            hint="havre rm what is not needed, a smaller --userns auto:size=NUMBER, or more ids in /etc/subuid and /etc/subgid",
        )


def holds(name: str, maps: IdMaps | None) -> list[Held]:
    """Return what a container holds."""
    if maps is None:
        return []
    return [Held(start, size, name) for start, size in dict.fromkeys(outside(maps))]


def _gaps(span: Span, taken: Sequence[Held]) -> Iterator[Span]:
    """The free parts of a span, in order."""
    start, end = span[0], span[0] + span[1]
    for held in sorted(taken):
        if held.start >= end:
            break
        if held.start > start:
            yield start, held.start - start
        start = max(start, held.start + held.size)
    if end > start:
        yield start, end - start


def describe(pool: Sequence[Span], taken: Sequence[Held]) -> str:
    """Say how much there is and who has what of it."""
    there = ", ".join(f"{start}-{start + size - 1}" for start, size in pool) or "none"
    inside = sorted({held for held in taken if any(_meet(held, span) for span in pool)})
    listed = [f"{held.holder} has {held.start}-{held.start + held.size - 1}" for held in inside[:SHOWN]]
    if len(inside) > SHOWN:
        listed.append(f"and {len(inside) - SHOWN} more")
    return f"the ids are {there}; " + (", ".join(listed) or "nobody has any of them")


def _meet(held: Held, span: Span) -> bool:
    return held.start < span[0] + span[1] and span[0] < held.start + held.size
