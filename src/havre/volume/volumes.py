"""The driver `local`: data_root/volumes/NAME/_data, and a record of kind "volume". Blocking."""

import os
import re
import shutil
import threading
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from havre import clock
from havre.errors import Conflict, InvalidParameter, NotFound, NotImplementedHere
from havre.store import Records

KIND = "volume"
DRIVER = "local"
_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]+")
_OPTIONS = frozenset({"type", "o", "device"})
MAX_NAME = 255  # a directory's


class Stored(msgspec.Struct, omit_defaults=True):
    """What is in the store. `removing`: its files may be gone in part."""

    created_nanos: int
    labels: dict[str, str] = {}
    options: dict[str, str] = {}
    removing: bool = False


@dataclass(frozen=True, slots=True)
class Volume:
    """One volume."""

    name: str
    path: str  # what is mounted
    created_nanos: int
    labels: dict[str, str] = field(default_factory=dict)
    options: dict[str, str] = field(default_factory=dict)


class Volumes:
    """All volumes of one data root."""

    def __init__(self, root: Path, records: Records) -> None:
        self._root = root
        self._records = records
        self._lock = threading.Lock()
        root.mkdir(mode=0o701, parents=True, exist_ok=True)  # a remapped root walks through, and sees nothing
        self._finish_removals()

    def create(
        self, name: str, options: dict[str, str] | None = None, labels: dict[str, str] | None = None
    ) -> tuple[Volume, bool]:
        """Return a volume and whether it is new. Raises InvalidParameter, Conflict when it is there with other options."""
        check_name(name)
        wanted = _check_options(options or {})
        with self._lock:
            stored = self._stored(name)
            if (
                stored is not None and stored.removing
            ):  # a removal that failed, or was cut short, is finished first
                self._drop(name)
                stored = None
            new = stored is None
            if stored is None:
                stored = Stored(clock.now_nanos(), labels or {}, wanted)
                self._records.put(KIND, name, msgspec.json.encode(stored))
            elif wanted and wanted != stored.options:
                raise Conflict(
                    f"a volume named {name} already exists with other options",
                    hint=f"havre volume inspect {name}",
                )
            self._make(name)
            return self._volume(name, stored), new

    def _make(self, name: str) -> None:
        """The directory of a record; after a crash it may be missing."""
        folder = self._root / name
        folder.mkdir(mode=0o701, exist_ok=True)
        (folder / "_data").mkdir(mode=0o755, exist_ok=True)

    def get(self, name: str) -> Volume:
        """Raises NotFound."""
        stored = self._stored(name)
        if stored is None or stored.removing:
            raise NotFound(f"get {name}: no such volume")
        return self._volume(name, stored)

    def list(self) -> list[Volume]:
        """Return all of them, by name."""
        pairs = ((name, msgspec.json.decode(doc, type=Stored)) for name, doc in self._records.all(KIND))
        return [self._volume(name, stored) for name, stored in pairs if not stored.removing]

    def remove(self, name: str) -> None:
        """Remove a volume and what is in it. Raises NotFound, OSError; after a crash it is finished at the next start."""
        with self._lock:
            stored = self._stored(name)
            if stored is None:
                raise NotFound(f"get {name}: no such volume")
            stored.removing = True
            self._records.put(KIND, name, msgspec.json.encode(stored))
            self._drop(name)

    def _drop(self, name: str) -> None:
        try:
            shutil.rmtree(self._root / name)
        except FileNotFoundError:
            pass
        self._records.delete(KIND, name)

    def _finish_removals(self) -> None:
        for name, doc in self._records.all(KIND):
            if msgspec.json.decode(doc, type=Stored).removing:
                self._drop(name)

    def size_bytes(self, volume: Volume) -> int:
        """What du says of the volume's directory; -1 for a directory of the host, which is not ours to count."""
        if volume.options.get("device"):
            return -1
        total = 0
        for folder, _, files in os.walk(volume.path):
            for place in (folder, *(os.path.join(folder, one) for one in files)):
                try:
                    total += os.lstat(place).st_blocks * 512
                except FileNotFoundError:
                    continue
        return total

    def _stored(self, name: str) -> Stored | None:
        doc = self._records.get(KIND, name)
        return None if doc is None else msgspec.json.decode(doc, type=Stored)

    def _volume(self, name: str, stored: Stored) -> Volume:
        path = stored.options.get("device") or str(self._root / name / "_data")
        return Volume(name, path, stored.created_nanos, stored.labels, stored.options)


def check_name(name: str) -> None:
    """Raises InvalidParameter in Docker's words."""
    if len(name) == 1 and name.isalnum():
        raise InvalidParameter(
            "volume name is too short, names should be at least two alphanumeric characters"
        )
    if not _NAME.fullmatch(name) or len(name) > MAX_NAME:
        raise InvalidParameter(
            f'create {name}: "{name}" includes invalid characters for a local volume name, only "[a-zA-Z0-9][a-zA-Z0-9_.-]" are '
            "allowed. If you intended to pass a host directory, use absolute path"
        )


def _check_options(options: dict[str, str]) -> dict[str, str]:
    """Options of the driver local: a directory of this host (o=bind). Raises InvalidParameter, NotImplementedHere."""
    if unknown := sorted(set(options) - _OPTIONS):
        raise InvalidParameter(f"invalid option: {unknown[0]!r}", hint="type, o, device")
    if not options:
        return {}
    words = set(filter(None, options.get("o", "").split(",")))
    if (
        options.get("type") not in (None, "", "none", "bind")
        or not words & {"bind", "rbind"}
        or words - {"bind", "rbind", "rw"}
    ):
        raise NotImplementedHere(
            f"a local volume of type {options.get('type') or 'none'} with o={options.get('o', '')} is not there yet",
            hint="-o type=none -o o=bind -o device=/path, or a plain volume",
        )
    device = options.get("device", "")
    if not device.startswith("/") or "\0" in device:
        raise InvalidParameter("missing device in volume options: an absolute path", hint="-o device=/path")
    return options
