"""One reader, many who look."""

import asyncio
from contextlib import aclosing

from havre.engine.feed import Feed


def test_all_see_each_sample_and_the_one_before() -> None:
    async def run() -> None:
        feed = Feed()
        seen: list[list[object]] = [[], []]

        async def look(place: int) -> None:
            async for pair in feed.pairs():
                seen[place].append(pair)

        tasks = [asyncio.create_task(look(place)) for place in (0, 1)]
        for number in (1, 2, 3):
            await asyncio.sleep(0)
            feed.publish({"n": number})
            await asyncio.sleep(0)
        feed.end()
        await asyncio.gather(*tasks)
        wanted = [({"n": 1}, None), ({"n": 2}, {"n": 1}), ({"n": 3}, {"n": 2})]
        assert seen == [wanted, wanted]

    asyncio.run(run())


def test_slow_one_gets_the_newest_only() -> None:
    async def run() -> None:
        feed = Feed()
        async with aclosing(feed.pairs()) as pairs:
            feed.publish({"n": 1})
            assert (await anext(pairs))[0] == {"n": 1}
            for number in range(2, 1000):
                feed.publish({"n": number})
            assert await anext(pairs) == ({"n": 999}, {"n": 998})

    asyncio.run(run())
