"""SIGHUP: read daemon.json again and take over what may change while the daemon runs; all else waits for the next start."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import replace

from havre import log
from havre.daemon import flags
from havre.daemon.config import Config
from havre.engine.rooms import Rooms
from havre.errors import HavreError

# of Settings; beside them the log level, insecure registries, mirrors and the numbers of transfers
LIVE = (
    "debug",
    "default_runtime",
    "insecure_registries",
    "labels",
    "log_budget_bytes",
    "registry_mirrors",
    "runtimes",
    "shutdown_timeout_s",
)


def reload(rooms: Rooms, words: Sequence[str]) -> None:
    """Take over the live keys and publish the event `reload`; with a bad daemon.json say so and change nothing."""
    try:
        config = flags.parse(words, as_dockerd=flags.called_dockerd())
        rooms.registry.retarget(config.settings.insecure_registries, config.settings.registry_mirrors)
    except HavreError as error:
        log.error("the configuration was not loaded again; the old one holds", error=error)
        return
    rooms.replace_settings(replace(rooms.settings, **{name: getattr(config.settings, name) for name in LIVE}))
    rooms.images.transfers = config.transfers
    log.configure(config.log_level, config.log_format)
    rooms.events.publish(
        "daemon", "reload", rooms.settings.instance, _attributes(config, rooms.host.hostname)
    )
    log.info("the configuration was loaded again")


def _attributes(config: Config, hostname: str) -> dict[str, str]:
    """What the event tells, by Docker's names."""
    settings, transfers = config.settings, config.transfers
    return {
        "debug": str(settings.debug).lower(),
        "default-runtime": settings.default_runtime,
        "insecure-registries": _words(settings.insecure_registries),
        "labels": _words(settings.labels),
        "live-restore": "true",
        "max-concurrent-downloads": str(transfers.concurrent_downloads),
        "max-concurrent-uploads": str(transfers.concurrent_uploads),
        "max-download-attempts": str(transfers.download_attempts),
        "name": hostname,
        "registry-mirrors": _words(settings.registry_mirrors),
        "runtimes": _words(settings.runtimes),
        "shutdown-timeout": str(settings.shutdown_timeout_s),
    }


def _words(values: Iterable[str]) -> str:
    return json.dumps(list(values))
