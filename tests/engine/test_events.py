"""The event bus: filters, past events, cut-off of slow readers."""

import asyncio

from havre.engine.events import QUEUE_LENGTH, Events, matches


def test_filters_match_by_any_value_and_all_keys() -> None:
    events = Events()
    events.publish("container", "die", "abc123", {"name": "web", "image": "nginx:1", "l": "v"})
    event = next(iter(events._past))
    assert matches(event, {"container": ["other", "web"], "event": ["die"]})
    assert matches(event, {"container": ["abc"], "label": ["l=v"], "image": ["nginx"]})
    assert not matches(event, {"type": ["image"]})
    assert matches(event, {"container": ["we"]})  # the beginning of a name is enough, as in Docker
    assert not matches(event, {"label": ["l=w"]})
    assert not matches(event, {"label": ["l=v", "m"]})


def test_subscribe_yields_past_then_live_until_the_end() -> None:
    async def work() -> list[str]:
        events = Events()
        events.publish("container", "start", "1", {})
        seen = []
        async for event in events.subscribe(since_nanos=1):
            seen.append(event["Action"])
            if len(seen) == 1:
                events.publish("container", "die", "1", {})
            else:
                return seen
        return seen

    assert asyncio.run(asyncio.wait_for(work(), 5)) == ["start", "die"]


def test_until_in_the_past_ends_at_once() -> None:
    async def work() -> list[object]:
        return [event async for event in Events().subscribe(until_nanos=1)]

    assert asyncio.run(asyncio.wait_for(work(), 5)) == []


def test_reader_that_stops_is_cut_off() -> None:
    async def work() -> int:
        events = Events()
        stream = events.subscribe()
        waiting = asyncio.ensure_future(anext(stream))
        await asyncio.sleep(0)
        for _ in range(QUEUE_LENGTH + 10):
            events.publish("container", "x", "1", {})
        await waiting
        count = 1
        async for _ in stream:
            count += 1
        return count

    assert asyncio.run(asyncio.wait_for(work(), 10)) == QUEUE_LENGTH
