"""Distribution-spec requests: manifests, blobs, uploads, tags. Async."""

import hashlib
import ipaddress
import json
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from urllib.parse import urljoin

from havre.errors import Forbidden, HavreError, InvalidParameter, NotFound, Unauthorized, Unavailable
from havre.registry.auth import Credentials, Tokens
from havre.registry.transport import Origin, Pool, Response, origin_of, speaks_no_tls
from havre.spec.reference import DEFAULT_DOMAIN, Reference

MANIFEST_TYPES = (
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
    "application/vnd.docker.distribution.manifest.v2+json",
)
MAX_MANIFEST_BYTES = 4 << 20
MAX_ERROR_BYTES = 64 << 10
MAX_REDIRECTS = 5
HUB = "registry-1.docker.io"
USER_AGENT = "havre"


@dataclass(frozen=True, slots=True)
class Manifest:
    """A manifest as the registry sent it."""

    data: bytes
    media_type: str
    digest: str


class Client:
    """One daemon's way to registries."""

    def __init__(self, *, insecure_registries: Sequence[str] = (), mirrors: Sequence[str] = ()) -> None:
        self._insecure = tuple(insecure_registries)
        self._mirrors = tuple(mirror.rstrip("/") for mirror in mirrors)
        self._pool = Pool(frozenset(one for one in insecure_registries if "/" not in one))
        self._tokens = Tokens(self._pool)
        self._plain: dict[str, bool] = {}  # hosts found to speak plain http

    def close(self) -> None:
        self._pool.close()

    # what callers ask

    async def manifest(
        self, reference: Reference, credentials: Credentials | None = None, digest: str = ""
    ) -> Manifest:
        """Return a manifest by digest, or by the reference's digest or tag; its digest is verified. Mirrors are tried first."""
        wanted = digest or reference.digest or reference.tag
        headers = {"Accept": ", ".join(MANIFEST_TYPES)}
        path = f"/v2/{reference.path}/manifests/{wanted}"
        answer = await self._read(reference, path, headers, credentials)
        data = await answer.read(MAX_MANIFEST_BYTES)
        found = f"sha256:{hashlib.sha256(data).hexdigest()}"
        if wanted.startswith("sha512:"):
            found = f"sha512:{hashlib.sha512(data).hexdigest()}"
        if ":" in wanted and found != wanted:
            raise Unavailable(f"{reference.domain} sent another manifest than {wanted}")
        kind = answer.headers.get("content-type", "").partition(";")[0].strip()
        if kind.startswith("text/html"):
            raise Unavailable(
                f"{reference.domain} answered with a web page: this is no registry", hint="check the name"
            )
        return Manifest(data, kind, found)

    async def blob(
        self, reference: Reference, digest: str, credentials: Credentials | None = None, offset: int = 0
    ) -> tuple[int, AsyncIterator[bytes]]:
        """Return (offset the bytes begin at, chunks). A registry that cannot resume begins at 0."""
        headers = {"Range": f"bytes={offset}-"} if offset else {}
        answer = await self._read(reference, f"/v2/{reference.path}/blobs/{digest}", headers, credentials)
        return (offset if answer.status == 206 else 0), answer.chunks()

    async def tags(self, reference: Reference, credentials: Credentials | None = None) -> list[str]:
        """Return every tag of a repository."""
        found: list[str] = []
        path = f"/v2/{reference.path}/tags/list?n=1000"
        for _ in range(1000):
            answer = await self._read(reference, path, {}, credentials)
            data = _json(await answer.read(MAX_MANIFEST_BYTES), reference.domain)
            found += [str(tag) for tag in data.get("tags") or []]
            link = answer.headers.get("link", "")
            if 'rel="next"' not in link or len(found) > 100_000:
                break
            path = link[link.find("<") + 1 : link.find(">")]
            if not path.startswith("/"):
                break
        return found

    async def has_blob(self, reference: Reference, digest: str, credentials: Credentials | None) -> bool:
        answer = await self._own(
            reference, "HEAD", f"/v2/{reference.path}/blobs/{digest}", {}, credentials, scope="pull,push"
        )
        await answer.read(MAX_ERROR_BYTES)
        return answer.status == 200

    async def upload(
        self,
        reference: Reference,
        digest: str,
        size: int,
        chunks: AsyncIterator[bytes],
        credentials: Credentials | None,
        mount_from: str = "",
    ) -> bool:
        """Upload a blob in one request; True when the registry could mount it from another repository instead."""
        query = f"?mount={digest}&from={mount_from}" if mount_from else ""
        path = f"/v2/{reference.path}/blobs/uploads/{query}"
        answer = await self._own(reference, "POST", path, {}, credentials, scope="pull,push")
        body = await answer.read(MAX_ERROR_BYTES)
        if answer.status == 201:
            return True
        if answer.status != 202 or "location" not in answer.headers:
            raise _refused(answer.status, body, reference)
        base = f"{await self._base(reference)}{path}"
        location = urljoin(base, answer.headers["location"])
        url = location + ("&" if "?" in location else "?") + f"digest={digest}"
        headers = {"Content-Type": "application/octet-stream", "Content-Length": str(size)}
        done = await self._authorized("PUT", url, headers, reference, credentials, "pull,push", chunks)
        body = await done.read(MAX_ERROR_BYTES)
        if done.status != 201:
            raise _refused(done.status, body, reference)
        return False

    async def put_manifest(
        self, reference: Reference, data: bytes, media_type: str, credentials: Credentials | None
    ) -> None:
        """Upload a manifest under the reference's tag, or its digest when it has none."""
        name = reference.tag or reference.digest
        headers = {"Content-Type": media_type}
        path = f"/v2/{reference.path}/manifests/{name}"
        answer = await self._own(reference, "PUT", path, headers, credentials, scope="pull,push", body=data)
        body = await answer.read(MAX_ERROR_BYTES)
        if answer.status not in (200, 201, 202):
            raise _refused(answer.status, body, reference)

    async def check_login(self, server: str, username: str, password: str) -> str:
        """Try credentials on a registry's /v2/. Raises Unauthorized when they are wrong."""
        host = server.removeprefix("https://").removeprefix("http://").partition("/")[0] or DEFAULT_DOMAIN
        if host == "index.docker.io":
            host = DEFAULT_DOMAIN
        reference = Reference(host, "library/none")
        answer = await self._own(reference, "GET", "/v2/", {}, Credentials(username, password), scope="")
        await answer.read(MAX_ERROR_BYTES)
        if answer.status != 200:
            raise Unauthorized(
                f"login attempt to {host} failed: unauthorized: incorrect username or password"
            )
        return ""

    # how it gets there

    async def _read(
        self, reference: Reference, path: str, headers: dict[str, str], credentials: Credentials | None
    ) -> Response:
        """GET from a mirror or from the registry itself."""
        for mirror in self._mirrors if reference.domain == DEFAULT_DOMAIN else ():
            try:
                answer = await self._authorized("GET", mirror + path, headers, reference, None, "pull")
            except HavreError:
                continue
            if answer.status in (200, 206):
                return answer
            answer.close()
        answer = await self._own(reference, "GET", path, headers, credentials, scope="pull")
        if answer.status not in (200, 206):
            raise _refused(answer.status, await answer.read(MAX_ERROR_BYTES), reference)
        return answer

    async def _own(
        self,
        reference: Reference,
        method: str,
        path: str,
        headers: dict[str, str],
        credentials: Credentials | None,
        *,
        scope: str,
        body: bytes | None = None,
    ) -> Response:
        base = await self._base(reference)
        try:
            return await self._authorized(method, base + path, headers, reference, credentials, scope, body)
        except Unavailable as error:
            if not (speaks_no_tls(error) and self._may_be_plain(reference.domain)):
                raise
        self._plain[reference.domain] = True
        return await self._authorized(
            method, f"http://{reference.domain}{path}", headers, reference, credentials, scope, body
        )

    async def _base(self, reference: Reference) -> str:
        host = HUB if reference.domain == DEFAULT_DOMAIN else reference.domain
        return f"{'http' if self._plain.get(reference.domain) else 'https'}://{host}"

    def _may_be_plain(self, domain: str) -> bool:
        """Plain http is spoken to this machine and to registries the configuration names, never to others."""
        host = domain.rpartition(":")[0] if domain.rpartition(":")[2].isdigit() else domain
        if domain in self._insecure or host in self._insecure or host == "localhost":
            return True
        try:
            address = ipaddress.ip_address(host.strip("[]"))
        except ValueError:
            return False
        networks = [one for one in self._insecure if "/" in one]
        return address.is_loopback or any(
            address in ipaddress.ip_network(one, strict=False) for one in networks
        )

    async def _authorized(
        self,
        method: str,
        url: str,
        headers: dict[str, str],
        reference: Reference,
        credentials: Credentials | None,
        actions: str,
        body: bytes | AsyncIterator[bytes] | None = None,
    ) -> Response:
        """Send, answer one challenge, follow redirects (without Authorization on another host)."""
        registry = origin_of(url)
        scope = f"repository:{reference.path}:{actions}" if actions else ""
        sent = {"User-Agent": USER_AGENT, **headers}
        if known := self._tokens.known(registry, scope, credentials):
            sent["Authorization"] = known
        answer = await self._pool.request(method, url, sent, body)
        if answer.status == 401 and (challenge := answer.headers.get("www-authenticate")):
            await answer.read(MAX_ERROR_BYTES)
            if body is not None and not isinstance(body, bytes):
                raise Unauthorized(f"{registry} asks for authentication in the middle of an upload")
            sent["Authorization"] = await self._tokens.answer(registry, challenge, scope, credentials)
            answer = await self._pool.request(method, url, sent, body)
        return await self._follow(answer, method, url, sent, registry)

    async def _follow(
        self, answer: Response, method: str, url: str, headers: dict[str, str], registry: Origin
    ) -> Response:
        for _ in range(MAX_REDIRECTS):
            if answer.status not in (301, 302, 303, 307, 308) or method not in ("GET", "HEAD"):
                return answer
            target = urljoin(url, answer.headers.get("location", ""))
            await answer.read(MAX_ERROR_BYTES)
            there = origin_of(target)
            if registry.scheme == "https" and there.scheme == "http":
                raise Unavailable(f"{registry} redirects to plain http on {there}: refused")
            kept = (
                headers if there == registry else {k: v for k, v in headers.items() if k != "Authorization"}
            )
            answer = await self._pool.request(method, target, kept)
            url = target
        answer.close()
        raise Unavailable(f"{registry} redirects without end")


def _json(data: bytes, host: str) -> dict[str, list[object]]:
    try:
        found = json.loads(data)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise Unavailable(f"{host} sent no JSON: this is no registry")
    return found


def _refused(status: int, body: bytes, reference: Reference) -> HavreError:
    """Turn a registry's refusal into words."""
    said = _said(body)
    name = reference.familiar_name()
    if status in (401, 403):
        kind = Unauthorized if status == 401 else Forbidden
        text = f"pull access denied for {name}, repository does not exist or may require 'docker login': denied: {said or status}"
        error: HavreError = NotFound(text, hint=f"havre login {reference.domain}")
        error.status = 404 if kind is Unauthorized else 403
        return error
    if status == 404:
        wanted = reference.familiar() if reference.tag or reference.digest else name
        return NotFound(f"manifest for {wanted} not found: {said or 'manifest unknown'}")
    if status == 429:
        return Unavailable(
            f"{reference.domain}: too many requests: {said or 'rate limit reached'}",
            hint=f"havre login {reference.domain}",
        )
    if status == 400:
        return InvalidParameter(f"{reference.domain} refused: {said or 'bad request'}")
    return Unavailable(f"{reference.domain} answered {status}{': ' + said if said else ''}")


def _said(body: bytes) -> str:
    """The first message of a registry's error list, safe to print."""
    try:
        first = json.loads(body)["errors"][0]
        text = f"{first.get('code', '')} {first.get('message', '')}".strip().lower()
    except (ValueError, KeyError, IndexError, TypeError, AttributeError, RecursionError):
        return ""
    return "".join(char for char in text if char.isprintable())[:300]
