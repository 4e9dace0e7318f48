"""havre stats: what containers use, once or as a screen that is kept up to date."""

import select
import sys

from havre.cli import options, table
from havre.cli.filters import encode
from havre.cli.statsrow import COLUMNS, row
from havre.client.http import answer, query, quote
from havre.client.objects import Objects
from havre.errors import HavreError

STATS_USAGE = "[OPTIONS] [CONTAINER...]"
STATS_FLAGS = {"all": "a:bool", "format": ":str", "no-stream": ":bool", "no-trunc": ":bool"}
DRAW_S = 0.5
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from havre.cli.context import Context
    from havre.client.http import Client


def stats(context: "Context", words: list[str]) -> int:
    """Show CPU, memory, network and disk use."""
    given, names = options.parse(words, STATS_FLAGS)
    fmt = given["format"] or (str(context.config.get("statsFormat") or "") if context._has_config() else "")
    if given["no_stream"]:
        return _once(context.client, names, fmt, given)
    from havre.cli.screen import Screen

    with Screen() as screen:
        return _Live(context.client, names, fmt, given).run(screen)


def _listed(client: "Client", all_: bool) -> list[str]:
    return [one["Id"][:12] for one in client.get("/containers/json" + query({"all": all_ or None}))]


def _once(client: "Client", names: list[str], fmt: str, given: "dict[str, Any]") -> int:
    """Ask for all of them, then wait for each: a measure takes a second, and they take it together."""
    shown = names or _listed(client, given["all"])
    asked = [client.send("GET", f"/containers/{quote(name)}/stats?stream=0") for name in shown]
    samples, errors = [], []
    for name, sock in zip(shown, asked, strict=True):
        try:
            samples.append((name, answer(sock).json()))
        except HavreError as error:
            errors.append(error)
    if errors and names:
        sys.stderr.write("".join(f"Error response from daemon: {error}\n" for error in errors))
        return 1
    table.show([row(name, sample, given["no_trunc"]) for name, sample in samples], COLUMNS, fmt)
    return 0


class _Live:
    """The containers on the screen: a stream of samples for each, and the events that add and remove them."""

    def __init__(self, client: "Client", names: list[str], fmt: str, given: "dict[str, Any]") -> None:
        self._client, self._names, self._format, self._given = client, names, fmt, given
        self._feeds: dict[str, Objects] = {}
        self._samples: dict[str, Any] = {}
        self._events: Objects | None = None
        self._poll = select.poll()

    def run(self, screen: "Any") -> int:
        """Draw until the last named container has gone; without names, for ever."""
        if not self._names:
            wanted = {"filters": encode(["type=container"])}
            self._events = Objects(self._client.request("GET", "/events" + query(wanted)))
            self._poll.register(self._events.fileno(), select.POLLIN)
        for name in self._names or _listed(self._client, self._given["all"]):
            self._add(name)
        while self._feeds or not self._names:
            screen.draw(self._text())
            self._wait(screen)
        return 0

    def _add(self, name: str) -> None:
        if name in self._feeds:
            return
        try:
            found = self._client.request("GET", f"/containers/{quote(name)}/stats?stream=1")
        except HavreError:
            if self._names:
                raise
            return  # listed, and gone by now
        self._feeds[name] = feed = Objects(found)
        self._samples[name] = None
        self._take(name, feed.taken())
        self._poll.register(feed.fileno(), select.POLLIN)

    def _remove(self, name: str) -> None:
        feed = self._feeds.pop(name, None)
        if feed is not None:
            self._poll.unregister(feed.fileno())
            feed.close()
            del self._samples[name]

    def _take(self, name: str, samples: "list[Any]") -> None:
        if samples:
            self._samples[name] = samples[-1]

    def _wait(self, screen: "Any") -> None:
        """Take what comes for DRAW_S, or until the window has another size."""
        import time

        until = time.monotonic() + DRAW_S
        while (left := until - time.monotonic()) > 0 and not screen.resized:
            ready = {fd for fd, _ in self._poll.poll(left * 1000)}
            for name, feed in list(self._feeds.items()):
                if feed.fileno() in ready:
                    self._take(name, feed.arrived())
                    if feed.ended:
                        self._remove(name)
            if self._events is not None and self._events.fileno() in ready:
                self._handle(self._events.arrived())
            if not self._feeds and self._names:
                return

    def _handle(self, events: "list[Any]") -> None:
        if self._events is not None and self._events.ended:
            raise HavreError("the daemon has gone")
        for event in events:
            name, action = event["Actor"]["ID"][:12], event["Action"]
            if action == "start" or (action == "create" and self._given["all"]):
                self._add(name)
            elif action == "destroy" or (action == "die" and not self._given["all"]):
                self._remove(name)

    def _text(self) -> str:
        import io

        rows = [row(name, sample, self._given["no_trunc"]) for name, sample in self._samples.items()]
        kept, sys.stdout = sys.stdout, io.StringIO()  # table writes to stdout; a screen is drawn in one write
        try:
            table.show(rows, COLUMNS, self._format)
            return sys.stdout.getvalue()
        finally:
            sys.stdout = kept
