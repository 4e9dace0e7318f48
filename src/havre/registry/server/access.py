"""Who may do what: everybody, or who is in an htpasswd file (bcrypt), as docker-registry's `auth: htpasswd`."""

import base64
import binascii
import hashlib
import hmac
import os
from collections.abc import Sequence
from pathlib import Path

import bcrypt

from havre.errors import InvalidParameter
from havre.http.server import Request
from havre.registry.server.refusal import Refused
from havre.tasks import in_disk_thread


class Everybody:
    """No authentication."""

    async def check(self, request: Request, name: str, actions: Sequence[str]) -> None:
        """All is allowed."""

    async def may(self, request: Request, name: str, action: str) -> bool:
        return True


class Htpasswd:
    """Basic authentication; whoever is in the file may do everything. The file is read again when it changes."""

    def __init__(self, path: Path, realm: str) -> None:
        self._path = path
        self._realm = realm.replace('"', "")
        self._seen: tuple[int, int] = (0, 0)
        self._users: dict[str, bytes] = {}
        self._good: set[bytes] = (
            set()
        )  # salted digests of what bcrypt has accepted: it is slow on purpose, and asked for every blob
        self._salt = os.urandom(16)
        self._load()

    def _load(self) -> None:
        """Raises InvalidParameter when the file cannot be read."""
        try:
            status = os.stat(self._path)
            if (status.st_mtime_ns, status.st_ino) == self._seen:
                return
            lines = self._path.read_text("utf-8").splitlines()
        except (OSError, UnicodeError) as error:
            raise InvalidParameter(
                f"cannot read {self._path}: {error}", context="auth.htpasswd.path"
            ) from None
        pairs = (
            line.strip().partition(":") for line in lines if ":" in line and not line.lstrip().startswith("#")
        )
        self._users = {user: value.encode() for user, _, value in pairs if value.startswith("$2")}
        self._seen = (status.st_mtime_ns, status.st_ino)
        self._good.clear()

    async def check(self, request: Request, name: str, actions: Sequence[str]) -> None:
        """Raise Refused UNAUTHORIZED without good credentials."""
        if not await self.may(request, name, ""):
            challenge = {"WWW-Authenticate": f'Basic realm="{self._realm}"'}
            raise Refused("UNAUTHORIZED", "authentication required", headers=challenge)

    async def may(self, request: Request, name: str, action: str) -> bool:
        found = credentials(request)
        return found is not None and await in_disk_thread(self._matches, *found)

    def _matches(self, user: str, password: bytes) -> bool:
        self._load()
        known = self._users.get(user)
        mark = hmac.digest(self._salt, user.encode() + b"\0" + password, hashlib.sha256)
        if known is not None and mark in self._good:
            return True
        stored = (
            known or b"$2b$04$......................aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
        )  # as slow for a user that is not there
        try:
            good = bcrypt.checkpw(password[:72], stored) and known is not None
        except ValueError:
            good = False
        if good:
            self._good.add(mark)
        return good


def credentials(request: Request) -> tuple[str, bytes] | None:
    """Return (user, password) of basic authentication."""
    kind, _, value = request.head.header("authorization").partition(" ")
    if kind.lower() != "basic":
        return None
    try:
        user, colon, password = base64.b64decode(value, validate=True).partition(b":")
        return (user.decode("utf-8"), password) if colon else None
    except (binascii.Error, UnicodeError):
        return None
