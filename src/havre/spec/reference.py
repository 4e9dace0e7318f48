"""Image references (distribution/reference grammar): [domain/]path[:tag][@digest]. Pure."""

import fnmatch
import re
from dataclasses import dataclass, replace

from havre.errors import InvalidParameter

DEFAULT_DOMAIN, OFFICIAL, DEFAULT_TAG = "docker.io", "library/", "latest"
MAX_NAME_LENGTH = 255
_COMPONENT = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_PATH = re.compile(rf"{_COMPONENT}(?:/{_COMPONENT})*")
_DOMAIN_PART = r"(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])"
_DOMAIN = re.compile(rf"(?:{_DOMAIN_PART}(?:\.{_DOMAIN_PART})*|\[[a-fA-F0-9:]+\])(?::[0-9]+)?")
_TAG = re.compile(r"\w[\w.-]{0,127}", re.ASCII)
DIGEST = re.compile(r"sha256:[a-f0-9]{64}|sha512:[a-f0-9]{128}")
_BARE_ID = re.compile(r"[a-f0-9]{64}")


@dataclass(frozen=True, slots=True)
class Reference:
    """A parsed name; tag and digest may be empty."""

    domain: str
    path: str
    tag: str = ""
    digest: str = ""

    @property
    def name(self) -> str:
        """Domain and path: docker.io/library/busybox."""
        return f"{self.domain}/{self.path}"

    def canonical(self) -> str:
        """The full form: docker.io/library/busybox:latest@sha256:..."""
        return self.name + (f":{self.tag}" if self.tag else "") + (f"@{self.digest}" if self.digest else "")

    def familiar_name(self) -> str:
        """The name as people type it: busybox, nginx/nginx, host:5000/a."""
        if self.domain != DEFAULT_DOMAIN:
            return self.name
        short = self.path.removeprefix(OFFICIAL)
        return short if "/" not in short else self.path

    def familiar(self) -> str:
        """The whole reference as people type it."""
        return (
            self.familiar_name()
            + (f":{self.tag}" if self.tag else "")
            + (f"@{self.digest}" if self.digest else "")
        )

    def with_tag(self, tag: str) -> "Reference":
        return replace(self, tag=tag, digest="")


def parse(text: str, default_tag: bool = True) -> Reference:
    """Return the reference of what somebody typed. Raises InvalidParameter in Docker's words."""
    if _BARE_ID.fullmatch(text):
        raise _invalid(text, "cannot specify 64-byte hexadecimal strings")
    rest, at, digest = text.partition("@")
    if at and not DIGEST.fullmatch(digest):
        raise _invalid(text, "unsupported digest" if ":" in digest else "")
    domain, path = _split_domain(rest)
    path, colon, tag = path.partition(":")
    if colon and not _TAG.fullmatch(tag):
        raise _invalid(text)
    if path != path.lower():
        raise _invalid(text, f"repository name ({path}) must be lowercase")
    if not _PATH.fullmatch(path) or not _DOMAIN.fullmatch(domain):
        raise _invalid(text)
    if len(domain) + 1 + len(path) > MAX_NAME_LENGTH:
        raise _invalid(text, f"repository name must not be more than {MAX_NAME_LENGTH} characters")
    if default_tag and not tag and not digest:
        tag = DEFAULT_TAG
    return Reference(domain, path, tag, digest)


def _invalid(text: str, why: str = "") -> InvalidParameter:
    shown = text if len(text) < 300 else text[:300] + "..."
    return InvalidParameter(
        f"invalid reference format{': ' + why if why else ''}", context=repr(shown) if not why else ""
    )


def _split_domain(text: str) -> tuple[str, str]:
    """The first part is a host when it has a dot or a port, is localhost, or is not lower case."""
    first, slash, rest = text.partition("/")
    if not slash or not ("." in first or ":" in first or first == "localhost" or first.lower() != first):
        domain, path = DEFAULT_DOMAIN, text
    else:
        domain, path = first, rest
    if domain == "index.docker.io":
        domain = DEFAULT_DOMAIN
    if domain == DEFAULT_DOMAIN and "/" not in path:
        path = OFFICIAL + path
    return domain, path


def matches(pattern: str, name: str) -> bool:
    """Whether a familiar name passes `--filter reference=pattern`: with or without its tag, * does not cross a slash."""
    bare = name.partition("@")[0]
    repository = bare.rpartition(":")[0] if ":" in bare.rpartition("/")[2] else bare
    return any(
        pattern.count("/") == one.count("/") and fnmatch.fnmatchcase(one, pattern)
        for one in {name, bare, repository}
    )
