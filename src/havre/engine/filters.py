"""Filters of `ps`. Pure but for resolving names of images and containers."""

import fnmatch
import re
from collections.abc import Callable, Mapping, Sequence

from havre.engine.container import Container
from havre.engine.endpoints import live
from havre.engine.labels import has
from havre.engine.ports import parse_port, port_list
from havre.engine.rooms import Rooms
from havre.errors import InvalidParameter, NotFound

Filters = Mapping[str, Sequence[str]]
KNOWN = frozenset(
    [
        "ancestor",
        "before",
        "expose",
        "exited",
        "health",
        "id",
        "isolation",
        "is-task",
        "label",
        "name",
        "network",
        "publish",
        "since",
        "status",
        "volume",
    ]
)
_PORTS = ("publish", "expose")
_HEALTH = ("starting", "healthy", "unhealthy", "none")
_STATUSES = ("created", "running", "paused", "restarting", "removing", "exited", "dead")


def check(filters: Filters, known: frozenset[str] = KNOWN) -> None:
    """Raise InvalidParameter for an unknown filter or a status that does not exist."""
    for key in filters:
        if key not in known:
            raise InvalidParameter(f"invalid filter '{key}'", hint=" ".join(sorted(known)))
    for status in filters.get("status", ()):
        if status not in _STATUSES:
            raise InvalidParameter(f"invalid filter 'status={status}'", hint=" ".join(_STATUSES))
    for health in filters.get("health", ()):
        if health not in _HEALTH:
            raise InvalidParameter(f"unrecognised filter value for health: {health}", hint=" ".join(_HEALTH))
    for word in filters.get("is-task", ()):
        if word.lower() not in ("true", "false", "1", "0"):
            raise InvalidParameter(f"invalid filter 'is-task={word}'", hint="true or false")
    for code in filters.get("exited", ()):
        if not code.lstrip("-").isdigit():
            raise InvalidParameter(f"invalid filter 'exited={code}'")


def predicate(rooms: Rooms, filters: Filters) -> Callable[[Container], bool]:
    """Return the test a listed container must pass: every key, and for a key any of its values (labels: all)."""
    check(filters)
    tests = [_test(rooms, key, values) for key, values in filters.items() if values and key not in _PORTS]
    if any(filters.get(key) for key in _PORTS):
        tests.append(_ports_test(rooms, filters))
    return lambda container: all(test(container) for test in tests)


def _test(rooms: Rooms, key: str, values: Sequence[str]) -> Callable[[Container], bool]:
    if key == "label":
        return lambda container: all(has(container.record.config.labels or {}, value) for value in values)
    if key in ("before", "since"):
        limits = [rooms.containers.find(value).record.created_nanos for value in values]
        if key == "before":
            return lambda container: container.record.created_nanos < min(limits)
        return lambda container: container.record.created_nanos > max(limits)
    if key == "ancestor":
        wanted = {_image_id(rooms, value) for value in values}
        return lambda container: container.record.image_id in wanted or container.record.image in values
    one = _TESTS[key]
    return lambda container: any(one(container, value) for value in values)


def _image_id(rooms: Rooms, reference: str) -> str:
    try:
        return rooms.images.resolve(reference).id
    except NotFound:
        return ""


def _name(container: Container, value: str) -> bool:
    """A regular expression found anywhere in the name, with or without its slash; a bad one is compared as text."""
    try:
        pattern = re.compile(value)
    except re.error:
        return value in container.record.name
    return bool(pattern.search(container.record.name) or pattern.search("/" + container.record.name))


def _ports_test(rooms: Rooms, filters: Filters) -> Callable[[Container], bool]:
    """publish and expose look at the ports a running container shows, and one of either is enough: as in Docker."""
    publish, expose = (
        [_port_range(value) for value in filters.get(key, ())] for key in ("publish", "expose")
    )

    def test(container: Container) -> bool:
        if not container.running:
            return False
        endpoints = live(rooms, container).values()
        ports = port_list(tuple(port for one in endpoints for port in one.ports), container.record.config)
        return any(
            _within(publish, one.get("PublicPort"), one["Type"])
            or _within(expose, one["PrivatePort"], one["Type"])
            for one in ports
        )

    return test


def _within(ranges: Sequence[tuple[int, int, str]], port: object, kind: object) -> bool:
    return isinstance(port, int) and any(low <= port <= high and kind == proto for low, high, proto in ranges)


def _port_range(value: str) -> tuple[int, int, str]:
    """Return (80, 90, "tcp") of "80-90/tcp". Raises InvalidParameter."""
    ports, _, proto = value.partition("/")
    first, _, last = ports.partition("-")
    low = parse_port(first)[0]
    high = parse_port(last)[0] if last else low
    if high < low:
        raise InvalidParameter(f"invalid range specified for the port: {value}")
    return low, high, proto.lower() or "tcp"


def _volume(container: Container, value: str) -> bool:
    return any(
        fnmatch.fnmatchcase(value, place)
        for one in container.record.mounts
        for place in (one.source, one.destination)
    )


_TESTS: dict[str, Callable[[Container, str], bool]] = {
    "id": lambda container, value: container.id.startswith(value),
    "name": _name,
    "status": lambda container, value: container.state.status == value,
    "exited": lambda container, value: (
        container.state.status == "exited" and container.state.exit_code == int(value)
    ),
    "network": lambda container, value: (
        value in container.record.endpoints or value == container.record.host_config.network_mode
    ),
    "volume": _volume,
    "health": lambda container, value: (
        value == (container.state.health.status if container.state.health else "none")
    ),
    "isolation": lambda container, value: True,  # a word of Windows': on Linux Docker lets all pass too
    "is-task": lambda container, value: value.lower() in ("false", "0"),
}
