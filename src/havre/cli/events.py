"""havre events."""

import sys
import time

from havre.cli import options
from havre.cli.filters import encode
from havre.cli.moment import moment
from havre.client import minijson
from havre.client.http import query
from havre.errors import HavreError

EVENTS_FLAGS = {"filter": "f:list", "format": ":str", "since": ":str", "until": ":str"}
TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from havre.cli.context import Context

    Event = dict[str, Any]


def events(context: "Context", words: list[str]) -> int:
    """Print events as they happen, until --until or until nobody reads."""
    given, args = options.parse(words, EVENTS_FLAGS)
    options.need(args, 0, "events", 0)
    line = _formatter(given["format"] or "")
    values = {
        "since": moment(given["since"]),
        "until": moment(given["until"]),
        "filters": encode(given["filter"]),
    }
    answer = context.client.request("GET", "/events" + query(values))
    for event in answer.objects():
        sys.stdout.write(f"{line(event)}\n")
        sys.stdout.flush()
    return 0


def _formatter(fmt: str) -> "Callable[[Event], str]":
    """Return what makes a line of an event. Raises HavreError for a template that cannot be parsed."""
    if not fmt:
        return event_line
    if fmt == "json":
        return minijson.dumps
    from havre.cli.template import Template, TemplateError

    try:
        template = Template(fmt)
    except TemplateError as error:
        raise _bad(error) from None

    def render(event: "Event") -> str:
        try:
            return template.render(_row(event))
        except TemplateError as error:
            raise _bad(error) from None

    return render


def _bad(error: Exception) -> HavreError:
    problem = HavreError(f"Error parsing format: {error}")
    problem.exit_code = 64
    return problem


def _row(event: "Event") -> "Any":
    """Go's field names beside the JSON's."""
    from havre.cli.template import Row

    fields = {
        "Type": event.get("Type", ""),
        "Action": event.get("Action", ""),
        "Actor": event.get("Actor") or {},
        "Status": event.get("status", ""),
        "ID": event.get("id", ""),
        "From": event.get("from", ""),
        "Scope": event.get("scope", ""),
        "Time": event.get("time", 0),
        "TimeNano": event.get("timeNano", 0),
    }
    actor = fields["Actor"]
    fields["Actor"] = Row(
        "events.Actor",
        {"ID": actor.get("ID", ""), "Attributes": _Attributes(actor.get("Attributes") or {})},
        json=actor,
    )
    return Row("*events.Message", fields, json=event)


class _Attributes(dict[str, str]):
    """A map: a name that is not in it is no error."""

    def __contains__(self, name: object) -> bool:
        return True

    def __missing__(self, name: str) -> None:
        return None


def event_line(event: "Event") -> str:
    """Docker's line: time, type, action, id, (attributes)."""
    seconds, nanos = divmod(event["timeNano"], 1_000_000_000)
    local = time.localtime(seconds)
    zone = time.strftime("%z", local)
    shown = f"{zone[:3]}:{zone[3:]}" if zone != "+0000" else "Z"
    stamp = time.strftime("%Y-%m-%dT%H:%M:%S", local) + f".{nanos:09d}" + shown
    actor = event["Actor"]
    found = sorted((actor.get("Attributes") or {}).items())
    attributes = ", ".join(f"{key}={value}" for key, value in found)
    line = f"{stamp} {event['Type']} {event['Action']} {actor['ID']}"
    return f"{line} ({attributes})" if attributes else line
