"""Registry authentication: Basic, and Bearer tokens (distribution "Token Authentication Specification").

Credentials go to the registry itself over its own origin, and to the realm it names only over https or on the same host
(security: a foreign realm in plain http would be handed the password). Tokens are kept per (origin, scope).
"""

import base64
import json
import re
import time
from dataclasses import dataclass, field
from urllib.parse import urlencode

from havre.errors import Unauthorized
from havre.registry.transport import Origin, Pool, origin_of

MAX_TOKEN_BYTES = 1 << 20
TOKEN_LIFE_S = 60  # the specification's default when expires_in is missing
_PARAMETER = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"|(\w+)=([^\s,]+)')


@dataclass(frozen=True, slots=True)
class Credentials:
    """What a client sent with X-Registry-Auth. repr hides the secrets."""

    username: str = ""
    password: str = field(default="", repr=False)
    identity_token: str = field(default="", repr=False)

    def basic(self) -> str:
        return "Basic " + base64.b64encode(f"{self.username}:{self.password}".encode()).decode()


def parse_challenge(header: str) -> tuple[str, dict[str, str]]:
    """Return ("bearer", {"realm": ...}) of a WWW-Authenticate header."""
    scheme, _, rest = header.strip().partition(" ")
    return scheme.lower(), {m[1] or m[3]: m[2] or m[4] or "" for m in _PARAMETER.finditer(rest)}


def may_send(credentials: Credentials | None, registry: Origin, realm: Origin) -> bool:
    """Say whether credentials may go to a realm."""
    if credentials is None:
        return False
    same_host = realm.host == registry.host
    return same_host if realm.scheme == "http" else True


class Tokens:
    """Answers challenges."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._known: dict[tuple[str, str, str], tuple[str, float]] = {}

    def known(self, registry: Origin, scope: str, credentials: Credentials | None) -> str:
        """Return an Authorization header that still holds, or ""."""
        token, until = self._known.get((str(registry), scope, _who(credentials)), ("", 0.0))
        return f"Bearer {token}" if token and time.monotonic() < until else ""

    async def answer(
        self, registry: Origin, challenge: str, scope: str, credentials: Credentials | None
    ) -> str:
        """Return the Authorization header a challenge asks for. Raises Unauthorized."""
        scheme, words = parse_challenge(challenge)
        if scheme == "basic":
            if credentials is None or not credentials.username:
                raise Unauthorized(f"{registry}: no basic auth credentials", hint=f"havre login {registry}")
            return credentials.basic()
        if scheme != "bearer" or not words.get("realm"):
            raise Unauthorized(f"{registry} asks for an unknown kind of authentication: {scheme or 'none'}")
        token, life_s = await self._fetch(registry, words, words.get("scope") or scope, credentials)
        self._known[(str(registry), scope, _who(credentials))] = (token, time.monotonic() + life_s * 0.9)
        return f"Bearer {token}"

    async def _fetch(
        self, registry: Origin, words: dict[str, str], scope: str, credentials: Credentials | None
    ) -> tuple[str, float]:
        realm = origin_of(words["realm"])
        sent = credentials if may_send(credentials, registry, realm) else None
        query = {"service": words.get("service", ""), "scope": scope}
        headers = {"Accept": "application/json", "User-Agent": "havre"}
        if sent is not None and sent.identity_token:
            form = {
                "grant_type": "refresh_token",
                "refresh_token": sent.identity_token,
                "client_id": "havre",
                **query,
            }
            headers["Content-Type"] = "application/x-www-form-urlencoded"
            answer = await self._pool.request("POST", words["realm"], headers, urlencode(form).encode())
        else:
            if sent is not None and sent.username:
                headers["Authorization"] = sent.basic()
                query["account"] = sent.username
            joint = "&" if "?" in words["realm"] else "?"
            url = words["realm"] + joint + urlencode({key: value for key, value in query.items() if value})
            answer = await self._pool.request("GET", url, headers)
        data = await answer.read(MAX_TOKEN_BYTES)
        if answer.status != 200:
            raise Unauthorized(
                f"{realm} refused a token for {registry}: {answer.status}", hint=f"havre login {registry}"
            )
        try:
            found = json.loads(data)
            token = found.get("token") or found["access_token"]
            return str(token), float(found.get("expires_in") or TOKEN_LIFE_S)
        except (ValueError, KeyError, AttributeError, TypeError):
            raise Unauthorized(f"{realm} sent no token") from None


def _who(credentials: Credentials | None) -> str:
    return f"{credentials.username}\0{credentials.identity_token}" if credentials else ""
