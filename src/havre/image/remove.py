"""What removing an image name or id does: Docker's rules and texts. Pure but for asking who uses the image."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from havre.errors import Conflict, InvalidParameter, NoSuchImage
from havre.spec import reference as references


class Use(NamedTuple):
    """A container that stands on an image."""

    container_id: str
    running: bool


class _Names(Protocol):
    def target_of(self, text: str, *, make: bool = True) -> str: ...
    def names(self) -> Mapping[str, str]: ...


@dataclass(frozen=True, slots=True)
class Removal:
    """Names to drop, and whether the target goes too."""

    digest: str
    names: tuple[str, ...]
    delete: bool

    def done(self) -> list[dict[str, str]]:
        """The reply of DELETE /images/{name}."""
        found = [{"Untagged": references.parse(name).familiar()} for name in self.names]
        return [*found, {"Deleted": self.digest}] if self.delete else found


def plan(images: _Names, ref: str, *, force: bool, used_by: Callable[[str], Sequence[Use]]) -> Removal:
    """Decide what `rmi ref` does. Raises NoSuchImage, Conflict."""
    digest = images.target_of(ref, make=False)
    names = sorted(name for name, target in images.names().items() if target == digest)
    gone = [name for name in names if name in _named(ref, names)]
    if gone and len(gone) < len(names):
        return Removal(digest, tuple(gone), delete=False)
    users = used_by(digest)
    short = digest.partition(":")[2][:12]
    if gone:
        return _last_name(ref, digest, gone, users, short, force=force)
    if not digest.partition(":")[2].startswith(ref.removeprefix("sha256:")) and "@" not in ref:
        raise NoSuchImage(ref)
    _check(users, names, short, force=force)
    return Removal(digest, tuple(names), delete=True)


def _named(ref: str, names: Sequence[str]) -> set[str]:
    """The canonical name that was typed; for name@digest all names of that repository; none for an id."""
    try:
        reference = references.parse(ref)
    except InvalidParameter:  # an id of 64 digits
        return set()
    if reference.digest:
        return {name for name in names if name.startswith(f"{reference.name}:")}
    return {reference.canonical()}


def _last_name(
    ref: str, digest: str, gone: Sequence[str], users: Sequence[Use], short: str, *, force: bool
) -> Removal:
    if not users:
        return Removal(digest, tuple(gone), delete=True)
    if not force:
        raise Conflict(
            f"conflict: unable to delete {references.parse(ref).familiar()} (must be forced) - container "
            f"{users[0].container_id[:12]} is using its referenced image {short}"
        )
    return Removal(digest, tuple(gone), delete=False)  # the image stays, without a name


def _check(users: Sequence[Use], names: Sequence[str], short: str, *, force: bool) -> None:
    """Removing by id: a running container forbids it, a stopped one or several names must be forced."""
    for one in users:
        if one.running:
            raise Conflict(
                f"conflict: unable to delete {short} (cannot be forced) - image is being used by running container "
                f"{one.container_id[:12]}",
                hint=f"havre stop {one.container_id[:12]}",
            )
    if force:
        return
    if users:
        raise Conflict(
            f"conflict: unable to delete {short} (must be forced) - image is being used by stopped container "
            f"{users[0].container_id[:12]}"
        )
    if len(names) > 1:
        raise Conflict(
            f"conflict: unable to delete {short} (must be forced) - image is referenced in multiple repositories"
        )
