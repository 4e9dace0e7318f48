"""From words to a command. Lean: only the module of the command that runs is imported."""

import os
import sys

from havre.cli import help as helping
from havre.cli import options
from havre.cli.commands import GLOBAL_FLAGS, GroupAsked, UnknownCommand, find, function_of
from havre.errors import HavreError
from havre.version import VERSION

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

BAD_TEMPLATE = 64  # docker inspect's exit code for a template that cannot be parsed
LOG_LEVELS = ("debug", "info", "warn", "warning", "error", "fatal", "panic", "trace")


def main(words: list[str]) -> int:
    """Run one command; return its exit code. Every error becomes words on stderr here."""
    for stream in (sys.stdout, sys.stderr):  # whatever the locale says
        stream.reconfigure(encoding="utf-8", errors="backslashreplace")  # type: ignore[union-attr]
    command = ""
    try:
        given, rest = options.parse(words, GLOBAL_FLAGS, stop_early=True)
        if given["version"]:
            print(f"Havre version {VERSION}")
            return 0
        if given["log_level"] and given["log_level"] not in LOG_LEVELS:
            raise HavreError(
                f"unable to parse logging level: {given['log_level']}", hint=", ".join(LOG_LEVELS)
            )
        if not rest or rest[0] == "help":
            return _help(rest[1:])
        command, entry, rest = find(rest)
        return _run(entry, given, rest)
    except GroupAsked as group:
        return _help([group.name])
    except options.HelpAsked:
        return _help([command] if command else [])
    except HavreError as error:
        return _fail(command, error)
    except BrokenPipeError:
        silence_stdout()
        return 0
    except KeyboardInterrupt:
        return 130
    except OSError as error:
        return _fail(command, HavreError(_words_of(error)))


def _run(entry: "tuple[str, str, str]", given: "dict[str, Any]", rest: list[str]) -> int:
    from havre.cli.context import Context

    return function_of(entry)(Context(given), rest)


def _words_of(error: OSError) -> str:
    text = (error.strerror or str(error)).lower()
    return f"{error.filename}: {text}" if error.filename else text


def silence_stdout() -> None:
    """The reader has gone (`havre ps | head`): that is no error, and the flush at exit must not say so either."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)


def _help(words: list[str]) -> int:
    try:
        sys.stdout.write(helping.of(words))
    except HavreError as error:
        return _fail("", error)
    return 0


def _fail(command: str, error: HavreError) -> int:
    """Say what is wrong as Docker says it, and return the exit code: `run` keeps 1 to 124 for its container."""
    name = options.program()
    sys.stdout.flush()
    if isinstance(error, options.UsageError):
        shown = f"{name}: {error}" if isinstance(error, options.CountError) else str(error)
        sys.stderr.write(f"{shown}\n\n{helping.usage_lines(command)}\n")
        return error.exit_code
    shown = f"Error response from daemon: {error}" if error.by_daemon else str(error)
    shown = f"{name}: {shown}" if isinstance(error, UnknownCommand) else shown
    if command == "run" and error.exit_code != 1:
        help_line = f"\n\nRun '{name} run --help' for more information" if error.by_daemon else ""
        sys.stderr.write(f"{name}: {shown}{help_line}\n")
        return error.exit_code
    sys.stderr.write(f"{shown}\n")
    return error.exit_code if error.exit_code == BAD_TEMPLATE else 1
