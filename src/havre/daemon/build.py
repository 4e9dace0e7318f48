"""Build every room once and hand the engine one frozen `Rooms`."""

import asyncio
import json
import socket
from collections.abc import Mapping
from pathlib import Path

from havre.daemon.config import Config
from havre.daemon.host import ask_host, reserved_bridges
from havre.engine.claims import Claims
from havre.engine.containers import Containers
from havre.engine.events import Events
from havre.engine.execs import Execs
from havre.engine.ranges import Ranges
from havre.engine.rooms import Rooms
from havre.engine.settings import Settings
from havre.errors import InvalidParameter
from havre.image.images import Images
from havre.network.networks import Networks
from havre.registry.client import Client
from havre.runtime.link import Runtime
from havre.spec.idmaps import outside
from havre.store import Records
from havre.tasks import in_disk_thread, in_net_thread
from havre.volume.volumes import Volumes


async def build_rooms(config: Config, zygote: socket.socket) -> Rooms:
    """Open the store and build the rooms on it; network and images are brought up side by side."""
    settings = config.settings
    records = Records(settings.data_root / "havre.db")
    networks = Networks(
        records,
        settings.instance,
        bridge=config.bridge,
        pools=config.pools,
        bip=config.bip,
        bridge_options=config.bridge_options,
        fixed_cidr=config.fixed_cidr,
        defaults=config.network_defaults,
        forwards=config.ip_forward,
        reserved=() if config.bridge_given else reserved_bridges(),
    )
    images, volumes, _ = await asyncio.gather(
        in_disk_thread(Images, settings.data_root / "image", records),
        in_disk_thread(Volumes, settings.data_root / "volumes", records),
        in_net_thread(networks.start),
    )
    containers = Containers(records)
    containers.load()
    return Rooms(
        settings=settings,
        host=ask_host(),
        records=records,
        images=images,
        networks=networks,
        volumes=volumes,
        claims=Claims(),
        runtime=Runtime(zygote),
        registry=Client(insecure_registries=settings.insecure_registries, mirrors=settings.registry_mirrors),
        containers=containers,
        execs=Execs(),
        events=Events(),
        ranges=Ranges(
            settings.userns_pool, settings.userns_first, outside(settings.remap) if settings.remap else ()
        ),
        default_seccomp=_seccomp(settings),
    )


def _seccomp(settings: Settings) -> Mapping[str, object] | None:
    """The daemon-wide profile of --seccomp-profile. Raises InvalidParameter when it cannot be read."""
    if settings.seccomp_profile in ("", "builtin"):
        return None
    try:
        profile = json.loads(Path(settings.seccomp_profile).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InvalidParameter(f"cannot use seccomp profile {settings.seccomp_profile}: {error}") from None
    if not isinstance(profile, dict):
        raise InvalidParameter(f"seccomp profile {settings.seccomp_profile} is not a JSON object")
    return profile
