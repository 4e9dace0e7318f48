"""Merge what the caller asked for with what the image brings. Pure."""

from typing import Any

import msgspec

from havre.errors import InvalidParameter
from havre.spec.engine import ContainerConfig, ContainerCreate, HealthConfig

DEFAULT_PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"  # Docker's and runc's


def merge_config(body: ContainerCreate, image: dict[str, Any]) -> ContainerConfig:
    """Return the container's config: the caller's words win; Env, Labels, Volumes and ports are united.

    An entrypoint from the caller drops the image's Cmd, as in Docker. `image` is the OCI image config's `config` object.
    """
    given = {field: getattr(body, field) for field in ContainerConfig.__struct_fields__}
    config = ContainerConfig(**given)
    config.entrypoint, config.cmd = _command(body, image)
    config.env = _env(body.env or [], image.get("Env") or []) or None
    config.labels = {**(image.get("Labels") or {}), **(body.labels or {})}
    config.volumes = {**(image.get("Volumes") or {}), **(body.volumes or {})} or None
    config.exposed_ports = {**(image.get("ExposedPorts") or {}), **(body.exposed_ports or {})} or None
    config.user = body.user or image.get("User") or None
    config.working_dir = body.working_dir or image.get("WorkingDir") or None
    config.stop_signal = body.stop_signal or image.get("StopSignal") or None
    config.shell = body.shell or image.get("Shell") or None
    config.healthcheck = _health(body.healthcheck, image.get("Healthcheck"))
    if not (config.entrypoint or config.cmd):
        raise InvalidParameter(
            "no command specified", hint="name a command after the image, or use an image that has one"
        )
    return config


def _command(body: ContainerCreate, image: dict[str, Any]) -> tuple[list[str] | None, list[str] | None]:
    entrypoint, cmd = _words(body.entrypoint), _words(body.cmd)
    if entrypoint is None:
        entrypoint = image.get("Entrypoint") or None
        if cmd is None:
            cmd = image.get("Cmd") or None
    if entrypoint == [""]:  # docker run --entrypoint "" clears it
        entrypoint = None
    return entrypoint, cmd


def _words(value: list[str] | str | None) -> list[str] | None:
    """Docker takes a string where a list is due; an empty list counts as not given."""
    if isinstance(value, str):
        return [value] if value else None
    return value or None


def _env(given: list[str], image: list[str]) -> list[str]:
    """The caller's variables in their order, then the image's others. A bare NAME stays: it takes the variable away at the start."""
    named = {entry.partition("=")[0] for entry in given}
    if "" in named:
        raise InvalidParameter(
            f"invalid environment variable: {next(one for one in given if one[:1] in ('', '='))!r}"
        )
    return [*given, *(entry for entry in image if entry.partition("=")[0] not in named)]


def merge_env(base: list[str], extra: list[str]) -> list[str]:
    """Return `base` with each NAME=value of `extra` set in place or appended; a bare NAME removes it."""
    merged = {entry.partition("=")[0]: entry for entry in base}
    for entry in extra:
        name, equals, _ = entry.partition("=")
        if not name:
            raise InvalidParameter(f"invalid environment variable: {entry!r}")
        if equals:
            merged[name] = entry
        else:
            merged.pop(name, None)
    return list(merged.values())


def _health(given: HealthConfig | None, image: dict[str, Any] | None) -> HealthConfig | None:
    """Fill the fields the caller left out from the image's HEALTHCHECK."""
    if not image:
        return given
    inherited = msgspec.convert(image, HealthConfig)
    if given is None:
        return inherited
    for field in HealthConfig.__struct_fields__:
        if not getattr(given, field):
            setattr(given, field, getattr(inherited, field))
    return given


def full_env(config: ContainerConfig, tty: bool) -> list[str]:
    """Return the environment of the container's first process: Docker's own variables, then the config's over them."""
    own = [DEFAULT_PATH, f"HOSTNAME={config.hostname}"]
    if tty:
        own.append("TERM=xterm")
    return merge_env(own, config.env or [])
