"""The index of all containers: by id, by name, by unique prefix. Every change goes to the store before anyone sees it."""

from collections.abc import Iterator

import msgspec

from havre import log
from havre.engine import unknown
from havre.engine.container import Container, decode, encode
from havre.errors import Conflict, InvalidParameter, NotFound
from havre.store import Records

KIND = "container"


class Containers:
    """In memory, because `ps` must not touch the disk; a put of one record costs 30 us, so it is done in place."""

    def __init__(self, records: Records) -> None:
        self._records = records
        self._by_id: dict[str, Container] = {}
        self._by_name: dict[str, str] = {}
        self.unreadable: set[str] = set()

    def load(self) -> None:
        """Read all records; one that cannot be read is kept in the store with all its files, and named in the log."""
        for key, doc in self._records.all(KIND):
            try:
                record = decode(doc)
                container = Container(record, unknown=unknown.fields(msgspec.json.decode(doc), record))
            except ValueError as error:
                log.error("unreadable container record", id=key, error=error)
                self.unreadable.add(key)
                continue
            self._by_id[key] = container
            self._by_name[container.record.name] = key

    def __iter__(self) -> Iterator[Container]:
        return iter(list(self._by_id.values()))

    def __len__(self) -> int:
        return len(self._by_id)

    def add(self, container: Container) -> None:
        """Store a new container. Raises Conflict when the name is taken, naming its owner."""
        self.check_name(container.record.name)
        self._records.put(KIND, container.id, encode(container))
        self._by_id[container.id] = container
        self._by_name[container.record.name] = container.id

    def save(self, container: Container) -> None:
        """Store what changed; a container that is already gone stays gone."""
        if container.id in self._by_id:
            self._records.put(KIND, container.id, encode(container))

    def note(self, container: Container) -> None:
        """Store what has happened already; never raises: a full disk must not stop the news of an end."""
        if container.id in self._by_id:
            self._records.owe(KIND, container.id, encode(container))

    def rename(self, container: Container, name: str) -> None:
        """Give a container another name. Raises Conflict; on any error the old name stays."""
        self.check_name(name)
        old, container.record.name = container.record.name, name
        try:
            self.save(container)
        except BaseException:
            container.record.name = old
            raise
        del self._by_name[old]
        self._by_name[name] = container.id

    def discard(self, container: Container) -> None:
        """Forget a container; idempotent."""
        self._records.owe(KIND, container.id, None)
        self._by_id.pop(container.id, None)
        if self._by_name.get(container.record.name) == container.id:
            del self._by_name[container.record.name]

    def check_name(self, name: str) -> None:
        """Raise Conflict in Docker's words when a name is in use."""
        if (owner := self._by_name.get(name)) is not None:
            raise Conflict(
                f'Conflict. The container name "/{name}" is already in use by container "{owner}". '
                "You have to remove (or rename) that container to be able to reuse that name."
            )

    def find(self, ref: str) -> Container:
        """Return the container with this id, name (a leading slash is fine) or unique id prefix, in this order."""
        if (found := self._by_id.get(ref)) is not None:
            return found
        if (key := self._by_name.get(ref.removeprefix("/"))) is not None:
            return self._by_id[key]
        matches = [key for key in self._by_id if key.startswith(ref)] if ref else []
        if len(matches) > 1:
            raise InvalidParameter(f"multiple containers found with id prefix: {ref}")
        if not matches:
            raise NotFound(f"No such container: {ref}")
        return self._by_id[matches[0]]
