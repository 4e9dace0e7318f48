"""Exported contexts: a tar (or zip) of meta.json and tls/<endpoint>/<file>. What comes in is hostile: names and sizes are checked."""

import io
import tarfile
import zipfile

from havre.cli.contextstore import META, TLS
from havre.client import minijson
from havre.errors import InvalidParameter

MOST_BYTES = 10 << 20  # the docker CLI's own limit
TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import IO, Any


def packed(meta: bytes, files: "dict[str, bytes]") -> bytes:
    """Return the archive."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        _add(tar, META, meta, 0o644)
        _add(tar, TLS, None, 0o700)
        seen = set()
        for place, data in files.items():
            folder = f"{TLS}/{place.partition('/')[0]}"
            if folder not in seen:
                seen.add(folder)
                _add(tar, folder, None, 0o700)
            _add(tar, f"{TLS}/{place}", data, 0o600)
    return out.getvalue()


def _add(tar: tarfile.TarFile, name: str, data: "bytes | None", mode: int) -> None:
    info = tarfile.TarInfo(name)
    info.mode, info.size = mode, len(data or b"")
    info.type = tarfile.DIRTYPE if data is None else tarfile.REGTYPE
    tar.addfile(info, io.BytesIO(data or b""))


def unpacked(data: bytes) -> "tuple[dict[str, Any], dict[str, bytes]]":
    """Return (meta, TLS files by endpoint/file). Raises InvalidParameter."""
    if len(data) > MOST_BYTES:
        raise InvalidParameter(f"invalid context: the archive is larger than {MOST_BYTES >> 20} MiB")
    meta: Any = None
    files: dict[str, bytes] = {}
    for name, content in _zip(data) if data[:2] == b"PK" else _tar(data):
        if name == META:
            meta = minijson.loads(content)
            continue
        parts = name.split("/")
        if (
            len(parts) != 3
            or parts[0] != TLS
            or any(part in ("", ".", "..") for part in parts)
            or "\0" in name
        ):
            raise InvalidParameter(f'invalid context: "{name}" does not belong into it')
        files["/".join(parts[1:])] = content
    if meta is None:
        raise InvalidParameter("invalid context: no metadata found")
    if not isinstance(meta, dict) or not isinstance(meta.get("Endpoints"), dict):
        raise InvalidParameter("invalid context: the metadata are damaged")
    return meta, files


def _tar(data: bytes) -> "Iterator[tuple[str, bytes]]":
    try:
        with tarfile.open(fileobj=io.BytesIO(data), mode="r:") as tar:
            for member in tar:
                if member.isdir():
                    continue
                file = tar.extractfile(member) if member.isreg() else None
                if file is None:
                    raise InvalidParameter(f'invalid context: "{member.name}" is no file')
                yield member.name, _whole(member.name, file)
    except tarfile.TarError:
        return  # docker's own archives end without the blocks that should follow


def _whole(name: str, file: "IO[bytes]") -> bytes:
    try:
        return file.read()
    except tarfile.TarError:
        raise InvalidParameter(f'invalid context: "{name}" is cut short') from None


def _zip(data: bytes) -> "Iterator[tuple[str, bytes]]":
    left = MOST_BYTES
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            for info in archive.infolist():
                if info.is_dir():
                    continue
                with archive.open(info) as file:
                    content = file.read(left + 1)
                left -= len(content)
                if left < 0:
                    raise InvalidParameter(f"invalid context: it unpacks to more than {MOST_BYTES >> 20} MiB")
                yield info.filename, content
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError):
        return
