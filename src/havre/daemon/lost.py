"""What to do with the files of containers and images when the records that gave them a meaning are gone. Blocking."""

import os
import time
from pathlib import Path

from havre import log

FILES = ("containers", "image")


def set_aside(data_root: Path) -> None:
    """Without havre.db, move what is there to lost-<date> instead of sweeping it: it may be all that is left of somebody's data."""
    if (data_root / "havre.db").exists():
        return
    found = [name for name in FILES if _holds_something(data_root / name)]
    if not found:
        return
    place = data_root / f"lost-{time.strftime('%Y%m%dT%H%M%S', time.gmtime())}"
    place.mkdir(mode=0o700)
    for name in found:
        os.rename(data_root / name, place / name)
    (data_root / "containers").mkdir(mode=0o710, exist_ok=True)
    log.warn("havre.db is gone; the files that belonged to its records were set aside", path=place)


def _holds_something(folder: Path) -> bool:
    """Whether there is a container's directory, a layer or a writable layer. Raises nothing for a missing folder."""
    places = (folder, folder / "layers", folder / "snapshots") if folder.name == "image" else (folder,)
    inner = {"layers", "snapshots", "blobs", "ingest", "trash", "empty"}
    return any(set(os.listdir(place)) - inner for place in places if place.is_dir())
