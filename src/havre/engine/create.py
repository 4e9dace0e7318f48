"""POST /containers/create: check, resolve the image, prepare the layers, record. Nothing runs yet."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from havre import clock, ids
from havre.engine import (
    amend,
    cdi,
    devices,
    joining,
    mounts,
    names,
    plan,
    security,
    userns,
    validate,
    volumes,
)
from havre.engine import merge as merging
from havre.engine.container import Container, ContainerRecord, MountPoint
from havre.engine.ports import parse_requests
from havre.engine.ranges import holds
from havre.engine.rooms import Rooms
from havre.engine.settings import NETWORK_DEFAULT
from havre.errors import InvalidParameter
from havre.image.images import Images
from havre.spec.endpoint import PortRequest
from havre.spec.engine import ContainerConfig, ContainerCreate, EndpointSettings, HostConfig, LogConfig
from havre.spec.idmaps import IdMaps
from havre.spec.image import Image, Platform
from havre.spec.platform import parse as parse_platform
from havre.tasks import in_disk_thread
from havre.volume.volumes import DRIVER


@dataclass(frozen=True, slots=True)
class Created:
    id: str
    warnings: list[str]


async def create(rooms: Rooms, body: ContainerCreate, *, name: str = "", platform: str = "") -> Created:
    """Make a container in state created.

    Raises NoSuchImage (stock clients then pull), InvalidParameter, NotImplementedHere, Conflict when the name is taken.
    """
    host = body.host_config or HostConfig()
    if not body.image:
        raise InvalidParameter("no image specified", hint="docker create IMAGE")
    wanted = names.check(name) if name else names.pick({one.record.name for one in rooms.containers})
    rooms.containers.check_name(wanted)
    image = await in_disk_thread(
        _resolve, rooms.images, body.image, parse_platform(platform) if platform else None
    )
    validate.check_conflicts(body, host)
    if body.networking_config:
        validate.check_endpoints(body.networking_config.endpoints_config or {})
    config = merging.merge_config(body, image.config.get("config") or {})
    warnings = validate.check(config, host, rooms.settings, rooms.host.cpus, rooms.host) + _platform_warning(
        image, platform
    )
    amend.adapt(host)
    joining.name_donors(rooms, host)
    record = _record(rooms, body, config, host, image, wanted)
    _check_ports(record)
    plan.log_plan(record, rooms.settings)  # refuses what the driver cannot follow
    with _id_maps(rooms, record), rooms.claims.hold(volumes.names_of(record.mounts)):
        made = await in_disk_thread(_prepare, rooms, record)
        try:
            if any(point.type == "volume" for point in record.mounts):
                await volumes.populate(rooms, record, rooms.images.snapshots.get(record.id)["lower"])
            container = Container(record)
            container.ended.set()
            rooms.containers.add(container)
        except BaseException:
            await in_disk_thread(_undo, rooms, record, made)
            raise
    for volume in made:
        rooms.events.publish("volume", "create", volume, {"driver": DRIVER})
    rooms.events.publish("container", "create", record.id, container.attributes())
    return Created(record.id, warnings)


@contextmanager
def _id_maps(rooms: Rooms, record: ContainerRecord) -> Iterator[None]:
    """Decide the container's user namespace; a range it gets is its own from here on, also before it is stored."""
    mode = userns.parse(record.host_config.userns_mode or "")

    def other(ref: str) -> IdMaps | None:
        return rooms.containers.find(ref).record.id_maps

    stored = [held for one in rooms.containers for held in holds(one.record.name, one.record.id_maps)]
    with rooms.ranges.hold(
        record.id, record.name, lambda free: userns.decide(mode, rooms.settings.remap, free, other), stored
    ) as maps:
        record.id_maps = maps
        if maps is not None and not record.config.user:
            record.config.user = userns.default_user(record.host_config)
        yield


def _resolve(images: Images, reference: str, platform: Platform | None) -> Image:
    return images.resolve(reference, platform)


def _platform_warning(image: Image, asked: str) -> list[str]:
    from havre.spec.platform import host_platform

    host = host_platform()
    if asked or (image.platform.os, image.platform.architecture) == (host.os, host.architecture):
        return []
    return [
        f"The requested image's platform ({image.platform}) does not match the detected host platform ({host}) "
        "and no specific platform was requested"
    ]


def _record(
    rooms: Rooms, body: ContainerCreate, config: ContainerConfig, host: HostConfig, image: Image, name: str
) -> ContainerRecord:
    key = ids.new_id()
    if host.uts_mode == "host" or host.network_mode == "host":
        config.hostname = config.hostname or rooms.host.hostname
    if donor := joining.network_donor(host):
        config.hostname = rooms.containers.find(donor).record.config.hostname
    config.hostname = config.hostname or ids.short(key)
    host.network_mode = _network_mode(host)
    driver, options = plan.log_config(host, rooms.settings)
    host.log_config = LogConfig(
        type=driver, config=options
    )  # the daemon's defaults of today stay the container's
    command = [*(config.entrypoint or []), *(config.cmd or [])]
    return ContainerRecord(
        id=key,
        name=name,
        created_nanos=clock.now_nanos(),
        image=body.image or "",
        image_id=image.id,
        manifest_digest=image.manifest_digest,
        chain_id=image.chain_id,
        platform=image.platform.os,
        config=config,
        host_config=host,
        path=command[0],
        args=command[1:],
        endpoints={} if body.network_disabled else _endpoints(body, host.network_mode),
        mounts=mounts.resolve(host, config, _inherited(rooms, host)),
    )


def _inherited(rooms: Rooms, host: HostConfig) -> list[MountPoint]:
    """What --volumes-from brings. Raises NotFound, InvalidParameter."""
    found = []
    for text in host.volumes_from or []:
        ref, _, mode = text.partition(":")
        found += mounts.inherit(rooms.containers.find(ref).record.mounts, mode, ref)
    return found


def _network_mode(host: HostConfig) -> str:
    mode = host.network_mode or NETWORK_DEFAULT
    return NETWORK_DEFAULT if mode in ("default", "bridge") else mode


def _endpoints(body: ContainerCreate, mode: str) -> dict[str, EndpointSettings]:
    """The caller's endpoint settings by network name; `default` stands for the bridge."""
    given = (body.networking_config.endpoints_config if body.networking_config else None) or {}
    found = {
        NETWORK_DEFAULT if name == "default" else name: each or EndpointSettings()
        for name, each in given.items()
    }
    if mode == "none" or mode == "host" or mode.startswith("container:"):
        return {}
    settings = found.setdefault(mode, EndpointSettings())
    if body.mac_address and not settings.mac_address:
        settings.mac_address = body.mac_address
    return found


def _check_ports(record: ContainerRecord) -> tuple[PortRequest, ...]:
    """Refuse bad port words at create, not at start."""
    return parse_requests(record.config, record.host_config)


def _prepare(rooms: Rooms, record: ContainerRecord) -> list[str]:
    """Volumes, layers and the container's own directory, undone together; return the names of new volumes."""
    with ExitStack() as undo:
        devices.ask(record.host_config)
        cdi.ask(record.host_config, rooms.settings.cdi_spec_dirs)
        security.check(record.host_config)
        mounts.ask_sources(record.mounts, lambda point: userns.source_owner(point, record))
        made = volumes.claim(rooms, record)
        undo.callback(_undo, rooms, record, made)
        rooms.settings.container_dir(record.id).mkdir(mode=0o710, parents=True)
        owner = record.id_maps.owner if record.id_maps else lambda uid, gid: (uid, gid)
        limit_bytes = validate.storage_bytes(record.host_config.storage_opt)
        rooms.images.snapshots.prepare(record.chain_id, record.id, owner, limit_bytes=limit_bytes)
        undo.pop_all()
    return made


def _undo(rooms: Rooms, record: ContainerRecord, made: list[str]) -> None:
    import shutil

    rooms.images.snapshots.remove(record.id)
    shutil.rmtree(rooms.settings.container_dir(record.id), ignore_errors=True)
    volumes.give_back(rooms, made)
