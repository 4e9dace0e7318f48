"""OCI platforms: parse, normalise, match (containerd platforms' rules). Pure but for uname."""

import os
from functools import lru_cache

from havre.errors import InvalidParameter
from havre.spec.image import Platform

_ARCHITECTURES = {
    "x86_64": ("amd64", ""),
    "x86-64": ("amd64", ""),
    "aarch64": ("arm64", ""),
    "armhf": ("arm", "v7"),
    "armel": ("arm", "v6"),
    "armv7l": ("arm", "v7"),
    "armv6l": ("arm", "v6"),
    "i386": ("386", ""),
    "i686": ("386", ""),
}
_KNOWN = frozenset("386 amd64 arm arm64 loong64 mips64 mips64le ppc64le riscv64 s390x wasm".split())
_SYSTEMS = frozenset("linux windows darwin freebsd".split())


def normalise(platform: Platform) -> Platform:
    """Return the canonical form: x86_64 is amd64, arm64/v8 is arm64, arm is arm/v7."""
    architecture, variant = _ARCHITECTURES.get(
        platform.architecture.lower(), (platform.architecture.lower(), "")
    )
    variant = platform.variant.lower() or variant
    if architecture == "arm64" and variant in ("v8", "8"):
        variant = ""
    if architecture == "arm":
        variant = f"v{variant.lstrip('v')}" if variant else "v7"
    if architecture == "amd64" and variant == "v1":
        variant = ""
    return Platform(platform.os.lower(), architecture, variant)


def parse(text: str) -> Platform:
    """Return the platform of "linux/arm64/v8", "arm64" or "linux". Raises InvalidParameter."""
    parts = text.strip().split("/")
    if not 1 <= len(parts) <= 3 or not all(
        part.replace("_", "").replace("-", "").replace(".", "").isalnum() for part in parts
    ):
        raise InvalidParameter(f'"{text}" is an invalid platform', hint="linux/amd64")
    if len(parts) == 1:
        host = host_platform()
        word = parts[0].lower()
        if word in _SYSTEMS:
            return Platform(word, host.architecture, host.variant)
        if word in _KNOWN or word in _ARCHITECTURES:
            return normalise(Platform(host.os, word))
        raise InvalidParameter(
            f'"{text}" is an invalid platform: unknown operating system or architecture', hint="linux/amd64"
        )
    return normalise(Platform(parts[0], parts[1], parts[2] if len(parts) == 3 else ""))


@lru_cache(maxsize=1)
def host_platform() -> Platform:
    """What this machine runs."""
    return normalise(Platform("linux", os.uname().machine))


def candidates(wanted: Platform) -> list[Platform]:
    """Return what can stand for a platform, best first: an arm64 host also runs arm/v8 down to v5, amd64 runs 386."""
    wanted = normalise(wanted)
    found = [wanted]
    if wanted.architecture == "arm64":
        found += [Platform(wanted.os, "arm", f"v{number}") for number in (8, 7, 6, 5)]
    elif wanted.architecture == "arm":
        found += [
            Platform(wanted.os, "arm", f"v{number}")
            for number in range(int(wanted.variant[1:] or 7) - 1, 4, -1)
        ]
    elif wanted.architecture == "amd64":
        if wanted.variant:
            found.append(Platform(wanted.os, "amd64"))
        found.append(Platform(wanted.os, "386"))
    return found


def choose(offered: list[Platform], wanted: Platform) -> int:
    """Return the index of the best offer, -1 when none fits."""
    known = [normalise(one) for one in offered]
    for candidate in candidates(wanted):
        if candidate in known:
            return known.index(candidate)
    return -1
