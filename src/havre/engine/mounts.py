"""From -v, --mount, --tmpfs and VOLUME to resolved mount points. Pure, but for `ask_sources`."""

import os
import re
from collections.abc import Callable, Iterable

import msgspec

from havre.engine.container import MountPoint
from havre.errors import InvalidParameter, NotImplementedHere
from havre.spec.engine import BindOptions, ContainerConfig, HostConfig, Mount, TmpfsOptions, VolumeOptions
from havre.volume.volumes import check_name

MAX_MODE = 0o7777

_PROPAGATIONS = frozenset({"private", "rprivate", "shared", "rshared", "slave", "rslave"})
_MODES = frozenset({"ro", "rw", "z", "Z", "nocopy", "idmap", "noidmap", *_PROPAGATIONS})
_IDMAP = {"idmap": ("idmap", "1"), "noidmap": ("idmap", "0")}  # shown through the container's id maps, or not
# Meant for Mac hosts; no meaning here, as in dockerd.
_CONSISTENCY = frozenset({"", "default", "consistent", "cached", "delegated"})


def resolve(
    host: HostConfig, config: ContainerConfig | None = None, inherited: Iterable[MountPoint] = ()
) -> list[MountPoint]:
    """Return every mount, sorted so that a parent comes before what lies under it.

    What is asked for hides what is `inherited` (--volumes-from), and both hide the image's VOLUMEs, which are anonymous volumes.
    Raises InvalidParameter naming the mount. A volume has no source, and may have no name, before it is claimed.
    """
    points = [parse_bind(text, host.volume_driver or "") for text in host.binds or []]
    points += [parse_mount(mount) for mount in host.mounts or []]
    points += [parse_tmpfs(target, options) for target, options in (host.tmpfs or {}).items()]
    _check_duplicates(points)
    taken = {point.destination for point in points}
    for point in inherited:
        if point.destination not in taken:
            points.append(point)
            taken.add(point.destination)
    for path in sorted((config.volumes if config else None) or {}):
        point = MountPoint(
            type="volume", source="", destination=_target(path, path), driver=host.volume_driver or ""
        )
        if point.destination not in taken:
            points.append(point)
            taken.add(point.destination)
    return sorted(points, key=lambda point: point.destination.count("/") if point.destination != "/" else 0)


def inherit(points: Iterable[MountPoint], mode: str, donor: str) -> list[MountPoint]:
    """Return another container's binds and volumes: --volumes-from NAME[:ro|rw]. Raises InvalidParameter."""
    if mode not in ("", "ro", "rw", "z", "Z"):
        raise InvalidParameter(f'invalid mode for volumes-from: "{mode}"', context=f"--volumes-from {donor}")
    found = []
    for point in points:
        if point.type in ("bind", "volume"):
            copy = msgspec.structs.replace(point, rw=point.rw and mode != "ro", create_source=False)
            found.append(copy)
    return found


def parse_bind(text: str, driver: str = "") -> MountPoint:
    """Return the mount of one `source:target[:options]`, or of a `target` alone: an anonymous volume."""
    if ":" not in text:
        return MountPoint(type="volume", source="", destination=_target(text, text), driver=driver)
    source, _, rest = text.partition(":")
    target, _, options = rest.partition(":")
    if not source or not target or ":" in options:
        raise InvalidParameter(
            f"invalid volume specification: '{text}'", hint="-v /host/path:/container/path[:ro]"
        )
    words = [word for word in options.split(",") if word]
    if unknown := [word for word in words if word not in _MODES]:
        raise InvalidParameter(f"invalid mode: {unknown[0]}", context=f"volume '{text}'")
    if "ro" in words and "rw" in words:
        raise InvalidParameter(f"invalid mode: {options}", context=f"volume '{text}'")
    propagation = [word for word in words if word in _PROPAGATIONS]
    if len(propagation) > 1:
        raise InvalidParameter(f"invalid mode: {options}: only one propagation", context=f"volume '{text}'")
    if {"idmap", "noidmap"} <= set(words):
        raise InvalidParameter(f"invalid mode: {options}", context=f"volume '{text}'")
    if not source.startswith("/"):
        return _named(text, source, words, driver)
    if "nocopy" in words:
        raise InvalidParameter(f"invalid mode: {options}", context=f"volume '{text}'")
    return MountPoint(
        type="bind",
        source=_clean(source),
        destination=_target(target, text),
        mode=options,
        options=dict(_IDMAP[word] for word in words if word in _IDMAP),
        rw="ro" not in words,
        propagation=propagation[0] if propagation else "rprivate",
        create_source=True,
    )


def _named(text: str, name: str, words: list[str], driver: str) -> MountPoint:
    """The mount of a named volume. Raises InvalidParameter also where a host path was meant."""
    if "/" in name:
        path = os.path.normpath(name)
        raise InvalidParameter(
            f'create {name}: "{name}" includes invalid characters for a local volume name, only "[a-zA-Z0-9][a-zA-Z0-9_.-]" are '
            "allowed. If you intended to pass a host directory, use absolute path",
            hint=f"-v $PWD/{path}:{text.split(':')[1]}",
        )
    check_name(name)
    if bad := [word for word in words if word in _PROPAGATIONS]:
        raise InvalidParameter(f"invalid mode: {bad[0]}", context=f"volume '{text}'")
    return MountPoint(
        type="volume",
        source="",
        destination=_target(text.split(":")[1], text),
        mode=",".join(words) or "z",
        rw="ro" not in words,
        name=name,
        copy="nocopy" not in words,
        driver=driver,
        options=dict(_IDMAP[word] for word in words if word in _IDMAP),
    )


def _volume_mount(mount: Mount) -> MountPoint:
    options = mount.volume_options or VolumeOptions()
    if options.subpath:
        raise NotImplementedHere("volume-subpath is not there yet", context=f"mount of {mount.target}")
    if mount.source:
        check_name(mount.source)
    driver = options.driver_config
    return MountPoint(
        type="volume",
        source="",
        destination=_target(mount.target or "", mount.target or ""),
        mode="z",
        rw=not mount.read_only,
        name=mount.source or "",
        copy=not options.no_copy,
        driver=(driver.name if driver else None) or "",
        driver_opts=(driver.options if driver else None) or {},
        labels=options.labels or {},
    )


def parse_mount(mount: Mount) -> MountPoint:
    """Return one --mount of type bind, volume or tmpfs."""
    kind = mount.type or ""
    named = f"mount of {mount.target or 'nothing'}"
    if kind not in ("bind", "volume", "tmpfs", "image", "npipe", "cluster"):
        raise InvalidParameter(f'mount type unknown: "{kind}"', context=named)
    if kind not in ("bind", "volume", "tmpfs"):
        raise NotImplementedHere(f"mounts of type {kind} are not there yet", context=named, hint="type=bind")
    if (mount.consistency or "") not in _CONSISTENCY:
        raise InvalidParameter(f"invalid consistency: {mount.consistency}", context=named)
    own = f"{kind}_options"
    for field in ("bind_options", "volume_options", "image_options", "tmpfs_options"):
        if field != own and getattr(mount, field) is not None:
            name = "".join(part.capitalize() for part in field.split("_"))
            raise InvalidParameter(
                f'invalid mount config for type "{kind}": field {name} must not be specified', context=named
            )
    return {"bind": _bind_mount, "volume": _volume_mount, "tmpfs": _tmpfs_mount}[kind](mount)


def _bind_mount(mount: Mount) -> MountPoint:
    options = mount.bind_options or BindOptions()
    source = mount.source or ""
    if not source.startswith("/"):
        raise InvalidParameter(
            f"invalid mount path: '{source}' mount path must be absolute", context=f"mount of {mount.target}"
        )
    _check_read_only(mount, options)
    propagation = options.propagation or "rprivate"
    if propagation not in _PROPAGATIONS:
        raise InvalidParameter(f"invalid propagation mode: {propagation}", context=f"mount of {mount.target}")
    return MountPoint(
        type="bind",
        source=_clean(source),
        destination=_target(mount.target or "", mount.target or ""),
        rw=not mount.read_only,
        propagation=propagation,
        recursive=not options.non_recursive,
        create_source=bool(options.create_mountpoint),
        options={
            **({"rro": "0"} if options.read_only_non_recursive else {}),
            **({"idmap": "1" if options.idmap else "0"} if options.idmap is not None else {}),
        },
    )


def _check_read_only(mount: Mount, options: BindOptions) -> None:
    """Read-only binds are recursive here, by the kernel's own call, so that forcing it needs no more than this."""
    words = "mount options conflict: {}"
    for field in ("read_only_non_recursive", "read_only_force_recursive"):
        if getattr(options, field) and not mount.read_only:
            name = "".join(part.capitalize() for part in field.split("_"))
            raise InvalidParameter(words.format(f"!ReadOnly && BindOptions.{name}"))
    if options.read_only_force_recursive:
        if options.read_only_non_recursive:
            raise InvalidParameter(words.format("ReadOnlyForceRecursive && BindOptions.ReadOnlyNonRecursive"))
        if options.non_recursive:
            raise InvalidParameter(words.format("ReadOnlyForceRecursive && BindOptions.NonRecursive"))


def _tmpfs_mount(mount: Mount) -> MountPoint:
    options = mount.tmpfs_options or TmpfsOptions()
    if mount.source:
        raise InvalidParameter("a tmpfs has no source", context=f"mount of {mount.target}")
    wanted: dict[str, str] = {}
    if (options.size_bytes or 0) < 0 or not 0 <= (options.mode or 0) <= MAX_MODE:
        raise InvalidParameter("invalid size or mode of a tmpfs", context=f"mount of {mount.target}")
    if options.size_bytes:
        wanted["size"] = str(options.size_bytes)
    wanted["mode"] = f"{options.mode or 0o1777:o}"
    for pair in options.options or []:
        if not 1 <= len(pair) <= 2:
            raise InvalidParameter(f"invalid option array: {pair}", context=f"mount of {mount.target}")
        wanted.update(parse_tmpfs(mount.target or "", "=".join(pair)).options)
    target = _target(mount.target or "", mount.target or "")
    return MountPoint(type="tmpfs", source="", destination=target, rw=not mount.read_only, options=wanted)


_TMPFS_FLAGS = frozenset(
    [
        "rw",
        "ro",
        "exec",
        "noexec",
        "suid",
        "nosuid",
        "dev",
        "nodev",
        "sync",
        "async",
        "dirsync",
        "remount",
        "mand",
        "nomand",
        "atime",
        "noatime",
        "diratime",
        "nodiratime",
        "relatime",
        "norelatime",
        "strictatime",
        "nostrictatime",
        "private",
        "rprivate",
        "shared",
        "rshared",
        "slave",
        "rslave",
        "unbindable",
        "runbindable",
    ]
)
_SIZE, _ID = re.compile(r"[0-9]+[kKmMgGtT]?|[0-9]{1,3}%"), re.compile(r"[0-9]{1,10}")
_TMPFS_VALUES = {  # tmpfs(5)
    **dict.fromkeys(("size", "nr_blocks", "nr_inodes"), _SIZE),
    **dict.fromkeys(("uid", "gid"), _ID),
    "mode": re.compile(r"[0-7]{1,4}"),
}
_TMPFS_KEYS = frozenset({"size", "mode", "uid", "gid", "nr_inodes", "nr_blocks", "mpol"})


def parse_tmpfs(target: str, text: str) -> MountPoint:
    """Return one --tmpfs /path:options; unknown options are refused in Docker's words."""
    options: dict[str, str] = {}
    for word in filter(None, text.split(",")):
        key, equals, value = word.partition("=")
        if not ((equals and key in _TMPFS_KEYS) or (not equals and key in _TMPFS_FLAGS)):
            raise InvalidParameter(f'invalid tmpfs option ["{word}"]', context=f"tmpfs {target}")
        if equals and key in _TMPFS_VALUES and not _TMPFS_VALUES[key].fullmatch(value):
            raise InvalidParameter(f"invalid value {value!r} for {key}", context=f"tmpfs {target}")
        options[key] = value
    return MountPoint(
        type="tmpfs", source="", destination=_target(target, target), rw="ro" not in options, options=options
    )


def _target(path: str, whole: str) -> str:
    if not path.startswith("/"):
        raise InvalidParameter(
            f"invalid mount path: '{path}' mount path must be absolute", context=f"volume '{whole}'"
        )
    clean = _clean(path)
    if clean == "/":
        raise InvalidParameter(f"invalid specification: destination can't be '/': '{whole}'")
    return clean


def _clean(path: str) -> str:
    if "\0" in path:
        raise InvalidParameter("a path cannot hold a zero byte")
    return "/" + os.path.normpath(path).lstrip("/")


def _check_duplicates(points: Iterable[MountPoint]) -> None:
    seen: set[str] = set()
    for point in points:
        if point.destination in seen:
            raise InvalidParameter(f"Duplicate mount point: {point.destination}")
        seen.add(point.destination)


def _make_source(path: str, owner: tuple[int, int]) -> None:
    """mkdir -p; what is made belongs to the owner."""
    missing = []
    while not os.path.lexists(path):
        missing.append(path)
        path = os.path.dirname(path)
    for place in reversed(missing):
        os.makedirs(place, mode=0o755, exist_ok=True)
        if any(owner):
            os.chown(place, *owner, follow_symlinks=False)


def ask_sources(
    points: Iterable[MountPoint], owner: Callable[[MountPoint], tuple[int, int]] = lambda point: (0, 0)
) -> None:
    """Make missing sources of -v as directories (of `owner`) and refuse those of --mount, as Docker does. Blocking."""
    for point in points:
        if point.type != "bind" or os.path.lexists(point.source):
            continue
        if not point.create_source:
            raise InvalidParameter(
                f'invalid mount config for type "bind": bind source path does not exist: {point.source}'
            )
        _make_source(point.source, owner(point))
