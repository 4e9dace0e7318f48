"""Which volumes are being given to a container, or taken away: between a check and what follows it, nothing may come in. Loop only."""

from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from havre.errors import Conflict


class Claims:
    """Names that are on their way. A container's record holds its volumes from when it is stored; this covers the time before."""

    def __init__(self) -> None:
        self._held: Counter[str] = Counter()
        self._going: set[str] = set()

    @contextmanager
    def hold(self, names: Iterable[str]) -> Iterator[None]:
        """Nobody removes these meanwhile. Raises Conflict for one that is being removed."""
        kept = set(names)
        if going := sorted(kept & self._going):
            raise Conflict(f"volume {going[0]} is being removed", hint="try again")
        self._held.update(kept)
        try:
            yield
        finally:
            self._held.subtract(kept)

    @contextmanager
    def removing(self, name: str) -> Iterator[None]:
        """Nobody begins to use this one meanwhile. Raises Conflict when somebody has."""
        if self._held[name] or name in self._going:
            raise Conflict(f"remove {name}: volume is in use")
        self._going.add(name)
        try:
            yield
        finally:
            self._going.discard(name)
