"""Registry authentication: Basic, and Bearer tokens (distribution "Token Authentication Specification", OAuth2 too).

Credentials go only to the registry they were given for and to the realm it names, and there only over https, or over http
when the registry itself is plain and the realm is on the same host. Redirects of a realm are never followed.
Tokens are asked for the scope we need, not for the one a challenge wishes, and kept per (registry, scope, credentials).
"""

import base64
import hashlib
import json
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from urllib.parse import urlencode

from havre.errors import HavreError, Unauthorized, Unavailable
from havre.registry.origin import Origin, origin_of
from havre.registry.transport import Pool

MAX_TOKEN_BYTES = 1 << 20
TOKEN_LIFE_S, MAX_LIFE_S = (
    60.0,
    3600.0,
)  # the specification's default when expires_in is missing; our own bound
MAX_TOKENS = 1000
CLIENT_ID = "havre"
_WORD = re.compile(r'([\w-]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,"]+))')
_SCHEME = re.compile(r"(?:^|,)\s*(basic|bearer)(?=\s|,|$)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Credentials:
    """What a client sent with X-Registry-Auth. repr hides the secrets."""

    username: str = ""
    password: str = field(default="", repr=False)
    identity_token: str = field(default="", repr=False)
    registry_token: str = field(default="", repr=False)  # a bearer token as it is

    def basic(self) -> str:
        return "Basic " + base64.b64encode(f"{self.username}:{self.password}".encode()).decode()

    def fingerprint(self) -> str:
        """Tell two sets of credentials apart without keeping them."""
        parts = (self.username, self.password, self.identity_token, self.registry_token)
        return hashlib.sha256("\0".join(parts).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Challenge:
    """One WWW-Authenticate."""

    scheme: str  # "basic" or "bearer"
    words: dict[str, str]


def parse_challenges(headers: Sequence[str]) -> list[Challenge]:
    """Return the Basic and Bearer challenges of WWW-Authenticate headers; one header may hold several."""
    found = []
    for header in headers:
        places = [*_SCHEME.finditer(header), None]
        for here, following in pairwise(places):
            if here is None:
                break
            text = header[here.end() : following.start() if following else len(header)]
            words = {m[1].lower(): m[2] if m[2] is not None else m[3] for m in _WORD.finditer(text)}
            found.append(Challenge(here[1].lower(), words))
    return found


def may_send(credentials: Credentials | None, registry: Origin, realm: Origin) -> bool:
    """Say whether credentials may go to a realm."""
    if credentials is None:
        return False
    if realm.scheme == "https":
        return True
    return registry.scheme == "http" and realm.host == registry.host


@dataclass(frozen=True, slots=True)
class Token:
    """What a realm gave."""

    bearer: str = field(repr=False)
    life_s: float
    refresh: str = field(default="", repr=False)


class Tokens:
    """Answers challenges and remembers the answers."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._known: dict[tuple[Origin, str, str], tuple[str, float]] = {}
        self._basic: set[Origin] = set()

    def known(self, registry: Origin, scopes: Sequence[str], credentials: Credentials | None) -> str:
        """Return an Authorization header that still holds, or ""."""
        if credentials is not None and credentials.registry_token:
            return f"Bearer {credentials.registry_token}"
        if registry in self._basic and credentials is not None and credentials.username:
            return credentials.basic()
        token, until = self._known.get(_key(registry, scopes, credentials), ("", 0.0))
        return f"Bearer {token}" if token and time.monotonic() < until else ""

    async def answer(
        self,
        registry: Origin,
        challenges: Sequence[str],
        scopes: Sequence[str],
        credentials: Credentials | None,
    ) -> str:
        """Return the Authorization header that a 401 asks for. Raises Unauthorized, Unavailable."""
        self._known.pop(_key(registry, scopes, credentials), None)
        found = {one.scheme: one for one in reversed(parse_challenges(challenges))}
        if (bearer := found.get("bearer")) is not None and bearer.words.get("realm"):
            token = await self.fetch(registry, bearer, scopes, credentials)
            self._remember(_key(registry, scopes, credentials), token)
            return f"Bearer {token.bearer}"
        if "basic" in found:
            if credentials is None or not credentials.username:
                raise Unauthorized(
                    f"{registry}: unauthorized: no basic auth credentials", hint=f"havre login {registry}"
                )
            self._basic.add(registry)
            return credentials.basic()
        raise Unauthorized(f"{registry} asks for a kind of authentication that is not known here")

    def _remember(self, key: tuple[Origin, str, str], token: Token) -> None:
        now = time.monotonic()
        if len(self._known) >= MAX_TOKENS:
            self._known = {one: entry for one, entry in self._known.items() if entry[1] > now}
        if len(self._known) < MAX_TOKENS:
            self._known[key] = (token.bearer, now + token.life_s * 0.9)

    async def fetch(
        self,
        registry: Origin,
        challenge: Challenge,
        scopes: Sequence[str],
        credentials: Credentials | None,
        *,
        offline: bool = False,
    ) -> Token:
        """Ask a realm for a token, with `offline` for one to log in with later too. Raises Unauthorized, Unavailable."""
        url = challenge.words["realm"]
        realm = origin_of(url)
        sent = credentials if may_send(credentials, registry, realm) else None
        query = [("service", challenge.words.get("service", "")), *(("scope", one) for one in scopes if one)]
        headers = {"Accept": "application/json", "User-Agent": CLIENT_ID}
        if sent is not None and sent.identity_token:
            headers["Content-Type"] = "application/x-www-form-urlencoded"
            form = [
                ("grant_type", "refresh_token"),
                ("refresh_token", sent.identity_token),
                ("client_id", CLIENT_ID),
                ("service", challenge.words.get("service", "")),
                *([("scope", " ".join(scopes))] if scopes else []),
            ]
            answer = await self._pool.request("POST", url, headers, urlencode(form).encode())
        else:
            if sent is not None and sent.username:
                headers["Authorization"] = sent.basic()
                query.append(("account", sent.username))
            if offline:
                query += [("offline_token", "true"), ("client_id", CLIENT_ID)]
            joint = "&" if "?" in url else "?"
            url += joint + urlencode([(key, value) for key, value in query if value])
            answer = await self._pool.request("GET", url, headers)
        data = await answer.read(MAX_TOKEN_BYTES)
        if answer.status != 200:
            raise _no_token(registry, realm, answer.status, asked_with=sent)
        return _read_token(data, realm)


def _no_token(registry: Origin, realm: Origin, status: int, *, asked_with: Credentials | None) -> HavreError:
    if status in (400, 401, 403):
        why = "incorrect username or password" if asked_with else "authentication required"
        return Unauthorized(f"{registry}: unauthorized: {why}", hint=f"havre login {registry}")
    return Unavailable(f"{realm}, which gives tokens for {registry}, answered {status}")


def _read_token(data: bytes, realm: Origin) -> Token:
    try:
        found = json.loads(data)
        bearer = found.get("token") or found["access_token"]
        life_s = found.get("expires_in") or TOKEN_LIFE_S
        refresh = found.get("refresh_token") or ""
    except (ValueError, KeyError, AttributeError, TypeError, RecursionError):
        raise Unavailable(f"{realm} sent no token") from None
    if not isinstance(bearer, str) or not isinstance(refresh, str) or not bearer.isprintable():
        raise Unavailable(f"{realm} sent no token")
    if not isinstance(life_s, int | float) or not life_s >= TOKEN_LIFE_S:
        life_s = TOKEN_LIFE_S
    return Token(bearer, min(float(life_s), MAX_LIFE_S), refresh)


def _key(registry: Origin, scopes: Sequence[str], credentials: Credentials | None) -> tuple[Origin, str, str]:
    return registry, " ".join(scopes), credentials.fingerprint() if credentials else ""
