"""What is said about archives that are damaged or hostile."""

from havre.errors import InvalidParameter

SHOWN_BYTES = 200


class BadTar(InvalidParameter):
    """The archive is damaged or hostile."""


def shown(name: bytes) -> str:
    """A name that is safe to print."""
    text = name[:SHOWN_BYTES].decode("utf-8", "replace")
    return repr(text + ("..." if len(name) > SHOWN_BYTES else ""))


def clean(name: bytes) -> bytes:
    """Return the path below the root; a leading slash means the root. Raises BadTar for a way upwards."""
    if b".." not in name and b"//" not in name and b"./" not in name and not name.startswith((b"/", b".")):
        return name.rstrip(b"/")
    parts = [part for part in name.split(b"/") if part not in (b"", b".")]
    if b".." in parts:
        raise BadTar(f"{shown(name)}: a path must not lead upwards")
    return b"/".join(parts)
