"""What --userns-remap and --userns-auto-user come to, asked once at start: ids from the account files, put into the settings. Blocking."""

from dataclasses import replace

from havre import log
from havre.daemon import dockremap
from havre.daemon.config import Config
from havre.daemon.subordinate import Accounts, read_pool, read_remap
from havre.engine.settings import Settings
from havre.spec.idmaps import IdMaps, Span

SLOT = 65536


def settle(config: Config, accounts: Accounts) -> Config:
    """Return the configuration with its ids. Raises InvalidParameter naming the file and what to type."""
    name, maps = "", None
    if config.userns_remap:
        if config.userns_remap.partition(":")[0] == "default":
            dockremap.make(accounts)
        name, maps = read_remap(accounts, config.userns_remap)
    pool = read_pool(accounts, config.userns_auto_user)
    if maps is not None:
        log.info(
            "User namespaces: ID ranges will be mapped to subuid/subgid ranges of: " + name.partition(":")[0]
        )
    return replace(config, settings=_with_ids(config.settings, name, maps, pool))


def _with_ids(settings: Settings, name: str, maps: IdMaps | None, pool: tuple[Span, ...]) -> Settings:
    first = first_slot(pool, settings.instance)
    return replace(
        settings, userns_remap=name if maps else "", remap=maps, userns_pool=pool, userns_first=first
    )


def first_slot(pool: tuple[Span, ...], instance: str) -> int:
    """Where in the pool this daemon begins, so that two daemons on one pool rarely meet; 0 for a pool of one slot or none."""
    slots = [start + place * SLOT for start, size in pool for place in range(size // SLOT)]
    return slots[int(instance, 16) % len(slots)] if slots else 0
