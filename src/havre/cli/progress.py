"""Docker's JSON messages on a terminal (one line a layer, redrawn) or as plain lines."""

import os

from havre.cli.human import bytes_text
from havre.errors import HavreError

BAR = 50
TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any, TextIO


def show_progress(messages: "Iterable[Any]", out: "TextIO", *, quiet: bool) -> None:
    """Show messages as they come. Raises HavreError for an error among them."""
    terminal = out.isatty() and not os.environ.get("NO_COLOR") and not quiet
    places: dict[str, int] = {}
    for message in messages:
        if message.get("error"):
            raise HavreError(str((message.get("errorDetail") or {}).get("message") or message["error"]))
        if not quiet:
            _show(message, out, places, terminal)


def _show(message: "dict[str, Any]", out: "TextIO", places: dict[str, int], terminal: bool) -> None:
    key, detail = message.get("id") or "", message.get("progressDetail") or {}
    if "stream" in message:
        out.write(message["stream"])
    elif terminal and key and "progressDetail" in message:
        _redraw(out, places, key, f"{key}: {message.get('status', '')} {_bar(detail)}")
    elif "status" in message and not detail.get("total"):
        out.write(f"{key}: {message['status']}\n" if key else f"{message['status']}\n")
    out.flush()


def _redraw(out: "TextIO", places: dict[str, int], key: str, text: str) -> None:
    """Go up to the layer's line, write it again, come back."""
    if key not in places:
        places[key] = len(places)
        out.write("\n")
    up = len(places) - places[key]
    out.write(f"\x1b[{up}A\r\x1b[2K{text}\x1b[{up}B\r")


def _bar(detail: "dict[str, Any]") -> str:
    current, total = detail.get("current") or 0, detail.get("total") or 0
    if not total:
        return ""
    done = min(BAR, current * BAR // total)
    return f"[{'=' * done}>{' ' * (BAR - done)}] {bytes_text(current)}/{bytes_text(total)}"
