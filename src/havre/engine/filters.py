"""Filters of `ps`. Pure but for resolving names of images and containers."""

import fnmatch
import re
from collections.abc import Callable, Mapping, Sequence

from havre.engine.container import Container
from havre.engine.ports import parse_port
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
_STATUSES = ("created", "running", "paused", "restarting", "removing", "exited", "dead")


def check(filters: Filters, known: frozenset[str] = KNOWN) -> None:
    """Raise InvalidParameter for an unknown filter or a status that does not exist."""
    for key in filters:
        if key not in known:
            raise InvalidParameter(f"invalid filter '{key}'", hint=" ".join(sorted(known)))
    for status in filters.get("status", ()):
        if status not in _STATUSES:
            raise InvalidParameter(f"invalid filter 'status={status}'", hint=" ".join(_STATUSES))
    for word in filters.get("health", ()):
        if word not in ("none", "starting", "healthy", "unhealthy"):
            raise InvalidParameter(f"unrecognised filter value for health: {word}")
    for code in filters.get("exited", ()):
        if not code.lstrip("-").isdigit():
            raise InvalidParameter(f"invalid filter 'exited={code}'")


def predicate(rooms: Rooms, filters: Filters) -> Callable[[Container], bool]:
    """Return the test a listed container must pass: every key, and for a key any of its values (labels: all)."""
    check(filters)
    tests = [_test(rooms, key, values) for key, values in filters.items() if values]
    return lambda container: all(test(container) for test in tests)


def _test(rooms: Rooms, key: str, values: Sequence[str]) -> Callable[[Container], bool]:
    if key == "label":
        return lambda container: all(_label(container, value) for value in values)
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


def _label(container: Container, value: str) -> bool:
    name, equals, wanted = value.partition("=")
    labels = container.record.config.labels or {}
    return name in labels and (not equals or labels[name] == wanted)


def _name(container: Container, value: str) -> bool:
    """A regular expression found anywhere in the name, with or without its slash; a bad one is compared as text."""
    try:
        pattern = re.compile(value)
    except re.error:
        return value in container.record.name
    return bool(pattern.search(container.record.name) or pattern.search("/" + container.record.name))


def _publish(container: Container, value: str) -> bool:
    first, last, proto = _port_range(value)
    host = container.record.host_config
    for key, bindings in (host.port_bindings or {}).items():
        port, found = parse_port(key)
        hosts = [each.host_port or "" for each in bindings or []]
        ports = [port, *(int(text) for text in hosts if text.isdigit())]
        if found == proto and any(first <= each <= last for each in ports):
            return True
    return False


def _expose(container: Container, value: str) -> bool:
    first, last, proto = _port_range(value)
    exposed = [parse_port(key) for key in container.record.config.exposed_ports or {}]
    return any(first <= port <= last and found == proto for port, found in exposed)


def _port_range(value: str) -> tuple[int, int, str]:
    ports, _, proto = value.partition("/")
    first, _, last = ports.partition("-")
    low, _ = parse_port(first)
    return low, parse_port(last)[0] if last else low, proto or "tcp"


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
    "publish": _publish,
    "expose": _expose,
    "volume": _volume,
    "health": lambda container, value: (
        value == (container.state.health.status if container.state.health else "none")
    ),
    "isolation": lambda container, value: value in ("", "default"),
    "is-task": lambda container, value: value.lower() in ("false", "0"),
}
