"""Distribution-spec requests: manifests, blobs, tags, uploads. Async. Mirrors are asked first for what is only read."""

import hashlib
import json
import re
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field

from havre.errors import HavreError, InvalidParameter, Unauthorized, Unavailable
from havre.registry.auth import Credentials, Tokens, parse_challenges
from havre.registry.link import Body
from havre.registry.origin import Origin, join, origin_of
from havre.registry.refused import refusal
from havre.registry.transport import NoAnswer, NoTls, Pool, Response
from havre.registry.trust import CERTS_DIRS, Trust, is_loopback
from havre.spec.reference import DEFAULT_DOMAIN, DIGEST, Reference

MANIFEST_TYPES = (
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
    "application/vnd.docker.distribution.manifest.v2+json",
)
MAX_MANIFEST_BYTES = 4 << 20  # the distribution spec's own limit
MAX_ERROR_BYTES = 64 << 10
MAX_REDIRECTS = 5
MAX_TAGS, MAX_TAG_PAGES = 100_000, 1000
HUB = "registry-1.docker.io"
USER_AGENT = "havre"
_AGENT = {"User-Agent": USER_AGENT}
_TAG = re.compile(r"\w[\w.-]{0,127}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Manifest:
    """A manifest as the registry sent it."""

    data: bytes
    media_type: str
    digest: str


@dataclass(frozen=True, slots=True)
class Site:
    """One registry (or mirror) for one use: where it is, and who asks for what."""

    base: str
    credentials: Credentials | None = None
    scopes: tuple[str, ...] = ()

    @property
    def origin(self) -> Origin:
        return origin_of(self.base)


@dataclass(frozen=True, slots=True)
class Ask:
    """One request of the distribution API."""

    method: str
    path: str
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = None


class Client:
    """One daemon's way to registries. `mirrors`: URLs for docker.io, or "host=URL" for another registry."""

    def __init__(
        self,
        *,
        insecure_registries: Sequence[str] = (),
        mirrors: Sequence[str] = (),
        certs: Sequence[str] = CERTS_DIRS,
    ) -> None:
        self._trust = Trust(insecure_registries, certs)
        self._mirrors = _mirrors(mirrors)
        self._pool = Pool(self._trust)
        self._tokens = Tokens(self._pool)
        self._schemes: dict[str, str] = {}  # what domains that may be plain were found to speak

    def retarget(self, insecure_registries: Sequence[str], mirrors: Sequence[str]) -> None:
        """Take other lists, as the constructor's; requests that are on their way end as they began. Raises InvalidParameter."""
        mirrored = _mirrors(mirrors)
        self._trust.trust(insecure_registries)
        self._mirrors = mirrored
        self._schemes.clear()

    def close(self) -> None:
        self._pool.close()

    # reading

    async def head(self, reference: Reference, credentials: Credentials | None = None) -> str:
        """Return the digest a tag points at, "" when the registry does not say. A HEAD does not count for rate limits."""
        ask = Ask("HEAD", _manifest_path(reference), {"Accept": ", ".join(MANIFEST_TYPES)})
        answer = await self._read(reference, ask, credentials)
        await answer.read(0)
        found = answer.header("docker-content-digest")
        return found if DIGEST.fullmatch(found) else ""

    async def manifest(
        self, reference: Reference, credentials: Credentials | None = None, digest: str = ""
    ) -> Manifest:
        """Return a manifest by digest, or by the reference's digest or tag; its digest is verified."""
        wanted = digest or reference.digest
        ask = Ask("GET", _manifest_path(reference, digest), {"Accept": ", ".join(MANIFEST_TYPES)})
        answer = await self._read(reference, ask, credentials)
        data = await answer.read(MAX_MANIFEST_BYTES)
        algorithm = wanted.partition(":")[0] or "sha256"
        found = f"{algorithm}:{hashlib.new(algorithm, data).hexdigest()}"
        if wanted and found != wanted:
            raise Unavailable(f"{reference.domain} sent {found} instead of the manifest {wanted}")
        return Manifest(data, answer.header("content-type").partition(";")[0].strip().lower(), found)

    async def blob(
        self,
        reference: Reference,
        digest: str,
        credentials: Credentials | None = None,
        offset: int = 0,
        *,
        mirrors: bool = True,
    ) -> tuple[int, AsyncIterator[bytes]]:
        """Return (offset the bytes begin at, chunks). A registry that cannot resume begins at 0. The bytes are not verified."""
        headers = {"Range": f"bytes={offset}-"} if offset else {}
        ask = Ask("GET", f"/v2/{reference.path}/blobs/{_digest(digest)}", headers)
        answer = await self._read(reference, ask, credentials, mirrors=mirrors)
        if answer.status == 206 and not answer.header("content-range").startswith(f"bytes {offset}-"):
            answer.close()
            raise Unavailable(f"{reference.domain} sent another part of {digest} than was asked for")
        return (offset if answer.status == 206 else 0), answer.chunks()

    async def tags(self, reference: Reference, credentials: Credentials | None = None) -> list[str]:
        """Return every tag of a repository. Raises Unavailable for a list without end."""
        found: dict[str, None] = {}
        path = f"/v2/{reference.path}/tags/list?n=1000"
        for _ in range(MAX_TAG_PAGES):
            answer = await self._read(reference, Ask("GET", path), credentials)
            page = _json(await answer.read(MAX_MANIFEST_BYTES), reference.domain).get("tags") or []
            before = len(found)
            for tag in page if isinstance(page, list) else []:
                if not isinstance(tag, str) or not _TAG.fullmatch(tag):
                    raise Unavailable(f"{reference.domain} names an invalid tag: {str(tag)[:100]!r}")
                found[tag] = None
            link = re.match(r'<([^>]*)>\s*;[^,]*rel="?next', answer.header("link"))
            if link is None:
                return list(found)
            if len(found) == before or len(found) > MAX_TAGS:
                break
            path = "/" + join(answer.url, link[1]).split("/", 3)[3]  # never to another host
        raise Unavailable(f"the list of tags of {reference.familiar_name()} does not end")

    async def _read(
        self, reference: Reference, ask: Ask, credentials: Credentials | None, *, mirrors: bool = True
    ) -> Response:
        """Ask mirrors in turn, then the registry itself; only 200 and 206 come back."""
        scopes = (f"repository:{reference.path}:pull",)
        for mirror in self._mirrors.get(reference.domain, ()) if mirrors else ():
            try:
                answer = await self._send(Site(mirror, None, scopes), ask)
            except HavreError:
                continue
            if answer.status in (200, 206) and not _is_page(answer):
                return answer
            answer.close()
        answer = await self._own(reference, ask, credentials, scopes)
        if answer.status not in (200, 206):
            said = await answer.read(MAX_ERROR_BYTES)
            raise refusal(answer.status, said, reference, blob="/blobs/" in ask.path)
        if _is_page(answer):
            answer.close()
            raise Unavailable(
                f"{reference.domain} answered with a web page: it is no registry, or something stands in between",
                hint="check the name, and whether a proxy or login page is in the way",
            )
        return answer

    # writing

    async def has_blob(self, reference: Reference, digest: str, credentials: Credentials | None) -> bool:
        """Say whether the repository has a blob already."""
        ask = Ask("HEAD", f"/v2/{reference.path}/blobs/{_digest(digest)}")
        answer = await self._own(reference, ask, credentials, _push_scopes(reference))
        await answer.read(MAX_ERROR_BYTES)
        if answer.status in (401, 403):
            raise refusal(answer.status, b"", reference, pushing=True)
        return answer.status == 200

    async def upload(
        self,
        reference: Reference,
        digest: str,
        size: int,
        chunks: Callable[[], AsyncIterator[bytes]],
        credentials: Credentials | None,
        mount_from: str = "",
    ) -> bool:
        """Upload a blob in one request; True when the registry took it from the repository `mount_from` instead."""
        scopes = _push_scopes(reference, mount_from)
        query = f"?mount={digest}&from={mount_from}" if mount_from else ""
        ask = Ask("POST", f"/v2/{reference.path}/blobs/uploads/{query}")
        answer = await self._own(reference, ask, credentials, scopes)
        body = await answer.read(MAX_ERROR_BYTES)
        if answer.status == 201 and mount_from:
            return True
        if answer.status != 202 or not answer.header("location"):
            raise refusal(answer.status, body, reference, pushing=True)
        url = self._upload_url(answer, digest)
        site = Site(await self._base(reference), credentials, scopes)
        headers = {"Content-Type": "application/octet-stream"}
        done = await self._authorized(site, "PUT", url, headers, chunks, size)
        body = await done.read(MAX_ERROR_BYTES)
        if done.status not in (201, 204):
            raise refusal(done.status, body, reference, pushing=True)
        return False

    @staticmethod
    def _upload_url(answer: Response, digest: str) -> str:
        """A registry behind a TLS proxy often names itself with http: an upload never leaves https for that."""
        location = join(answer.url, answer.header("location"))
        there, here = origin_of(location), origin_of(answer.url)
        if here.scheme == "https" and there.scheme == "http":
            if there.host != here.host:
                raise Unavailable(f"{here} wants the upload sent to {there} in plain http: refused")
            location = here.url + "/" + location.split("/", 3)[3]
        return location + ("&" if "?" in location else "?") + f"digest={digest}"

    async def put_manifest(
        self, reference: Reference, data: bytes, media_type: str, credentials: Credentials | None
    ) -> None:
        """Upload a manifest under the reference's tag, or its digest when it has none."""
        path = f"/v2/{reference.path}/manifests/{reference.tag or reference.digest}"
        ask = Ask("PUT", path, {"Content-Type": media_type}, data)
        answer = await self._own(reference, ask, credentials, _push_scopes(reference))
        body = await answer.read(MAX_ERROR_BYTES)
        if answer.status not in (200, 201, 202):
            raise refusal(answer.status, body, reference, pushing=True)

    # logging in

    async def check_login(self, server: str, username: str, password: str, identity_token: str = "") -> str:
        """Try credentials on a registry; return an identity token if it gives one. Raises Unauthorized when they are wrong."""
        bare = server.removeprefix("https://").removeprefix("http://").partition("/")[0].lower()
        domain = DEFAULT_DOMAIN if bare in ("", "index.docker.io", HUB) else bare
        reference = Reference(domain, "")
        credentials = Credentials(username, password, identity_token)
        site = Site(await self._base(reference), credentials)
        answer = await self._pool.request("GET", f"{site.base}/v2/", _AGENT)
        said = await answer.read(MAX_ERROR_BYTES)
        if answer.status == 401:
            challenges = parse_challenges(answer.headers.get("www-authenticate", []))
            bearer = next((one for one in challenges if one.scheme == "bearer"), None)
            try:
                if bearer is not None and bearer.words.get("realm"):
                    return (
                        await self._tokens.fetch(site.origin, bearer, (), credentials, offline=True)
                    ).refresh
                answer = await self._send(site, Ask("GET", "/v2/"))
                await answer.read(MAX_ERROR_BYTES)
            except Unauthorized:
                answer.status = 401
        if answer.status in (401, 403):
            raise Unauthorized(
                f"login attempt to {site.base}/v2/ failed: unauthorized: incorrect username or password"
            )
        if answer.status != 200 or _is_page(answer):
            raise Unavailable(
                f"{domain} does not answer as a registry: {refusal(answer.status, said, reference)}"
            )
        return ""

    # how it gets there

    async def _base(self, reference: Reference) -> str:
        """https, but for registries that may be plain and are."""
        host = HUB if reference.domain == DEFAULT_DOMAIN else reference.domain
        origin = origin_of(f"https://{host}")
        if not await self._trust.is_insecure(origin):
            return f"https://{host}"
        if reference.domain not in self._schemes:
            self._schemes[reference.domain] = await self._probe(host, here=is_loopback(origin.host))
        return f"{self._schemes[reference.domain]}://{host}"

    async def _probe(self, host: str, *, here: bool) -> str:
        """Find out what is spoken, without credentials. This machine is asked in plain first: some servers wait in vain on TLS."""
        if not here:
            try:
                await (await self._pool.request("GET", f"https://{host}/v2/", _AGENT)).read(
                    MAX_MANIFEST_BYTES
                )
            except NoTls:
                return "http"
            return "https"
        try:
            answer = await self._pool.request("GET", f"http://{host}/v2/", _AGENT)
            await answer.read(MAX_MANIFEST_BYTES)
        except NoAnswer:
            return "https"  # a TLS server hangs up on plain words, or answers 400
        return "https" if answer.status == 400 else "http"

    async def _own(
        self, reference: Reference, ask: Ask, credentials: Credentials | None, scopes: tuple[str, ...]
    ) -> Response:
        """Ask the registry itself."""
        base = await self._base(reference)
        try:
            answer = await self._send(Site(base, credentials, scopes), ask)
        except Unavailable:
            self._schemes.pop(reference.domain, None)  # it may speak otherwise by now
            raise
        if answer.status == 400 and base.startswith("http://"):  # what TLS servers say to plain words
            self._schemes.pop(reference.domain, None)
            again = await self._base(reference)
            if again != base:
                answer.close()
                return await self._send(Site(again, credentials, scopes), ask)
        return answer

    async def _send(self, site: Site, ask: Ask) -> Response:
        return await self._authorized(site, ask.method, site.base + ask.path, ask.headers, ask.body)

    async def _authorized(
        self,
        site: Site,
        method: str,
        url: str,
        headers: Mapping[str, str],
        body: Body = None,
        length: int = 0,
    ) -> Response:
        """Send, answer one challenge of the site itself, follow redirects."""
        sent = {**_AGENT, **headers}
        if origin_of(url) != site.origin:  # an upload elsewhere: nothing of ours but the bytes
            return await self._pool.request(method, url, sent, body, length)
        if known := self._tokens.known(site.origin, site.scopes, site.credentials):
            sent["Authorization"] = known
        answer = await self._pool.request(method, url, sent, body, length)
        challenges = answer.headers.get("www-authenticate", [])
        if answer.status == 401 and challenges:
            await answer.read(MAX_ERROR_BYTES)
            sent["Authorization"] = await self._tokens.answer(
                site.origin, challenges, site.scopes, site.credentials
            )
            answer = await self._pool.request(method, url, sent, body, length)
        return await self._follow(site, answer, method, sent)

    async def _follow(self, site: Site, answer: Response, method: str, headers: dict[str, str]) -> Response:
        """Follow redirects of what is read; Authorization stays behind when the host changes, https is never left."""
        for _ in range(MAX_REDIRECTS):
            if answer.status not in (301, 302, 303, 307, 308) or method not in ("GET", "HEAD"):
                return answer
            here, target = origin_of(answer.url), join(answer.url, answer.header("location"))
            await answer.read(MAX_ERROR_BYTES)
            there = origin_of(target)
            if here.scheme == "https" and there.scheme == "http":
                raise Unavailable(f"{here} redirects to plain http on {there}: refused")
            if there != site.origin:
                headers = {name: value for name, value in headers.items() if name != "Authorization"}
            answer = await self._pool.request(method, target, headers)
        answer.close()
        raise Unavailable(f"{site.origin} redirects without end")


def _manifest_path(reference: Reference, digest: str = "") -> str:
    return f"/v2/{reference.path}/manifests/{digest or reference.digest or reference.tag}"


def _digest(text: str) -> str:
    if not DIGEST.fullmatch(text):
        raise InvalidParameter(f"invalid digest: {text[:200]!r}")
    return text


def _push_scopes(reference: Reference, mount_from: str = "") -> tuple[str, ...]:
    own = f"repository:{reference.path}:pull,push"
    return (own, f"repository:{mount_from}:pull") if mount_from else (own,)


def _mirrors(entries: Sequence[str]) -> dict[str, list[str]]:
    """Sort mirrors by the registry they stand for. Raises InvalidParameter."""
    found: dict[str, list[str]] = {}
    for entry in entries:
        domain, equals, url = entry.partition("=")
        if not equals or "/" in domain:
            domain, url = DEFAULT_DOMAIN, entry
        try:
            origin_of(url)
        except HavreError:
            raise InvalidParameter(
                f"invalid registry mirror {entry!r}", hint="https://mirror.example or ghcr.io=https://..."
            ) from None
        found.setdefault(domain, []).append(url.rstrip("/"))
    return found


def _is_page(answer: Response) -> bool:
    return answer.header("content-type").lower().startswith(("text/html", "application/xhtml"))


def _json(data: bytes, host: str) -> dict[str, object]:
    try:
        found = json.loads(data)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise Unavailable(f"{host} sent no JSON: it is no registry")
    return found
