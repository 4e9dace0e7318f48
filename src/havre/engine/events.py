"""The one event bus: what happened, for `docker events` and for proxies that follow it."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

from havre.clock import now_nanos
from havre.engine.settings import EVENTS_KEPT

QUEUE_LENGTH = 4096  # a reader that is further behind is cut off rather than held in memory
Filters = Mapping[str, Sequence[str]]


class Events:
    """Publish never blocks and never fails; each subscriber has its own bounded queue."""

    def __init__(self) -> None:
        self._past: deque[dict[str, Any]] = deque(maxlen=EVENTS_KEPT)
        self._queues: set[asyncio.Queue[dict[str, Any] | None]] = set()

    def publish(self, kind: str, action: str, actor: str, attributes: Mapping[str, str]) -> None:
        """Tell everyone. `kind` is container, image, network, ...; the shape is the Engine API's EventMessage."""
        nanos = now_nanos()
        event: dict[str, Any] = {
            "Type": kind,
            "Action": action,
            "Actor": {"ID": actor, "Attributes": dict(attributes)},
            "scope": "local",
            "time": nanos // 1_000_000_000,
            "timeNano": nanos,
        }
        if kind in ("container", "image"):  # the fields of API < 1.22, which old readers still look at
            event.update(
                {
                    "status": action,
                    **({"id": actor} if actor else {}),
                    **({"from": attributes["image"]} if "image" in attributes else {}),
                }
            )
        self._past.append(event)
        for queue in list(self._queues):
            self._offer(queue, event)

    def _offer(self, queue: asyncio.Queue[dict[str, Any] | None], event: dict[str, Any]) -> None:
        if queue.qsize() < QUEUE_LENGTH:
            queue.put_nowait(event)
        else:
            self._queues.discard(queue)
            queue.put_nowait(None)

    def listeners(self) -> int:
        """How many follow the bus now."""
        return len(self._queues)

    async def subscribe(
        self, *, since_nanos: int = 0, until_nanos: int = 0, filters: Filters | None = None
    ) -> AsyncIterator[dict[str, Any]]:
        """Yield matching events: past ones when `since_nanos` is set, then live ones until `until_nanos` (0: for ever)."""
        queue: asyncio.Queue[dict[str, Any] | None] = asyncio.Queue()
        if since_nanos:
            for event in self._past:
                if event["timeNano"] >= since_nanos:
                    queue.put_nowait(event)
        self._queues.add(queue)
        try:
            async for event in _until(queue, until_nanos):
                if matches(event, filters or {}):
                    yield event
        finally:
            self._queues.discard(queue)


async def _until(
    queue: asyncio.Queue[dict[str, Any] | None], until_nanos: int
) -> AsyncIterator[dict[str, Any]]:
    while True:
        if queue.empty() and until_nanos:
            left = (until_nanos - now_nanos()) / 1e9
            if left <= 0:
                return
            try:
                event = await asyncio.wait_for(queue.get(), left)
            except TimeoutError:
                return
        else:
            event = await queue.get()
        if event is None or (until_nanos and event["timeNano"] > until_nanos):
            return
        yield event


def matches(event: Mapping[str, Any], filters: Filters) -> bool:
    """Say whether an event passes Docker's filters: any value of a key (every label, though), all keys."""
    return all(
        (all if key == "label" else any)(_match(event, key, value) for value in values)
        for key, values in filters.items()
        if values
    )


def _match(event: Mapping[str, Any], key: str, value: str) -> bool:
    attributes = event["Actor"]["Attributes"]
    if key == "type":
        return bool(event["Type"] == value)
    if key == "event":
        return bool(event["Action"] == value or event["Action"].startswith(value + ":"))
    if key == "label":
        name, _, wanted = value.partition("=")
        return name in attributes and (not wanted or attributes[name] == wanted)
    if key == "image":
        named = event["Actor"]["ID"] if event["Type"] == "image" else attributes.get("image", "")
        return bool(named == value or named.partition(":")[0] == value or attributes.get("name") == value)
    if key in (
        "container",
        "network",
        "volume",
        "plugin",
        "daemon",
        "builder",
        "config",
        "node",
        "secret",
        "service",
    ):
        actor = event["Actor"]["ID"]
        if event["Type"] == key:
            name = attributes.get("name", "")
            return bool(actor.startswith(value) or name.startswith(value.removeprefix("/")))
        return False  # a container's joining a network is the network's event
    return bool(key == "scope" and event["scope"] == value)
