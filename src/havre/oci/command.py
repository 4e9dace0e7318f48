"""Read the words, do the command, turn errors into runc's text and exit codes."""

import os
from collections.abc import Callable
from importlib import import_module

from havre.errors import HavreError, InvalidParameter
from havre.oci import flags, state
from havre.oci.context import OCI_VERSION, Context
from havre.oci.report import Report
from havre.version import VERSION

Run = Callable[[Context, flags.Options, list[str]], int]
COMMANDS = {  # command -> (module, function); imported when asked for, as a start pays for every module
    "create": ("lifecycle", "create"),
    "delete": ("lifecycle", "delete"),
    "events": ("inspecting", "show_events"),
    "exec": ("execute", "execute"),
    "features": ("describe", "show_features"),
    "kill": ("lifecycle", "kill"),
    "list": ("inspecting", "show_list"),
    "pause": ("resources", "pause"),
    "ps": ("inspecting", "show_processes"),
    "resume": ("resources", "resume"),
    "run": ("lifecycle", "run"),
    "spec": ("describe", "write_spec"),
    "start": ("lifecycle", "start"),
    "state": ("inspecting", "show_state"),
    "update": ("resources", "update"),
}
EXEC_FAILED = 255  # runc's, so that it is not taken for the process's own 1
FAILED = 1


def carry_out(words: list[str]) -> int:
    """Do one command and return its exit code."""
    report = Report()
    name = ""
    try:
        options, rest = flags.parse(flags.GLOBAL, words)
        report = _report(options)
        if options.get("version"):
            print(f"havre oci version {VERSION}\nspec: {OCI_VERSION}")
            return 0
        name = rest[0] if rest else "help"
        if options.get("help") or name in ("help", "h"):
            print(_help(rest[1:]))
            return 0
        return _command(Context(_root(options), report, flags.text(options, "config")), name, rest[1:])
    except HavreError as error:
        report.fatal(str(error))
    except OSError as error:
        report.fatal(f"{error.filename or name}: {(error.strerror or str(error)).lower()}")
    return EXEC_FAILED if name == "exec" else FAILED


def _report(options: flags.Options) -> Report:
    style = flags.text(options, "log-format", "text")
    if style not in ("text", "json"):
        raise InvalidParameter(f"unknown log-format {style!r}", hint="text or json")
    path = flags.text(options, "log")
    return Report("" if path == "/dev/stderr" else path, style, bool(options.get("debug")))


def _root(options: flags.Options) -> str:
    """Where containers are recorded: --root, or below XDG_RUNTIME_DIR for a caller who is not root."""
    default = state.DEFAULT_ROOT
    if os.geteuid() != 0 and (own := os.environ.get("XDG_RUNTIME_DIR")):
        default = f"{own}/havre/oci"
    return os.path.abspath(flags.text(options, "root", default))


def _help(words: list[str]) -> str:
    return flags.command_usage(words[0]) if words and words[0] in flags.COMMANDS else flags.usage()


def _command(context: Context, name: str, words: list[str]) -> int:
    command = flags.COMMANDS.get(name)
    if command is None:
        raise InvalidParameter(f"No help topic for '{name}'", hint="havre oci --help")
    if words[:1] in (["--help"], ["-h"]):
        print(flags.command_usage(name))
        return 0
    options, arguments = flags.parse(command, words)
    if len(arguments) < command.least or (command.most is not None and len(arguments) > command.most):
        expected = f'"{name}" takes {command.arguments or "no argument"}'
        raise InvalidParameter(f"{expected}, {len(arguments)} given", hint=f"havre oci {name} --help")
    module, function = COMMANDS[name]
    run: Run = getattr(import_module(f"havre.oci.{module}"), function)
    return run(context, options, arguments)
