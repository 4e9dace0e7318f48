"""The contexts directory of ~/.docker, in the docker CLI's own form: each sees the other's contexts.

contexts/meta/<sha256 of the name>/meta.json and contexts/tls/<same>/<endpoint>/{ca,cert,key}.pem.
"""

import os

from havre.client import minijson
from havre.errors import HavreError, NotFound

META, TLS, ENDPOINT = "meta.json", "tls", "docker"
DEFAULT = "default"
DEFAULT_DESCRIPTION = "Current DOCKER_HOST based configuration"
_FIRST = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789")
_REST = _FIRST | frozenset("_.+-")
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Meta = dict[str, Any]


def check_name(name: str) -> str:
    """Return a name that a context may have. Raises HavreError in docker's words."""
    if name == DEFAULT:
        raise HavreError('"default" is a reserved context name')
    if len(name) < 2 or name[0] not in _FIRST or not _REST.issuperset(name):
        pattern = "^[a-zA-Z0-9][a-zA-Z0-9_.+-]+$"
        raise HavreError(f'context name "{name}" is invalid, names are validated against regexp "{pattern}"')
    return name


class Store:
    """The contexts of one configuration directory."""

    def __init__(self, config_dir: str) -> None:
        self._base = os.path.join(config_dir, "contexts")

    def meta_dir(self, name: str) -> str:
        return os.path.join(self._base, "meta", _key(name))

    def tls_dir(self, name: str) -> str:
        return os.path.join(self._base, TLS, _key(name))

    def names(self) -> list[str]:
        """Every context's name, in the order of the alphabet; a damaged one has none."""
        found = []
        base = os.path.join(self._base, "meta")
        for key in os.listdir(base) if os.path.isdir(base) else []:
            try:
                name = self._read(os.path.join(base, key, META)).get("Name")
            except (HavreError, OSError):
                continue
            if isinstance(name, str) and _key(name) == key:
                found.append(name)
        return sorted(found)

    def has(self, name: str) -> bool:
        return os.path.exists(os.path.join(self.meta_dir(name), META))

    def get(self, name: str) -> "Meta":
        """Return {"Name", "Metadata", "Endpoints"}. Raises NotFound in docker's words."""
        path = os.path.join(self.meta_dir(name), META)
        try:
            return self._read(path)
        except FileNotFoundError:
            raise NotFound(
                f'context "{name}": context not found: open {path}: no such file or directory'
            ) from None

    @staticmethod
    def _read(path: str) -> "Meta":
        with open(path, "rb") as file:
            found = minijson.loads(file.read())
        endpoints = found.get("Endpoints") if isinstance(found, dict) else None
        if not isinstance(found, dict) or not isinstance(endpoints, dict):
            raise HavreError(f"{path} is damaged")
        return found

    def put(self, meta: "Meta", files: "dict[str, bytes] | None") -> None:
        """Write a context: what it says, then its TLS files ("docker/ca.pem" -> bytes); None leaves those as they are."""
        name = str(meta["Name"])
        folder = self.meta_dir(name)
        os.makedirs(folder, mode=0o755, exist_ok=True)
        if files is not None:
            self._put_files(name, files)
        _replace(os.path.join(folder, META), minijson.dumps(meta).encode(), 0o644)

    def _put_files(self, name: str, files: "dict[str, bytes]") -> None:
        import shutil

        shutil.rmtree(self.tls_dir(name), ignore_errors=True)
        for place, data in files.items():
            path = os.path.join(self.tls_dir(name), place)
            os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
            _replace(path, data, 0o600)

    def files(self, name: str) -> "dict[str, bytes]":
        """Return the TLS files of a context by "endpoint/file"."""
        found = {}
        base = self.tls_dir(name)
        for endpoint in sorted(os.listdir(base)) if os.path.isdir(base) else []:
            for file in sorted(os.listdir(os.path.join(base, endpoint))):
                with open(os.path.join(base, endpoint, file), "rb") as opened:
                    found[f"{endpoint}/{file}"] = opened.read()
        return found

    def remove(self, name: str) -> None:
        """Remove a context. Raises NotFound."""
        import shutil

        if not self.has(name):
            raise NotFound(f'context "{name}" does not exist')
        shutil.rmtree(self.meta_dir(name))
        shutil.rmtree(self.tls_dir(name), ignore_errors=True)


def _key(name: str) -> str:
    import hashlib

    return hashlib.sha256(name.encode()).hexdigest()


def _replace(path: str, data: bytes, mode: int) -> None:
    """Write a file whole or not at all."""
    temporary = f"{path}.{os.getpid()}"
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    with open(descriptor, "wb") as file:
        file.write(data)
    os.replace(temporary, path)
