"""Errors and warnings as runc writes them: to --log in text or JSON, fatal ones to stderr as well."""

import json
import sys
from dataclasses import dataclass
from datetime import UTC, datetime


@dataclass(frozen=True, slots=True)
class Report:
    """Where messages go: a file, or stderr when there is none."""

    path: str = ""
    style: str = "text"
    debugging: bool = False

    def debug(self, message: str) -> None:
        """Only with --debug."""
        if self.debugging:
            self._write("debug", message)

    def warn(self, message: str) -> None:
        """Go on, but say so. Without --log our stderr is the container's own, so only to a person who looks at it."""
        if self.path or self.debugging or sys.stderr.isatty():
            self._write("warning", message)

    def fatal(self, message: str) -> None:
        """Say why the command ends; the caller then leaves."""
        self._write("error", message)
        if self.path:
            print(message, file=sys.stderr)

    def _write(self, level: str, message: str) -> None:
        line = self._line(level, message, datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"))
        if not self.path:
            print(line, file=sys.stderr)
            return
        try:
            with open(self.path, "a", encoding="utf-8", errors="replace") as file:
                file.write(line + "\n")
        except OSError as error:
            print(f"cannot write to --log {self.path}: {error.strerror}\n{line}", file=sys.stderr)

    def _line(self, level: str, message: str, now: str) -> str:
        if self.style == "json":
            return json.dumps({"level": level, "msg": message, "time": now})
        return f"time={json.dumps(now)} level={level} msg={json.dumps(message, ensure_ascii=False)}"
