"""Bring records to the disk soon after they were written, outside of any request."""

import asyncio

from havre.image.images import Images
from havre.store import Records
from havre.tasks import in_disk_thread

DELAY_S = 1.0  # what a power cut may cost
OWING_PAUSE_S = 5.0  # between tries to do what a full disk has refused


async def keep_synced(records: Records, images: Images) -> None:
    """Run until cancelled; asleep while nothing is written."""
    loop = asyncio.get_running_loop()
    written = asyncio.Event()
    records.on_write = lambda: loop.call_soon_threadsafe(written.set)
    written.set()  # what was written before
    while True:
        await written.wait()
        written.clear()
        await asyncio.sleep(DELAY_S)
        await in_disk_thread(records.sync)
        while records.owing or images.untidy:
            if not (await in_disk_thread(records.settle) and await in_disk_thread(images.tidy)):
                await asyncio.sleep(OWING_PAUSE_S)
