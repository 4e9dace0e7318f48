"""A text that is drawn again and again on the same terminal: no flicker, cut to the window, cursor given back. Lean."""

import _signal as signal  # type: ignore[import-not-found] # the C module: `signal` itself would bring enum
import os
import sys

CLEAR, HOME, CLEAR_LINE, CLEAR_BELOW = "\033[2J", "\033[H", "\033[K", "\033[J"
HIDE_CURSOR, SHOW_CURSOR = "\033[?25l", "\033[?25h"


class Screen:
    """On a terminal each text replaces the one before it, in one write; elsewhere texts follow each other."""

    def __init__(self) -> None:
        self._terminal = os.isatty(1)
        self.resized = False
        self._last = ""

    def __enter__(self) -> "Screen":
        if self._terminal:
            signal.signal(signal.SIGWINCH, self._on_resize)
            for number in (signal.SIGTERM, signal.SIGHUP):
                signal.signal(number, _leave)
            self._write(HIDE_CURSOR + CLEAR)
        return self

    def __exit__(self, *_: object) -> None:
        if self._terminal:
            self._write(SHOW_CURSOR)

    def _on_resize(self, *_: object) -> None:
        self.resized = True

    def draw(self, text: str) -> None:
        """Show a text; lines and columns that the window does not have are left out."""
        if not self._terminal:
            if text != self._last:
                self._write(text)
            self._last = text
            return
        clear = CLEAR if self.resized else ""
        self.resized = False
        size = os.get_terminal_size(1)
        columns, rows = size.columns or 80, size.lines or 24
        lines = [line[:columns] for line in text.splitlines()[: rows - 1]]
        self._write(clear + HOME + "".join(f"{line}{CLEAR_LINE}\n" for line in lines) + CLEAR_BELOW)

    def _write(self, text: str) -> None:
        sys.stdout.write(text)
        sys.stdout.flush()


def _leave(number: int, _: object) -> None:
    raise SystemExit(128 + number)
