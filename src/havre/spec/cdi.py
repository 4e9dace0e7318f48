"""Container Device Interface specs (github.com/cncf-tags/container-device-interface SPEC.md): their shape, read from JSON or YAML."""

import re
from typing import Any

import msgspec

from havre.errors import InvalidParameter
from havre.spec import plainyaml

MAX_BYTES = 8 << 20  # a spec of every GPU slice of a large machine has some 100 kB
_KIND = re.compile(r"[A-Za-z]([A-Za-z0-9_.-]*[A-Za-z0-9])?/[A-Za-z]([A-Za-z0-9_-]*[A-Za-z0-9])?")
_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9_.:-]*[A-Za-z0-9])?")


class Base(msgspec.Struct, rename="camel", omit_defaults=True, kw_only=True):
    """Keys that are not known are an error: an edit that is not made must not be silent."""


class DeviceNode(Base, forbid_unknown_fields=True):
    path: str
    host_path: str | None = None
    type: str | None = None
    major: int | None = None
    minor: int | None = None
    file_mode: int | None = None
    permissions: str | None = None
    uid: int | None = None
    gid: int | None = None


class Hook(Base, forbid_unknown_fields=True):
    hook_name: str
    path: str
    args: list[str] | None = None
    env: list[str] | None = None
    timeout: int | None = None


class Mount(Base, forbid_unknown_fields=True):
    host_path: str
    container_path: str
    options: list[str] | None = None
    type: str | None = None


class Edits(Base, forbid_unknown_fields=True):
    env: list[str] | None = None
    device_nodes: list[DeviceNode] | None = None
    hooks: list[Hook] | None = None
    mounts: list[Mount] | None = None
    additional_gids: list[int] | None = msgspec.field(name="additionalGids", default=None)
    intel_rdt: dict[str, Any] | None = None
    net_devices: list[dict[str, Any]] | None = None


class Device(Base, forbid_unknown_fields=True):
    name: str
    annotations: dict[str, str] | None = None
    container_edits: Edits | None = None


class Spec(Base, forbid_unknown_fields=True):
    cdi_version: str
    kind: str
    annotations: dict[str, str] | None = None
    devices: list[Device] | None = None
    container_edits: Edits | None = None


def parse(data: bytes, where: str) -> Spec:
    """Return the checked spec of one file; `where` names it in errors. Raises InvalidParameter."""
    try:
        text = data.decode()
        if text.lstrip().startswith("{"):
            spec = msgspec.json.decode(text, type=Spec)
        else:
            spec = msgspec.convert(plainyaml.load(text), Spec)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise InvalidParameter(str(error), context=f"CDI spec {where}") from None
    except InvalidParameter as error:
        raise InvalidParameter(error.message, context=f"CDI spec {where}") from None
    if not _KIND.fullmatch(spec.kind):
        raise InvalidParameter(f"invalid kind {spec.kind!r}", context=f"CDI spec {where}")
    for device in spec.devices or []:
        if not _NAME.fullmatch(device.name):
            raise InvalidParameter(f"invalid device name {device.name!r}", context=f"CDI spec {where}")
    return spec


def is_qualified(name: str) -> bool:
    """Whether a --device word is "vendor.com/class=name"."""
    kind, equals, device = name.partition("=")
    return bool(equals and not name.startswith("/") and _KIND.fullmatch(kind) and _NAME.fullmatch(device))
