"""auth.token: bearer tokens (the distribution project's token spec): check them, and issue them when no other server does."""

import fnmatch
import os
import time
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jwt
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from havre.errors import InvalidParameter
from havre.http.server import Request
from havre.registry.server.access import Htpasswd, credentials
from havre.registry.server.config import Issuer, TokenAuth
from havre.registry.server.refusal import Refused
from havre.registry.server.storage import write_atomic

ALGORITHMS = ["ES256", "ES384", "ES512", "RS256", "RS384", "RS512", "EdDSA"]
LEEWAY_S = 60  # docker-registry's
MAX_SCOPES = 32


class Tokens:
    """Access by bearer tokens."""

    def __init__(self, config: TokenAuth, keys: Sequence[Any]) -> None:
        self._config = config
        self._keys = keys

    async def check(self, request: Request, name: str, actions: Sequence[str]) -> None:
        """Raise Refused UNAUTHORIZED with the scope that is needed."""
        claims = self._claims(request)
        if claims is not None and all(_grants(claims, name, action) for action in actions):
            return
        scope = f"repository:{name}:{','.join(actions)}" if name else "registry:catalog:*" if actions else ""
        challenge = f'Bearer realm="{self._config.realm}",service="{self._config.service}"'
        challenge += f',scope="{scope}"' if scope else ""
        if request.head.header("authorization"):
            challenge += ',error="insufficient_scope"' if claims is not None else ',error="invalid_token"'
        headers = {"WWW-Authenticate": challenge}
        raise Refused("UNAUTHORIZED", "authentication required", headers=headers)

    async def may(self, request: Request, name: str, action: str) -> bool:
        claims = self._claims(request)
        return claims is not None and _grants(claims, name, action)

    def _claims(self, request: Request) -> dict[str, Any] | None:
        """What a good token says, None without one."""
        kind, _, token = request.head.header("authorization").partition(" ")
        if kind.lower() != "bearer":
            return None
        for key in self._keys:
            try:
                found: dict[str, Any] = jwt.decode(
                    token,
                    key,
                    algorithms=ALGORITHMS,
                    audience=self._config.service,
                    issuer=self._config.issuer,
                    leeway=LEEWAY_S,
                    options={"require": ["exp", "iss", "aud"]},
                )
                return found
            except (jwt.PyJWTError, TypeError, ValueError):
                continue
        return None


def _grants(claims: dict[str, Any], name: str, action: str) -> bool:
    kind, wanted = ("repository", name) if name else ("registry", "catalog")
    access = claims.get("access")
    for one in access if isinstance(access, list) else []:
        if isinstance(one, dict) and one.get("type") == kind and one.get("name") == wanted:
            actions = one.get("actions")
            if isinstance(actions, list) and (action in actions or "*" in actions):
                return True
    return False


def load_keys(config: TokenAuth) -> list[Any]:
    """Return the public keys of rootcertbundle and jwks. Raises InvalidParameter."""
    keys: list[Any] = []
    try:
        if config.certificates:
            keys += [
                one.public_key() for one in x509.load_pem_x509_certificates(config.certificates.read_bytes())
            ]
        if config.jwks:
            keys += [one.key for one in jwt.PyJWKSet.from_json(config.jwks.read_text()).keys]
    except (OSError, ValueError, jwt.PyJWTError) as error:
        raise InvalidParameter(f"config.yml: cannot read the token keys: {error}") from None
    return keys


class TokenIssuer:
    """The built-in issuer: GET or POST on the realm's path, users of an htpasswd file, rules by pattern."""

    def __init__(self, config: TokenAuth, builtin: Issuer, root: Path) -> None:
        self._config = config
        self._builtin = builtin
        self._users = Htpasswd(builtin.htpasswd, config.service)
        self._key = _own_key(root / "token-key.pem")

    def public_key(self) -> Any:
        return self._key.public_key()

    async def answer(self, request: Request) -> None:
        """Issue a token for what the rules allow of the scopes asked for. Raises Refused UNAUTHORIZED for bad credentials."""
        found = credentials(request)
        if found is not None:
            await self._users.check(request, "", [])
        user = found[0] if found else ""
        access = [self._allowed(user, text) for text in request.query.get("scope", [])[:MAX_SCOPES]]
        now = int(time.time())
        claims = {
            "iss": self._config.issuer,
            "sub": user,
            "aud": self._config.service,
            "iat": now,
            "nbf": now,
            "exp": now + self._builtin.ttl_s,
            "jti": uuid.uuid4().hex,
            "access": [one for one in access if one is not None],
        }
        token = jwt.encode(claims, self._key, algorithm="ES256")
        issued = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(now))
        await request.json(
            200,
            {"token": token, "access_token": token, "expires_in": self._builtin.ttl_s, "issued_at": issued},
        )

    def _allowed(self, user: str, scope: str) -> dict[str, Any] | None:
        """Return the access that the rules give of one scope, type:name:action,action."""
        kind, _, rest = scope.partition(":")
        name, _, actions = rest.rpartition(":")
        wanted = set(actions.split(","))
        given: set[str] = set()
        for rule in self._builtin.rules:
            named = any(fnmatch.fnmatchcase(user, one) for one in rule.users)
            if named and any(fnmatch.fnmatchcase(name, one) for one in rule.repositories):
                given |= wanted if "*" in rule.actions else wanted & set(rule.actions)
        return {"type": kind, "name": name, "actions": sorted(given)} if given else None


def _own_key(path: Path) -> ec.EllipticCurvePrivateKey:
    """The issuer's key; made at the first start, readable by its owner only."""
    if not path.exists():
        made = ec.generate_private_key(ec.SECP256R1())
        text = made.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        mask = os.umask(0o077)
        try:
            write_atomic(path, text)
        finally:
            os.umask(mask)
    key = serialization.load_pem_private_key(path.read_bytes(), None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise InvalidParameter(f"{path} is no EC key", hint=f"rm {path}")
    return key
