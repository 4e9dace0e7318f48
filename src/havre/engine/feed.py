"""A container's stats on their way from the one that reads them to all who look."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

Sample = dict[str, Any]


class Feed:
    """The samples of one container. A follower that is slow misses some; nothing is kept for it."""

    def __init__(self) -> None:
        self.followers = 0
        self._number = 0
        self._pair: tuple[Sample, Sample | None] | None = None
        self._changed = asyncio.Event()
        self._ended = False

    def publish(self, sample: Sample) -> None:
        self._pair = (sample, self._pair[0] if self._pair else None)
        self._number += 1
        self._wake()

    def end(self) -> None:
        """The container has been removed: nothing more comes."""
        self._ended = True
        self._wake()

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    async def pairs(self) -> AsyncIterator[tuple[Sample, Sample | None]]:
        """Yield (sample, the one before it), beginning with what is there."""
        seen = 0
        while not self._ended:
            if self._pair is not None and self._number > seen:
                seen = self._number
                yield self._pair
            else:
                await self._changed.wait()
